"""The DNs of this server: which clients are connected for each, and how calls to them ring."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from sdpserver.config import Config, Trunk
from sdpserver.errors import BadRequest, Conflict, NotFound, SdpServerError, SipRefused
from sdpserver.models.dns import DnInfo, DnStatus
from sdpserver.models.webrtc import CallOptions
from sdpserver.session import Session, Sessions
from sdpserver.session.far_end import FarEnd
from sdpserver.session.inbound import Caller, CreateFarEnd, FarEndParts, dn_of, owner_of_dn
from sdpserver.session.sip_far_end import SipFarEnd
from sdpserver.session.third_party import OrderedFarEnd
from sdpserver.sip import DnRegistration, IncomingInvite, SipCall, SipEndpoint
from sdpserver.timestamps import utc_text

from .auto_answer import wants_auto_answer
from .connection import Connection, MessageId, Registration, Socket
from .registrar import Registrar

log = structlog.get_logger(__name__)

MAX_CALLS = 8
"""Of one DN, the ringing ones too; the next caller hears that it is busy."""

MAX_CONNECTIONS = 16
"""Of one DN: each of them costs an offer, with its DTLS certificate and leg, for each call that rings."""

WENT_AWAY = 1001
"""RFC 6455 section 7.4.1."""


class Dn:
    """A number that clients are registered as: one of `[[dn]]`, or one that its registrar knows (`upstream`)."""

    def __init__(
        self,
        number: str,
        *,
        upstream: bool,
        is_reachable: Callable[[str], bool],
        on_status: Callable[[Dn], object],
        display_name: str = "",
        skills: tuple[str, ...] = (),
    ) -> None:
        """:param is_reachable: whether calls from outside find that number."""
        self.number = number
        self.upstream = upstream
        self.display_name = display_name
        self.skills = skills
        self.connections: dict[str, Connection] = {}
        self.ringing: dict[str, Ringing] = {}
        self.since = datetime.now(UTC)
        self.lock = asyncio.Lock()
        self._is_reachable = is_reachable
        self._on_status = on_status
        self._told: DnStatus = "offline"

    def check_status(self) -> None:
        """Its connections, their calls or its registration have changed: tell it if they say something else now."""
        if self.status != self._told:
            self._told = self.status
            self._on_status(self)

    @property
    def owner(self) -> str:
        """Of its sessions."""
        return owner_of_dn(self.number)

    @property
    def calls(self) -> dict[str, Session]:
        """All that it takes part in, by call id; those that ring too."""
        found = {call_id: ringing.session for call_id, ringing in self.ringing.items()}
        for connection in self.connections.values():
            found.update({call_id: call.session for call_id, call in connection.calls.items()})
        return found

    @property
    def active_call(self) -> Session:
        """The one that is meant when only the DN is named: that which is talked on, else the only one.

        :raises Conflict: `no_call`, or `several_calls`: which one is meant cannot be told.
        """
        calls = list(self.calls.values())
        talking = [call for call in calls if call.call_state == "answered" and not call.on_hold]
        found = talking if len(talking) == 1 else calls
        if len(found) != 1:
            reason = "several_calls" if found else "no_call"
            raise Conflict(f"{self.number} has {len(calls)} calls", reason=reason)
        return found[0]

    def describe(self) -> DnInfo:
        """An entry of GET /api/dn/list. `contact` is where it is registered."""
        return {
            "dn": self.number,
            "displayName": self.display_name,
            "status": self.status,
            "contact": "upstream" if self.upstream else "local",
            "genesysAgent": self.upstream,
            "connections": len(self.connections),
            "since": utc_text(self.since) if self.connections else None,
            "calls": list(self.calls),
            "skills": list(self.skills),
        }

    @property
    def status(self) -> DnStatus:
        """As supervisors are told."""
        return status_of(
            is_connected=bool(self.connections),
            is_talking=any(connection.is_busy for connection in self.connections.values()),
            is_reachable=self._is_reachable(self.number),
        )


def status_of(*, is_connected: bool, is_talking: bool, is_reachable: bool) -> DnStatus:
    """Who talks is busy, whatever has become of the registration; else only who can be called from outside is there."""
    if not is_connected:
        return "offline"
    if is_talking:
        return "busy"
    return "available" if is_reachable else "offline"


class Ringing:
    """A call that rings a DN. `auto_answer`: its caller asks the client to answer by itself."""

    def __init__(self, session: Session, *, auto_answer: bool) -> None:
        self.session = session
        self.auto_answer = auto_answer


class Agents:
    """All DNs and connections. Used on the event loop only."""

    def __init__(self, config: Config, *, sessions: Sessions, sip: SipEndpoint | None) -> None:
        self._config = config
        self._sessions = sessions
        self._trunks = {trunk.name: trunk for trunk in config.trunks}
        self._registrar = Registrar(
            config, sip, on_lost=self._registration_lost, on_reachable=self._reachability_changed
        )
        self._dns = {
            dn.number: Dn(
                dn.number,
                upstream=False,
                is_reachable=self._registrar.is_reachable,
                on_status=self._status_changed,
                display_name=dn.display_name,
                skills=tuple(dn.skills),
            )
            for dn in config.dn
        }
        self._connections: dict[str, Connection] = {}  # by their resume tokens, and no others
        self._sockets: set[Socket] = set()
        self._expiries: dict[Connection, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.on_status: Callable[[Dn], object] | None = None
        """Called when a DN's status has become another one."""
        sessions.ring_dn = self._ring
        sessions.registered = self._dns.keys()
        sessions.registration_of = self._registration_of
        if sip is not None:
            sip.on_incoming = self._on_incoming

    def _status_changed(self, dn: Dn) -> None:
        if self.on_status is not None:
            self.on_status(dn)

    # -- life

    async def stop(self) -> None:
        """Every socket is told to go, and every DN is unregistered upstream."""
        self._stopped = True
        for handle in self._expiries.values():
            handle.cancel()
        self._expiries.clear()
        for socket in tuple(self._sockets):
            socket.close(WENT_AWAY, "the server is shutting down")
        await self._registrar.stop()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- registration

    async def register(self, connection: Connection, registration: Registration) -> None:
        """Make a connection one of a DN's.

        :raises Unauthorized: `wrong_password`; :raises NotFound: `dn_not_found`; :raises PeerError: the registrar's.
        :raises Conflict: it is registered as another DN; :raises TooManyRequests: after several wrong passwords.
        """
        number, display_name = registration.number, registration.display_name
        if connection.dn is not None and connection.dn.number != number:
            raise Conflict("this connection is registered as another DN", reason="already_registered")
        dn = self._dns.get(number) or Dn(
            number,
            upstream=True,
            is_reachable=self._registrar.is_reachable,
            on_status=self._status_changed,
            display_name=display_name,
        )
        async with dn.lock:
            expires_s = await self._registrar.admit(
                number,
                registration.password,
                is_local=not dn.upstream,
                display_name=display_name,
                expires_s=registration.expires_s,
                client=registration.client,
            )
            if connection.socket is None:  # it has gone meanwhile
                if not dn.connections and dn.upstream:
                    await self._registrar.release(number)
                raise Conflict("the connection is closed", reason="connection_closed")
            if len(dn.connections) >= MAX_CONNECTIONS and connection.id not in dn.connections:
                raise Conflict(f"{number} has {MAX_CONNECTIONS} connections already", reason="too_many_connections")
            dn = self._dns.setdefault(number, dn)
            if not dn.connections:
                dn.since = datetime.now(UTC)
            dn.connections[connection.id] = connection
            connection.dn, connection.owner = dn, dn.owner
            connection.display_name = display_name or dn.display_name
            connection.expires_s, connection.registration = expires_s, registration
            self._connections[connection.resume_token] = connection
        dn.check_status()
        log.info("dn registered", dn=number, connections=len(dn.connections), upstream=dn.upstream)

    def ring_here_too(self, connection: Connection) -> None:
        """What rings its DN already rings at a new connection too, or at one that has come back."""
        if connection.dn is not None:
            for ringing in tuple(connection.dn.ringing.values()):
                self._offer(connection, ringing)

    def unregister(self, connection: Connection) -> None:
        """It is no connection of its DN any more; calls that it has go on. Idempotent."""
        dn, connection.dn = connection.dn, None
        self._connections.pop(connection.resume_token, None)
        if dn is None:
            return
        connection.owner, connection.registration = connection.owner_unregistered, None
        dn.connections.pop(connection.id, None)
        for call in tuple(connection.calls.values()):
            if call.ringing:
                call.stop_ringing()
                self._check_rings_somewhere(call.session, "unavailable")
        dn.check_status()
        log.info("dn unregistered", dn=dn.number, connections=len(dn.connections))
        if not dn.connections and dn.upstream:
            self._dns.pop(dn.number, None)
            if not self._stopped:
                self._spawn(self._registrar.release(dn.number), f"unregister {dn.number}")

    def _registration_lost(self, number: str, registration: DnRegistration) -> None:
        """Its registrar does not want a DN any more, as when its password has been changed."""
        dn = self._dns.get(number)
        if dn is None:
            return
        payload = {
            "dn": number,
            "reason": registration.sip_reason or registration.reason,
            "code": registration.sip_status,
        }
        for connection in tuple(dn.connections.values()):
            connection.send("registrationFailed", payload)
            self.unregister(connection)

    def _reachability_changed(self, number: str) -> None:
        """Its clients stay, and ring for calls from here; only who looks for somebody to call is told otherwise."""
        if (dn := self._dns.get(number)) is not None:
            dn.check_status()

    # -- sockets

    @property
    def idle_s(self) -> float:
        """How long a client may say nothing."""
        return self._config.session.ws_idle_s

    @property
    def sockets(self) -> int:
        """How many clients are connected."""
        return len(self._sockets)

    def socket_opened(self, socket: Socket) -> None:
        """A client has come."""
        self._sockets.add(socket)
        if self._stopped:
            socket.close(WENT_AWAY, "the server is shutting down")

    def reattach_s(self, connection: Connection) -> float | None:
        """How long a page of one of its calls may be gone; None: as that of a session over HTTP."""
        return self._config.session.reattach_s if connection.dn is not None else None

    def resume(self, token: str) -> Connection:
        """The connection that this token is of; its old socket, if there is one, is closed.

        :raises NotFound: `connection_not_found`: it never was, or is over.
        """
        connection = self._connections.get(token)
        if connection is None or not secrets.compare_digest(connection.resume_token, token):
            raise NotFound("nothing waits for this resumeToken", reason="connection_not_found")
        if (handle := self._expiries.pop(connection, None)) is not None:
            handle.cancel()
        if connection.socket is not None:
            connection.socket.close(WENT_AWAY, "the connection was taken over")
            connection.socket = None
        return connection

    def socket_closed(self, socket: Socket) -> None:
        """It has dropped."""
        self._sockets.discard(socket)

    def client_gone(self, connection: Connection) -> None:
        """Its socket has dropped. A registered one has `[session] reattach_s` to come back, and its calls with it."""
        connection.socket = None
        if self._stopped:
            return  # all calls are being ended anyway
        if connection.dn is None:
            connection.hang_up_all("client_gone")
            return
        loop = asyncio.get_running_loop()
        self._expiries[connection] = loop.call_later(self._config.session.reattach_s, self._forget, connection)

    def _forget(self, connection: Connection) -> None:
        self._expiries.pop(connection, None)
        log.info("connection did not come back", dn=connection.dn.number if connection.dn else None)
        self.unregister(connection)
        connection.hang_up_all("client_gone")

    # -- calls to DNs

    def _registration_of(self, owner: str, trunk: str) -> DnRegistration | None:
        number = dn_of(owner)
        return self._registrar.registration(number, trunk) if number is not None else None

    def _on_incoming(self, call: SipCall, invite: IncomingInvite) -> None:
        """A trunk has sent an INVITE."""
        trunk = self._trunks[invite.trunk]
        caller = Caller(number=invite.from_user, display_name=invite.display_name, headers=invite.headers)

        def create_far_end(session: Session, parts: FarEndParts) -> FarEnd:
            return SipFarEnd(
                session.destination,
                session,
                options=session.options,
                parts=parts,
                worker=parts.media.next_worker(),
                browser_codecs=(),
                incoming=call,
            )

        try:
            session = self._ring(invite.user, caller, create_far_end, trunk)
        except SdpServerError as exc:
            log.info("call refused", dn=invite.user, trunk=invite.trunk, reason=exc.reason)
            call.reject(getattr(exc, "sip_status", 0) or 503, exc.reason)
            return
        assert isinstance(session.far_end, SipFarEnd)
        session.far_end.ring()

    def make_call(self, number: str, to: str, *, auto_answer: bool) -> Session:
        """Have a DN ring, and call `to` for it when it answers (RFC 3725).

        :raises BadRequest: `bad_destination`.
        :raises SipRefused: `number_not_found`, `unavailable`, `busy`. :raises Unavailable: the server is full.
        """
        dn = self.find(number)
        options = CallOptions(to=to, from_=number, display_name=dn.display_name or None)
        destination = self._sessions.resolve(options, {})
        if destination.sound:
            raise BadRequest("a sound cannot be called for somebody else", reason="bad_destination")

        def create_far_end(session: Session, parts: FarEndParts) -> FarEnd:
            return OrderedFarEnd(destination, session, options=options, parts=parts)

        headers = (("Call-Info", "<sip:sdpserver>;answer-after=0"),) if auto_answer else ()
        caller = Caller(number=to, headers=headers)
        return self._ring(number, caller, create_far_end, destination.trunk)

    def _ring(self, number: str, caller: Caller, create_far_end: CreateFarEnd, trunk: Trunk | None = None) -> Session:
        """Have a DN ring at all of its connections.

        :raises SipRefused: `number_not_found`, `unavailable`, `busy`. :raises Unavailable: the server is full.
        """
        dn = self._dns.get(number)
        if dn is None:
            raise _refused(404, "number_not_found", f"{number} is no DN")
        if not dn.connections:
            raise _refused(480, "unavailable", f"nobody is registered as {number}")
        if len(dn.calls) >= MAX_CALLS:
            raise _refused(486, "busy", f"{number} has {MAX_CALLS} calls")
        session = self._sessions.ring(
            dn=dn.number,
            owner=dn.owner,
            caller=caller,
            create_far_end=create_far_end,
            options=CallOptions(ring_timeout_s=self._config.session.ring_timeout_s),
            trunk=trunk,
            resume_s=self._config.session.reattach_s,
        )
        ringing = dn.ringing[session.call_id] = Ringing(session, auto_answer=wants_auto_answer(caller.headers))
        session.events.listen(lambda event: self._stop_ringing(dn, session) if event.type == "closed" else None)
        for connection in tuple(dn.connections.values()):
            self._offer(connection, ringing)
        return session

    def _offer(self, connection: Connection, ringing: Ringing) -> None:
        session = ringing.session
        sdp = self._sessions.offer_to(session, connection.id)
        if session.call_id not in connection.calls:
            connection.follow(session, ringing=True)
        connection.send_incoming(session, sdp, auto_answer=ringing.auto_answer)

    def _stop_ringing(self, dn: Dn, session: Session) -> None:
        dn.ringing.pop(session.call_id, None)

    def _check_rings_somewhere(self, session: Session, reason: str) -> None:
        if not session.closed and not session.browser.ringing:
            session.close(reason)

    def answer(self, connection: Connection, call_id: str, sdp: str) -> Session:
        """The first connection to answer a ringing call has it; the others are told.

        :raises Conflict: `not_ringing`, `already_answered`; :raises BadRequest: the SDP; it rings on.
        """
        call = connection.call(call_id)
        if not call.ringing:
            raise Conflict("the call is answered already", reason="already_answered")
        session = call.session
        session.accept(connection.id, sdp)
        call.answered()
        if connection.dn is not None:
            self._stop_ringing(connection.dn, session)
            for other in connection.dn.connections.values():
                if other is not connection and (theirs := other.calls.get(call_id)) is not None:
                    theirs.stop_ringing("answered_elsewhere")
        connection.hold_others(session)
        return session

    def reject(self, connection: Connection, call_id: str, reason: str, *, id_: MessageId) -> None:
        """`busy`: this connection does not take the call, the others ring on. Anything else: the DN does not.

        :raises Conflict: `already_answered`.
        """
        call = connection.call(call_id)
        if not call.ringing:
            raise Conflict("the call is answered already; hang it up", reason="already_answered")
        if reason == "busy":
            call.stop_ringing("busy", id_=id_)
            self._check_rings_somewhere(call.session, "busy")
        else:
            call.ending_id = id_
            call.session.close("rejected")

    # -- what clients see

    def find(self, number: str) -> Dn:
        """:raises NotFound: `dn_not_found`."""
        dn = self._dns.get(number)
        if dn is None:
            raise NotFound("no such DN", reason="dn_not_found")
        return dn

    def is_connected(self, number: str) -> bool:
        """Whether a client is registered as this DN, be it known or not."""
        dn = self._dns.get(number)
        return dn is not None and bool(dn.connections)

    @property
    def all(self) -> list[Dn]:
        """Those of the configuration, and those registered upstream."""
        return list(self._dns.values())


def _refused(status: int, reason: str, text: str) -> SipRefused:
    return SipRefused(text, reason=reason, sip_status=status, sip_reason="")
