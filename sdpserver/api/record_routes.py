"""Call records: section 4 of the wire contract.

A caller sees the records of its own calls with the scope `call`, those of all DNs with `dn`, and all with `supervise`
or `admin`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sdpserver.errors import BadRequest, NotFound
from sdpserver.models.base import CallId
from sdpserver.models.records import CallRecordList, CallResult
from sdpserver.models.session import CallDirection
from sdpserver.records import CallRecords, RecordQuery, formats
from sdpserver.records.query import Cursor, Scope, TimeColumn

from .accept import choose
from .credentials import Principal
from .operations import Content, Operation, Parameter
from .paging import DEFAULT_LIMIT, page_parameters
from .query import read_query
from .requests import principal_of

JSON, CSV = "application/json", "text/csv"
CSV_PAGE = 500
_HEADERS = {"vary": "accept", "cache-control": "no-store"}
# A database takes no NUL.
_Text64 = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
_Number = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]+$")]
_Time = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema={"format": "date-time"})]

PARAMETERS = (
    Parameter(name="since", type=_Time, description="Calls from this time on; ISO 8601, without a zone UTC."),
    Parameter(name="until", type=_Time, description="Calls before this time."),
    Parameter(
        name="by",
        type=TimeColumn,
        description="Which time counts, also for the order: when a call began (the default) or ended. "
        "A job that fetches what is new goes by `ended`, so that it misses no long call.",
    ),
    Parameter(name="dn", type=_Text64, description="Calls of this DN."),
    Parameter(
        name="number", type=_Number, description="Who called or was called; with * at the end, all that begin so."
    ),
    Parameter(name="result", type=list[CallResult], description="Any of these, separated by commas."),
    Parameter(name="direction", type=CallDirection, description="Of the call, seen from its client."),
    Parameter(name="call_id", type=CallId, description="One call."),
    *page_parameters(f"{DEFAULT_LIMIT} as JSON, and all as CSV"),
)


def _records(request: Request) -> CallRecords:
    """:raises NotFound: `records_off`."""
    records: CallRecords | None = request.app.state.records
    if records is None:
        raise NotFound("no call records are kept here: [records] url is empty", reason="records_off")
    return records


def _scope(principal: Principal) -> Scope:
    """:raises Forbidden: no scope that shows any records."""
    if principal.sees_all:
        return Scope(everything=True)
    dns = "dn" in principal.scopes
    if not dns:
        principal.require("call")
    return Scope(owner=principal.name if "call" in principal.scopes else "", dns=dns)


async def list_records(request: Request) -> Response:
    """GET /api/cdr."""
    scope = _scope(principal_of(request, None))
    media_type = choose(request.headers.get("accept"), (JSON, CSV))
    query, limit = _query(request, scope)
    records = _records(request)
    if media_type == JSON:
        limit = limit or DEFAULT_LIMIT
        page = await records.read(query, limit + 1, partial(formats.json_page, limit=limit, by=query.by))
        return Response(page, media_type=JSON, headers=_HEADERS)
    first = await _csv_page(records, query, limit)  # what fails is still an error with a status
    disposition = {"content-disposition": 'attachment; filename="call-records.csv"'}
    return StreamingResponse(
        _csv(records, query, limit, first),
        media_type="text/csv; charset=utf-8; header=present",
        headers=_HEADERS | disposition,
    )


async def _csv(
    records: CallRecords, query: RecordQuery, limit: int | None, first: tuple[bytes, Cursor | None]
) -> AsyncIterator[bytes]:
    """Page by page, so that neither a slow client nor a large table holds a connection of the database."""
    yield formats.csv_head()
    lines, cursor = first
    while True:
        if lines:
            yield lines
        if cursor is None:
            return
        lines, cursor = await _csv_page(records, replace(query, after=cursor), None)


async def _csv_page(records: CallRecords, query: RecordQuery, limit: int | None) -> tuple[bytes, Cursor | None]:
    """Lines, and where the next ones begin."""

    def form(rows: Any) -> tuple[bytes, Cursor | None]:
        is_last = limit is not None or len(rows) < CSV_PAGE
        return formats.csv_lines(rows), None if is_last else formats.cursor_of(rows[-1], query.by)

    return await records.read(query, limit or CSV_PAGE, form)


# -- what is asked for


def _query(request: Request, scope: Scope) -> tuple[RecordQuery, int | None]:
    """And the limit, if there is one.

    :raises BadRequest: `unknown_field`, `invalid_field`, `invalid_cursor`.
    """
    given = read_query(request, PARAMETERS)
    by: TimeColumn = given.get("by", "created")
    after = Cursor.decode(given["cursor"]) if "cursor" in given else None
    if after is not None and after.by != by:
        raise BadRequest("cursor is of another order; keep by as it was", reason="invalid_cursor")
    since, until = _time(given, "since"), _time(given, "until")
    if since is not None and until is not None and since >= until:
        raise BadRequest("until must be later than since", reason="invalid_field")
    query = RecordQuery(
        scope=scope,
        by=by,
        since=since,
        until=until,
        dn=given.get("dn"),
        number=given.get("number"),
        results=tuple(dict.fromkeys(given.get("result", ()))),
        direction=given.get("direction"),
        call_id=given.get("call_id"),
        after=after,
    )
    return query, given.get("limit")


def _time(given: Mapping[str, Any], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        # Of a query that is not escaped, the + of a zone arrives as a space.
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise BadRequest(f"{name} must be a time such as 2026-01-31T12:00:00Z", reason="invalid_field") from exc


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/cdr",
        endpoint=list_records,
        summary="Call records, newest first: JSON in pages, or CSV",
        response=(CallRecordList, Content(media_type=CSV, description="A line for each call, names in the first.")),
        errors=(400, 401, 404, 406, 503),
        parameters=PARAMETERS,
    ),
)
