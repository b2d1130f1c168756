"""The agent desktop's routes: section 4 of the wire contract. A desktop such as Genesys Workspace calls them on the
agent's workstation and leaves the audio to the softphone page that is connected for the agent's DN.

What is wrong with a request has the one error form. An order that cannot be carried out is answered with 200, as
desktops expect, with a result that is false, `reason` and `error`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.agents import Desktops, desktop
from sdpserver.agents.desktop import DesktopKey
from sdpserver.agents.directory import Dn
from sdpserver.errors import BadRequest, ClientError, PeerError, SdpServerError, Unavailable
from sdpserver.models.base import DnNumber
from sdpserver.models.desktop import (
    AnswerCallResponse,
    DesktopHoldRequest,
    DesktopMakeCallRequest,
    DesktopRequest,
    HangUpResponse,
    HoldResponse,
    IsEndpointActiveResponse,
    MakeCallResponse,
    PingResponse,
    RegisterDnRequest,
    RegisterDnResponse,
    RetrieveResponse,
    UnregisterDnRequest,
    UnregisterDnResponse,
)
from sdpserver.session import Session

from .operations import BODY_ERRORS, Operation, Parameter
from .query import query_value
from .requests import agents_of, body_of, client_address, optional_body_of, principal_of
from .responses import json_response


def _desktops(request: Request) -> Desktops:
    return cast(Desktops, request.app.state.desktops)


def _key(request: Request) -> DesktopKey:
    """Whose desktop it is.

    :raises Unauthorized, Forbidden: as `principal_of`.
    """
    return principal_of(request, "dn").name, client_address(request)


def _dn(request: Request, key: DesktopKey, message: DesktopRequest | DesktopMakeCallRequest) -> Dn:
    """The one that an order is for.

    :raises ClientError: as `Desktops.dn`; BadRequest: it is named twice.
    """
    if message.dn is not None and message.users is not None:
        raise BadRequest("dn and users are both there; only one may be", reason="invalid_field")
    return _desktops(request).dn(key, message.users[0] if message.users else message.dn)


# What an order may be refused for by how things are; a bug, or the caller's bad request, is none of these.
_REFUSALS = (ClientError, PeerError, Unavailable)


def _result(name: str, call: Session | None = None, refusal: SdpServerError | None = None) -> Response:
    """In the form of the model `<name>Response`."""
    result: dict[str, Any] = {f"{name}Result": refusal is None}
    if call is not None:
        result["callId"] = call.call_id
    if refusal is not None:
        result |= {"reason": refusal.reason, "error": str(refusal)}
    return json_response(result)


async def register_dn(request: Request) -> Response:
    """POST /RegisterDn."""
    key = _key(request)
    message = await body_of(request, RegisterDnRequest)
    try:
        await _desktops(request).sign_on(key, message.users)
    except _REFUSALS as exc:
        return _result("RegisterDn", refusal=exc)
    return _result("RegisterDn")


async def unregister_dn(request: Request) -> Response:
    """POST /UnregisterDn."""
    key = _key(request)
    message = await optional_body_of(request, UnregisterDnRequest)
    return _carry_out("UnregisterDn", lambda: _desktops(request).sign_off(key, message.users))


async def make_call(request: Request) -> Response:
    """POST /MakeCall: the page is rung so that it answers by itself, then the number is called for it."""
    key = _key(request)
    message = await body_of(request, DesktopMakeCallRequest)
    if (message.destination is None) == (message.to is None):
        raise BadRequest("destination or to must be there, and only one of them", reason="missing_field")
    to = message.destination or message.to or ""
    return _carry_out(
        "MakeCall", lambda: agents_of(request).make_call(_dn(request, key, message).number, to, auto_answer=True)
    )


async def answer_call(request: Request) -> Response:
    """POST /AnswerCall: true once the page has been told to."""
    return await _order(request, "AnswerCall", desktop.ask_to_answer)


async def hang_up(request: Request) -> Response:
    """POST /HangUp."""
    return await _order(request, "HangUp", desktop.hang_up)


async def retrieve(request: Request) -> Response:
    """POST /Retrieve."""
    return await _order(request, "Retrieve", desktop.retrieve)


async def hold(request: Request) -> Response:
    """POST /Hold."""
    key = _key(request)
    message = await optional_body_of(request, DesktopHoldRequest)
    act = desktop.hold if message.hold else desktop.retrieve
    return _carry_out("Hold", lambda: act(_dn(request, key, message), message.callId))


async def _order(request: Request, name: str, act: Callable[[Dn, str | None], Session]) -> Response:
    key = _key(request)
    message = await optional_body_of(request, DesktopRequest)
    return _carry_out(name, lambda: act(_dn(request, key, message), message.callId))


def _carry_out(name: str, act: Callable[[], Session | None]) -> Response:
    """`act` may return the call that it is about."""
    try:
        return _result(name, act())
    except _REFUSALS as exc:
        return _result(name, refusal=exc)


async def is_endpoint_active(request: Request) -> Response:
    """GET /GetIsEndpointActive."""
    key = _key(request)
    active = _desktops(request).is_active(key, query_value(request, "dn", DnNumber))
    return json_response(IsEndpointActiveResponse(get_IsEndpointActiveResult=active))


async def ping(request: Request) -> Response:
    """GET /Ping."""
    _key(request)
    return json_response(PingResponse())


_ERRORS = (400, 401, *BODY_ERRORS)
OPERATIONS = (
    Operation(
        method="POST",
        path="/RegisterDn",
        endpoint=register_dn,
        summary="An agent desktop signs on to DNs whose softphone pages are connected",
        request=RegisterDnRequest,
        response=RegisterDnResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/UnregisterDn",
        endpoint=unregister_dn,
        summary="An agent desktop signs off: no call rings at these DNs until it signs on again",
        request=UnregisterDnRequest,
        request_required=False,
        response=UnregisterDnResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/MakeCall",
        endpoint=make_call,
        summary="The softphone page makes a call",
        request=DesktopMakeCallRequest,
        response=MakeCallResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/AnswerCall",
        endpoint=answer_call,
        summary="The softphone page answers the call that rings",
        request=DesktopRequest,
        request_required=False,
        response=AnswerCallResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/HangUp",
        endpoint=hang_up,
        summary="The softphone page ends its call, or rejects the one that rings",
        request=DesktopRequest,
        request_required=False,
        response=HangUpResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/Hold",
        endpoint=hold,
        summary="The softphone page holds its call",
        request=DesktopHoldRequest,
        request_required=False,
        response=HoldResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        path="/Retrieve",
        endpoint=retrieve,
        summary="The softphone page takes its call back from hold",
        request=DesktopRequest,
        request_required=False,
        response=RetrieveResponse,
        errors=_ERRORS,
    ),
    Operation(
        method="GET",
        path="/GetIsEndpointActive",
        endpoint=is_endpoint_active,
        summary="Whether a softphone page is connected",
        response=IsEndpointActiveResponse,
        parameters=(
            Parameter(
                name="dn",
                type=DnNumber,
                description="For this DN; left out: those that the desktop has signed on to, or any.",
            ),
        ),
        errors=(400, 401),
    ),
    Operation(
        method="GET",
        path="/Ping",
        endpoint=ping,
        summary="An agent desktop asks whether its softphone is there",
        response=PingResponse,
        errors=(401,),
    ),
)
