"""What callers see of the trunks: section 4 of the wire contract."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.models.trunks import TrunkList

from .operations import Operation
from .requests import principal_of, sessions_of
from .responses import json_response


async def status(request: Request) -> Response:
    """GET /api/genesys/status."""
    principal_of(request, "call")
    return json_response(TrunkList(trunks=sessions_of(request).trunks()))


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/genesys/status",
        endpoint=status,
        summary="Every trunk: whether it answers, where it is",
        response=TrunkList,
        errors=(401,),
    ),
)
