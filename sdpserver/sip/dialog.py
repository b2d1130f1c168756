"""A call on the SIP thread: pjsua2's callbacks, turned into events of plain values.

Nothing here may be touched from another thread. pjsua2 frees what a callback gets when the callback returns, and
children of a SWIG object die with it, so callbacks copy what they need and keep nothing. That includes exceptions: a
traceback's frames would keep pjsua2's objects alive until some other thread's garbage collector finds them.
"""

from __future__ import annotations

import functools
import random
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pjsua2 as pj
import structlog

from ..errors import BadRequest
from ..sdp import Direction
from . import message, sdes
from .events import SipEvent, SipEventType
from .exchange import Exchange
from .info import read_press
from .invite import Invite
from .offer_answer import LocalAudio, RemoteAudio
from .reasons import INTERNAL_ERROR, SIP_TIMEOUT

log = structlog.get_logger(__name__)

Self = TypeVar("Self")
Params = ParamSpec("Params")
NOT_ACCEPTABLE_HERE = 488
REQUEST_PENDING = 491
GONE = (408, 481)  # by which a dialog is over (RFC 3261 section 12.2.1.2)
DECLINE, FORBIDDEN = 603, 403
# Those that pjsip meets with the same request once more: credentials, a longer session interval (RFC 4028).
TRIED_AGAIN = (401, 407, 422)


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


class Successor(Protocol):
    """A dialog that may take another's place."""

    def can_take(self, offer: str) -> bool: ...


class DialogOwner(Protocol):
    """The stack, as its dialogs see it."""

    def dialog_ended(self, dialog: Dialog) -> None: ...
    def redial(self, dialog: Dialog, invite: Invite) -> None: ...
    def soon(self, command: Callable[[], None]) -> None: ...
    def later(self, delay_s: float, command: Callable[[], None]) -> None: ...
    def dialog(self, call_id: str) -> Dialog | None: ...
    def successor(self, dialog: Dialog, source: str) -> Successor | None: ...
    def replaced(self, dialog: Dialog) -> None: ...
    def faded(self, dialog: Dialog) -> None: ...


