"""A call between a DN and a number that somebody else has ordered (RFC 3725, flow I): the DN rings first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdpserver.models.webrtc import CallOptions

from .bystander import Bystander
from .far_end import CallEnd, FarEnd
from .far_ends import create_far_end
from .inbound import FarEndParts
from .routing import Destination
from .states import CallState

if TYPE_CHECKING:
    from .session import Session


class OrderedFarEnd(Bystander, FarEnd):
    """Of the DN's session, until the number that it calls has answered: then that one's far end takes its place."""

    def __init__(self, destination: Destination, session: Session, *, options: CallOptions, parts: FarEndParts) -> None:
        FarEnd.__init__(self, destination, session)
        self.state = CallState.RINGING
        self.call_id, self.owner = session.call_id, session.owner
        self._session = session
        self._options = options
        self._parts = parts
        self._called: FarEnd | None = None

    async def dial(self) -> None:
        """The DN has answered: call the number, heard by the DN from its ringing on.

        :raises SdpServerError: it cannot be called.
        """
        if self.leg is None:
            return
        called = create_far_end(self.destination, self, options=self._options, leg=self.leg, parts=self._parts)
        self._called = called
        called.attach(self.leg)
        await called.dial()

    def _connect_two(self) -> None:
        if self.leg is None:
            return
        if self._called is not None:
            self._called.attach(self.leg)  # a reloaded page
        else:
            self.leg.media.send_from(None)

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None:
        if state is CallState.ANSWERED and self._called is not None:
            called, self._called = self._called, None
            self._session.take_far_end(called, tell=False)
            self._session.call_progressed(state, detail)
        elif state is CallState.EARLY:
            self._session.call_progressed(state, detail)
        else:
            self._session.events.emit(state.value, **detail)

    def call_ended(self, end: CallEnd) -> None:
        self._session.call_ended(end)

    def hangup(self, reason: str) -> None:
        super().hangup(reason)
        called, self._called = self._called, None
        if called is not None:
            called.hangup(reason)
            called.close()
