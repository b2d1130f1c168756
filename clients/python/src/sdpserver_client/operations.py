"""Every operation as a value: the request to send, and how to read the response. No I/O; both clients run these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from .errors import BY_CODE, ApiError, InvalidResponse
from .models import (
    Answer,
    CallInfo,
    CallOptions,
    DtmfMethod,
    IceCandidate,
    IceServer,
    Leg,
    RecordAction,
    Recording,
    ServerEvent,
)

T = TypeVar("T")

RING_MARGIN_S = 5.0
"""The server itself gives up after `ring_timeout_s`; its error takes this long at most to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[T]):
    """A request and the reader of its result. `holds_s`: how long the server may hold the reply on purpose."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    holds_s: float = 0.0

    def result(self, response: Response) -> T:
        """The value that a success carries.

        :raises ApiError: the server, or something between, refused.
        :raises InvalidResponse: the body is not what the contract says.
        """
        if not 200 <= response.status < 300:
            raise error_of(response)
        try:
            return self.read(json.loads(response.body))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise InvalidResponse(f"{self.method} {self.path}: the reply is not in the server's form: {exc!r}") from exc


def error_of(response: Response) -> ApiError:
    """The error that a response with a status outside 200..299 stands for."""
    retry_after_s = _retry_after_s(response.headers.get("retry-after"))
    try:
        body = json.loads(response.body)
        error = BY_CODE.get(response.status, ApiError)
        return error(
            str(body["error"]),
            code=response.status,
            reason=str(body["reason"]),
            session_id=body.get("session_id"),
            request_id=body.get("request_id"),
            sip_status=body.get("sip_status"),
            sip_reason=body.get("sip_reason"),
            retry_after_s=retry_after_s,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not this server's words: a proxy's page, most likely. A proxy's 502 must not pass for a SIP refusal.
        return ApiError(
            f"HTTP status {response.status} without an error of sdpserver",
            code=response.status,
            reason="unexpected_response",
            request_id=response.headers.get("x-request-id"),
            retry_after_s=retry_after_s,
        )


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3). Its date form is ignored: the server sends none."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def ice_servers() -> Operation[tuple[IceServer, ...]]:
    """GET /iceservers."""

    def read(body: Any) -> tuple[IceServer, ...]:
        return tuple(
            IceServer(urls=_urls(entry["urls"]), username=entry.get("username"), credential=entry.get("credential"))
            for entry in body
        )

    return Operation(method="GET", path="/iceservers", read=read)


def _urls(urls: Any) -> tuple[str, ...]:
    """W3C lets `urls` be one string or many."""
    return (urls,) if isinstance(urls, str) else tuple(urls)


def offer(
    sdp: str,
    *,
    to: str | None = None,
    call: CallOptions | None = None,
    metadata: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    resume_token: str | None = None,
) -> Operation[Answer]:
    """POST /webrtc/offer. `to` is short for `call.to`, and goes before it."""
    options = call or CallOptions()
    body: dict[str, Any] = {"sdp": {"type": "offer", "sdp": sdp}}
    if metadata:
        body["metadata"] = dict(metadata)
    if session_id is not None:
        body["session_id"] = session_id
    if resume_token is not None:
        body["resume_token"] = resume_token
    if wire_call := _wire_call(options, to):
        body["call"] = wire_call
    holds_s = 0.0 if options.wait_for == "none" else options.ring_timeout_s + RING_MARGIN_S
    return Operation(method="POST", path="/webrtc/offer", body=body, read=_read_answer, holds_s=holds_s)


def _wire_call(options: CallOptions, to: str | None) -> dict[str, Any]:
    """Only what differs from the defaults, which are the server's as well."""
    members: dict[str, tuple[Any, Any]] = {
        "to": (options.to if to is None else to, None),
        "from": (options.from_, None),
        "display_name": (options.display_name, None),
        "trunk": (options.trunk, None),
        "headers": (dict(options.headers), {}),
        "codecs": (list(options.codecs), []),
        "record": (options.record, False),
        "ring_timeout_s": (options.ring_timeout_s, 60.0),
        "wait_for": (options.wait_for, "none"),
    }
    return {name: value for name, (value, default) in members.items() if value != default}