class Dialog(pj.Call):  # type: ignore[misc]
    """A call, made or taken. Ended once, by `end` or by the peer; `emit` then gets the last event.

    `heard`: the peer is there, since it has sent us something. `retry_delay_s`: the range of RFC 3261 section 14.1's
    random delay after a 491.
    """

    retry_delay_s = (2.1, 4.0)

    def __init__(
        self,
        account: Any,
        owner: DialogOwner,
        *,
        call_id: str,
        trunk: str,
        local: LocalAudio,
        emit: Callable[[SipEvent], None],
        pjsua_call_id: int = pj.PJSUA_INVALID_ID,
    ) -> None:
        super().__init__(account, pjsua_call_id)
        self.account = account
        self.call_id = call_id
        self.trunk = trunk
        self.emit = emit
        self.heard = False
        self._owner = owner
        self._log = log.bind(call_id=call_id, trunk=trunk)
        self._exchange = Exchange(local, self._log)
        self._late_offer = False
        self._reinviting = False
        self._rekeying = False
        self._agreed_direction = self._exchange.direction
        self._is_direction_due = False
        self._is_waiting = False
        self._answered = False
        self._ended = False
        self._reason = ""
        self._status = 0

    @property
    def local(self) -> LocalAudio:
        """Our leg."""
        return self._exchange.local

    @property
    def direction(self) -> Direction:
        """What we want of it."""
        return self._exchange.direction

    # -- commands

    def end(self, reason: str, status: int = 0) -> None:
        """CANCEL, BYE or a refusal, as the dialog's state has it.

        pjsip sees to the races (a CANCEL that crosses a 200). The event comes at once; the transaction goes on without
        us.
        """
        if self._ended:
            return
        self._reason = self._reason or reason
        self._status = self._status or status
        operation = pj.CallOpParam()
        operation.statusCode = self._refusal_status()
        try:
            self.hangup(operation)  # calls onCallState, which reports the end
        except pj.Error as exc:
            self._log.error("the call cannot be hung up", error=exc.info())
        self._report_end(self._reason, self._status, "", by_remote=False)

    def _refusal_status(self) -> int:
        """What an INVITE that is not answered gets. 0: it is not ours to answer."""
        return 0

    def ring(self) -> None:
        """180, if the INVITE came to us."""

    def accept(self, local: LocalAudio) -> None:
        """200, if the INVITE came to us."""

    def send_info(self, content_type: str, body: str) -> None:
        """What the body holds is in no log."""
        request = pj.CallSendRequestParam()
        request.method = "INFO"
        request.txOption.contentType, request.txOption.msgBody = content_type, body
        try:
            self.sendRequest(request)
        except pj.Error as exc:
            self._log.warning("an INFO cannot be sent", error=exc.info())

    def set_direction(self, direction: Direction) -> None:
        """Offer this direction as soon as nothing else is under way; one that is agreed on is told at once."""
        is_news = direction is not self._exchange.direction
        self._exchange.direction = direction
        self._is_direction_due = self._is_direction_due or is_news
        if self._is_direction_due:
            self._follow_direction()
        elif self._answered:
            self._emit(SipEvent(type=SipEventType.MEDIA_CHANGED, media=self._exchange.remote, by_remote=False))

    def fail(self) -> None:
        """A bug here: end the call, outside the callback that met it."""
        self._owner.soon(functools.partial(self.end, INTERNAL_ERROR))

    # -- life

    @guarded
    def onCallState(self, prm: Any) -> None:
        info = self.getInfo()
        state = info.state
        if state == pj.PJSIP_INV_STATE_EARLY:
            self._on_provisional(event_message(prm.e))
        elif state == pj.PJSIP_INV_STATE_CONNECTING:
            self._on_success(event_message(prm.e))
        elif state == pj.PJSIP_INV_STATE_CONFIRMED:
            self._on_confirmed(event_message(prm.e))
        elif state == pj.PJSIP_INV_STATE_DISCONNECTED:
            text = event_message(prm.e)
            if self._reason:
                self._report_end(self._reason, self._status, "", by_remote=False)
            else:
                self._on_disconnected(text, info.lastStatusCode, message.printable(info.lastReason))

    def _on_provisional(self, text: str) -> None: ...

    def _on_success(self, text: str) -> None: ...

    def _on_confirmed(self, text: str) -> None: ...

    def _on_disconnected(self, text: str, last_status: int, last_phrase: str) -> None:
        """Not by us. `text` is the message that ended it, "" if there is none."""
        raise NotImplementedError

    def _report_answered(self, status: int, phrase: str) -> None:
        self._answered = True
        self._emit(SipEvent(type=SipEventType.ANSWERED, media=self._exchange.remote, status=status, sip_reason=phrase))
        self._follow_direction()

    def _emit(self, event: SipEvent) -> None:
        if not self._ended:
            self.emit(event)

    def _report_end(self, reason: str, status: int, phrase: str, *, by_remote: bool, retry_after_s: int = 0) -> None:
        if self._ended:
            return
        self._ended = True
        self._owner.dialog_ended(self)
        self.emit(
            SipEvent(
                type=SipEventType.ENDED,
                status=status,
                reason=reason,
                sip_reason=phrase,
                by_remote=by_remote,
                retry_after_s=retry_after_s,
            )
        )

    # -- offers and answers

    @guarded
    def onCallSdpCreated(self, prm: Any) -> None:
        """pjsip made an SDP; ours takes its place."""
        offer = prm.remSdp.wholeSdp
        if offer:
            sdp = self._exchange.answer(offer)
        else:
            sdp = self._exchange.offer(rekey=self._rekeying)
            self._late_offer = self._answered and not self._reinviting
        if sdp:
            prm.sdp.wholeSdp = sdp

    @guarded
    def onCallRxOffer(self, prm: Any) -> None:
        if self._exchange.negotiate(prm.offer.wholeSdp) is None:
            prm.statusCode = NOT_ACCEPTABLE_HERE

    @guarded
    def onCallRxReinvite(self, prm: Any) -> None:
        if self._exchange.negotiate(prm.offer.wholeSdp) is None:
            prm.statusCode = NOT_ACCEPTABLE_HERE

    @guarded
    def onCallTsxState(self, prm: Any) -> None:
        event = prm.e.body.tsxState
        transaction = event.tsx
        if transaction.method == "INFO":
            self._on_info(transaction, event)
        elif transaction.method in ("INVITE", "UPDATE"):
            is_server = transaction.role == pj.PJSIP_ROLE_UAS
            if event.type == pj.PJSIP_EVENT_RX_MSG:
                self.heard = True
                if self._reinviting and not is_server:
                    self._on_reinvite_response(event.src.rdata.wholeMsg)
            elif event.type == pj.PJSIP_EVENT_TX_MSG:
                self._on_sent(is_server, event.src.tdata.wholeMsg)
            elif transaction.statusCode == 408 and self._is_unanswered(is_server):
                # pjsip sends its BYE now, and would wait as long for the answer to that.
                self._end_as_gone()

    def _end_as_gone(self) -> None:
        """The peer has no such call. pjsip sends its BYE now, whose answer may come before `end` does."""
        self._reason = self._reason or SIP_TIMEOUT
        self._owner.soon(functools.partial(self.end, SIP_TIMEOUT))

    def _is_unanswered(self, is_server: bool) -> bool:
        """Whether a transaction that ran into its time limit ends the call."""
        return self._reinviting and not is_server

    def _on_info(self, transaction: Any, event: Any) -> None:
        if event.type != pj.PJSIP_EVENT_RX_MSG:
            return
        if transaction.role == pj.PJSIP_ROLE_UAC:
            if transaction.statusCode >= 300:
                self._log.warning("an INFO is refused", sip_status=transaction.statusCode)
        elif transaction.state == pj.PJSIP_TSX_STATE_TRYING:
            press = read_press(event.src.rdata.wholeMsg)
            if press is not None:
                self._emit(SipEvent(type=SipEventType.PRESSED, press=press))

    def _on_sent(self, as_server: bool, text: str) -> None:
        sdp = message.sdp(text)
        if sdp and not as_server and self._answered and not self._reinviting:
            self._on_refresh(sdp)
        elif sdp and not self._exchange.take_sent(sdp):
            # pjsip only logs an SDP of ours that it cannot read, and sends its own, with a port that nobody listens on.
            ours = sdes.redacted(self._exchange.sent_sdp)
            self._log.error("another SDP than ours left", sent=sdes.redacted(sdp), ours=ours)
            self.fail()
            return
        status, _ = message.status_line(text)
        if as_server and status >= 200:
            remote = self._exchange.settle()
            if status < 300 and remote is not None:
                self._change_media(remote)

    def _follow_direction(self) -> None:
        if self._is_direction_due and self._answered and not (self._ended or self._reinviting or self._is_waiting):
            self._reinvite()

    def _reinvite(self, *, rekey: bool = False) -> None:
        """Offer anew; with `rekey`, to see the peer's keys."""
        if self._ended or self._reinviting:
            return
        self._reinviting, self._rekeying = True, rekey
        try:
            self.reinvite(operation())
        except pj.Error as exc:  # the peer's re-INVITE is under way
            self._reinviting = False
            self._log.info("the re-INVITE cannot be sent now", error=exc.info())
            self._try_again()
        finally:
            self._rekeying = False

    def _try_again(self) -> None:
        """After the random delay by which two that collide get out of each other's way (RFC 3261 section 14.1)."""
        if not self._is_waiting:
            self._is_waiting = True
            self.later(random.uniform(*self.retry_delay_s), self._waited)

    def later(self, delay_s: float, method: Callable[..., None], *args: object) -> None:
        """Call a method of this object after that time, if it is still there.

        A pjsua2 call that is kept beyond its end would take another's place in pjsip from it when it is deleted.
        """
        self._owner.later(delay_s, functools.partial(_call_if_alive, weakref.WeakMethod(method), *args))

    def _waited(self) -> None:
        self._is_waiting = False
        self._follow_direction()

    def _on_reinvite_response(self, text: str) -> None:
        status, phrase = message.status_line(text)
        if status < 200 or status in TRIED_AGAIN:
            return
        self._reinviting = False
        if status in GONE:
            self._end_as_gone()
            return
        if status == REQUEST_PENDING and self._is_direction_due:
            self._try_again()
            return
        if status < 300:
            self._on_reinvite_success(message.sdp(text))
        else:
            self._log.warning("our re-INVITE is refused", status=status, phrase=phrase)
            self._on_reinvite_refused(status, phrase)
        self._follow_direction()

    def _on_reinvite_success(self, sdp: str) -> None:
        exchange = self._exchange
        before = exchange.remote
        self._agreed_direction = exchange.offered.direction
        is_asked_for = self._is_direction_due
        if self._agreed_direction is exchange.direction:
            self._is_direction_due = False
        is_usable = bool(sdp) and exchange.take_answer(sdp)
        if is_asked_for:
            self._report_direction(0 if is_usable else NOT_ACCEPTABLE_HERE)
        elif exchange.remote != before:
            self._emit(SipEvent(type=SipEventType.MEDIA_CHANGED, media=exchange.remote))

    def _on_reinvite_refused(self, status: int, phrase: str) -> None:
        exchange = self._exchange
        if self._is_direction_due and exchange.offered.direction is exchange.direction:
            self._is_direction_due = False
            exchange.direction = self._agreed_direction
            self._report_direction(status, phrase)

    def _report_direction(self, status: int = 0, phrase: str = "") -> None:
        media = self._exchange.remote
        self._emit(
            SipEvent(type=SipEventType.MEDIA_CHANGED, media=media, status=status, sip_reason=phrase, by_remote=False)
        )

    def _on_refresh(self, sdp: str) -> None:
        """pjsip refreshes the session (RFC 4028) by offering what was agreed on. The answer may be another."""
        try:
            self._exchange.take_own_offer(sdp)
        except BadRequest as exc:
            self._log.error("another SDP than ours left", sent=sdes.redacted(sdp), error=str(exc))
            self.fail()
            return
        self._reinviting = True

    def _change_media(self, remote: RemoteAudio) -> None:
        if remote != self._exchange.remote:
            self._exchange.remote = remote
            self._emit(SipEvent(type=SipEventType.MEDIA_CHANGED, media=remote))

    @guarded
    def onCallMediaState(self, prm: Any) -> None:
        """After a re-INVITE without an offer: the answer to ours comes in the ACK, which pjsua2 does not show.

        What matters of it is known to pjsip, but for the keys.
        """
        local, remote = self._exchange.local, self._exchange.remote
        if not self._late_offer or remote is None:
            return
        self._late_offer = False
        if local.srtp != "off":
            self._owner.soon(functools.partial(self._reinvite, rekey=True))
            return
        stream = self.getStreamInfo(0)
        ip, _, port = stream.remoteRtpAddress.rpartition(":")
        _, _, rtcp_port = stream.remoteRtcpAddress.rpartition(":")
        codecs = [codec for codec in local.codecs if codec.name.lower() == stream.codecName.lower()]
        if not codecs:
            self._log.warning("the peer's late answer has no codec of ours", codec=stream.codecName)
            return
        rate = codecs[0].clock_rate_hz
        events = [c for c in local.codecs if c.is_telephone_event and c.clock_rate_hz == rate]
        sends = bool(stream.dir & pj.PJMEDIA_DIR_ENCODING)
        receives = bool(stream.dir & pj.PJMEDIA_DIR_DECODING)
        self._change_media(
            RemoteAudio(
                ip=ip.strip("[]"),
                rtp_port=int(port),
                rtcp_port=int(rtcp_port) or int(port) + 1,
                direction=Direction.of(sends=sends, receives=receives),
                codecs=[*codecs[:1], *events],
                ptime_ms=remote.ptime_ms,
            )
        )

    # -- what pjsua2 would do for a stranger by default

    @guarded
    def onCallTransferRequest(self, prm: Any) -> None:
        """By default a REFER is accepted and whatever it names is called."""
        prm.statusCode = DECLINE
        self._log.error("a REFER came to pjsua")

    def onCallRedirected(self, prm: Any) -> int:
        """pjsip follows no 3xx: its Contact may be anywhere."""
        return int(pj.PJSIP_REDIRECT_STOP)


def _call_if_alive(method: weakref.WeakMethod[Callable[..., None]], *args: object) -> None:
    if (found := method()) is not None:
        found(*args)


def operation() -> Any:
    """With one audio stream."""
    found = pj.CallOpParam(True)
    found.opt.audioCount, found.opt.videoCount, found.opt.textCount = 1, 0, 0
    return found


def event_message(event: Any) -> str:
    """The SIP message that an event is about, "" when it is about a timer or our own doing."""
    if event.type == pj.PJSIP_EVENT_TSX_STATE:
        tsx_state = event.body.tsxState
        return str(tsx_state.src.rdata.wholeMsg) if tsx_state.type == pj.PJSIP_EVENT_RX_MSG else ""
    return str(event.body.rxMsg.rdata.wholeMsg) if event.type == pj.PJSIP_EVENT_RX_MSG else ""
