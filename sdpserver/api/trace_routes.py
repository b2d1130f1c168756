"""A call's SIP messages, for whoever asks what has happened: section 4 of the wire contract."""

from __future__ import annotations

import asyncio
from typing import Literal, get_args

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sdpserver.errors import BadRequest, Conflict
from sdpserver.models.traces import TraceMessage, TraceResponse
from sdpserver.sip import CallTrace
from sdpserver.sip.ladder import ladder, text
from sdpserver.timestamps import utc_text

from .accept import quality
from .dn_routes import find_any_call
from .operations import Content, Operation, Parameter
from .requests import principal_of, sessions_of
from .responses import json_response

TraceFormat = Literal["json", "text", "ladder"]


async def trace(request: Request) -> Response:
    """GET /api/calls/{callId}/trace, also of a call that has ended within `linger_s`."""
    principal = principal_of(request, "call")
    call_id = find_any_call(request, principal, request.path_params["call_id"]).call_id
    format_ = _format(request)
    traces = sessions_of(request).traces
    if not traces.is_on:
        raise Conflict(
            "the server keeps no SIP messages: [sip] trace is false, or there is no trunk", reason="trace_off"
        )
    return await asyncio.to_thread(lambda: _response(traces.read(call_id), call_id, format_))


def _format(request: Request) -> TraceFormat:
    """As the query has it, else by `Accept`; JSON where that leaves it open.

    :raises BadRequest: `invalid_field`.
    """
    asked = request.query_params.get("format")
    for format_ in get_args(TraceFormat):
        if asked == format_:
            return format_  # type: ignore[no-any-return]
    if asked is not None:
        raise BadRequest("format is none of json, text, ladder", reason="invalid_field")
    accept = request.headers.get("accept", "")
    return "text" if quality(accept, "text/plain") > quality(accept, "application/json") else "json"


def _response(found: CallTrace, call_id: str, format_: TraceFormat) -> Response:
    if format_ != "json":
        shown = text(found, call_id) if format_ == "text" else ladder(found, call_id)
        return PlainTextResponse(shown)
    messages = [
        TraceMessage(
            time=utc_text(message.at, "microseconds"),
            elapsed_ms=message.elapsed_ms,
            direction="out" if message.is_sent else "in",
            transport=message.transport,
            local=message.local,
            remote=message.remote,
            sipCallId=message.sip_call_id,
            cseq=message.cseq,
            startLine=message.start_line,
            retransmission=message.is_repeated,
            text=message.text,
        )
        for message in found.messages
    ]
    return json_response(TraceResponse(callId=call_id, messages=messages, dropped=found.dropped))


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/calls/{call_id}/trace",
        endpoint=trace,
        summary="The SIP messages of a call, without credentials; also for a while after its end",
        response=(TraceResponse, Content(media_type="text/plain", description="the messages, or a ladder diagram")),
        errors=(400, 401, 404, 409),
        parameters=(
            Parameter(
                name="format",
                type=TraceFormat,
                description="`ladder`: a diagram with a column for each party; without it, by Accept: JSON or text",
            ),
        ),
    ),
)
