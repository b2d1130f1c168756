"""The browser's side of a session: the leg in use, and while the call rings an offer of ours for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from sdpserver.errors import Conflict
from sdpserver.webrtc import DataChannel, WebRtcEvent, WebRtcLeg

log = structlog.get_logger(__name__)

LEG_CLOSE_S = 1.0
"""close_notify is one datagram; a leg that takes longer to close is cut off."""


class BrowserSide:
    """The legs and their tasks. `leg` is the one in use, None while nobody has answered and once all is freed."""

    def __init__(
        self,
        *,
        session_id: str,
        on_event: Callable[[WebRtcLeg, WebRtcEvent, str], None],
        on_channel: Callable[[DataChannel], None],
        detect_inband_presses: bool,
    ) -> None:
        self.leg: WebRtcLeg | None = None
        self._session_id = session_id
        self._on_event = on_event
        self._on_channel = on_channel
        self._detect_inband_presses = detect_inband_presses
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[WebRtcLeg, asyncio.Task[None]] = {}
        self._ringing: dict[str, WebRtcLeg] = {}

    # -- the leg in use

    def use(self, leg: WebRtcLeg) -> None:
        """Talk by this leg from now on."""
        self.leg = leg
        leg.on_event = lambda event, detail: self._on_event(leg, event, detail)
        leg.on_channel = self._on_channel
        if self._detect_inband_presses:
            leg.media.detect_inband_presses(True)
        if leg.remote_address:  # a browser checks as soon as it has made its answer, which may be here later
            self._on_event(leg, WebRtcEvent.ICE_CONNECTED, leg.remote_address)
        self._run(leg)

    def carry(self, group: asyncio.TaskGroup) -> None:
        """The session's tasks, in which the legs run."""
        self._group = group
        if self.leg is not None:
            self._run(self.leg)

    def _run(self, leg: WebRtcLeg) -> None:
        if self._group is not None and leg not in self._tasks:
            self._tasks[leg] = self._group.create_task(leg.run(), name=f"leg {self._session_id}")

    async def close(self, leg: WebRtcLeg) -> None:
        """Say close_notify on a leg, and free it."""
        leg.on_event = leg.on_channel = None
        try:
            async with asyncio.timeout(LEG_CLOSE_S):
                await leg.close()
        except TimeoutError:
            log.warning("leg did not close in time", session_id=self._session_id)
        leg.media.close()
        if (task := self._tasks.pop(leg, None)) is not None:
            task.cancel()

    # -- ringing

    def ring(self, connection: str, leg: WebRtcLeg) -> None:
        """A leg with an offer of ours, for one connection."""
        self.stop_ringing(connection)
        self._ringing[connection] = leg

    def offer_to(self, connection: str) -> str:
        """The SDP that a connection which may answer was offered."""
        return self._ringing[connection].offer

    @property
    def ringing(self) -> Iterable[str]:
        """The connections that may answer."""
        return tuple(self._ringing)

    def answer(self, connection: str, sdp: str) -> WebRtcLeg:
        """One connection's answer; its leg is the one in use from now on, and all others ring no more.

        :raises Conflict: `not_ringing`.
        :raises BadRequest: the SDP; it rings on.
        """
        leg = self._ringing.get(connection)
        if leg is None:
            raise Conflict("the call does not ring here", reason="not_ringing", session_id=self._session_id)
        leg.accept_answer(sdp)
        del self._ringing[connection]
        self.stop_all_ringing()
        self.use(leg)
        return leg

    def stop_ringing(self, connection: str) -> None:
        """Idempotent. Its browser has not been heard of, so there is nobody to say goodbye to."""
        if (leg := self._ringing.pop(connection, None)) is not None:
            leg.media.close()

    def stop_all_ringing(self) -> None:
        """Idempotent."""
        for connection in self.ringing:
            self.stop_ringing(connection)

    def release(self) -> None:
        """Free what is left. Idempotent."""
        self._group = None
        self.stop_all_ringing()
        if self.leg is not None:
            self.leg.media.close()
        self.leg = None
        self._on_event = lambda leg, event, detail: None
        self._on_channel = lambda channel: None
