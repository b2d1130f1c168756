"""A client's connection: what it is registered as and its calls. It outlives a socket that drops."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from sdpserver.errors import Conflict, no_such_call
from sdpserver.events import SessionEvent
from sdpserver.session import Session

if TYPE_CHECKING:
    from .directory import Dn

log = structlog.get_logger(__name__)

MessageId = str | int | float | None


class Socket(Protocol):
    """What a connection is reached by."""

    def send(self, type_: str, payload: Mapping[str, Any], id_: MessageId = None) -> None: ...
    def send_raw(self, message: Mapping[str, Any]) -> None:
        """A message that is not in the envelope of the contract."""

    def close(self, code: int, reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a client registered with."""

    number: str
    password: str = field(repr=False)
    display_name: str
    expires_s: int
    client: str


class Connection:
    """`id` names it among the connections of its DN. Without a socket, what is sent is lost: who comes back is told
    how things are then."""

    def __init__(self, owner: str) -> None:
        self.id = secrets.token_hex(8)
        self.resume_token = secrets.token_urlsafe(24)
        self.owner = owner
        self.owner_unregistered = owner
        """Whose its calls are while it is no DN's."""
        self.dn: Dn | None = None
        self.registration: Registration | None = None
        """While its DN can be signed off and on by an agent desktop."""
        self.display_name = ""
        self.expires_s = 0
        self.socket: Socket | None = None
        self.calls: dict[str, ConnectionCall] = {}

    def send(self, type_: str, payload: Mapping[str, Any], id_: MessageId = None) -> None:
        """To the client, if it is there."""
        if self.socket is not None:
            self.socket.send(type_, payload, id_)

    def send_registered(self, id_: MessageId = None) -> None:
        """To the client: how it is registered now, and its calls."""
        assert self.dn is not None
        payload = {
            "dn": self.dn.number,
            "displayName": self.display_name,
            "expires": self.expires_s,
            "server": "sdpserver",
            "resumeToken": self.resume_token,
            "calls": self.describe_calls(),
        }
        self.send("registered", payload, id_)

    def send_unregistered(self, number: str, id_: MessageId = None) -> None:
        """To the client: it is registered as this DN no more."""
        self.send("registered", {"dn": number, "expires": 0, "server": "sdpserver"}, id_)

    def send_incoming(self, session: Session, sdp: str, *, auto_answer: bool) -> None:
        """To the client: a call rings, with our offer."""
        caller = session.caller
        assert caller is not None
        payload: dict[str, Any] = {
            "callId": session.call_id,
            "from": caller.number,
            "displayName": caller.display_name,
            "sdp": sdp,
            "headers": dict(caller.headers),
        }
        if auto_answer:
            payload["autoAnswer"] = True
        self.send("incomingCall", payload)

    # -- calls

    def follow(self, session: Session, *, ringing: bool = False) -> ConnectionCall:
        """Be told of a call's events from now on."""
        call = self.calls[session.call_id] = ConnectionCall(self, session, ringing=ringing)
        self.check_status()
        return call

    def check_status(self) -> None:
        """Its calls have changed."""
        if self.dn is not None:
            self.dn.check_status()

    def call(self, call_id: str) -> ConnectionCall:
        """One of this connection's calls.

        :raises NotFound: `call_not_found`.
        """
        found = self.calls.get(call_id)
        if found is None:
            raise no_such_call()
        return found

    def live_call(self, call_id: str) -> Session:
        """One that it takes part in.

        :raises NotFound: `call_not_found`.
        :raises Conflict: `call_ringing`: it has not been answered here.
        """
        call = self.call(call_id)
        if call.ringing:
            raise Conflict("the call has not been answered", reason="call_ringing")
        return call.session

    @property
    def is_busy(self) -> bool:
        """It has a call that does not only ring."""
        return any(not call.ringing for call in self.calls.values())

    def hold_others(self, active: Session) -> None:
        """An agent talks to one call at a time: the others are put on hold."""
        for call in self.calls.values():
            if call.session is active or call.ringing or call.session.on_hold:
                continue
            try:
                call.session.hold(True)
            except Conflict as exc:  # not answered yet, in a conference, or nobody who could wait
                log.debug("not put on hold", call_id=call.session.call_id, reason=exc.reason)

    def hang_up_all(self, reason: str) -> None:
        """It has gone for good."""
        for call in tuple(self.calls.values()):
            if call.ringing:
                call.stop_ringing()
            else:
                call.session.close(reason)

    def describe_calls(self) -> list[dict[str, Any]]:
        """What a client that comes back needs to know; calls that ring are told by `incomingCall` again."""
        return [call.describe() for call in self.calls.values() if not call.ringing]


