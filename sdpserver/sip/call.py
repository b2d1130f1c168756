"""A SIP call as the event loop has it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import structlog

from ..errors import BadRequest
from ..sdp import Direction
from . import info
from .events import SipEvent, SipEventType
from .offer_answer import LocalAudio

if TYPE_CHECKING:
    from .transfer import Transferable  # is used on the SIP thread only

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


class CallOwner(Protocol):
    """The endpoint, as its calls see it."""

    def hangup(self, call_id: str, reason: str, status: int) -> None: ...
    def command(self, call_id: str, command: Callable[[Transferable], None]) -> None: ...
    def uri_of(self, trunk: str, target: str) -> str: ...
    def forget(self, call: SipCall) -> None: ...


class SipCall:
    """A call that `SipEndpoint.invite` made, or that `SipEndpoint.on_incoming` got. Used on the event loop only.

    `call_id` is ours, and the SIP Call-ID of a call that we make; `sip_call_id` is the SIP Call-ID in any case.
    `to_uri` is what was called. `on_event` gets ENDED exactly once, as the last event. It may be set anew, to hand the
    call to another owner; an ENDED that comes while it is None is kept for the next one, other events are not.
    """

    def __init__(
        self,
        *,
        call_id: str,
        to_uri: str,
        trunk: str,
        owner: CallOwner,
        on_event: Callable[[SipEvent], None] | None = None,
        sip_call_id: str = "",
        is_incoming: bool = False,
    ) -> None:
        self.call_id = call_id
        self.sip_call_id = sip_call_id or call_id
        self.to_uri = to_uri
        self.trunk = trunk
        self.is_incoming = is_incoming
        self.state = SipCallState.CALLING
        self._on_event = on_event
        self._unheard: SipEvent | None = None
        self._owner = owner
        self._log = log.bind(call_id=call_id, trunk=trunk)

    @property
    def on_event(self) -> Callable[[SipEvent], None] | None:
        return self._on_event

    @on_event.setter
    def on_event(self, on_event: Callable[[SipEvent], None] | None) -> None:
        self._on_event = on_event
        if on_event is not None and self._unheard is not None:
            asyncio.get_running_loop().call_soon(self._tell_unheard)

    def _tell_unheard(self) -> None:
        if self._on_event is not None and self._unheard is not None:
            event, self._unheard = self._unheard, None
            self._tell(event)

    def _command(self, command: Callable[[Transferable], None]) -> None:
        if self.state is not SipCallState.ENDED:
            self._owner.command(self.call_id, command)

    def ring(self) -> None:
        """Answer an incoming call with 180, without SDP."""
        if self.state is SipCallState.CALLING:
            self.state = SipCallState.RINGING
            self._command(lambda dialog: dialog.ring())

    def answer(self, media: LocalAudio) -> None:
        """Answer an incoming call with 200 and our SDP; ANSWERED follows with the ACK.

        The codec is the first of the offer that is among `media.codecs`.
        """
        self._command(lambda dialog: dialog.accept(media))

    def reject(self, status: int, reason: str) -> None:
        """Refuse an incoming call with that status (300 to 699). ENDED follows."""
        self.hangup(status=status, reason=reason)

    def hangup(self, *, status: int = 0, reason: str = "normal_clearing") -> None:
        """CANCEL or BYE. Idempotent; ENDED with this `reason` and `status` follows, unless the peer was quicker.

        An incoming call that is not answered is refused, with 480 if the status is none for that.
        """
        if self.state is not SipCallState.ENDED:
            self._owner.hangup(self.call_id, reason, status)

    def press(self, digit: str, duration_ms: int) -> None:
        """Tell the peer of a press by INFO, within the dialog. Nothing once the call has ended."""
        self._command(lambda dialog: dialog.send_info(info.DTMF_RELAY, info.press_body(digit, duration_ms)))

    def set_direction(self, direction: Direction) -> None:
        """Hold (SENDONLY, INACTIVE) or resume (SENDRECV) by a re-INVITE; the last of several requests counts.

        MEDIA_CHANGED with `by_remote` False follows, with a `status` from 300 on if the peer refused.
        """
        self._command(lambda dialog: dialog.set_direction(direction))

    def refer(self, target: str) -> None:
        """Ask the peer to call `target`, as `SipEndpoint.invite` takes it, instead of us: a blind transfer.

        TRANSFER events follow, up to a final one. The call goes on until somebody ends it.

        :raises BadRequest: reason `bad_destination`.
        """
        uri = self._owner.uri_of(self.trunk, target)
        self._command(lambda dialog: dialog.refer(uri))

    def refer_replacing(self, other: SipCall) -> None:
        """Ask the peer to take our place in another call of the same trunk: an attended transfer. Events as `refer`.

        :raises BadRequest: reason `bad_destination`: the other call is of another trunk.
        """
        if other.trunk != self.trunk or other is self:
            raise BadRequest("the two calls are not of one trunk", reason="bad_destination")
        self._command(lambda dialog: dialog.refer_replacing(other.call_id))

    def answer_refer(self, status: int, phrase: str = "") -> None:
        """Tell the peer that sent a REFER how the call that it asked for goes; from 200 on, for the last time."""
        self._command(lambda dialog: dialog.answer_refer(status, phrase))

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
            self._owner.forget(self)
        if self._on_event is not None:
            self._tell(event)
        elif event.type is SipEventType.ENDED:
            self._unheard = event

    def _tell(self, event: SipEvent) -> None:
        assert self._on_event is not None
        try:
            self._on_event(event)
        except Exception:
            self._log.exception("SIP event failed", sip_event=event.type.value)
