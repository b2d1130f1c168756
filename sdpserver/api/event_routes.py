"""GET /api/events: calls, DNs and trunks as they change, for a supervisor's wall board.

With the scope `supervise` or `admin` of everybody, with `dn` of the DNs, with `call` of the caller's own calls.
"""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.models.base import DnNumber
from sdpserver.models.supervision import UNASKED_TYPES, EventType, SupervisorEvent
from sdpserver.supervision import Supervision, View

from .operations import Content, Operation, Parameter
from .query import read_query
from .requests import stream_principal_of
from .server_sent_events import LAST_EVENT_ID, EventStream, last_event_id

PARAMETERS = (
    Parameter(
        name="types",
        type=list[EventType],
        description="Only these, separated by commas; by default all but `callQuality`, which each call has every 5 s.",
    ),
    Parameter(name="dn", type=list[DnNumber], description="Only of these DNs, separated by commas."),
    Parameter(
        name="snapshot",
        type=bool,
        description="First of all an event `snapshot`, which tells how things are. After a `gap` there is always one.",
    ),
    Parameter(name="token", type=str, description="The credential, of an EventSource, which can set no header."),
    Parameter(name="last_event_id", type=str, description="As Last-Event-ID, for who can set no header."),
    LAST_EVENT_ID,
)


async def events(request: Request) -> Response:
    """GET /api/events."""
    principal = stream_principal_of(request, None)
    sees_dns = "dn" in principal.scopes
    if not principal.sees_all and not sees_dns:
        principal.require("call")
    given = read_query(request, PARAMETERS)
    view = View(
        owner=principal.name,
        sees_all=principal.sees_all,
        sees_dns=sees_dns,
        types=frozenset(given["types"]) if "types" in given else UNASKED_TYPES,
        dns=frozenset(given.get("dn", ())),
    )
    supervision = cast(Supervision, request.app.state.supervision)
    after_id = last_event_id(request)
    return EventStream(supervision.subscribe(view, after_id=after_id, snapshot=given.get("snapshot", False)))


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/events",
        endpoint=events,
        summary="Calls, DNs and trunks as they change",
        response=Content(
            media_type="text/event-stream",
            description="`data:` of each event is JSON as `x-event-schema` has it. `id:` is for Last-Event-ID.",
            event=SupervisorEvent,
        ),
        parameters=PARAMETERS,
        errors=(400, 401),
    ),
)