def _read_answer(body: Any) -> Answer:
    if body["sdp"]["type"] != "answer":
        raise ValueError(f"sdp.type is {body['sdp']['type']!r}")
    return Answer(
        sdp=body["sdp"]["sdp"],
        session_id=body["session_id"],
        resume_token=body["resume_token"],
        ice_candidates=tuple(
            IceCandidate(
                candidate=entry["candidate"],
                sdp_mid=entry.get("sdpMid"),
                sdp_mline_index=entry.get("sdpMLineIndex"),
            )
            for entry in body["ice_candidates"]
        ),
        metadata=body["metadata"],
        call=CallInfo(call_id=body["call"]["call_id"], to=body["call"]["to"], state=body["call"]["state"]),
    )


def ice_candidates(session_id: str, candidates: Sequence[IceCandidate | None]) -> Operation[None]:
    """POST /webrtc/ice-candidate; None ends the candidates."""
    wire = [
        None
        if candidate is None
        else {
            "candidate": candidate.candidate,
            "sdpMid": candidate.sdp_mid,
            "sdpMLineIndex": candidate.sdp_mline_index,
        }
        for candidate in candidates
    ]
    body = {"session_id": session_id, "candidates": wire}
    return Operation(method="POST", path="/webrtc/ice-candidate", body=body, read=_nothing)


def close_session(session_id: str, reason: str | None = None) -> Operation[None]:
    """POST /webrtc/close."""
    body = {"session_id": session_id} | ({} if reason is None else {"reason": reason})
    return Operation(method="POST", path="/webrtc/close", body=body, read=_nothing)


def describe_session(session_id: str) -> Operation[dict[str, Any]]:
    """GET /webrtc/sessions/{id}."""
    return Operation(method="GET", path=f"/webrtc/sessions/{quote(session_id, safe='')}", read=dict)


def send_dtmf(
    call_id: str,
    digits: str,
    *,
    leg: Leg = "sip",
    method: DtmfMethod | None = None,
    duration_ms: int | None = None,
    gap_ms: int | None = None,
) -> Operation[None]:
    """POST /api/call/dtmf. What is None is the server's to choose."""
    body: dict[str, Any] = {"callId": call_id, "digits": digits, "leg": leg}
    body |= _present(method=method, durationMs=duration_ms, gapMs=gap_ms)
    return Operation(method="POST", path="/api/call/dtmf", body=body, read=_nothing)


def play(call_id: str, file: str, *, leg: Leg | Literal["both"] = "webrtc", loop: bool = False) -> Operation[None]:
    """POST /api/call/play."""
    body = {"callId": call_id, "file": file, "leg": leg, "loop": loop}
    return Operation(method="POST", path="/api/call/play", body=body, read=_nothing)


def stop_playing(call_id: str, *, leg: Leg | Literal["both"] = "webrtc") -> Operation[None]:
    """POST /api/call/play with `stop`."""
    body = {"callId": call_id, "leg": leg, "stop": True}
    return Operation(method="POST", path="/api/call/play", body=body, read=_nothing)


_RECORD: Mapping[RecordAction, Mapping[str, bool]] = {
    "start": {"record": True},
    "pause": {"record": True, "pause": True},
    "resume": {"record": True, "pause": False},
    "stop": {"record": False},
}


def record(call_id: str, action: RecordAction = "start", *, tone: bool | None = None) -> Operation[Recording]:
    """POST /api/call/record."""
    body = {"callId": call_id, **_RECORD[action], **_present(tone=tone)}
    return Operation(method="POST", path="/api/call/record", body=body, read=_read_recording)


def _read_recording(body: Any) -> Recording:
    return Recording(status=body["status"], path=body["path"])


def mute(call_id: str, muted: bool = True, *, leg: Leg = "webrtc") -> Operation[None]:
    """POST /api/call/mute."""
    body = {"callId": call_id, "mute": muted, "leg": leg}
    return Operation(method="POST", path="/api/call/mute", body=body, read=_nothing)


def conference(call_ids: Sequence[str], room: str | None = None) -> Operation[str]:
    """POST /api/call/conference; the room's name."""
    body = {"callIds": list(call_ids), **_present(room=room)}
    return Operation(method="POST", path="/api/call/conference", body=body, read=_read_room)


def _read_room(body: Any) -> str:
    return str(body["room"])


def _present(**members: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _nothing(body: Any) -> None:
    """The reply says no more than its status does."""


def server_event(text: str) -> ServerEvent:
    """An event as the `events` data channel carries it.

    :raises ValueError: it is none.
    """
    try:
        body = json.loads(text)
        return ServerEvent(
            id=int(body["id"]), type=str(body["type"]), elapsed_ms=float(body["elapsed_ms"]), data=dict(body["data"])
        )
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not an event: {exc!r}") from exc
