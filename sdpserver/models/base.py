"""What the bodies of all routes have in common, and what every route may answer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

# Python's $ also matches before a line feed at the end; other dialects' does not, and takes the lookahead too.
SessionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,128}$(?!\n)", min_length=1, max_length=128)]
CallId = SessionId
DestinationName = Annotated[str, Meta(min_length=1, max_length=256)]
DnNumber = Annotated[str, Meta(min_length=1, max_length=64)]
RoomName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,64}$(?!\n)", min_length=1, max_length=64)]


RecordsState = Literal["off", "starting", "ok", "retrying"]


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request body; members that it does not name are refused."""


class Response(msgspec.Struct, kw_only=True):
    """A response body."""


class PageResponse(Response, kw_only=True):
    """A list, or, for a request with parameters, a page. `total`: of all pages; `next_cursor`: null on the last."""

    total: int | UnsetType = UNSET
    next_cursor: str | UnsetType | None = UNSET


class ErrorResponse(Response, omit_defaults=True):
    """Every error of every route."""

    error: str
    code: int
    reason: str
    request_id: str
    session_id: str | None = None
    sip_status: int | None = None
    sip_reason: str | None = None


class Health(Response):
    """GET /health: the process lives. `records`: of calls; `retrying`: they cannot be written and are kept."""

    version: str
    uptime_s: float
    records: RecordsState
    status: Literal["ok"] = "ok"


class Ready(Response):
    """GET /ready: new sessions are taken."""

    status: Literal["ready"] = "ready"
