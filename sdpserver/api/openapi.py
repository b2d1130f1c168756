"""`/openapi.json`: the routes, with bodies from the models that check the requests."""

from __future__ import annotations

from typing import Any

import msgspec

from sdpserver import __version__, messages

_STATUS = {
    400: "The body, the SDP or the destination is wrong.",
    401: "No or wrong credentials.",
    403: "The credential, the page's origin or the host name may not.",
    404: "No such session, call, room or member.",
    408: "The body did not come within 10 s.",
    409: "The session_id is taken and resume_token is not its own (`session_exists`); or the call's state forbids it.",
    413: "The body has more than 256 KiB.",
    415: "The body is not application/json.",
    500: "A bug in the server, logged with request_id.",
    502: "The SIP side refused; sip_status and sip_reason say how.",
    503: "Full or shutting down.",
    504: "No answer from the SIP side.",
}
_BODY = (408, 413, 415)
_REF = "#/components/schemas/{name}"

# (path, method, summary, request, response, errors beside 403 and 500)
_ROUTES: tuple[tuple[str, str, str, Any, Any, tuple[int, ...]], ...] = (
    (
        "/webrtc/offer",
        "post",
        "Open a session with an SDP offer, or send a new offer for one",
        messages.OfferRequest,
        messages.OfferResponse,
        (400, 401, 404, 409, *_BODY, 502, 503, 504),
    ),
    (
        "/webrtc/ice-candidate",
        "post",
        "Tell the client's ICE candidates",
        messages.IceCandidateRequest,
        messages.IceCandidateResponse,
        (400, 401, 404, *_BODY),
    ),
    (
        "/webrtc/close",
        "post",
        "Close a session",
        messages.CloseRequest,
        messages.CloseResponse,
        (400, 401, 404, *_BODY),
    ),
    ("/iceservers", "get", "ICE servers for RTCPeerConnection", None, list[messages.IceServerInfo], (401,)),
    ("/webrtc/sessions", "get", "The caller's open sessions", None, messages.SessionList, (401,)),
    ("/webrtc/sessions/{session_id}", "get", "One session: state, media, timeline", None, dict[str, Any], (401, 404)),
    (
        "/webrtc/sessions/{session_id}/verdict",
        "get",
        "Why a session has no audio: one sentence and its evidence",
        None,
        dict[str, Any],
        (401, 404),
    ),
    (
        "/webrtc/sessions/{session_id}/events",
        "get",
        "One session's events, as they happen",
        None,
        "text/event-stream",
        (400, 401, 404),
    ),
    (
        "/api/call/dtmf",
        "post",
        "Press keys on one of the caller's own calls",
        messages.DtmfRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY),
    ),
    (
        "/api/call/conference",
        "post",
        "Put the caller's own calls into one room, where all of their sides hear each other",
        messages.ConferenceRequest,
        messages.ConferenceStatus,
        (400, 401, 404, 409, *_BODY, 503),
    ),
    (
        "/api/call/supervise",
        "post",
        "Listen to a call, whisper to its browser's side, or join it",
        messages.SuperviseRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY, 503),
    ),
    (
        "/api/call/mute",
        "post",
        "Let the others hear silence instead of one side of a call",
        messages.MuteRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY),
    ),
    ("/api/dn/list", "get", "All DNs: who is there, and their calls", None, messages.DnList, (401,)),
    ("/api/dn/{dn}", "get", "One DN", None, dict[str, Any], (401, 404)),
    ("/api/calls/active", "get", "The live calls that the caller may see", None, messages.CallList, (401,)),
    ("/api/calls/dn/{dn}", "get", "The live calls of a DN", None, messages.CallList, (401, 404)),
    ("/api/calls/{call_id}", "get", "One live call", None, dict[str, Any], (401, 404, 409)),
    (
        "/api/call/make",
        "post",
        "Have a DN ring, and call a number for it when it answers",
        messages.MakeCallRequest,
        messages.CallStatus,
        (400, 401, 404, *_BODY, 502, 503),
    ),
    (
        "/api/call/hangup",
        "post",
        "End a call",
        messages.HangupRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY),
    ),
    *(
        (
            f"/api/call/{action}",
            "post",
            summary,
            messages.WhichCall,
            messages.CallStatus,
            (400, 401, 404, 409, *_BODY),
        )
        for action, summary in (("hold", "Put a call on hold"), ("resume", "Take a call back from hold"))
    ),
    (
        "/api/call/transfer",
        "post",
        "Transfer a call, blind or after a consultation",
        messages.TransferRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY),
    ),
    ("/api/genesys/status", "get", "Every trunk: whether it answers, where it is", None, messages.TrunkList, (401,)),
    ("/api/rooms", "get", "Conferences", None, messages.RoomList, (401,)),
    ("/api/rooms/{room}", "get", "One conference: its members and who talks", None, dict[str, Any], (401, 404)),
    *(
        (
            f"/api/rooms/{{room}}/{action}",
            "post",
            f"{action.capitalize()} a member of a conference",
            messages.RoomMember,
            messages.RoomStatus,
            (400, 401, 404, *_BODY),
        )
        for action in ("mute", "unmute", "kick")
    ),
    (
        "/api/rooms/{room}/record",
        "post",
        "Record a conference: begin, pause, resume, stop",
        messages.RoomRecordRequest,
        messages.RoomRecordResponse,
        (400, 401, 404, 409, *_BODY, 503),
    ),
    (
        "/api/call/play",
        "post",
        "Play a sound into one of the caller's own calls, or stop it",
        messages.PlayRequest,
        messages.CallStatus,
        (400, 401, 404, 409, *_BODY),
    ),
    (
        "/api/call/record",
        "post",
        "Record a call: begin, pause, resume, stop",
        messages.RecordRequest,
        messages.RecordResponse,
        (400, 401, 404, 409, *_BODY, 503),
    ),
    ("/health", "get", "Whether the process lives", None, messages.Health, ()),
    ("/api/health", "get", "As /health", None, messages.Health, ()),
    ("/ready", "get", "Whether new sessions are taken", None, messages.Ready, (503,)),
)


