"""The server itself: whether it lives, and whether it takes new sessions."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from sdpserver import __version__
from sdpserver.errors import Unavailable
from sdpserver.models.base import Health, Ready, RecordsState
from sdpserver.records import CallRecords

from .operations import Operation
from .responses import json_response


async def health(request: Request) -> Response:
    """GET /health, GET /api/health."""
    uptime_s = round(time.monotonic() - request.app.state.started, 3)
    return json_response(Health(version=__version__, uptime_s=uptime_s, records=_records(request)))


async def ready(request: Request) -> Response:
    """GET /ready."""
    if request.app.state.draining:
        raise Unavailable("the server is shutting down", reason="draining", retry_after_s=5)
    return json_response(Ready())


def _records(request: Request) -> RecordsState:
    """Calls go on without the database of their records, so it is told and decides nothing."""
    records: CallRecords | None = request.app.state.records
    return "off" if records is None else records.state


OPERATIONS = (
    Operation(method="GET", path="/health", endpoint=health, summary="Whether the process lives", response=Health),
    Operation(method="GET", path="/api/health", endpoint=health, summary="As /health", response=Health),
    Operation(
        method="GET",
        path="/ready",
        endpoint=ready,
        summary="Whether new sessions are taken",
        response=Ready,
        errors=(503,),
    ),
)
