"""The events of GET /api/events."""

from __future__ import annotations

from typing import Any, Literal, get_args

from .base import Response
from .dns import DnInfo
from .session import LiveCall
from .trunks import TrunkInfo

EventType = Literal[
    "callBegan",
    "callRinging",
    "callAnswered",
    "callHeld",
    "callResumed",
    "callTransferred",
    "callRecording",
    "callQuality",
    "callEnded",
    "dnStatus",
    "trunkStatus",
    "snapshot",
    "gap",
]
EVENT_TYPES: frozenset[EventType] = frozenset(get_args(EventType))
CALL_EVENTS: frozenset[EventType] = frozenset(type_ for type_ in EVENT_TYPES if type_.startswith("call"))
UNASKED_TYPES: frozenset[EventType] = EVENT_TYPES - {"callQuality"}
"""What is told unless `types` says otherwise: how it sounds comes every 5 s for each call."""


class SupervisorEvent(Response):
    """One event. `data` of a call is as in GET /api/calls/active, with what the event adds; of a DN as in
    GET /api/dn/list, of a trunk as in GET /api/genesys/status."""

    id: int
    type: EventType
    at: str
    data: dict[str, Any]


class Snapshot(Response):
    """`data` of a `snapshot`: how things are when the stream begins, of what the reader sees."""

    calls: list[LiveCall]
    dns: list[DnInfo]
    trunks: list[TrunkInfo]


class Gap(Response):
    """`data` of a `gap`: events after `after` are lost to this reader; a snapshot follows."""

    after: int
