"""What callers see of the trunks: section 4 of the wire contract."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sdpserver.messages import TrunkList

from .requests import principal_of, sessions_of
from .responses import json_response


async def status(request: Request) -> Response:
    """GET /api/genesys/status."""
    principal_of(request, "call")
    return json_response(TrunkList(trunks=sessions_of(request).trunks()))


ROUTES: list[BaseRoute] = [Route("/api/genesys/status", status, methods=["GET"])]
