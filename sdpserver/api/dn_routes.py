"""DNs and calls, for whoever controls agents from elsewhere: section 4 of the wire contract.

With the scope `dn` a caller sees all DNs and controls their calls, with `supervise` all calls, and without either its
own calls only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.errors import BadRequest, no_such_call
from sdpserver.models.calls import CallList, CallStatus, HangupRequest, MakeCallRequest, TransferRequest, WhichCall
from sdpserver.models.dns import DnInfo, DnList
from sdpserver.models.session import LiveCall
from sdpserver.models.webrtc import Verdict
from sdpserver.session import Session
from sdpserver.session.ended import EndedSession
from sdpserver.session.inbound import dn_of
from sdpserver.session.verdict import judge

from .call_filters import ACTIVE_PARAMETERS, CALL_PARAMETERS, DN_PARAMETERS, age, matches
from .credentials import Principal
from .operations import BODY_ERRORS, Operation
from .paging import page
from .query import read_query
from .requests import agents_of, body_of, principal_of, sessions_of
from .responses import json_response


def _may_see(principal: Principal, session: Session | EndedSession) -> bool:
    if session.owner == principal.name or principal.supervises:
        return True
    return "dn" in principal.scopes and dn_of(session.owner) is not None


def _call(request: Request, principal: Principal, which: WhichCall) -> Session:
    """
    :raises BadRequest: `missing_field`.
    :raises NotFound: `call_not_found`, `dn_not_found`: also of what is somebody else's.
    :raises Conflict: `call_ended`, `no_call`, `several_calls`.
    """
    if (which.callId is None) == (which.dn is None):
        raise BadRequest("callId or dn must be there, and only one of them", reason="missing_field")
    if which.dn is not None:
        principal.require("dn")
        return agents_of(request).find(which.dn).active_call
    return find_call(request, principal, which.callId or "")


def find_call(request: Request, principal: Principal, call_id: str) -> Session:
    """
    :raises NotFound: `call_not_found`. :raises Conflict: `call_ended`.
    """
    session = sessions_of(request).find_call(call_id, owner=None)
    if not _may_see(principal, session):
        raise no_such_call()
    return session


def find_any_call(request: Request, principal: Principal, call_id: str) -> Session | EndedSession:
    """The same, also of one that has ended within `linger_s`.

    :raises NotFound: `call_not_found`.
    """
    session = sessions_of(request).find_any_call(call_id)
    if not _may_see(principal, session):
        raise no_such_call()
    return session


async def list_dns(request: Request) -> Response:
    """GET /api/dn/list."""
    principal_of(request, "dn")
    query = read_query(request, DN_PARAMETERS)
    numbers = query.get("dn")
    found = [
        dn
        for dn in agents_of(request).all
        if query.get("status", dn.status) == dn.status and (numbers is None or dn.number in numbers)
    ]
    listed = page(found, lambda dn: (dn.number,), query)
    return json_response(DnList(dns=[dn.describe() for dn in listed.items], **listed.members(query)))


async def describe_dn(request: Request) -> Response:
    """GET /api/dn/{dn}."""
    principal_of(request, "dn")
    return json_response(agents_of(request).find(request.path_params["dn"]).describe())


async def active_calls(request: Request) -> Response:
    """GET /api/calls/active."""
    principal = principal_of(request, "call")
    query = read_query(request, ACTIVE_PARAMETERS)
    return _list_calls((call for call in sessions_of(request).calls() if _may_see(principal, call)), query)


async def calls_of_dn(request: Request) -> Response:
    """GET /api/calls/dn/{dn}."""
    principal_of(request, "dn")
    query = read_query(request, CALL_PARAMETERS)
    return _list_calls(agents_of(request).find(request.path_params["dn"]).calls.values(), query)


def _list_calls(calls: Iterable[Session], query: Mapping[str, Any]) -> Response:
    numbers = query.get("dn")
    found = [
        call
        for call in calls
        if matches(call, query)
        and query.get("status", call.call_state) == call.call_state
        and (numbers is None or dn_of(call.owner) in numbers)
    ]
    listed = page(found, age, query)
    calls_now = [call.describe_call() for call in listed.items]
    return json_response(CallList(calls=calls_now, **listed.members(query)))


async def describe_call(request: Request) -> Response:
    """GET /api/calls/{callId}."""
    principal = principal_of(request, "call")
    return json_response(find_call(request, principal, request.path_params["call_id"]).describe_call())


async def call_verdict(request: Request) -> Response:
    """GET /api/calls/{callId}/verdict: for who looks after calls of others, which have sessions of their own."""
    principal = principal_of(request, "call")
    return json_response(judge(find_call(request, principal, request.path_params["call_id"]).describe()))


async def make(request: Request) -> Response:
    """POST /api/call/make."""
    principal_of(request, "dn")
    message = await body_of(request, MakeCallRequest)
    session = agents_of(request).make_call(message.from_, message.to, auto_answer=message.autoAnswer)
    return json_response(CallStatus(callId=session.call_id, status="ringing"))


async def hangup(request: Request) -> Response:
    """POST /api/call/hangup."""
    principal = principal_of(request, "call")
    message = await body_of(request, HangupRequest)
    call = _call(request, principal, message)
    call.close(message.reason or "normal_clearing")
    return json_response(CallStatus(callId=call.call_id, status="ended"))


async def hold(request: Request) -> Response:
    """POST /api/call/hold."""
    return await _hold(request, held=True)


async def resume(request: Request) -> Response:
    """POST /api/call/resume."""
    return await _hold(request, held=False)


async def _hold(request: Request, *, held: bool) -> Response:
    principal = principal_of(request, "call")
    call = _call(request, principal, await body_of(request, WhichCall))
    call.hold(held)
    return json_response(CallStatus(callId=call.call_id, status="held" if held else "resumed"))


async def transfer(request: Request) -> Response:
    """POST /api/call/transfer. How it ends is told by the call's events."""
    principal = principal_of(request, "call")
    message = await body_of(request, TransferRequest)
    if (message.to is None) == (message.consultCallId is None):
        raise BadRequest("to or consultCallId must be there, and only one of them", reason="missing_field")
    call = _call(request, principal, message)
    transfers = sessions_of(request).transfers
    if message.to is not None:
        transfers.send(call, message.to)
    else:
        transfers.connect(call, find_call(request, principal, message.consultCallId or ""))
    return json_response(CallStatus(callId=call.call_id, status="transferred" if call.closed else "transferring"))


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/dn/list",
        endpoint=list_dns,
        summary="All DNs: who is there, and their calls",
        response=DnList,
        parameters=DN_PARAMETERS,
        errors=(400, 401),
    ),
    Operation(
        method="GET",
        path="/api/dn/{dn}",
        endpoint=describe_dn,
        summary="One DN",
        response=DnInfo,
        errors=(401, 404),
    ),
    Operation(
        method="GET",
        path="/api/calls/active",
        endpoint=active_calls,
        summary="The live calls that the caller may see",
        response=CallList,
        parameters=ACTIVE_PARAMETERS,
        errors=(400, 401),
    ),
    Operation(
        method="GET",
        path="/api/calls/dn/{dn}",
        endpoint=calls_of_dn,
        summary="The live calls of a DN",
        response=CallList,
        parameters=CALL_PARAMETERS,
        errors=(400, 401, 404),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}",
        endpoint=describe_call,
        summary="One live call",
        response=LiveCall,
        errors=(401, 404, 409),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}/verdict",
        endpoint=call_verdict,
        summary="Why a live call has no audio: one sentence and its evidence",
        response=Verdict,
        errors=(401, 404, 409),
    ),
    Operation(
        method="POST",
        path="/api/call/make",
        endpoint=make,
        summary="Have a DN ring, and call a number for it when it answers",
        request=MakeCallRequest,
        response=CallStatus,
        errors=(400, 401, 404, *BODY_ERRORS, 502, 503),
    ),
    Operation(
        method="POST",
        path="/api/call/hangup",
        endpoint=hangup,
        summary="End a call",
        request=HangupRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/call/hold",
        endpoint=hold,
        summary="Put a call on hold",
        request=WhichCall,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/call/resume",
        endpoint=resume,
        summary="Take a call back from hold",
        request=WhichCall,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/call/transfer",
        endpoint=transfer,
        summary="Transfer a call, blind or after a consultation",
        request=TransferRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
)
