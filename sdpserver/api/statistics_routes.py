"""Figures for operators: GET /stats for people, GET /metrics for Prometheus.

They tell of everybody's calls, so they need the scope `supervise` or `admin`. With `[auth] mode = "none"` only this
machine can ask, and may.
"""

from __future__ import annotations

import time
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.models.statistics import Stats
from sdpserver.statistics import Statistics

from .operations import Content, Operation
from .requests import operator_of
from .responses import json_response


def _statistics(request: Request) -> Statistics:
    return cast(Statistics, request.app.state.statistics)


async def stats(request: Request) -> Response:
    """GET /stats."""
    operator_of(request)
    now_s = time.monotonic()
    uptime_s = round(now_s - request.app.state.started, 3)
    return json_response(_statistics(request).totals(now_s=now_s, uptime_s=uptime_s))


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    operator_of(request)
    body, content_type = _statistics(request).exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


OPERATIONS = (
    Operation(
        method="GET",
        path="/stats",
        endpoint=stats,
        summary="Totals: sessions, calls, times, media, agents, trunks, the process",
        response=Stats,
        errors=(401,),
    ),
    Operation(
        method="GET",
        path="/metrics",
        endpoint=metrics,
        summary="The same for Prometheus",
        response=Content(media_type="text/plain", description="Prometheus' text 0.0.4, or OpenMetrics by Accept."),
        errors=(401,),
    ),
)
