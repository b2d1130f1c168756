"""What a client can do to its own call while it lasts: section 4 of the wire contract."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.dtmf import DtmfMethod, DtmfOrder, check_digits
from sdpserver.errors import BadRequest
from sdpserver.models.calls import CallStatus, DtmfRequest, PlayRequest, RecordRequest, RecordResponse
from sdpserver.session import Session
from sdpserver.session.far_end import BROWSER, FAR

from .operations import BODY_ERRORS, Operation
from .requests import body_of, principal_of, sessions_of
from .responses import json_response


def _call(request: Request, call_id: str) -> Session:
    """The caller's own call, with the scope `call`.

    :raises NotFound: `call_not_found`: there is none, or it is somebody else's.
    :raises Conflict: `call_ended`.
    """
    return sessions_of(request).find_call(call_id, owner=principal_of(request, "call").name)


async def dtmf(request: Request) -> Response:
    """POST /api/call/dtmf."""
    principal_of(request, "call")
    message = await body_of(request, DtmfRequest)
    order = DtmfOrder(
        digits=check_digits(message.digits),
        duration_ms=message.durationMs,
        gap_ms=message.gapMs,
        method=None if message.method is None else DtmfMethod(message.method),
        leg=message.leg,
    )
    _call(request, message.callId).send_dtmf(order)
    return json_response(CallStatus(callId=message.callId, status="queued"))


async def play(request: Request) -> Response:
    """POST /api/call/play."""
    principal_of(request, "call")
    message = await body_of(request, PlayRequest)
    call = _call(request, message.callId)
    legs = (message.leg,) if message.leg != "both" else (BROWSER, FAR)
    if message.stop:
        if message.file is not None or message.loop:
            raise BadRequest("stop goes without file and loop", reason="invalid_field")
        call.audio.stop_playing(legs)
        return json_response(CallStatus(callId=message.callId, status="stopped"))
    if message.file is None:
        raise BadRequest("file is missing", reason="missing_field")
    sound = await sessions_of(request).sounds.load(message.file)
    _call(request, message.callId)  # it may have ended meanwhile
    call.play(legs, message.file, sound, loop=message.loop)
    return json_response(CallStatus(callId=message.callId, status="playing"))


async def record(request: Request) -> Response:
    """POST /api/call/record. With the scope `supervise`, of any call."""
    principal = principal_of(request)
    if not principal.supervises:
        principal.require("call")
    message = await body_of(request, RecordRequest)
    call = sessions_of(request).find_call(message.callId, owner=principal.limited_to)
    recording = call.record(record=message.record, pause=message.pause, tone=message.tone)
    return json_response(RecordResponse(callId=message.callId, status=recording.state.value, path=recording.path))


OPERATIONS = (
    Operation(
        method="POST",
        path="/api/call/play",
        endpoint=play,
        summary="Play a sound into one of the caller's own calls, or stop it",
        request=PlayRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/call/record",
        endpoint=record,
        summary="Record a call: begin, pause, resume, stop",
        request=RecordRequest,
        response=RecordResponse,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 503),
    ),
    Operation(
        method="POST",
        path="/api/call/dtmf",
        endpoint=dtmf,
        summary="Press keys on one of the caller's own calls",
        request=DtmfRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
)
