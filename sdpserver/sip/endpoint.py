"""The SIP side of the server, as the event loop sees it.

pjsip runs on a thread of its own (`thread`, `stack`, `dialog`); what goes there are frozen values and strings, and what
comes back are `SipEvent`s, by `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from sdpserver.models.trunks import TrunkInfo

from .. import __version__
from ..config import Config, Transport, Trunk
from ..dtmf import DtmfMethod
from ..errors import ConfigError, SipTimeout, Unavailable
from ..sdp import audio_codecs, with_comfort_noise, with_telephone_events
from . import address, refer
from .accounts import OptionsAnswer, Registration, TrunkAccount
from .call import SipCall
from .events import SipEvent, SipEventType
from .invite import IncomingInvite, Invite, Redirection
from .offer_answer import LocalAudio
from .pjlog import QUIET, VERBOSE
from .reasons import INTERNAL_ERROR, NO_SUCH_DN, SHUTDOWN, TRUNK_FULL, TRUNK_UNREACHABLE
from .registration import DnRegistration, Registrations
from .resolve import Resolved, resolve
from .stack import Stack
from .thread import SipThread
from .traces import Traces
from .transfer import Transferable
from .trunk_state import TrunkState

log = structlog.get_logger(__name__)

START_RESOLVE_TIMEOUT_S = 2.0
RESOLVE_INTERVAL_S = 30.0
# Calls that are over for us keep their place in pjsip while a BYE or CANCEL waits for its answer, up to 32 s.
ENDING_CALLS = 500


class SipEndpoint:
    """Trunks and the calls over them. One in a process, since pjsip allows no more.

    `on_incoming` is called on the event loop with each call that a trunk makes to us. It rings, answers or rejects the
    call then or later. Without one, calls get a 404, and when it raises, a 500.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._v6 = ":" in config.sip.bind
        try:
            self._trunks = {trunk.name: TrunkState(trunk) for trunk in config.trunks}
        except ValueError as exc:
            raise ConfigError(f"[[trunks]]: {exc}") from exc
        for trunk in config.trunks:
            if trunk.transport not in config.sip.transports:
                raise ConfigError(f"trunk {trunk.name!r}: transport {trunk.transport!r} is not in [sip] transports")
        self.on_incoming: Callable[[SipCall, IncomingInvite], None] | None = None
        self.on_trunk_status: Callable[[TrunkInfo], object] | None = None
        """Called when a trunk has begun or ceased to answer."""
        self.traces = Traces(is_on=config.sip.trace)
        self._calls: dict[str, SipCall] = {}
        self._thread: SipThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._registrations = Registrations(
            post=self._post,
            call=self._run,
            account_of=self._dn_account,
            also_of=lambda trunk: self._trunks[trunk].config.also_register,
        )
        self.ports: dict[Transport, int] = {}

    # -- life

    async def start(self) -> None:
        """Open the transports and find the trunks; one that cannot be found is tried again later.

        :raises ConfigError: a transport cannot be opened, or pjsip does not take a trunk.
        """
        self._loop = asyncio.get_running_loop()
        thread = SipThread(self._make_stack, on_over=lambda: self._to_loop(self._on_thread_over))
        thread.start()
        try:
            self.ports = await asyncio.wrap_future(thread.started)
        except BaseException:
            await asyncio.to_thread(thread.join)
            raise
        self._thread = thread
        try:
            await asyncio.gather(*(self._find(trunk, START_RESOLVE_TIMEOUT_S) for trunk in self._trunks.values()))
        except BaseException:
            await self.stop(0.0)
            raise
        if any(trunk.can_move for trunk in self._trunks.values()):
            self._keepers.append(asyncio.create_task(self._keep_finding(), name="sip trunk addresses"))
        self._keepers += [
            asyncio.create_task(self._keep_asking(trunk), name=f"sip OPTIONS to {trunk.config.name}")
            for trunk in self._trunks.values()
            if trunk.config.options_interval_s > 0
        ]

    def _make_stack(self, soon: Callable[[Callable[[], None]], None]) -> Stack:
        debug = self._config.log.level == "debug"
        return Stack(
            self._config.sip,
            user_agent=f"sdpserver/{__version__}",
            max_calls=self._config.session.max_sessions + ENDING_CALLS,
            log_level=VERBOSE if debug else QUIET,
            on_registration=lambda registration: self._to_loop(self._on_registration, registration),
            on_options_answer=lambda answer: self._to_loop(self._on_options_answer, answer),
            on_register_outcome=lambda outcome: self._to_loop(self._registrations.on_outcome, outcome),
            on_invite=lambda invite: self._to_loop(self._on_invite, invite),
            on_event=lambda call_id, event: self._to_loop(self._deliver, call_id, event),
            soon=soon,
        )

    async def stop(self, timeout_s: float = 3.0) -> None:
        """BYE or CANCEL all calls, unregister, end the thread; done within about `timeout_s`. Idempotent."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._registrations.stop()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.stop(timeout_s)
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)  # what the thread said last is delivered

    def _on_thread_over(self) -> None:
        """Whatever ended the thread, no call is left without its last event."""
        reason = SHUTDOWN if self._thread is None else INTERNAL_ERROR
        for call in list(self._calls.values()):
            call.deliver(SipEvent(type=SipEventType.ENDED, reason=reason, by_remote=False))
        self._registrations.on_thread_over()

    def _to_loop(self, callback: Callable[..., None], *args: Any) -> None:
        """From the SIP thread to the loop."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            log.warning("a SIP event came after the event loop was closed")

    # -- trunks

    async def _keep_finding(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_INTERVAL_S)
            await asyncio.gather(*(self._find(trunk) for trunk in self._trunks.values() if trunk.can_move))

    async def _find(self, trunk: TrunkState, timeout_s: float = 5.0) -> None:
        """Look a trunk's address up and tell pjsip when it is new. The old one stays when the look-up fails."""
        try:
            found = await resolve(trunk.hop, v6=self._v6, timeout_s=timeout_s)
        except OSError as exc:
            trunk.error = f"{trunk.hop.host} has no address: {exc}"
            log.warning("trunk not found", trunk=trunk.config.name, host=trunk.hop.host, error=str(exc))
            return
        trunk.error = ""
        if found == trunk.resolved or self._thread is None:
            return
        trunk.resolved = found
        if not trunk.config.allow_ips:
            trunk.allowed = frozenset(found.addresses)
        account = self._account(trunk, found)
        by_ip = {ip: state.config.name for state in self._trunks.values() for ip in state.allowed}
        await asyncio.wrap_future(self._thread.call(lambda stack: stack.set_trunk(account, by_ip)))
        self._registrations.trunk_moved(trunk.config.name)

    def _account(self, trunk: TrunkState, found: Resolved, user: str = "") -> TrunkAccount:
        """The trunk's own, or one for another `user` of it."""
        config = trunk.config
        parameter = address.transport_parameter(config.transport)
        user = address.encoded_user(user or config.username or "sdpserver")
        proxies = []
        if trunk.can_move and config.transport != "tls":
            # The name stays in the request, the address decides where it goes; `hide` is pjsip's own and never leaves.
            # Over TLS pjsip needs the name, to check the certificate against it, and looks it up itself.
            hop = address.host_port(found.addresses[0], trunk.hop.port)
            proxies.append(f"<sip:{hop}{parameter};lr;hide>")
        if config.outbound_proxy:
            proxies.append(f"<sip:{trunk.hop}{parameter};lr>")
        bind = self._config.sip.bind
        host = self._config.sip.announced_ip or (found.local_ip if address.is_unspecified(bind) else bind)
        port = self.ports.get(config.transport, 0)
        server = address.Server.parse(config.server, config.transport)
        return TrunkAccount(
            name=config.name,
            id_uri=f"sip:{user}@{address.from_domain(config)}",
            server_uri=f"sip:{server}{parameter}",
            register=config.register,
            username=config.username,
            password=trunk.password,
            proxies=tuple(proxies),
            contact=f"<sip:{user}@{address.host_port(host, port)}{parameter}>",
            transport=config.transport,
            local=self._local_audio(config),
            hosts=address.own_hosts(config, *found.addresses) | {address.host_port(host, port)},
            server_name=server.host if config.transport == "tls" else "",
        )

    def _local_audio(self, trunk: Trunk) -> LocalAudio:
        """Any leg that a call of this trunk could have."""
        codecs = audio_codecs(trunk.codecs or self._config.media.codecs)
        if trunk.dtmf == DtmfMethod.RFC4733.value:
            codecs = with_telephone_events(codecs)
        if self._config.media.comfort_noise:
            codecs = with_comfort_noise(codecs)
        return LocalAudio(ip=self.local_media_ip(trunk), rtp_port=0, codecs=tuple(codecs), srtp=trunk.srtp)

    def _on_registration(self, registration: Registration) -> None:
        trunk = self._trunks[registration.trunk]
        trunk.registration = registration
        registered = registration.expires_s > 0
        if registered:
            log.info("trunk registered", trunk=registration.trunk, expires_s=registration.expires_s)
        elif self._thread is not None:
            log.warning(
                "trunk not registered", trunk=registration.trunk, status=registration.status, text=registration.phrase
            )

    async def _keep_asking(self, trunk: TrunkState) -> None:
        while True:
            if trunk.resolved is not None and not trunk.is_options_pending and self._thread is not None:
                trunk.is_options_pending = True
                self._thread.post(lambda stack: stack.send_options(trunk.config.name))
            await asyncio.sleep(trunk.config.options_interval_s)

    def _on_options_answer(self, answer: OptionsAnswer) -> None:
        trunk = self._trunks[answer.trunk]
        before = trunk.is_connected
        trunk.options_answer, trunk.options_answered_at = answer, datetime.now(UTC)
        trunk.is_options_pending = False
        if self._thread is None or answer.is_from_peer == before:
            return
        if answer.is_from_peer:
            if before is False:
                self._registrations.trunk_is_back(answer.trunk)
            log.info("trunk answers", trunk=answer.trunk, status=answer.status, text=answer.phrase)
        else:
            log.warning("trunk does not answer", trunk=answer.trunk, status=answer.status, text=answer.phrase)
        if self.on_trunk_status is not None:
            self.on_trunk_status(self.trunk_status(answer.trunk))

    def trunks_status(self) -> list[TrunkInfo]:
        """`trunk_status` of all, in the order of the configuration."""
        return [self.trunk_status(name) for name in self._trunks]

    def trunk_status(self, name: str) -> TrunkInfo:
        """Where the trunk is, what its last REGISTER and OPTIONS brought, its registered DNs (`agents`) and its calls.

        `connected` is None as long as that is not known.

        :raises KeyError: no such trunk.
        """
        trunk = self._trunks[name]
        registration = trunk.registration
        return {
            "name": name,
            "connected": trunk.is_connected,
            "server": trunk.config.server,
            "address": trunk.resolved.addresses[0] if trunk.resolved else None,
            "error": trunk.error or None,
            "registered": registration is not None and registration.expires_s > 0,
            "sip_status": registration.status if registration else 0,
            "sip_reason": registration.phrase if registration else "",
            "last_options": trunk.last_options(),
            "agents": self._registrations.count(name),
            "calls": trunk.calls,
        }

    def local_media_ip(self, trunk: Trunk) -> str:
        """What goes into c=: `[sip] announced_ip`, else a specific `rtp_bind`, else our address toward the trunk."""
        rtp_bind = self._config.media.rtp_bind
        if self._config.sip.announced_ip:
            return self._config.sip.announced_ip
        if not address.is_unspecified(rtp_bind):
            return rtp_bind
        resolved = self._trunks[trunk.name].resolved
        return resolved.local_ip if resolved is not None else ("::1" if self._v6 else "127.0.0.1")

    # -- DNs

    async def register(
        self,
        dn: str,
        password: str,
        *,
        trunk: Trunk,
        display_name: str = "",
        expires_s: int = 300,
        on_change: Callable[[DnRegistration], None],
    ) -> DnRegistration:
        """REGISTER a DN on a trunk's registrar, and keep it registered. Returns when the registrar has said yes.

        For a DN that is registered there already, its registration is returned, which goes on telling its first
        `on_change`: with the same password at once, with another one when the registrar has taken that too.
        A trunk's `also_register` follows in the background (`DnRegistration.also`).

        :raises BadRequest: reason `bad_dn` or, for the display name, `bad_header`.
        :raises RegistrationRefused: the registrar says no, whatever the reason.
        :raises SipTimeout: it says nothing within 10 s, or the trunk has no address.
        :raises Unavailable: the endpoint is stopped, or pjsip takes no more DNs.
        """
        address.user_part(dn, "bad_dn")
        address.from_header(trunk, dn, display_name)
        state = self._trunks[trunk.name]
        if state.resolved is None:
            await self._find(state)
        registration = DnRegistration(
            self._registrations,
            dn=dn,
            trunk=trunk.name,
            password=password,
            display_name=display_name,
            requested_expires_s=expires_s,
            on_change=on_change,
        )
        return await self._registrations.register(registration)

    def _dn_account(self, registration: DnRegistration) -> TrunkAccount:
        trunk = self._trunks[registration.trunk]
        if trunk.resolved is None:
            raise SipTimeout(f"trunk {registration.trunk!r}: {trunk.error}", reason=TRUNK_UNREACHABLE)
        dn = registration.dn
        return replace(
            self._account(trunk, trunk.resolved, dn),
            dn=dn,
            id_uri=address.from_header(trunk.config, dn, registration.display_name),
            register=True,
            username=dn,
            password=registration.password,
            expires_s=registration.requested_expires_s,
        )

    # -- calls

    async def invite(
        self,
        *,
        trunk: Trunk,
        target: str,
        media: LocalAudio,
        from_user: str | None = None,
        display_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        registration: DnRegistration | None = None,
        replaces: str | None = None,
        may_redirect: Callable[[str], bool] | None = None,
        trace_as: str = "",
        on_event: Callable[[SipEvent], None],
    ) -> SipCall:
        """Call `target`, a user part or a `sip:` URI of the trunk's own host. Returns when pjsip has the INVITE.

        Cancelled meanwhile, it takes the INVITE back. With a `registration` it is a call of that DN's, from its number
        and, if it is registered on this trunk, with its password. `replaces` is what a REFER had
        (`Refer.replaces`). With `may_redirect` a 3xx to another user of the trunk's own host is followed if that allows
        it; it is called on another thread. `trace_as` is the call in whose trace the messages are.

        :raises BadRequest: reason `bad_destination` or `bad_header`.
        :raises Unavailable: the trunk is at its `max_calls`, or pjsip at its own; or the `registration` has ended.
        """
        state = self._trunks[trunk.name]
        uri = address.request_uri(address.destination_user(target, trunk), trunk)
        account = registration.on(trunk.name) if registration is not None else None
        if registration is not None and not registration.is_live:
            raise Unavailable(f"DN {registration.dn} is not registered", reason="dn_unregistered", retry_after_s=5)
        if registration is not None:
            from_user, display_name = from_user or registration.dn, display_name or registration.display_name
        replacing = [("Replaces", refer.checked_replaces(replaces)), ("Require", "replaces")] if replaces else []
        redirection = None
        if may_redirect is not None:
            redirection = Redirection(allows=may_redirect, uri_of=functools.partial(self.uri_of, trunk.name))
        invite = Invite(
            call_id=secrets.token_hex(16),
            trunk=trunk.name,
            uri=uri,
            from_header=address.from_header(trunk, from_user, display_name),
            headers=(*address.check_headers(headers or {}), *replacing),
            local=media,
            dn=account.key if account is not None else None,
            redirection=redirection,
        )
        if self._thread is None:
            raise Unavailable("the SIP endpoint is stopped", reason="draining", retry_after_s=5)
        if trunk.max_calls and state.calls >= trunk.max_calls:
            raise Unavailable(f"trunk {trunk.name!r} has all its calls", reason="trunk_full", retry_after_s=5)
        call = SipCall(call_id=invite.call_id, to_uri=uri, trunk=trunk.name, owner=self, on_event=on_event)
        self._calls[call.call_id] = call
        state.calls += 1
        if trace_as:
            self.traces.add(trace_as, call.call_id)
        try:
            if state.resolved is None:
                await self._find(state)
            if state.resolved is None:
                end = SipEvent(
                    type=SipEventType.ENDED, reason=TRUNK_UNREACHABLE, sip_reason=state.error, by_remote=False
                )
                asyncio.get_running_loop().call_soon(call.deliver, end)
                return call
            await self._send(invite, call)
        except BaseException:
            call.abandon()
            self.forget(call)
            raise
        return call

    def _send(self, invite: Invite, call: SipCall) -> asyncio.Future[None]:
        emit = functools.partial(self._to_loop, call.deliver)
        return self._run(lambda stack: stack.invite(invite, emit))

    def _run(self, command: Callable[[Stack], None]) -> asyncio.Future[None]:
        """On the SIP thread.

        :raises Unavailable: it is over.
        """
        if self._thread is None:
            raise Unavailable("the SIP endpoint is stopped", reason="draining", retry_after_s=5)
        return asyncio.wrap_future(self._thread.call(command))

    def _post(self, command: Callable[[Stack], None]) -> None:
        """On the SIP thread, while there is one."""
        if self._thread is not None:
            self._thread.post(command)

    def _on_invite(self, invite: IncomingInvite) -> None:
        trunk = self._trunks[invite.trunk]
        call = SipCall(
            call_id=invite.call_id,
            sip_call_id=invite.sip_call_id,
            to_uri=f"sip:{address.encoded_user(invite.user)}@{address.from_domain(trunk.config)}",
            trunk=invite.trunk,
            owner=self,
            is_incoming=True,
        )
        self._calls[call.call_id] = call
        trunk.calls += 1
        if trunk.config.max_calls and trunk.calls > trunk.config.max_calls:
            call.reject(503, TRUNK_FULL)
        elif self.on_incoming is None:
            call.reject(404, NO_SUCH_DN)
        else:
            try:
                self.on_incoming(call, invite)
            except Exception:
                log.exception("an incoming call failed", call_id=call.call_id, trunk=call.trunk)
                call.reject(500, INTERNAL_ERROR)

    def _deliver(self, call_id: str, event: SipEvent) -> None:
        if (call := self._calls.get(call_id)) is not None:
            call.deliver(event)

    # -- called by the calls

    def hangup(self, call_id: str, reason: str, status: int) -> None:
        """End a call, however far it is."""
        self._post(lambda stack: stack.hangup(call_id, reason, status))

    def command(self, call_id: str, command: Callable[[Transferable], None]) -> None:
        """Run a command on the call's dialog, on the SIP thread."""
        self._post(lambda stack: stack.command(call_id, command))

    def uri_of(self, trunk: str, target: str) -> str:
        """The Request-URI of a destination at that trunk.

        :raises BadRequest: reason `bad_destination`.
        """
        config = self._trunks[trunk].config
        return address.request_uri(address.destination_user(target, config), config)

    def forget(self, call: SipCall) -> None:
        """The call has ended."""
        self.traces.sip_call_ended(call.call_id)
        if self._calls.pop(call.call_id, None) is not None:
            self._trunks[call.trunk].calls -= 1