class ConnectionCall:
    """A call as one connection has it: its events become the client's messages."""

    def __init__(self, connection: Connection, session: Session, *, ringing: bool) -> None:
        self.connection = connection
        self.session = session
        self.ringing = ringing
        self.ending_id: MessageId = None
        """Of the request that ends it, which `callEnded` repeats."""
        self.consultation: Session | None = None
        """The call that its agent makes before it is transferred."""
        self._reply_id: MessageId = None
        self.is_replied = False
        """The request that is being done has had its reply."""
        session.events.listen(self._on_event)

    def _send(self, type_: str, id_: MessageId = None, **payload: Any) -> None:
        self.connection.send(type_, {"callId": self.session.call_id, **payload}, id_)

    @property
    def state(self) -> str:
        """As the client is told. That a call has ended is told by `callEnded` alone, after its tone has been heard: it
        may have been refused before the client has the reply to its `call`."""
        state = self.session.call_state
        return "calling" if state == "ended" else state

    def leave(self) -> None:
        """Follow it no more. Idempotent."""
        self.session.events.unlisten(self._on_event)
        self.connection.calls.pop(self.session.call_id, None)
        self.connection.check_status()

    def stop_ringing(self, reason: str = "", *, id_: MessageId = None) -> None:
        """It rings here no more; `reason` is what the client is told."""
        self.leave()
        self.session.browser.stop_ringing(self.connection.id)
        if reason:
            self._send("callEnded", id_, reason=reason, duration=0, sipStatus=0)

    def answered(self) -> None:
        """By this connection."""
        self.ringing = False
        self.connection.check_status()

    def send_accepted(self) -> None:
        """An outgoing call has been answered. The client has had our SDP from the reply to its `call` already."""
        self._send("callAccepted", sdp=self.session.answer_sdp)

    @contextlib.contextmanager
    def reply_to(self, id_: MessageId) -> Iterator[None]:
        """The message that an event brings in here is the reply to a request."""
        self._reply_id, self.is_replied = id_, False
        try:
            yield
        finally:
            self._reply_id = None

    def _take_reply_id(self) -> MessageId:
        """A request is replied to once."""
        self.is_replied = True
        id_, self._reply_id = self._reply_id, None
        return id_

    def _on_event(self, event: SessionEvent) -> None:
        data = event.data
        match event.type:
            case "calling" | "ringing" | "early" if not self.ringing:
                self._send("callProgress", state=event.type)
            case "answered" if self.session.caller is None:
                self.send_accepted()
            case "hold":
                self._send("held" if data["held"] else "resumed", self._take_reply_id(), by=data["by"])
            case "muted" if data.get("callId", self.session.call_id) == self.session.call_id:  # none else of a room
                self._send("muted", self._take_reply_id(), leg=data["leg"], muted=data["muted"])
            case "dtmf":
                self._send(
                    "dtmf",
                    digit=data["digit"],
                    durationMs=data["duration_ms"],
                    leg=data["leg"],
                    method=data["method"],
                )
            case "recording":
                self._send("recording", state=data["state"], path=data.get("path"), error=data.get("error"))
            case "quality":
                self._send("quality", webrtc=data["webrtc"], sip=data["sip"])
            case "transfer":
                self._send("transferred", self._take_reply_id(), **data)
            case "closed":
                id_, self.ending_id = self.ending_id, None
                self.leave()
                self._send(
                    "callEnded",
                    id_,
                    reason=data["reason"],
                    duration=0 if self.ringing else data["duration_s"],
                    sipStatus=data["sip_status"],
                )

    def describe(self) -> dict[str, Any]:
        """An entry of `registered`'s `calls`."""
        session = self.session
        return {
            "callId": session.call_id,
            "state": self.state,
            "direction": session.direction,
            "remote": session.destination.uri,
            "displayName": session.caller.display_name if session.caller else "",
            "held": session.on_hold,
            "muted": session.is_muted,
        }
