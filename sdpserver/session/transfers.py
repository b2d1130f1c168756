"""Transfers: a call's far end goes on to somebody else, and the one who sent it there is out of the call.

Who does it depends on where the far end is. One that is behind a trunk and goes to the same trunk is told to go there
(REFER, RFC 3515; with Replaces, RFC 3891, when the two have been talked to): its PBX connects them, and no media comes
here any more. In all other cases this server connects them: the far end changes its session, or the session its far
end. The old call goes on until the new one is answered, and is as it was when it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from sdpserver.errors import BadRequest, Conflict, SdpServerError
from sdpserver.models.webrtc import CallOptions
from sdpserver.sip import Refer

from .far_end import FarEnd
from .far_ends import create_far_end
from .inbound import FarEndParts
from .local_far_end import LocalFarEnd
from .routing import Destination
from .sip_far_end import SipFarEnd
from .states import CallState
from .transfer import TRANSFERRED, Exchanging, Handing, Referring

if TYPE_CHECKING:
    from .session import Session

log = structlog.get_logger(__name__)


class Transfers:
    """Of all sessions. Used on the event loop only; who may do what is the API's to know.

    Each tells how far it is by the session's event `transfer`: `state` is `trying`, `ringing`, `completed` or `failed`.
    """

    def __init__(
        self,
        *,
        parts: Callable[[], FarEndParts],
        resolve: Callable[[CallOptions], Destination],
    ) -> None:
        self._parts = parts
        self._resolve = resolve

    # -- ours

    def send(self, session: Session, to: str) -> None:
        """Blind: the far end goes to `to`, whoever that is, and the session ends once they are connected.

        :raises BadRequest: `bad_destination`.
        :raises Conflict: `call_not_answered`, `transfer_in_progress`, `in_a_conference`, `cannot_transfer`.
        """
        far_end = _far_end(session)
        destination = self._resolve(CallOptions(to=to))
        if isinstance(far_end, SipFarEnd) and far_end.is_on(destination.trunk):
            self._refer(Referring(session, to), lambda: far_end.refer(destination.user))
        elif destination.dn:
            self._send_to_dn(session, destination)
        elif isinstance(far_end, LocalFarEnd) and far_end.peer is not None:
            self._send_on(session, far_end.peer, destination, to)
        else:
            raise Conflict(f"this call cannot be sent to {to!r}", reason="cannot_transfer", session_id=session.id)

    @staticmethod
    def _refer(referring: Referring, send: Callable[[], None]) -> None:
        referring.begin()
        referring.progressed("trying")
        send()

    def _send_to_dn(self, session: Session, destination: Destination) -> None:
        ring = self._parts().ring
        if ring is None:
            raise Conflict("no DN can be called", reason="cannot_transfer", session_id=session.id)
        handing = Handing(session, destination.uri)
        handing.begin()
        try:
            handing.target = ring(destination.dn, session.remote_party, handing.create_far_end)
        except SdpServerError as exc:
            handing.failed(exc.reason, getattr(exc, "sip_status", 0))
            return
        handing.progressed("ringing")

    def _send_on(self, session: Session, theirs: LocalFarEnd, destination: Destination, to: str) -> None:
        """The other browser calls `destination` in our place."""
        other = _session(theirs)
        exchanging = Exchanging(session, other, to)
        exchanging.begin()
        exchanging.dial(self._create(other, exchanging, destination, CallOptions(to=to)))

    def _create(self, session: Session, exchange: Exchanging, destination: Destination, options: CallOptions) -> FarEnd:
        leg = session.browser.leg
        if leg is None:
            raise Conflict("the call has no browser", reason="cannot_transfer", session_id=session.id)
        return create_far_end(
            destination, exchange, options=replace_options(options, session), leg=leg, parts=self._parts()
        )

    def connect(self, session: Session, consultation: Session) -> None:
        """Attended: the far ends of two calls of one agent talk to each other, and both calls end.

        :raises Conflict: as `send`, of either call.
        """
        if session is consultation:
            raise BadRequest("a call cannot be transferred to itself", reason="invalid_field")
        first, second = _far_end(session), _far_end(consultation)
        if isinstance(first, SipFarEnd) and isinstance(second, SipFarEnd):
            if not first.is_on(second.destination.trunk):
                raise Conflict("the two calls are on different trunks", reason="cannot_transfer", session_id=session.id)
            referring = Referring(session, consultation.destination.uri, consultation)
            if (sip := self._parts().sip) is not None:
                sip.traces.join(session.call_id, consultation.call_id)
            self._refer(referring, lambda: first.refer_replacing(second))
            return
        if isinstance(first, LocalFarEnd) and isinstance(second, LocalFarEnd):
            _connect_locals(first, second)
        elif isinstance(second, LocalFarEnd) and second.peer is not None:
            _hand_over(second, session)
        elif isinstance(first, LocalFarEnd) and first.peer is not None:
            _hand_over(first, consultation)
        else:
            raise Conflict("these calls cannot be connected", reason="cannot_transfer", session_id=session.id)
        for done, other in ((session, consultation), (consultation, session)):
            done.events.emit("transfer", state="completed", to=other.destination.uri, sipStatus=0)
            done.close(TRANSFERRED)

    # -- asked for by the peer

    def referred(self, session: Session, far_end: SipFarEnd, refer: Refer) -> None:
        """The SIP peer asks that the browser talk to somebody else. The target has to be one that the trunk's own
        routes lead to, or a DN."""
        exchanging = Exchanging(session, session, refer.user, asked_by=far_end)
        try:
            destination = self._resolve(CallOptions(to=refer.user))
            if destination.dn == "" and not far_end.is_on(destination.trunk):
                raise BadRequest("the trunk has no such number", reason="bad_destination")
            exchanging.begin()
        except SdpServerError as exc:
            log.warning("a REFER is refused", call_id=session.call_id, reason=exc.reason)
            far_end.answer_refer(403 if isinstance(exc, BadRequest) else 603)
            return
        try:
            new = self._create(session, exchanging, destination, CallOptions(to=refer.user))
            if isinstance(new, SipFarEnd):
                new.replaces = refer.replaces
            exchanging.dial(new)
        except SdpServerError as exc:
            exchanging.failed(exc.reason, 503)


def replace_options(options: CallOptions, session: Session) -> CallOptions:
    """A call that takes the place of another has its caller."""
    options.from_ = options.from_ or session.options.from_
    options.display_name = options.display_name or session.options.display_name
    return options


def _far_end(session: Session) -> FarEnd:
    """
    :raises Conflict: it cannot be transferred now.
    """
    far_end = session.far_end
    if far_end is None or far_end.state is not CallState.ANSWERED:
        raise Conflict("the call is not answered", reason="call_not_answered", session_id=session.id)
    if far_end.in_room:
        raise Conflict("the call is in a conference", reason="in_a_conference", session_id=session.id)
    if session.transfer is not None:
        raise Conflict("the call is being transferred", reason="transfer_in_progress", session_id=session.id)
    return far_end


def _session(far_end: FarEnd) -> Session:
    from .session import Session

    assert isinstance(far_end.listener, Session)
    return far_end.listener


def _hand_over(local: LocalFarEnd, giving: Session) -> None:
    """The browser behind `local` talks to the far end of `giving` from now on."""
    peer = local.release()
    if peer is None:
        raise Conflict("one of the calls has ended", reason="call_ended")
    _session(peer).take_far_end(giving.give_far_end())
    if local.on_hold:
        peer.listener.call_held(False)


def _connect_locals(first: LocalFarEnd, second: LocalFarEnd) -> None:
    one, other = first.release(), second.release()
    if one is None or other is None:
        raise Conflict("one of the calls has ended", reason="call_ended")
    one.connect_to(other)
    for side, was_held in ((one, first.on_hold), (other, second.on_hold)):
        if was_held:
            side.listener.call_held(False)
