"""Bodies of the routes about conferences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from .base import Request, Response


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


class RoomList(Response):
    """GET /api/rooms: the rooms that the caller has a call in, or all with the scope `supervise`, oldest first."""

    rooms: list[dict[str, Any]]
