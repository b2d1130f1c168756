"""A call that comes from a trunk, on the SIP thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pjsua2 as pj

from . import message
from .dialog import DECLINE, FORBIDDEN, NOT_ACCEPTABLE_HERE, DialogOwner, guarded, operation
from .events import SipEvent, SipEventType
from .invite import IncomingInvite, read_invite
from .offer_answer import LocalAudio, RemoteAudio
from .reasons import ANSWERED_ELSEWHERE, CANCELLED, NOT_ACCEPTABLE, SIP_TIMEOUT, q850_cause, reason_for, reason_for_bye
from .transfer import Transferable

RINGING, OK = 180, 200
REQUEST_TERMINATED = 487
TEMPORARILY_UNAVAILABLE = 480
# pjsip makes its answer before anybody has rung, so an answer of ours has to be there too; port 9 is discard's, and the
# answer that leaves is another.
NO_PORT = 9


class IncomingDialog(Transferable):
    """From the peer's INVITE on. `local` is what the trunk could have: the leg itself comes with `accept`."""

    retry_delay_s = (0.0, 2.0)

    def __init__(
        self,
        account: Any,
        owner: DialogOwner,
        *,
        call_id: str,
        trunk: str,
        local: LocalAudio,
        emit: Callable[[SipEvent], None],
        pjsua_call_id: int,
    ) -> None:
        super().__init__(
            account,
            owner,
            call_id=call_id,
            trunk=trunk,
            local=replace(local, rtp_port=NO_PORT),
            emit=emit,
            pjsua_call_id=pjsua_call_id,
        )
        self.heard = True
        self._is_accepted = False
        self._cancel_reason = CANCELLED
        self._has_offer = False

    def read(self, text: str) -> IncomingInvite | None:
        """What the INVITE says; None: its offer cannot be answered."""
        offer = message.sdp(text)
        self._has_offer = bool(offer)
        answer = self._exchange.negotiate(offer) if offer else None
        if offer and answer is None:
            return None
        return read_invite(
            text,
            call_id=self.call_id,
            trunk=self.trunk,
            codecs=answer.common if answer is not None else (),
            has_offer=self._has_offer,
        )

    def refuse(self, status: int) -> None:
        """At once, without an event: nobody has heard of the call."""
        self._ended = True
        request = pj.CallOpParam()
        request.statusCode = status
        self.answer(request)

    def ring(self) -> None:
        if self._ended or self._is_accepted:
            return
        request = pj.CallOpParam()
        request.statusCode = RINGING
        try:
            self.answer(request)
        except pj.Error as exc:
            self._log.warning("the 180 cannot be sent", error=exc.info())

    def accept(self, local: LocalAudio) -> None:
        if self._ended or self._is_accepted:
            return
        self._is_accepted = True
        request = operation()
        request.statusCode = OK
        if self._has_offer:
            sdp = self._exchange.answer_anew(local)
            self._exchange.remote = self._exchange.settle()
            if sdp is None:
                self.end(self._exchange.refusal, NOT_ACCEPTABLE_HERE)
                return
            # The media of the call was set up with the INVITE; a setting now would only earn a warning of pjsua's.
            request = pj.CallOpParam()
            request.statusCode = OK
            request.sdp.wholeSdp = sdp
        else:
            self._exchange.local = local
        try:
            self.answer(request)
        except pj.Error as exc:  # an offer that pjsip does not take after all, or that was taken back
            self._log.warning("the call cannot be answered", error=exc.info())
            self.end(NOT_ACCEPTABLE, NOT_ACCEPTABLE_HERE)

    def _refusal_status(self) -> int:
        if self._answered:
            return 0
        return self._status if 300 <= self._status <= 699 else TEMPORARILY_UNAVAILABLE

    def _on_confirmed(self, text: str) -> None:
        """By the ACK, which has the peer's answer if the offer was ours."""
        if self._answered:
            return
        if not self._has_offer and not self._exchange.take_answer(message.sdp(text)):
            self._owner.soon(functools.partial(self.end, self._exchange.refusal))
        elif self._exchange.remote is not None:
            self._report_answered(OK, "")

    def _on_disconnected(self, text: str, last_status: int, last_phrase: str) -> None:
        cause = q850_cause(message.headers(text, "Reason"))
        if text.startswith("BYE "):
            self._report_end(reason_for_bye(cause), 0, "", by_remote=True)
        elif not self._answered and last_status == REQUEST_TERMINATED:
            self._report_end(self._cancel_reason, REQUEST_TERMINATED, "", by_remote=True)
        else:
            reason = SIP_TIMEOUT if last_status == 408 else reason_for(last_status)
            self._report_end(reason, 0, last_phrase, by_remote=False)

    @guarded
    def onCallTsxState(self, prm: Any) -> None:
        event = prm.e.body.tsxState
        if event.tsx.method == "CANCEL" and event.type == pj.PJSIP_EVENT_RX_MSG:
            # RFC 3326 section 2: a forking proxy says so when another branch was quicker.
            elsewhere = "cause=200" in message.headers(event.src.rdata.wholeMsg, "Reason").replace(" ", "")
            self._cancel_reason = ANSWERED_ELSEWHERE if elsewhere else CANCELLED
        super().onCallTsxState(prm)

    def _is_unanswered(self, is_server: bool) -> bool:
        no_ack = is_server and self._is_accepted and not self._answered
        return no_ack or super()._is_unanswered(is_server)


class Successor(IncomingDialog):
    """The dialog that takes another's place (RFC 3891): the same call, on the same leg of ours.

    pjsip answers it at once and ends the other one; REPLACED comes with the ACK.
    """

    def __init__(self, predecessor: Transferable, owner: DialogOwner) -> None:
        local = predecessor.local
        super().__init__(
            predecessor.account,
            owner,
            call_id=predecessor.call_id,
            trunk=predecessor.trunk,
            local=local,
            emit=predecessor.emit,
            pjsua_call_id=pj.PJSUA_INVALID_ID,
        )
        self.hosts = predecessor.hosts
        self._is_accepted = True
        self._exchange.local = local
        self._exchange.direction = self._agreed_direction = predecessor.direction

    def can_take(self, offer: str) -> bool:
        """Whether we could answer this offer; "" asks for one of ours."""
        return not offer or self._exchange.negotiate(offer) is not None

    @guarded
    def onCallSdpCreated(self, prm: Any) -> None:
        self._has_offer = self._has_offer or bool(prm.remSdp.wholeSdp)
        super().onCallSdpCreated(prm)

    def _change_media(self, remote: RemoteAudio) -> None:
        if self._answered:
            super()._change_media(remote)
        else:
            self._exchange.remote = remote

    def _report_answered(self, status: int, phrase: str) -> None:
        self._answered = True
        self._emit(SipEvent(type=SipEventType.REPLACED, media=self._exchange.remote, status=status))


class RefusedCall(pj.Call):  # type: ignore[misc]
    """An incoming call on its way out."""

    def __init__(self, account: Any, pjsua_call_id: int) -> None:
        super().__init__(account, pjsua_call_id)

    def onCallTransferRequest(self, prm: Any) -> None:
        prm.statusCode = DECLINE

    def onCallReplaceRequest(self, prm: Any) -> None:
        prm.statusCode = FORBIDDEN
