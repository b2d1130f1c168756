"""What far ends have in common that somebody has to answer: ringing, a failure that is heard, hold."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from sdpserver.models.webrtc import CallOptions
from sdpserver.tones import Tone, progress_tones
from sdpserver.webrtc import WebRtcLeg

from .far_end import FarEnd, FarEndListener
from .inbound import FarEndParts
from .routing import Destination
from .states import CallState, check_transition


class DialledFarEnd(FarEnd):
    """A SIP call, or another browser of this server."""

    failure_is_heard = True

    def __init__(
        self,
        destination: Destination,
        listener: FarEndListener,
        *,
        options: CallOptions,
        parts: FarEndParts,
        country: str = "",
    ) -> None:
        """:param country: whose tones are heard; empty: `[media] tones`."""
        super().__init__(destination, listener)
        self._options = options
        self._hold_music = parts.hold_music
        self._tones = progress_tones(country or parts.config.media.tones)
        self._tone: Tone | None = None
        self._on_hold = False
        self._was_heard = False
        self._ring_timer: asyncio.TimerHandle | None = None

    def _set_state(self, state: CallState) -> None:
        check_transition(self.state, state)
        self.state = state

    def play_end(self, reason: str) -> None:
        self._tone = self._tones.for_end(reason)
        self._connect()

    # -- ringing

    def _start_ring_timer(self) -> None:
        self._ring_timer = asyncio.get_running_loop().call_later(self._options.ring_timeout_s, self._no_answer)

    def _cancel_ring_timer(self) -> None:
        if self._ring_timer is not None:
            self._ring_timer.cancel()
            self._ring_timer = None

    @abstractmethod
    def _no_answer(self) -> None:
        """It has rung for `ring_timeout_s`."""

    # -- hold

    def attach(self, leg: WebRtcLeg) -> None:
        self._was_heard = self._was_heard or leg.direction.sends
        super().attach(leg)

    @property
    def on_hold(self) -> bool:
        return self._on_hold

    @property
    def holds(self) -> bool:
        """The browser's side: by command, or because its page does not listen any more (RFC 3264 section 8.4). One that
        never did only speaks."""
        return self._on_hold or (self.leg is not None and self._was_heard and not self.leg.direction.sends)
