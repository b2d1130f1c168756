"""The bridge dialect: flat messages, as JsSIP-like bridges speak them, over the same socket.

    client                                          server
    {"type": "register", "dn", "password"}          {"type": "registered", "dn", ...}
    {"type": "offer", "target", "sdp"}              {"type": "answer", "callId", "sdp"}
    {"type": "answer", "callId"?, "sdp"}            {"type": "incoming-call", "callId", "from", "displayName", "sdp"}
    {"type": "candidate", "callId"?, "candidate"}   {"type": "bye", "callId", "reason"}
    {"type": "bye", "callId"?, "reason"?}           {"type": "error", "message", "code"}

Without `callId` the last call is meant. Pure: messages of one form in, of the other out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdpserver.errors import BadRequest

from .connection import MessageId, Socket

_TYPES = {"register": "register", "offer": "call", "answer": "answer", "candidate": "iceCandidate", "bye": "hangup"}


def is_flat(message: Mapping[str, Any]) -> bool:
    """Whether it is of this dialect: a type of it, and no payload. `register` and `answer` are types of both."""
    type_ = message.get("type")
    if "payload" in message or not isinstance(type_, str):
        return False
    return type_ in ("offer", "candidate", "bye") or (type_ in _TYPES and bool(message.keys() - {"type", "id"}))


class BridgeSocket:
    """A client's socket once it has sent a flat message: what is sent to it is flat too."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._last_call = ""
        self._answered: set[str] = set()

    def translate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A flat message in the contract's form.

        :raises BadRequest: `call_not_found`: no call is named, and there was none.
        """
        flat = {key: value for key, value in message.items() if key not in ("type", "id")}
        type_ = _TYPES[message["type"]]
        if type_ == "call":
            flat["to"] = flat.pop("target", None)
        elif type_ != "register" and "callId" not in flat:
            if not self._last_call:
                raise BadRequest("there is no call", reason="call_not_found")
            flat["callId"] = self._last_call
        return {"type": type_, "payload": flat, "id": message.get("id")}

    def send(self, type_: str, payload: Mapping[str, Any], id_: MessageId = None) -> None:
        """What the dialect has no word for is left out."""
        call_id = str(payload.get("callId", ""))
        match type_:
            case "incomingCall":
                self._last_call = call_id
                self._send("incoming-call", payload, id_)
            case "callProgress" | "callAccepted" if payload.get("sdp") and call_id not in self._answered:
                self._last_call = call_id
                self._answered.add(call_id)
                self._send("answer", {"callId": call_id, "sdp": payload["sdp"]}, id_)
            case "callEnded":
                self._answered.discard(call_id)
                self._send("bye", {"callId": call_id, "reason": payload["reason"]}, id_)
            case "iceCandidate":
                self._send("candidate", payload, id_)
            case "registered" | "registrationFailed" | "error":
                self._send(type_, payload, id_)

    def _send(self, type_: str, payload: Mapping[str, Any], id_: MessageId) -> None:
        self._socket.send_raw({**payload, "type": type_} | ({} if id_ is None else {"id": id_}))

    def send_raw(self, message: Mapping[str, Any]) -> None:
        self._socket.send_raw(message)

    def close(self, code: int, reason: str) -> None:
        self._socket.close(code, reason)