def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    types = [
        kind for route in _ROUTES for kind in (route[3], route[4]) if kind is not None and not isinstance(kind, str)
    ]
    _, components = msgspec.json.schema_components([*types, messages.ErrorResponse], ref_template=_REF)
    paths: dict[str, Any] = {}
    for path, method, summary, request, response, errors in _ROUTES:
        paths.setdefault(path, {})[method] = _operation(path, method, summary, request, response, errors)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "sdpserver",
                "version": __version__,
                "description": "SDP offer/answer over HTTP with SIP egress.",
                "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                },
            },
            "security": [{}, {"apiKey": []}, {"bearer": []}],
        }
    )


def _schema(type_: Any) -> Any:
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=_REF)
    return schema


def _operation(path: str, method: str, summary: str, request: Any, response: Any, errors: tuple[int, ...]) -> Any:
    if isinstance(response, str):
        content = {response: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": _schema(response)}}
    error = {"application/json": {"schema": _schema(messages.ErrorResponse)}}
    answers: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    if isinstance(response, str):
        answers["204"] = {"description": "The session is closed and all of its events have been read."}
    for status in sorted({403, 500, *errors}):
        answers[str(status)] = {"description": _STATUS[status], "content": error}
    name = path.title().replace("/", "").replace("-", "")
    operation: dict[str, Any] = {
        "operationId": method
        + name.replace("{Session_Id}", "ById")
        .replace("{Room}", "ByName")
        .replace("{Dn}", "ByNumber")
        .replace("{Call_Id}", "ById"),
        "summary": summary,
        "responses": answers,
    }
    if request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(request)}}}
    parameters = []
    if "{session_id}" in path:
        parameters.append({"name": "session_id", "in": "path", "required": True, "schema": _schema(messages.SessionId)})
    if "{room}" in path:
        parameters.append({"name": "room", "in": "path", "required": True, "schema": _schema(messages.RoomName)})
    if "{dn}" in path:
        parameters.append({"name": "dn", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 64}})
    if "{call_id}" in path:
        parameters.append({"name": "call_id", "in": "path", "required": True, "schema": _schema(messages.CallId)})
    if path.endswith("/events"):
        parameters.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer", "minimum": 0}})
    if parameters:
        operation["parameters"] = parameters
    return operation
