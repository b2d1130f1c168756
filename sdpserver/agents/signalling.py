"""JSON signalling over one socket: each message of section 3 of the wire contract, and what is sent back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import orjson
import structlog

from sdpserver.dtmf import DtmfMethod, DtmfOrder, check_digits
from sdpserver.errors import BadRequest, Conflict, Forbidden, SdpServerError
from sdpserver.json_bodies import check_metadata, convert
from sdpserver.models.webrtc import CallOptions, OfferRequest, SdpOffer
from sdpserver.session import Sessions
from sdpserver.session.far_end import BROWSER

from . import messages
from .bridge import BridgeSocket, is_flat
from .connection import Connection, ConnectionCall, MessageId, Registration, Socket
from .directory import Agents

log = structlog.get_logger(__name__)

MEMBERS = frozenset({"type", "payload", "id"})
DEFAULT_EXPIRES_S = 3600
MIN_EXPIRES_S = 60
MAX_CALLS = 8


class Signalling:
    """One client. `receive` takes its messages one after the other.

    :param owner: whose calls those are that it makes before it registers as a DN; None: it may make none.
    :param client: its address.
    """

    def __init__(self, agents: Agents, sessions: Sessions, socket: Socket, *, owner: str | None, client: str) -> None:
        self._agents = agents
        self._sessions = sessions
        self._socket = socket
        self._client = client
        self._owner = owner
        self._connection = Connection(owner or "")
        self._connection.socket = socket
        self._raw_socket = socket
        agents.socket_opened(socket)
        self._handlers: Mapping[str, tuple[type[msgspec.Struct], Callable[[Any, MessageId], Awaitable[None]]]] = {
            "register": (messages.Register, self._register),
            "unregister": (messages.Unregister, self._unregister),
            "call": (messages.Call, self._call),
            "answer": (messages.Answer, self._answer),
            "reject": (messages.Reject, self._reject),
            "hangup": (messages.Hangup, self._hangup),
            "hold": (messages.Hold, self._hold),
            "mute": (messages.Mute, self._mute),
            "dtmf": (messages.Dtmf, self._dtmf),
            "iceCandidate": (messages.Candidate, self._candidate),
            "transfer": (messages.Transfer, self._transfer),
            "conference": (messages.Conference, self._conference),
            "record": (messages.Record, self._record),
            "ping": (messages.Ping, self._ping),
        }

    async def receive(self, text: str | bytes) -> None:
        """One message. Whatever is wrong with it is told by an `error`, and nothing else happens."""
        id_: MessageId = None
        try:
            message = _read(text)
            id_ = _id(message)
            if is_flat(message):
                message = self._bridge().translate(message)
            type_ = message.get("type")
            handler = self._handlers.get(type_) if isinstance(type_, str) else None
            if handler is None:
                raise BadRequest(f"no message has the type {_shown(type_)}", reason="unknown_type")
            if unknown := sorted(message.keys() - MEMBERS):
                raise BadRequest(f"{_shown(unknown[0])} is not known here", reason="unknown_field")
            model, handle = handler
            await handle(convert(message.get("payload", {}), model), id_)
        except SdpServerError as exc:
            self._fail(exc, id_)
        except Exception:
            log.exception("message failed", client=self._client)
            self._socket.send("error", {"message": "internal error", "code": 500, "details": {}}, id_)

    def _bridge(self) -> BridgeSocket:
        """From the first flat message on, what is sent is flat too."""
        if isinstance(self._socket, BridgeSocket):
            return self._socket
        bridge = BridgeSocket(self._socket)
        if self._connection.socket is self._socket:
            self._connection.socket = bridge
        self._socket = bridge
        return bridge

    def closed(self) -> None:
        """The socket has gone."""
        self._agents.socket_closed(self._raw_socket)
        if self._connection.socket is self._socket:
            self._agents.client_gone(self._connection)

    def _fail(self, exc: SdpServerError, id_: MessageId) -> None:
        details: dict[str, Any] = {"reason": exc.reason}
        if (sip_status := getattr(exc, "sip_status", 0)) != 0:
            details |= {"sipStatus": sip_status, "sipReason": getattr(exc, "sip_reason", "")}
        if exc.retry_after_s is not None:
            details["retryAfter"] = exc.retry_after_s
        self._socket.send("error", {"message": str(exc), "code": exc.status, "details": details}, id_)

    # -- registration

    async def _register(self, message: messages.Register, id_: MessageId) -> None:
        try:
            if message.resumeToken is not None:
                self._resume(message.resumeToken)
            else:
                await self._register_dn(message)
        except SdpServerError as exc:
            code = getattr(exc, "sip_status", 0) or (403 if exc.status == 401 else exc.status)
            payload = {"dn": message.dn, "reason": str(exc), "code": code, "details": {"reason": exc.reason}}
            self._socket.send("registrationFailed", payload, id_)
            return
        self._connection.send_registered(id_)
        self._agents.ring_here_too(self._connection)

    async def _register_dn(self, message: messages.Register) -> None:
        password = message.password if message.password is not None else message.token
        if message.dn is None or password is None:
            missing = "dn" if message.dn is None else "password"
            raise BadRequest(f"{missing} is missing", reason="missing_field")
        expires_s = DEFAULT_EXPIRES_S if message.expires is None else max(message.expires, MIN_EXPIRES_S)
        registration = Registration(
            number=message.dn,
            password=password,
            display_name=message.displayName or "",
            expires_s=expires_s,
            client=self._client,
        )
        await self._agents.register(self._connection, registration)

    def _resume(self, token: str) -> None:
        if self._connection.dn is not None:
            raise Conflict("this connection is registered already", reason="already_registered")
        before = self._connection
        self._connection = self._agents.resume(token)
        self._connection.socket = self._socket
        self._connection.owner_unregistered = self._owner or ""
        before.socket = None
        before.hang_up_all("client_gone")

    async def _unregister(self, message: messages.Unregister, id_: MessageId) -> None:
        dn = self._connection.dn
        if dn is None or message.dn not in (None, dn.number):
            raise Conflict("this connection is not registered as that", reason="not_registered")
        self._agents.unregister(self._connection)
        self._connection.send_unregistered(dn.number, id_)

    # -- calls

    async def _call(self, message: messages.Call, id_: MessageId) -> None:
        if message.callId is not None:
            await self._reoffer(message.callId, message, id_)
            return
        if message.to is None:
            raise BadRequest("to is missing", reason="missing_field")
        call, sdp = await self._dial(message.to, message)
        self._connection.hold_others(call.session)
        self._progress(call, sdp, id_)

    async def _dial(self, to: str, message: messages.Call) -> tuple[ConnectionCall, str]:
        """A call of this client, and our answer to its offer.

        :raises SdpServerError: it cannot be made.
        """
        if self._connection.dn is None and self._owner is None:
            raise Forbidden("register as a DN first", reason="not_registered")
        if len(self._connection.calls) >= MAX_CALLS:
            raise Conflict(f"this connection has {MAX_CALLS} calls", reason="too_many_calls")
        check_metadata(message.metadata)
        connection, dn = self._connection, self._connection.dn
        options = CallOptions(
            to=to,
            from_=dn.number if dn is not None else None,
            display_name=connection.display_name or None,
            headers=message.headers,
            codecs=message.codecs,
            record=message.record,
        )
        request = OfferRequest(sdp=SdpOffer(type="offer", sdp=message.sdp), metadata=message.metadata, call=options)
        response = await self._sessions.offer(
            request, owner=connection.owner, resume_s=self._agents.reattach_s(connection)
        )
        session = self._sessions.find_call(response.call.call_id, owner=connection.owner)
        call = connection.follow(session)
        if connection.socket is None:  # it dropped while the call was being made
            session.close("client_gone")
            raise Conflict("the connection is closed", reason="connection_closed")
        return call, response.sdp.sdp

    def _progress(self, call: ConnectionCall, sdp: str, id_: MessageId) -> None:
        """The reply to a call. One to a built-in destination may have been answered already."""
        payload = {"callId": call.session.call_id, "state": call.state, "sdp": sdp}
        if call.state == "answered":
            self._socket.send("callProgress", payload | {"state": "calling"}, id_)
            call.send_accepted()
        else:
            self._socket.send("callProgress", payload, id_)

    async def _reoffer(self, call_id: str, message: messages.Call, id_: MessageId) -> None:
        session = self._connection.live_call(call_id)
        response = await self._sessions.reoffer(session, message.sdp)
        self._socket.send("callAccepted", {"callId": call_id, "sdp": response.sdp.sdp}, id_)

    async def _answer(self, message: messages.Answer, id_: MessageId) -> None:
        self._agents.answer(self._connection, message.callId, message.sdp)
        self._socket.send("callAccepted", {"callId": message.callId}, id_)

    async def _reject(self, message: messages.Reject, id_: MessageId) -> None:
        self._agents.reject(self._connection, message.callId, message.reason or "rejected", id_=id_)

    async def _hangup(self, message: messages.Hangup, id_: MessageId) -> None:
        call = self._connection.call(message.callId)
        if call.ringing:
            self._agents.reject(self._connection, message.callId, message.reason or "rejected", id_=id_)
            return
        call.ending_id = id_
        call.session.close(message.reason or "normal_clearing")

    async def _hold(self, message: messages.Hold, id_: MessageId) -> None:
        session = self._connection.live_call(message.callId)
        if session.on_hold == message.hold:
            self._socket.send("held" if message.hold else "resumed", {"callId": message.callId, "by": "local"}, id_)
            return
        call = self._connection.call(message.callId)
        with call.reply_to(id_):
            session.hold(message.hold)
        if not message.hold:
            self._connection.hold_others(session)

    async def _mute(self, message: messages.Mute, id_: MessageId) -> None:
        session = self._connection.live_call(message.callId)
        call = self._connection.call(message.callId)
        with call.reply_to(id_):
            session.mute(BROWSER, message.mute)
        if not call.is_replied:  # nothing has changed, or it is nothing new to its room
            self._socket.send("muted", {"callId": message.callId, "leg": BROWSER, "muted": message.mute}, id_)

    async def _dtmf(self, message: messages.Dtmf, id_: MessageId) -> None:
        if (message.digit is None) == (message.digits is None):
            raise BadRequest("digit or digits must be there, and only one of them", reason="missing_field")
        digits = check_digits(message.digit or message.digits or "")
        order = DtmfOrder(
            digits=digits,
            duration_ms=message.durationMs,
            method=None if message.method is None else DtmfMethod(message.method),
        )
        self._connection.live_call(message.callId).send_dtmf(order)
        self._socket.send("dtmf", {"callId": message.callId, "digits": digits, "status": "queued"}, id_)

    async def _candidate(self, message: messages.Candidate, id_: MessageId) -> None:
        """No reply when all is well: candidates come by the dozen."""
        session = self._connection.call(message.callId).session
        candidate = message.candidate
        if isinstance(candidate, str):
            session.add_remote_candidate(candidate, None, None)
        elif candidate is not None and candidate.candidate:
            session.add_remote_candidate(candidate.candidate, candidate.sdpMid, candidate.sdpMLineIndex)

    async def _record(self, message: messages.Record, id_: MessageId) -> None:
        session = self._connection.live_call(message.callId)
        recording = session.record(record=message.record, pause=message.pause, tone=None)
        payload = {"callId": message.callId, "state": recording.state.value, "path": recording.path}
        self._socket.send("recording", payload, id_)

    async def _ping(self, message: messages.Ping, id_: MessageId) -> None:
        self._socket.send("pong", {}, id_)

    # -- several calls

    async def _transfer(self, message: messages.Transfer, id_: MessageId) -> None:
        """Blind (`to`), or attended: the other call's far end and this one's are connected."""
        session = self._connection.live_call(message.callId)
        if [message.to, message.consultCallId, message.cancel or None].count(None) != 2:
            raise BadRequest("one of to, consultCallId and cancel must be there", reason="missing_field")
        call = self._connection.call(message.callId)
        if message.cancel:
            self._end_consultation(call, id_)
        elif message.to is not None and message.sdp is not None:
            await self._consult(call, message.to, message.sdp, id_)
        else:
            with call.reply_to(id_):
                if message.consultCallId is not None:
                    self._sessions.transfers.connect(session, self._connection.live_call(message.consultCallId))
                elif message.to is not None:
                    self._sessions.transfers.send(session, message.to)

    async def _consult(self, call: ConnectionCall, to: str, sdp: str, id_: MessageId) -> None:
        was_held = call.session.on_hold
        call.session.hold(True)
        try:
            consultation, answer = await self._dial(to, messages.Call(sdp=sdp))
        except SdpServerError:
            with contextlib.suppress(Conflict):  # it has ended meanwhile
                call.session.hold(was_held)
            raise
        call.consultation = consultation.session
        payload = {"callId": call.session.call_id, "state": "consulting", "to": to, "sdp": answer}
        self._socket.send("transferred", payload | {"consultCallId": consultation.session.call_id}, id_)

    def _end_consultation(self, call: ConnectionCall, id_: MessageId) -> None:
        consultation, call.consultation = call.consultation, None
        if consultation is None:
            raise Conflict("there is no consultation to come back from", reason="no_consultation")
        consultation.close("normal_clearing")
        call.session.hold(False)
        self._socket.send("transferred", {"callId": call.session.call_id, "state": "cancelled"}, id_)

    async def _conference(self, message: messages.Conference, id_: MessageId) -> None:
        """All calls in one room. The agent speaks and listens by the first of them, or would hear himself."""
        calls = [self._connection.live_call(call_id) for call_id in dict.fromkeys(message.callIds)]
        held = [call for call in calls if call.on_hold]
        for call in held:
            call.hold(False)
        try:
            room = self._sessions.conferences.join(calls, message.room, together=True)
        except SdpServerError:
            for call in held:
                with contextlib.suppress(Conflict):  # it has ended meanwhile
                    call.hold(True)
            raise
        payload = {"room": room, "callIds": [call.call_id for call in calls]}
        self._socket.send("conference", payload, id_)


def _read(text: str | bytes) -> dict[str, Any]:
    if isinstance(text, bytes):
        raise BadRequest("messages are text", reason="not_text")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise BadRequest("the message is not valid JSON", reason="invalid_json") from exc
    if not isinstance(message, dict):
        raise BadRequest("the message is not a JSON object", reason="invalid_json")
    return message


def _id(message: Mapping[str, Any]) -> MessageId:
    id_ = message.get("id")
    if id_ is None or (isinstance(id_, str) and len(id_) <= 128):
        return id_
    if isinstance(id_, int | float) and not isinstance(id_, bool) and abs(id_) < 2**53:
        return id_
    raise BadRequest("id must be a string of at most 128 characters or a number", reason="invalid_field")


def _shown(value: object) -> str:
    return repr(value)[:80]
