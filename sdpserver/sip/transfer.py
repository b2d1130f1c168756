"""Dialogs that hand calls over, and that are asked to: REFER (RFC 3515) and Replaces (RFC 3891), on the SIP thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pjsua2 as pj

from . import message
from .dialog import FORBIDDEN, NOT_ACCEPTABLE_HERE, Dialog, guarded
from .events import SipEvent, SipEventType
from .refer import SIPFRAG, SUBSCRIPTION_S, RefusedRefer, read_refer, sipfrag, wants_notifies

TRYING, ACCEPTED, REQUEST_PENDING, GONE, TIMEOUT, SERVER_ERROR = 100, 202, 491, 481, 408, 500
FIRST_NOTIFY_S = 32.0  # RFC 6665 section 4.1.2.4, timer N


class Transferable(Dialog):
    """A dialog with our REFERs and the peer's. At a time there is one of each.

    `hosts` are the trunk's own, whose users alone a peer may have us call.
    """

    hosts: frozenset[str] = frozenset()
    _is_referring = False
    _is_refer_answered = False
    _is_transfer_accepted = False
    _is_referred = False
    _tells_referrer = False
    _refers = 0
    _news = 0
    _is_replaced = False

    # -- ours

    def refer(self, uri: str) -> None:
        """Ask the peer to call this URI instead of us. TRANSFER events follow."""
        self._refer(functools.partial(self.xfer, f"<{uri}>"))

    def refer_replacing(self, other_id: str) -> None:
        """Ask the peer to take the place that another dialog of ours has with its peer. TRANSFER events follow."""
        other = self._owner.dialog(other_id)
        if other is None:
            self._report_transfer(GONE, "Call/Transaction Does Not Exist", final=True)
        else:
            self._refer(functools.partial(self.xferReplaces, other))

    def _refer(self, send: Callable[[Any], None]) -> None:
        if self._is_referring or not self._answered:
            self._report_transfer(REQUEST_PENDING, "Request Pending", final=True)
            return
        self._is_referring, self._is_refer_answered, self._is_transfer_accepted = True, False, False
        self._expect_news(2 * FIRST_NOTIFY_S)
        try:
            send(pj.CallOpParam())
        except pj.Error as exc:
            self._log.warning("the REFER cannot be sent", error=exc.info())
            self._is_referring = False
            self._report_transfer(SERVER_ERROR, "", final=True)

    @guarded
    def onCallTransferStatus(self, prm: Any) -> None:
        """The answer to our REFER (pjsua tells of a 202 as 100), and then the status in each NOTIFY."""
        status = int(prm.statusCode)
        if status == SERVER_ERROR and not self._is_refer_answered:
            status = TIMEOUT  # pjsua has one status for all that is no message of the peer's
        is_final = bool(prm.finalNotify) or status >= 200
        if is_final:
            prm.cont = False
        if not self._is_referring:
            return
        self._is_referring = not is_final
        if not is_final:
            self._expect_news(SUBSCRIPTION_S if self._is_transfer_accepted else FIRST_NOTIFY_S)
            self._is_transfer_accepted = True
        self._report_transfer(status, message.printable(prm.reason), final=is_final)

    def _expect_news(self, limit_s: float) -> None:
        """pjsip would wait for ever."""
        self._news += 1
        self.later(limit_s, self._give_up, self._news)

    def _give_up(self, news: int) -> None:
        if self._is_referring and news == self._news:
            self._is_referring = False
            self._report_transfer(TIMEOUT, "", final=True)

    def _report_transfer(self, status: int, phrase: str, *, final: bool) -> None:
        self._emit(SipEvent(type=SipEventType.TRANSFER, status=status, sip_reason=phrase, final=final))

    # -- the peer's

    @guarded
    def onCallTsxState(self, prm: Any) -> None:
        event = prm.e.body.tsxState
        transaction = event.tsx
        if transaction.method != "REFER":
            super().onCallTsxState(prm)
        elif (
            transaction.role == pj.PJSIP_ROLE_UAS
            and transaction.state == pj.PJSIP_TSX_STATE_TRYING
            and event.type == pj.PJSIP_EVENT_RX_MSG
        ):
            self._on_refer(transaction, event.src.rdata)
        elif transaction.role == pj.PJSIP_ROLE_UAC and event.type == pj.PJSIP_EVENT_RX_MSG:
            self._is_refer_answered = True

    def _on_refer(self, transaction: Any, rdata: Any) -> None:
        """Answered here, before pjsua sees it: it would dial. Whether the call is made is the owner's affair."""
        text = str(rdata.wholeMsg)

        def respond(status: int, name: str = "", value: str = "") -> None:
            if error := pj.respondInDialog(transaction, rdata, status, name, value):
                self._log.error("a REFER cannot be answered", status=error)

        try:
            if self._ended or not self._answered:
                raise RefusedRefer(GONE, "there is no call yet")
            if self._is_referred:
                raise RefusedRefer(REQUEST_PENDING, "another one is under way")
            refer = read_refer(text, self.hosts)
        except RefusedRefer as exc:
            self._log.warning("a REFER is refused", status=exc.status, error=str(exc))
            respond(exc.status)
            return
        self._is_referred = True
        self._refers += 1
        self.later(SUBSCRIPTION_S, self._expire, self._refers)
        self._tells_referrer = wants_notifies(text)
        if self._tells_referrer:
            respond(ACCEPTED)
            self._owner.soon(functools.partial(self._notify, TRYING, ""))
        else:
            respond(ACCEPTED, "Refer-Sub", "false")  # RFC 4488
        self._emit(SipEvent(type=SipEventType.REFERRED, refer=refer))

    def answer_refer(self, status: int, phrase: str) -> None:
        """Tell whoever sent the REFER how its call goes; from 200 on for the last time."""
        if self._is_referred and not self._ended:
            self._is_referred = status < 200
            self._notify(status, phrase)

    def _expire(self, refer: int) -> None:
        """What was said to last so long is over then, whatever has become of it."""
        if refer == self._refers:
            self.answer_refer(TIMEOUT, "")

    def _notify(self, status: int, phrase: str) -> None:
        if self._ended or not self._tells_referrer:
            return
        request = pj.CallSendRequestParam()
        request.method = "NOTIFY"
        state = f"active;expires={SUBSCRIPTION_S}" if status < 200 else "terminated;reason=noresource"
        for name, value in (("Event", "refer"), ("Subscription-State", state)):
            header = pj.SipHeader()
            header.hName, header.hValue = name, value
            request.txOption.headers.append(header)
        request.txOption.contentType, request.txOption.msgBody = SIPFRAG, sipfrag(status, phrase)
        try:
            self.sendRequest(request)
        except pj.Error as exc:
            self._log.warning("a NOTIFY cannot be sent", error=exc.info())

    # -- Replaces

    @guarded
    def onCallReplaceRequest(self, prm: Any) -> None:
        """An INVITE with our Call-ID and tags in Replaces: the same trunk may take the call over, nobody else."""
        source = prm.rdata.srcAddress
        successor = self._owner.successor(self, source) if self._answered and not self._ended else None
        if successor is None:
            prm.statusCode = FORBIDDEN
            self._log.warning("an INVITE with Replaces is refused", source=source)
        elif not successor.can_take(message.sdp(prm.rdata.wholeMsg)):
            prm.statusCode = NOT_ACCEPTABLE_HERE  # now, since pjsip answers 200 next and ends this call
        else:
            prm.newCall = successor

    @guarded
    def onCallReplaced(self, prm: Any) -> None:
        """The new dialog is the call from now on; pjsip ends this one, without an event."""
        self._ended = self._is_replaced = True
        self._owner.replaced(self)

    @guarded
    def onCallState(self, prm: Any) -> None:
        super().onCallState(prm)
        if self._is_replaced and self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._owner.faded(self)
