"""A SIP call as the event loop has it."""

from __future__ import annotations

import enum
from collections.abc import Callable

import structlog

from . import info
from .events import SipEvent, SipEventType

log = structlog.get_logger(__name__)


class SipCallState(enum.Enum):
    """How far the INVITE came."""

    CALLING = "calling"
    RINGING = "ringing"
    EARLY = "early"
    ANSWERED = "answered"
    ENDED = "ended"


_STATES = {
    SipEventType.RINGING: SipCallState.RINGING,
    SipEventType.EARLY_MEDIA: SipCallState.EARLY,
    SipEventType.ANSWERED: SipCallState.ANSWERED,
    SipEventType.ENDED: SipCallState.ENDED,
}


class SipCall:
    """A call that `SipEndpoint.invite` made. Used on the event loop only.

    `call_id` is the SIP Call-ID, `to_uri` what was called. `on_event` gets ENDED exactly once, as the last event.
    """

    def __init__(
        self,
        *,
        call_id: str,
        to_uri: str,
        trunk: str,
        on_event: Callable[[SipEvent], None],
        hangup: Callable[[str, str, int], None],
        send_info: Callable[[str, str, str], None],
        on_ended: Callable[[SipCall], None],
    ) -> None:
        self.call_id = call_id
        self.to_uri = to_uri
        self.trunk = trunk
        self.state = SipCallState.CALLING
        self._on_event: Callable[[SipEvent], None] | None = on_event
        self._hangup = hangup
        self._send_info = send_info
        self._on_ended = on_ended
        self._log = log.bind(call_id=call_id, trunk=trunk)

    def hangup(self, *, status: int = 0, reason: str = "normal_clearing") -> None:
        """CANCEL or BYE. Idempotent; ENDED with this `reason` and `status` follows, unless the peer was quicker."""
        if self.state is not SipCallState.ENDED:
            self._hangup(self.call_id, reason, status)

    def press(self, digit: str, duration_ms: int) -> None:
        """Tell the peer of a press by INFO, within the dialog. Nothing once the call has ended."""
        if self.state is not SipCallState.ENDED:
            self._send_info(self.call_id, info.DTMF_RELAY, info.press_body(digit, duration_ms))

    def abandon(self) -> None:
        """Forget the call without an event: its maker never got it."""
        self._on_event = None
        self.hangup()

    def deliver(self, event: SipEvent) -> None:
        """Called by the endpoint with each event of the SIP thread."""
        if self.state is SipCallState.ENDED:
            return
        self.state = _STATES.get(event.type, self.state)
        if event.type is SipEventType.ENDED:
            self._on_ended(self)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                self._log.exception("SIP event failed", sip_event=event.type.value)
