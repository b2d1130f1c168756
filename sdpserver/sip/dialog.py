"""One outgoing call on the SIP thread: pjsua2's callbacks, turned into events of plain values.

Nothing here may be touched from another thread. pjsua2 frees what a callback gets when the callback returns, and
children of a SWIG object die with it, so callbacks copy what they need and keep nothing. That includes exceptions: a
traceback's frames would keep pjsua2's objects alive until some other thread's garbage collector finds them.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pjsua2 as pj
import structlog

from ..errors import BadRequest
from ..sdp import Direction
from . import message, sdes
from .events import SipEvent, SipEventType
from .info import read_press
from .offer_answer import (
    Answer,
    LocalAudio,
    Offered,
    Origin,
    RemoteAudio,
    accept_answer,
    answer_offer,
    offer_body,
    read_own_offer,
)
from .reasons import (
    INTERNAL_ERROR,
    NO_SRTP,
    NOT_ACCEPTABLE,
    SIP_TIMEOUT,
    TRUNK_UNREACHABLE,
    q850_cause,
    reason_for,
    reason_for_bye,
)

log = structlog.get_logger(__name__)

Self = TypeVar("Self")
Params = ParamSpec("Params")
NOT_ACCEPTABLE_HERE = 488
DECLINE, FORBIDDEN = 603, 403
CHALLENGES = (401, 407)


def guarded(
    callback: Callable[Concatenate[Self, Params], None],
) -> Callable[Concatenate[Self, Params], None]:
    """An exception in a callback would be printed and lost in pjsua2; here it is logged, and ends the call it is of."""

    @functools.wraps(callback)
    def run(self: Self, /, *args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            callback(self, *args, **kwargs)
        except Exception:
            log.exception("SIP callback failed", callback=callback.__name__, call_id=getattr(self, "call_id", None))
            if isinstance(self, Dialog):
                self.fail()

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """An INVITE to send. URIs and headers are checked and encoded already."""

    call_id: str
    trunk: str
    uri: str
    from_header: str
    headers: tuple[tuple[str, str], ...]
    local: LocalAudio


class DialogOwner(Protocol):
    """The stack, as its dialogs see it."""

    def dialog_ended(self, dialog: Dialog) -> None: ...
    def redial(self, dialog: Dialog, invite: Invite) -> None: ...
    def soon(self, command: Callable[[], None]) -> None: ...


class Dialog(pj.Call):  # type: ignore[misc]
    """A call that we made. Ended once, by `end` or by the peer; `emit` then gets the last event.

    `heard`: the peer has answered the INVITE somehow.
    """

    def __init__(self, account: Any, owner: DialogOwner, invite: Invite, emit: Callable[[SipEvent], None]) -> None:
        super().__init__(account)
        self.call_id = invite.call_id
        self.trunk = invite.trunk
        self._owner = owner
        self._invite = invite
        self._local = invite.local
        self._offered = Offered(codecs=invite.local.codecs)
        self.emit = emit
        self._origin = Origin(secrets.randbits(62))
        self._sent_sdp = ""
        self._remote: RemoteAudio | None = None
        self._remote_sdp = ""
        self._pending: Answer | None = None
        self._pending_offer = ""
        self._is_answer_refused = False
        self._refusal = NOT_ACCEPTABLE
        self._late_offer = False
        self._reinviting = False
        self.heard = False
        self._answered = False
        self._ended = False
        self._reason = ""
        self._status = 0
        self._status_line = (200, "")
        self._log = log.bind(call_id=invite.call_id, trunk=invite.trunk)

    def start(self, invite: Invite) -> None:
        """Send the INVITE.

        :raises pj.Error: it cannot be sent.
        """
        operation = _operation()
        operation.opt.customCallId = invite.call_id
        operation.txOption.localUri = invite.from_header
        for name, value in invite.headers:
            header = pj.SipHeader()
            header.hName, header.hValue = name, value
            operation.txOption.headers.append(header)
        self.makeCall(invite.uri, operation)

    def end(self, reason: str, status: int = 0) -> None:
        """CANCEL or BYE, as the dialog's state has it; pjsip sees to the races (a CANCEL that crosses a 200).

        The event comes at once; the transaction goes on without us.
        """
        if self._ended:
            return
        self._reason = self._reason or reason
        self._status = self._status or status
        operation = pj.CallOpParam()
        try:
            self.hangup(operation)  # calls onCallState, which reports the end
        except pj.Error as exc:
            self._log.error("the call cannot be hung up", error=exc.info())
        self._report_end(self._reason, self._status, "", by_remote=False)

    def send_info(self, content_type: str, body: str) -> None:
        """What the body holds is in no log."""
        request = pj.CallSendRequestParam()
        request.method = "INFO"
        request.txOption.contentType, request.txOption.msgBody = content_type, body
        try:
            self.sendRequest(request)
        except pj.Error as exc:
            self._log.warning("an INFO cannot be sent", error=exc.info())

    def fail(self) -> None:
        """A bug here: end the call, outside the callback that met it."""
        self._owner.soon(functools.partial(self.end, INTERNAL_ERROR))

    # -- pjsua2's callbacks

    @guarded
    def onCallState(self, prm: Any) -> None:
        info = self.getInfo()
        state = info.state
        if state == pj.PJSIP_INV_STATE_EARLY:
            self._on_provisional(_message(prm.e))
        elif state == pj.PJSIP_INV_STATE_CONNECTING:
            self._on_success(_message(prm.e))
        elif state == pj.PJSIP_INV_STATE_CONFIRMED:
            self._on_confirmed()
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._on_disconnected(_message(prm.e), info.lastStatusCode, info.lastReason)

    def _on_provisional(self, text: str) -> None:
        status, phrase = message.status_line(text)
        sdp = message.sdp(text)
        if status <= 100:
            return
        if sdp and self._take_answer(sdp):
            self._emit_progress(SipEventType.EARLY_MEDIA, status, phrase, self._remote)
        elif not sdp:
            self._emit_progress(SipEventType.RINGING, status, phrase)

    def _on_success(self, text: str) -> None:
        status, phrase = message.status_line(text)
        sdp = message.sdp(text)
        self.heard = True
        self._status_line = (status or 200, phrase)
        if (sdp and not self._take_answer(sdp)) or self._remote is None:
            self._owner.soon(functools.partial(self.end, self._refusal))

    def _take_answer(self, sdp: str) -> bool:
        """True when the peer's answer is usable."""
        try:
            self._remote = accept_answer(self._local, self._offered, sdp, previous=self._remote)
        except BadRequest as exc:
            self._is_answer_refused = True
            self._refusal = NO_SRTP if exc.reason == NO_SRTP else NOT_ACCEPTABLE
            self._log.warning("the peer's answer is refused", reason=exc.reason, error=str(exc))
            return False
        self._is_answer_refused = False
        return True

    def _on_confirmed(self) -> None:
        if self._answered or self._remote is None or self._is_answer_refused:
            return
        self._answered = True
        status, phrase = self._status_line
        self._emit_progress(SipEventType.ANSWERED, status, phrase, self._remote)

    def _emit_progress(
        self, kind: SipEventType, status: int = 0, phrase: str = "", media: RemoteAudio | None = None
    ) -> None:
        if not self._ended:
            self.emit(SipEvent(type=kind, media=media, status=status, sip_reason=phrase))

    def _on_disconnected(self, text: str, last_status: int, last_phrase: str) -> None:
        if self._reason:
            self._report_end(self._reason, self._status, "", by_remote=False)
            return
        status, phrase = message.status_line(text)
        cause = q850_cause(message.headers(text, "Reason"))
        if text.startswith("BYE "):
            self._report_end(reason_for_bye(cause), 0, "", by_remote=True)
        elif status == NOT_ACCEPTABLE_HERE and self._local.srtp == "optional":
            # RFC 4568 has keys under RTP/SAVP only, and peers that insist on SRTP may insist on that.
            self._ended = True  # as far as this dialog is concerned
            self._owner.redial(self, replace(self._invite, local=replace(self._local, srtp="required")))
        elif status >= 300:
            self._report_end(reason_for(status, cause), status, phrase, by_remote=True)
        elif not self.heard:
            self._report_end(TRUNK_UNREACHABLE, 0, message.printable(last_phrase), by_remote=False)
        elif self._is_answer_refused:
            self._report_end(self._refusal, 0, message.printable(last_phrase), by_remote=False)
        else:
            reason = SIP_TIMEOUT if last_status == 408 else reason_for(last_status)
            self._report_end(reason, 0, message.printable(last_phrase), by_remote=False)

    def _report_end(self, reason: str, status: int, phrase: str, *, by_remote: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._owner.dialog_ended(self)
        self.emit(
            SipEvent(type=SipEventType.ENDED, status=status, reason=reason, sip_reason=phrase, by_remote=by_remote)
        )

    @guarded
    def onCallSdpCreated(self, prm: Any) -> None:
        """pjsip made an SDP; ours takes its place."""
        offer = prm.remSdp.wholeSdp
        if offer:
            answer = self._negotiate(offer)
            body = answer.body if answer is not None else ""
        else:
            body = self._offer()
            self._late_offer = self._answered and not self._reinviting
        if body:
            self._sent_sdp = self._origin.describe(self._local.ip, body)
            prm.sdp.wholeSdp = self._sent_sdp

    def _offer(self) -> str:
        """Every offer has keys of its own, but for one that a peer asks for in a call: most peers ask for what is."""
        srtp = self._remote.srtp if self._remote is not None else None
        cryptos = () if self._local.srtp == "off" else sdes.new_offer(in_use=None if self._reinviting else srtp)
        self._offered = Offered(codecs=self._local.codecs, cryptos=cryptos)
        return offer_body(self._local, self._offered)

    def _negotiate(self, offer: str) -> Answer | None:
        """Our answer to a re-INVITE's or an UPDATE's offer, None to refuse it. Asked again, it is the same."""
        if self._pending is not None and offer == self._pending_offer:
            return self._pending
        self._pending_offer = offer
        try:
            self._pending = answer_offer(self._local, offer, previous=self._remote)
        except BadRequest as exc:
            self._pending = None
            self._log.warning("the peer's offer is refused", reason=exc.reason, error=str(exc))
        return self._pending

    @guarded
    def onCallRxOffer(self, prm: Any) -> None:
        if self._negotiate(prm.offer.wholeSdp) is None:
            prm.statusCode = NOT_ACCEPTABLE_HERE

    @guarded
    def onCallRxReinvite(self, prm: Any) -> None:
        if self._negotiate(prm.offer.wholeSdp) is None:
            prm.statusCode = NOT_ACCEPTABLE_HERE

    @guarded
    def onCallTsxState(self, prm: Any) -> None:
        event = prm.e.body.tsxState
        transaction = event.tsx
        if transaction.method == "INFO":
            self._on_info(transaction, event)
            return
        if transaction.method not in ("INVITE", "UPDATE"):
            return
        if event.type == pj.PJSIP_EVENT_RX_MSG:
            self.heard = True
            if self._reinviting and transaction.role == pj.PJSIP_ROLE_UAC:
                self._on_reinvite_response(event.src.rdata.wholeMsg)
        elif event.type == pj.PJSIP_EVENT_TX_MSG:
            self._on_sent(transaction.role == pj.PJSIP_ROLE_UAS, event.src.tdata.wholeMsg)

    def _on_info(self, transaction: Any, event: Any) -> None:
        if event.type != pj.PJSIP_EVENT_RX_MSG:
            return
        if transaction.role == pj.PJSIP_ROLE_UAC:
            if transaction.statusCode >= 300:
                self._log.warning("an INFO is refused", sip_status=transaction.statusCode)
        elif transaction.state == pj.PJSIP_TSX_STATE_TRYING:
            press = read_press(event.src.rdata.wholeMsg)
            if press is not None and not self._ended:
                self.emit(SipEvent(type=SipEventType.PRESSED, press=press))

    def _on_sent(self, as_server: bool, text: str) -> None:
        sdp = message.sdp(text)
        if sdp and not as_server and self._answered and not self._reinviting:
            self._on_refresh(sdp)
        elif sdp and not _same(sdp, self._sent_sdp):
            # pjsip only logs an SDP of ours that it cannot read, and sends its own, with a port that nobody listens on.
            ours = sdes.redacted(self._sent_sdp)
            self._log.error("another SDP than ours left", sent=sdes.redacted(sdp), ours=ours)
            self.fail()
            return
        status, _ = message.status_line(text)
        if as_server and status >= 200:
            pending, self._pending = self._pending, None
            if status < 300 and pending is not None:
                self._change_media(pending.remote)

    def _reinvite(self) -> None:
        """Offer anew, to see the peer's keys."""
        self._reinviting = True
        try:
            self.reinvite(_operation())
        except pj.Error as exc:
            self._reinviting = False
            self._log.warning("the re-INVITE cannot be sent", error=exc.info())

    def _on_reinvite_response(self, text: str) -> None:
        status, phrase = message.status_line(text)
        if status < 200 or status in CHALLENGES:
            return
        self._reinviting = False
        if status >= 300:
            self._log.warning("our re-INVITE is refused", status=status, phrase=phrase)
            return
        before, sdp = self._remote, message.sdp(text)
        if sdp and self._take_answer(sdp) and self._remote != before and self._remote is not None:
            self._emit_progress(SipEventType.MEDIA_CHANGED, media=self._remote)

    def _on_refresh(self, sdp: str) -> None:
        """pjsip refreshes the session (RFC 4028) by offering what was agreed on. The answer may be another."""
        try:
            self._offered = read_own_offer(self._local, sdp)
        except BadRequest as exc:
            self._log.error("another SDP than ours left", sent=sdes.redacted(sdp), error=str(exc))
            self.fail()
            return
        self._sent_sdp = sdp  # sent again, it is the same
        self._reinviting = True

    def _change_media(self, remote: RemoteAudio) -> None:
        if remote != self._remote:
            self._remote = remote
            self._emit_progress(SipEventType.MEDIA_CHANGED, media=remote)

    @guarded
    def onCallMediaState(self, prm: Any) -> None:
        """After a re-INVITE without an offer: the answer to ours comes in the ACK, which pjsua2 does not show.

        What matters of it is known to pjsip, but for the keys.
        """
        if not self._late_offer or self._remote is None:
            return
        self._late_offer = False
        if self._local.srtp != "off":
            self._owner.soon(self._reinvite)
            return
        stream = self.getStreamInfo(0)
        ip, _, port = stream.remoteRtpAddress.rpartition(":")
        _, _, rtcp_port = stream.remoteRtcpAddress.rpartition(":")
        codecs = [codec for codec in self._local.codecs if codec.name.lower() == stream.codecName.lower()]
        if not codecs:
            self._log.warning("the peer's late answer has no codec of ours", codec=stream.codecName)
            return
        rate = codecs[0].clock_rate_hz
        events = [c for c in self._local.codecs if c.is_telephone_event and c.clock_rate_hz == rate]
        sends = bool(stream.dir & pj.PJMEDIA_DIR_ENCODING)
        receives = bool(stream.dir & pj.PJMEDIA_DIR_DECODING)
        self._change_media(
            RemoteAudio(
                ip=ip.strip("[]"),
                rtp_port=int(port),
                rtcp_port=int(rtcp_port) or int(port) + 1,
                direction=Direction.of(sends=sends, receives=receives),
                codecs=[*codecs[:1], *events],
                ptime_ms=self._remote.ptime_ms,
            )
        )

    # -- what pjsua2 would do for a stranger by default

    @guarded
    def onCallTransferRequest(self, prm: Any) -> None:
        """By default a REFER is accepted and whatever it names is called."""
        prm.statusCode = DECLINE
        self._log.warning("a REFER is refused")

    @guarded
    def onCallReplaceRequest(self, prm: Any) -> None:
        """By default an INVITE with our Call-ID and tags in Replaces takes the call over."""
        prm.statusCode = FORBIDDEN
        self._log.warning("an INVITE with Replaces is refused", source=prm.rdata.srcAddress)

    def onCallRedirected(self, prm: Any) -> int:
        """A 3xx ends the call: its Contact is not the caller's choice of destination."""
        return int(pj.PJSIP_REDIRECT_STOP)


class RefusedCall(pj.Call):  # type: ignore[misc]
    """An incoming call on its way out."""

    def __init__(self, account: Any, pjsua_call_id: int) -> None:
        super().__init__(account, pjsua_call_id)

    def onCallTransferRequest(self, prm: Any) -> None:
        prm.statusCode = DECLINE

    def onCallReplaceRequest(self, prm: Any) -> None:
        prm.statusCode = FORBIDDEN


def _operation() -> Any:
    operation = pj.CallOpParam(True)
    operation.opt.audioCount, operation.opt.videoCount, operation.opt.textCount = 1, 0, 0
    return operation


def _message(event: Any) -> str:
    """The SIP message that an event is about, "" when it is about a timer or our own doing."""
    if event.type == pj.PJSIP_EVENT_TSX_STATE:
        tsx_state = event.body.tsxState
        return str(tsx_state.src.rdata.wholeMsg) if tsx_state.type == pj.PJSIP_EVENT_RX_MSG else ""
    return str(event.body.rxMsg.rdata.wholeMsg) if event.type == pj.PJSIP_EVENT_RX_MSG else ""


def _same(sent: str, ours: str) -> bool:
    """But for the version in o=, which pjsip counts by itself; it goes back when an offer of ours was refused."""
    return _without_version(sent) == _without_version(ours)


def _without_version(sdp: str) -> list[str]:
    return re.sub(r"^(o=\S+ \S+) \d+", r"\1", sdp, count=1, flags=re.MULTILINE).split()
