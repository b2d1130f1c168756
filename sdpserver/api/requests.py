"""What every route asks of a request: who it is from, what is in its body, and the sessions that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.types import Receive

from sdpserver.agents import Agents
from sdpserver.config import AccessScope
from sdpserver.json_bodies import decode
from sdpserver.models.webrtc import OfferRequest
from sdpserver.session import Sessions

from . import bodies
from .credentials import ANONYMOUS, Credentials, Principal
from .failures import ClientDisconnected

Body = TypeVar("Body", bound=msgspec.Struct)
T = TypeVar("T")


def sessions_of(request: Request) -> Sessions:
    return cast(Sessions, request.app.state.sessions)


def agents_of(request: Request) -> Agents:
    return cast(Agents, request.app.state.agents)


def principal_of(request: Request, scope: AccessScope | None = "session") -> Principal:
    """Who asks. `scope` None: its scopes are looked at elsewhere.

    :raises Unauthorized: nobody known.
    :raises Forbidden: somebody without `scope`.
    """
    credentials = cast(Credentials, request.app.state.credentials)
    principal = credentials.principal(request.scope["headers_by_name"])
    if scope is not None:
        principal.require(scope)
    return principal


def stream_principal_of(request: Request, scope: AccessScope | None = "session") -> Principal:
    """The same of a stream of events, for which `?token=` is taken too.

    :raises Unauthorized, Forbidden: as `principal_of`.
    """
    credentials = cast(Credentials, request.app.state.credentials)
    principal = credentials.principal_of_event_stream(request.scope["headers_by_name"], request.query_params)
    if scope is not None:
        principal.require(scope)
    return principal


def operator_of(request: Request) -> Principal:
    """Who asks about the whole server: somebody with the scope `supervise` or `admin`, or whoever is on this machine
    while nobody is asked for a key.

    :raises Unauthorized, Forbidden: as `principal_of`.
    """
    principal = principal_of(request, None)
    if principal is not ANONYMOUS and not principal.sees_all:
        principal.require("supervise")
    return principal


def check_destination(request: Request, message: OfferRequest, principal: Principal) -> None:
    """A caller without the scope `call` may talk to the built-in destinations, not to others.

    :raises Forbidden: `scope_missing`.
    :raises BadRequest: there is no such destination.
    """
    if "call" in principal.scopes:
        return
    destination = sessions_of(request).resolve(message.call, message.metadata)
    if destination.trunk is not None or destination.room is not None or destination.dn:
        principal.require("call")


async def body_of(request: Request, type_: type[Body]) -> Body:
    """The body as `type_`.

    :raises ClientError: as `bodies` and `json_bodies` have it.
    """
    headers = request.scope["headers_by_name"]
    bodies.check_content_type(headers)
    return decode(await bodies.read(request.receive, headers), type_)


async def optional_body_of(request: Request, type_: type[Body]) -> Body:
    """The same of a body that may be left out, and its Content-Type with it.

    :raises ClientError: as `body_of`.
    """
    headers = request.scope["headers_by_name"]
    body = await bodies.read(request.receive, headers)
    if not body:
        return type_()
    bodies.check_content_type(headers)
    return decode(body, type_)


def client_address(request: Request) -> str:
    """Where the request comes from; "" if that has no address."""
    return request.client.host if request.client is not None else ""


async def while_connected(awaitable: Awaitable[T], receive: Receive) -> T:
    """Cancelled when the client goes away: nobody would hear the call that it waits for."""
    work = asyncio.ensure_future(awaitable)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientDisconnected
    finally:
        for task in (work, gone):
            task.cancel()
        # How they end is of interest to nobody: the result is out, or the client is gone.
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
