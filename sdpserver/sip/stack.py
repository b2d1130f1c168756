"""pjsip itself: the endpoint, its transports, accounts and dialogs. Everything here runs on the SIP thread.

pjsua2 allows one endpoint in a process, and its objects are not thread safe; none of them leaves this module's thread,
and each is deleted here and not by the garbage collector, which may run anywhere.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import pjsua2 as pj
import structlog

from ..config import Sip, Transport
from ..errors import ConfigError, Unavailable
from .accounts import OptionsAnswer, Registration, StrangersAccount, TrunkAccount, TrunkLine
from .address import ip_or_none
from .dialog import NOT_ACCEPTABLE_HERE, Dialog
from .dn_accounts import DnAccounts
from .events import SipEvent, SipEventType
from .incoming import IncomingDialog, Successor
from .invite import IncomingInvite, Invite, request_user
from .offer_answer import LocalAudio
from .outgoing import OutgoingDialog
from .pjlog import PjLog
from .reasons import SHUTDOWN
from .registration import RegisterOutcome
from .transfer import Transferable

log = structlog.get_logger(__name__)

MAX_CALLS = 4096  # what pjsip is built with; each costs 29 KB from the start
SERVICE_UNAVAILABLE = 503
SESSION_EXPIRES_S = 1800
SILENCE_S = 0.5
UNREGISTER_S = 1.0  # for all DNs together, at the end
MIN_SE_S = 90  # RFC 4028 section 4


class _Endpoint(pj.Endpoint):  # type: ignore[misc]
    """Requests out of nowhere belong to the trunk that they come from, or to the DN on it that they name, or to
    nobody's account.
    """

    def __init__(self) -> None:
        super().__init__()
        self.account_of: Callable[[str, str], int] | None = None

    def onSelectAccount(self, prm: Any) -> None:
        if self.account_of is not None:
            prm.accountIndex = self.account_of(prm.rdata.srcAddress, prm.rdata.wholeMsg)


class Stack:
    """The endpoint and all that lives in it."""

    def __init__(
        self,
        sip: Sip,
        *,
        user_agent: str,
        max_calls: int,
        log_level: int,
        on_registration: Callable[[Registration], None],
        on_options_answer: Callable[[OptionsAnswer], None],
        on_register_outcome: Callable[[RegisterOutcome], None],
        on_invite: Callable[[IncomingInvite], None],
        on_event: Callable[[str, SipEvent], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        """Open the transports. `on_event` gets the events of incoming calls, by their `call_id`.

        :raises ConfigError: one of them cannot be opened.
        """
        self._sip = sip
        self.soon = soon
        self.on_registration = on_registration
        self.on_options_answer = on_options_answer
        self._on_invite = on_invite
        self._on_event = on_event
        self._is_closing = False
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._due_order = itertools.count()
        self._dialogs: dict[str, Transferable] = {}
        self._successors: dict[int, Successor] = {}
        self._fading: dict[int, Dialog] = {}
        self._redials: dict[str, Callable[[SipEvent], None]] = {}
        self._buried: list[Any] = []
        self._accounts: dict[str, TrunkLine] = {}
        self.dns = DnAccounts(self, on_register_outcome)
        self._trunks_by_ip: Mapping[str, str] = {}
        self._transport_ids: dict[Transport, int] = {}
        self.ports: dict[Transport, int] = {}
        self._refusing_account: StrangersAccount | None = None
        self._log_writer = PjLog()
        self._log_writer.thisown = False  # pjsua2 deletes it
        self._endpoint = _Endpoint()
        try:
            self._endpoint.libCreate()
            self._endpoint.libInit(self._endpoint_config(user_agent, max_calls, log_level))
            self._answer_all_requests()
            self._trace()
            self._open_transports()
            self._endpoint.audDevManager().setNoDev()
            self._endpoint.libStart()
            self._create_refusing_account()
        except BaseException:
            self._destroy()
            raise

    # -- start

    def _endpoint_config(self, user_agent: str, max_calls: int, log_level: int) -> Any:
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.maxCalls = min(max_calls, MAX_CALLS)
        config.uaConfig.userAgent = user_agent
        config.uaConfig.mwiUnsolicitedEnabled = False
        config.logConfig.level = config.logConfig.consoleLevel = log_level
        config.logConfig.msgLogging = 0
        config.logConfig.decor = pj.PJ_LOG_HAS_SENDER
        config.logConfig.writer = self._log_writer
        # No audio is ever in pjsip's hands: no threads, no clock, no sound device.
        config.medConfig.hasIoqueue = False
        config.medConfig.threadCnt = 0
        config.medConfig.clockRate = config.medConfig.sndClockRate = 8000
        config.medConfig.noVad = True
        return config

    def _answer_all_requests(self) -> None:
        """pjsua lets requests without an answer that it does not know; `scripts/pjsua2_requests.i` has them."""
        if status := pj.answerAllRequests():
            raise ConfigError(f"pjsip takes no module more: status {status}")

    def _trace(self) -> None:
        """Before there are transports, so that every message is seen."""
        sip = self._sip
        if not sip.trace:
            return
        if status := pj.startTracing(sip.trace_messages, sip.trace_kb << 10, sip.trace_mb << 20):
            raise ConfigError(f"pjsip takes no module more: status {status}")

    def _open_transports(self) -> None:
        v6 = ":" in self._sip.bind
        kinds = {
            "udp": pj.PJSIP_TRANSPORT_UDP6 if v6 else pj.PJSIP_TRANSPORT_UDP,
            "tcp": pj.PJSIP_TRANSPORT_TCP6 if v6 else pj.PJSIP_TRANSPORT_TCP,
            "tls": pj.PJSIP_TRANSPORT_TLS6 if v6 else pj.PJSIP_TRANSPORT_TLS,
        }
        for transport in dict.fromkeys(self._sip.transports):
            config = pj.TransportConfig()
            config.boundAddress = self._sip.bind
            config.publicAddress = self._sip.announced_ip
            # RFC 3261 section 19.1.2: TLS is on the port after that of UDP and TCP.
            port = self._sip.port + (1 if transport == "tls" and self._sip.port else 0)
            config.port = port
            if transport == "tls":
                config.tlsConfig.certFile = self._sip.tls_cert
                config.tlsConfig.privKeyFile = self._sip.tls_key
                config.tlsConfig.CaListFile = self._sip.tls_ca
                config.tlsConfig.verifyServer = True  # pjsip's default believes anybody
            try:
                number = self._endpoint.transportCreate(kinds[transport], config)
            except pj.Error as exc:
                raise ConfigError(
                    f"[sip] {transport} on {self._sip.bind} port {port} cannot be opened: {exc.reason}"
                ) from exc
            self._transport_ids[transport] = number
            self.ports[transport] = int(self._endpoint.transportGetInfo(number).localAddress.rpartition(":")[2])

    def open_wake_up(self) -> tuple[str, int]:
        """A UDP transport of its own on loopback: any datagram to it ends a wait in `handle_events`.

        pjsip takes no foreign descriptor into its poll, but it reads this socket; a datagram under 32 octets is
        dropped before anybody parses it.
        """
        config = pj.TransportConfig()
        config.boundAddress = "127.0.0.1"
        number = self._endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, config)
        host, _, port = self._endpoint.transportGetInfo(number).localAddress.rpartition(":")
        return host, int(port)

    def _account_config(self, id_uri: str) -> Any:
        config = pj.AccountConfig()
        config.idUri = id_uri
        config.mediaConfig.useLoopMedTp = True
        config.mediaConfig.lockCodecEnabled = False  # no re-INVITE of pjsip's own to settle on one codec
        # An inbound RTP/SAVP must not be refused before our own negotiation sees it.
        config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_OPTIONAL
        config.mediaConfig.srtpSecureSignaling = 0
        config.natConfig.contactRewriteUse = 0
        config.natConfig.viaRewriteUse = 0
        config.natConfig.sipOutboundUse = 0
        config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_OPTIONAL
        config.callConfig.timerSessExpiresSec = SESSION_EXPIRES_S
        config.callConfig.timerMinSESec = MIN_SE_S
        return config

    def _create_refusing_account(self) -> None:
        account = self._refusing_account = StrangersAccount(self)
        account.create(self._account_config("sip:sdpserver@localhost"), True)
        self._endpoint.account_of = self._account_of

    def _account_of(self, source: str, text: str) -> int:
        trunk = self.trunk_of(source) or ""
        account: Any = self._refusing_account
        if trunk in self._accounts:
            account = self.dns.of(trunk, request_user(text)) or self._accounts[trunk]
        return int(account.getId()) if account is not None else -1

    # -- commands

    def set_trunk(self, trunk: TrunkAccount, trunks_by_ip: Mapping[str, str]) -> None:
        """Create a trunk's account, or give it the address that its server has now; and say who may call us.

        :raises ConfigError: pjsip does not take the account.
        """
        self._trunks_by_ip = trunks_by_ip
        pj.setCallers(pj.StringVector(list(trunks_by_ip)))
        try:
            self._set_account(trunk)
        except pj.Error as exc:
            raise ConfigError(f"trunk {trunk.name!r} is not taken by pjsip: {exc.reason}") from None

    def config_of(self, trunk: TrunkAccount) -> Any:
        """pjsip's configuration of an account, which registers nothing by itself."""
        config = self._account_config(trunk.id_uri)
        config.sipConfig.contactForced = trunk.contact
        config.sipConfig.transportId = self._transport_ids.get(trunk.transport, -1)
        for proxy in trunk.proxies:
            config.sipConfig.proxies.append(proxy)
        if trunk.username:
            config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", trunk.username, 0, trunk.password))
        config.regConfig.registrarUri = trunk.server_uri if trunk.register else ""
        config.regConfig.registerOnAdd = False
        config.regConfig.timeoutSec = trunk.expires_s
        return config

    def _set_account(self, trunk: TrunkAccount) -> None:
        config = self.config_of(trunk)
        config.regConfig.registerOnAdd = trunk.register
        config.regConfig.firstRetryIntervalSec = 2
        config.regConfig.retryIntervalSec = 30
        account = self._accounts.get(trunk.name)
        if account is None:
            account = TrunkLine(trunk, self)
            account.create(config)
            self._accounts[trunk.name] = account
        else:
            account.modify(config)
            account.spec = trunk

    def send_options(self, trunk: str) -> None:
        """Ask a trunk whether it is there (RFC 3261 section 11); an `OptionsAnswer` follows within 32 s."""
        self._accounts[trunk].send_options()

    def trunk_of(self, source: str) -> str | None:
        """The trunk that a request came from, by its address and port."""
        ip = ip_or_none(source.rpartition(":")[0].strip("[]"))
        return self._trunks_by_ip.get(str(ip)) if ip is not None else None

    def invite(self, invite: Invite, emit: Callable[[SipEvent], None]) -> None:
        """Send an INVITE.

        :raises Unavailable: pjsip takes no more calls.
        """
        account = self._accounts.get(invite.trunk) if invite.dn is None else self.dns.find(invite.dn)
        if account is None:
            what = f"trunk {invite.trunk!r} has" if invite.dn is None else "a DN that is not registered has"
            raise Unavailable(f"{what} no account", reason="sip_unavailable", retry_after_s=5)
        dialog = OutgoingDialog(account, self, invite, emit)
        dialog.hosts = self._accounts[invite.trunk].spec.hosts
        self._dialogs[invite.call_id] = dialog
        pj.traceDialog(invite.call_id, invite.call_id)
        try:
            dialog.start()
        except pj.Error as exc:
            self._dialogs.pop(invite.call_id, None)
            self.bury(dialog)
            log.error("the INVITE cannot be sent", call_id=invite.call_id, trunk=invite.trunk, error=exc.info())
            raise Unavailable("the SIP stack takes no call now", reason="sip_unavailable", retry_after_s=5) from None

    def hangup(self, call_id: str, reason: str, status: int = 0) -> None:
        """End a call; one that is over is left alone."""
        dialog = self._dialogs.get(call_id)
        if dialog is not None:
            dialog.end(reason, status)
        elif (emit := self._redials.pop(call_id, None)) is not None:
            emit(SipEvent(type=SipEventType.ENDED, status=status, reason=reason, by_remote=False))

    def command(self, call_id: str, command: Callable[[Transferable], None]) -> None:
        """Run a command on a call's dialog; one that is over is left alone."""
        dialog = self._dialogs.get(call_id)
        if dialog is not None:
            command(dialog)

    def take(self, account: Any, trunk: str, local: LocalAudio, pjsua_call_id: int, text: str) -> None:
        """A trunk's INVITE: tell of it, unless it can be refused at once."""
        call_id = secrets.token_hex(16)  # the peer's Call-ID may be another call's, be it our own that comes back
        dialog = IncomingDialog(
            account,
            self,
            call_id=call_id,
            trunk=trunk,
            local=local,
            emit=functools.partial(self._on_event, call_id),
            pjsua_call_id=pjsua_call_id,
        )
        dialog.hosts = self._accounts[trunk].spec.hosts
        invite = None if self._is_closing else dialog.read(text)
        if invite is None:
            dialog.refuse(SERVICE_UNAVAILABLE if self._is_closing else NOT_ACCEPTABLE_HERE)
            self.bury(dialog)
            return
        self._dialogs[call_id] = dialog
        self._set_up(dialog)
        self._on_invite(invite)

    def _set_up(self, dialog: Transferable) -> None:
        """What pjsip has to know of a dialog that a peer has begun."""
        pj.traceIncoming(dialog.call_id, dialog.getId())
        if server_name := self._accounts[dialog.trunk].spec.server_name:
            pj.setServerName(dialog.getId(), server_name)

    def has_call_on(self, account: Any) -> bool:
        """Whether a call that is not over for us belongs to the account."""
        return any(dialog.account is account for dialog in (*self._dialogs.values(), *self._fading.values()))

    # -- called by dialogs

    def dialog(self, call_id: str) -> Transferable | None:
        return self._dialogs.get(call_id)

    def dialog_ended(self, dialog: Dialog) -> None:
        self._dialogs.pop(dialog.call_id, None)
        self.bury(dialog)

    def successor(self, dialog: Dialog, source: str) -> Successor | None:
        """A dialog for a request that is to replace this one; None: it does not come from the same trunk."""
        current = self._dialogs.get(dialog.call_id)
        if self._is_closing or current is not dialog or self.trunk_of(source) != dialog.trunk:
            return None
        # pjsip may refuse the request yet, and then says no more; hence those that are left go when it is through.
        successor = self._successors[id(dialog)] = Successor(current, self)
        return successor

    def replaced(self, dialog: Dialog) -> None:
        """The successor is the call now. The old dialog stays until pjsip has ended it."""
        successor = self._dialogs[dialog.call_id] = self._successors.pop(id(dialog))
        self._set_up(successor)
        self._fading[id(dialog)] = dialog

    def faded(self, dialog: Dialog) -> None:
        if (old := self._fading.pop(id(dialog), None)) is not None:
            self.bury(old)

    def redial(self, dialog: Dialog, invite: Invite) -> None:
        """The same call again with another offer, outside the callback that brought the refusal."""
        self._redials[invite.call_id] = dialog.emit
        self.dialog_ended(dialog)
        self.soon(functools.partial(self._redial, invite))

    def _redial(self, invite: Invite) -> None:
        emit = self._redials.pop(invite.call_id, None)
        if emit is None:
            return  # hung up meanwhile
        try:
            self.invite(invite, emit)
        except Unavailable as exc:
            emit(SipEvent(type=SipEventType.ENDED, reason=exc.reason, by_remote=False))

    def bury(self, call: Any) -> None:
        """Delete a pjsua2 call soon: not inside its own callback, and before pjsip gives its slot to another call."""
        self._buried.append(call)

    # -- the thread's loop

    def handle_events(self, timeout_ms: int) -> None:
        """Wait for the network or a timer, and call the callbacks."""
        if self._due:
            timeout_ms = min(timeout_ms, max(0, math.ceil((self._due[0][0] - time.monotonic()) * 1000)))
        self._endpoint.libHandleEvents(timeout_ms)
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        self._successors.clear()
        self._buried.clear()
        self.dns.sweep()

    def later(self, delay_s: float, command: Callable[[], None]) -> None:
        """Run a command after that time, unless the stack is closed first."""
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._due_order), command))

    @property
    def calls(self) -> int:
        return len(self._dialogs)

    def close(self, timeout_s: float) -> None:
        """End all calls, unregister, and wait for the answers, but no longer than `timeout_s`."""
        self._log_writer.is_closing = self._is_closing = True
        self._say_goodbye(time.monotonic() + timeout_s)
        self._destroy()

    def _say_goodbye(self, deadline_s: float) -> None:
        ended = list(self._dialogs.values())
        for dialog in ended:
            dialog.end(SHUTDOWN)
        self._buried.clear()
        for account in self._accounts.values():
            if account.registered:
                account.setRegistration(False)
        unregistered_by_s = min(deadline_s, time.monotonic() + UNREGISTER_S)
        # A peer that never answered the INVITE will hardly do so now, and until then no CANCEL may be sent.
        silence_ends_s = min(deadline_s, time.monotonic() + SILENCE_S)
        while time.monotonic() < deadline_s:
            waiting = [dialog for dialog in ended if _is_in_pjsip(dialog)]
            if time.monotonic() >= silence_ends_s:
                waiting = [dialog for dialog in waiting if dialog.heard]
            is_registered = any(account.registered for account in self._accounts.values())
            if time.monotonic() < unregistered_by_s:
                is_registered = not self.dns.say_goodbye() or is_registered
            if not waiting and not is_registered:
                break
            self._endpoint.libHandleEvents(20)

    def _destroy(self) -> None:
        self.dns.destroy()
        for account in (*self._accounts.values(), self._refusing_account):
            if account is not None:
                account.shutdown()
        self._accounts.clear()
        self._refusing_account = None
        self._buried.clear()
        self._fading.clear()
        self._successors.clear()
        pj.stopTracing()
        # Nothing is waited for any more: pjsip would sleep a whole second here.
        self._endpoint.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)
        del self._endpoint


def _is_in_pjsip(dialog: Dialog) -> bool:
    """Whether the BYE or CANCEL of an ended call still waits for its answer."""
    try:
        dialog.getInfo()
    except pj.Error:
        return False
    return True
