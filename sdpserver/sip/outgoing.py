"""A call that we make, on the SIP thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pjsua2 as pj

from . import message
from .dialog import NOT_ACCEPTABLE_HERE, DialogOwner, operation
from .events import SipEvent, SipEventType
from .invite import Invite
from .reasons import (
    REDIRECT_REFUSED,
    SIP_TIMEOUT,
    TRUNK_UNREACHABLE,
    q850_cause,
    reason_for,
    reason_for_bye,
    retry_after_s,
)
from .refer import redirected_users
from .transfer import Transferable

MAX_REDIRECTIONS = 5


class OutgoingDialog(Transferable):
    """From our INVITE on."""

    def __init__(self, account: Any, owner: DialogOwner, invite: Invite, emit: Callable[[SipEvent], None]) -> None:
        super().__init__(account, owner, call_id=invite.call_id, trunk=invite.trunk, local=invite.local, emit=emit)
        self._invite = invite
        self._status_line = (200, "")

    def start(self) -> None:
        """Send the INVITE.

        :raises pj.Error: it cannot be sent.
        """
        request = operation()
        request.opt.customCallId = self._invite.call_id
        request.txOption.localUri = self._invite.from_header
        for name, value in self._invite.headers:
            header = pj.SipHeader()
            header.hName, header.hValue = name, value
            request.txOption.headers.append(header)
        self.makeCall(self._invite.uri, request)

    def _on_sent(self, as_server: bool, text: str) -> None:
        # pjsua keeps a challenge that it meets to itself.
        self.heard = self.heard or any(message.header(text, f"{name}Authorization") for name in ("", "Proxy-"))
        super()._on_sent(as_server, text)

    def _on_provisional(self, text: str) -> None:
        status, phrase = message.status_line(text)
        sdp = message.sdp(text)
        if status <= 100:
            return
        if sdp and self._exchange.take_answer(sdp):
            media = self._exchange.remote
            self._emit(SipEvent(type=SipEventType.EARLY_MEDIA, media=media, status=status, sip_reason=phrase))
        elif not sdp:
            self._emit(SipEvent(type=SipEventType.RINGING, status=status, sip_reason=phrase))

    def _on_success(self, text: str) -> None:
        status, phrase = message.status_line(text)
        sdp = message.sdp(text)
        self.heard = True
        self._status_line = (status or 200, phrase)
        if (sdp and not self._exchange.take_answer(sdp)) or self._exchange.remote is None:
            self._owner.soon(functools.partial(self.end, self._exchange.refusal))

    def _on_confirmed(self, text: str) -> None:
        if not (self._answered or self._exchange.remote is None or self._exchange.is_answer_refused):
            self._report_answered(*self._status_line)

    def _on_disconnected(self, text: str, last_status: int, last_phrase: str) -> None:
        status, phrase = message.status_line(text)
        cause = q850_cause(message.headers(text, "Reason"))
        local = self._exchange.local
        if text.startswith("BYE "):
            self._report_end(reason_for_bye(cause), 0, "", by_remote=True)
        elif status == NOT_ACCEPTABLE_HERE and local.srtp == "optional":
            # RFC 4568 has keys under RTP/SAVP only, and peers that insist on SRTP may insist on that.
            self._ended = True  # as far as this dialog is concerned
            self._owner.redial(self, replace(self._invite, local=replace(local, srtp="required")))
        elif 300 <= status < 400 and self._invite.redirection is not None:
            self._follow(text, status, phrase)
        elif status >= 300:
            retry_s = retry_after_s(message.header(text, "Retry-After"))
            self._report_end(reason_for(status, cause), status, phrase, by_remote=True, retry_after_s=retry_s)
        elif not self.heard:
            self._report_end(TRUNK_UNREACHABLE, 0, last_phrase, by_remote=False)
        elif self._exchange.is_answer_refused:
            self._report_end(self._exchange.refusal, 0, last_phrase, by_remote=False)
        else:
            reason = SIP_TIMEOUT if last_status == 408 else reason_for(last_status)
            self._report_end(reason, 0, last_phrase, by_remote=False)

    def _follow(self, text: str, status: int, phrase: str) -> None:
        """To another user of the trunk's own, if the caller may call that one; never to another host."""
        redirection = self._invite.redirection
        assert redirection is not None
        past = (*redirection.past, self._invite.uri)
        users = redirected_users(text, self.hosts) if len(past) <= MAX_REDIRECTIONS else []
        uris = (redirection.uri_of(user) for user in users if redirection.allows(user))
        uri = next((uri for uri in uris if uri not in past), None)
        if uri is None:
            self._log.warning("a redirection is not followed", status=status, users=users, redirections=len(past) - 1)
            self._report_end(REDIRECT_REFUSED, status, phrase, by_remote=True)
            return
        self._ended = True  # as far as this dialog is concerned
        self._owner.redial(self, replace(self._invite, uri=uri, redirection=replace(redirection, past=past)))
