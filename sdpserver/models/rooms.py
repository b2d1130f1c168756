"""Bodies of the routes about conferences."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from .base import Request, Response
from .session import RecordingInfo


class RoomRecordRequest(Request):
    """POST /api/rooms/{room}/record, as /api/call/record. `tone`: whether all members hear a beep at the start."""

    record: bool
    pause: bool | None = None
    tone: bool | None = None


class RoomRecordResponse(Response):
    """Where the room's recording is, and what it does."""

    room: str
    status: Literal["starting", "recording", "paused", "stopping", "stopped", "failed"]
    path: str


class RoomMember(Request):
    """POST /api/rooms/{room}/mute and so on."""

    member: Annotated[str, Meta(min_length=1, max_length=160)]


class RoomStatus(Response):
    room: str
    member: str
    status: Literal["muted", "unmuted", "kicked"]


class RoomSummary(TypedDict):
    """`room` is null in the private room of a supervised call, which is listed to nobody."""

    room: str | None
    members: int
    since: str
    rate_hz: int


class RoomMemberInfo(TypedDict):
    """`leg`: that of the call `callId` which is in the room."""

    id: str
    callId: str
    leg: str
    muted: bool
    talking: bool
    level_dbov: float
    supervisor: bool
    since: str


class RoomInfo(TypedDict):
    """GET /api/rooms/{room}."""

    room: str | None
    members: list[RoomMemberInfo]
    since: str
    rate_hz: int
    recording: RecordingInfo | None


class RoomList(Response):
    """GET /api/rooms: the rooms that the caller has a call in, or all with the scope `supervise`, oldest first."""

    rooms: list[RoomSummary]
