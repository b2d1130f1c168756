"""pjsip's accounts: one for each trunk, and one for everybody else. Everything here runs on the SIP thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pjsua2 as pj
import structlog

from ..config import Transport
from . import message
from .dialog import FORBIDDEN, guarded
from .incoming import RefusedCall
from .offer_answer import LocalAudio

log = structlog.get_logger(__name__)

REFUSED_REPORT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkAccount:
    """What pjsip needs of a trunk, or of a DN (`dn`) on its registrar: preloaded routes, and where the peer finds us.

    `local` is what a leg of ours toward it may be, by which an offer is judged before there is a leg; its port is none.
    `hosts` are its own names and addresses: a peer may have us call their users. `server_name` is whom its
    certificate has to be for, "" without TLS.
    """

    name: str
    id_uri: str
    server_uri: str
    register: bool
    username: str
    password: str
    proxies: tuple[str, ...]
    contact: str
    transport: Transport
    local: LocalAudio
    hosts: frozenset[str]
    server_name: str
    dn: str = ""
    expires_s: int = 300

    def __repr__(self) -> str:
        return f"TrunkAccount({self.name!r}, {self.dn!r})"  # never the password


@dataclass(frozen=True, slots=True)
class Registration:
    """The outcome of a REGISTER. `expires_s` 0: not registered."""

    trunk: str
    status: int
    phrase: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class OptionsAnswer:
    """The outcome of an OPTIONS. Any answer of the peer's is a sign of life, whatever its status."""

    trunk: str
    is_from_peer: bool
    status: int
    phrase: str


class AccountOwner(Protocol):
    """The stack, as its accounts see it."""

    @property
    def on_registration(self) -> Callable[[Registration], None]: ...
    @property
    def on_options_answer(self) -> Callable[[OptionsAnswer], None]: ...
    def take(self, account: Any, trunk: str, local: LocalAudio, pjsua_call_id: int, text: str) -> None: ...
    def bury(self, call: Any) -> None: ...


class StrangersAccount(pj.Account):  # type: ignore[misc]
    """Strangers are refused."""

    def __init__(self, stack: AccountOwner) -> None:
        super().__init__()
        self._stack = stack
        self._refused = 0
        self._report_after_s = 0.0

    @guarded
    def onIncomingCall(self, prm: Any) -> None:
        self._report(prm.rdata.srcAddress)
        call = RefusedCall(self, prm.callId)
        operation = pj.CallOpParam()
        operation.statusCode = FORBIDDEN
        call.answer(operation)
        self._stack.bury(call)

    def _report(self, source: str) -> None:
        """Scanners of the internet send hundreds a second: they get one line in a while."""
        self._refused += 1 + pj.takeRefused()
        now_s = time.monotonic()
        if now_s >= self._report_after_s:
            log.warning("incoming calls are refused", calls=self._refused, source=source, status=FORBIDDEN)
            self._refused, self._report_after_s = 0, now_s + REFUSED_REPORT_S


class TrunkLine(pj.Account):  # type: ignore[misc]
    """A trunk."""

    def __init__(self, spec: TrunkAccount, stack: AccountOwner) -> None:
        super().__init__()
        self.spec = spec
        self._stack = stack
        self._on_registration = stack.on_registration
        self._on_options_answer = stack.on_options_answer
        self.registered = False

    @guarded
    def onIncomingCall(self, prm: Any) -> None:
        self._stack.take(self, self.spec.name, self.spec.local, prm.callId, prm.rdata.wholeMsg)

    def send_options(self) -> None:
        request = pj.SendRequestParam()
        request.method = "OPTIONS"
        request.txOption.targetUri = self.spec.server_uri
        try:
            self.sendRequest(request)
        except pj.Error as exc:
            self._on_options_answer(OptionsAnswer(self.spec.name, False, 0, str(exc.reason)))

    @guarded
    def onSendRequest(self, prm: Any) -> None:
        event = prm.e.body.tsxState
        is_from_peer = prm.e.type == pj.PJSIP_EVENT_TSX_STATE and event.type == pj.PJSIP_EVENT_RX_MSG
        transaction = event.tsx
        phrase = message.printable(transaction.statusText)
        self._on_options_answer(OptionsAnswer(self.spec.name, is_from_peer, transaction.statusCode, phrase))

    @guarded
    def onRegState(self, prm: Any) -> None:
        self.registered = 200 <= prm.code < 300 and prm.expiration > 0
        expires_s = prm.expiration if self.registered else 0
        self._on_registration(Registration(self.spec.name, prm.code, prm.reason, expires_s))
