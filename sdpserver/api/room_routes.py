"""Conferences and supervision. A room is there for who has a call in it, and for the scope `supervise`.

One's own members are one's own to mute and remove; those of others need `supervise`, as do calls of others.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.errors import BadRequest, Forbidden
from sdpserver.models.calls import CallStatus, ConferenceRequest, ConferenceStatus, MuteRequest, SuperviseRequest
from sdpserver.models.rooms import RoomInfo, RoomList, RoomMember, RoomRecordRequest, RoomRecordResponse, RoomStatus
from sdpserver.session.conferences import Mode
from sdpserver.session.rooms import Room

from .credentials import Principal
from .operations import BODY_ERRORS, Operation
from .requests import body_of, principal_of, sessions_of
from .responses import json_response


def _room(request: Request, principal: Principal) -> Room:
    name = request.path_params["room"]
    return sessions_of(request).conferences.rooms.find(name, owner=principal.limited_to)


async def list_rooms(request: Request) -> Response:
    """GET /api/rooms."""
    principal = principal_of(request)
    rooms = sessions_of(request).conferences.rooms.visible(owner=principal.limited_to)
    return json_response(RoomList(rooms=[room.summary() for room in rooms]))


async def describe_room(request: Request) -> Response:
    """GET /api/rooms/{room}."""
    principal = principal_of(request)
    room = _room(request, principal)
    return json_response(room.describe(with_hidden=principal.supervises))


async def _member(request: Request) -> tuple[Room, str]:
    """The room and the member that the body names, which the caller may change."""
    principal = principal_of(request, "call")
    id_ = (await body_of(request, RoomMember)).member
    room = _room(request, principal)
    member = room.member(id_, with_hidden=principal.supervises)
    if member.occupant.owner != principal.name and not principal.supervises:
        raise Forbidden("this member is somebody else's, and the scope 'supervise' is missing", reason="scope_missing")
    return room, id_


async def mute_member(request: Request) -> Response:
    """POST /api/rooms/{room}/mute."""
    room, id_ = await _member(request)
    sessions_of(request).conferences.mute(room, id_, True)
    return json_response(RoomStatus(room=room.name or "", member=id_, status="muted"))


async def unmute_member(request: Request) -> Response:
    """POST /api/rooms/{room}/unmute."""
    room, id_ = await _member(request)
    sessions_of(request).conferences.mute(room, id_, False)
    return json_response(RoomStatus(room=room.name or "", member=id_, status="unmuted"))


async def kick_member(request: Request) -> Response:
    """POST /api/rooms/{room}/kick."""
    room, id_ = await _member(request)
    sessions_of(request).conferences.remove(room, id_)
    return json_response(RoomStatus(room=room.name or "", member=id_, status="kicked"))


async def record_room(request: Request) -> Response:
    """POST /api/rooms/{room}/record: by who has a call in it and the scope `call`, or with the scope `supervise`."""
    principal = principal_of(request)
    if not principal.supervises:
        principal.require("call")
    order = await body_of(request, RoomRecordRequest)
    room = _room(request, principal)
    recording = room.recorder.order(record=order.record, pause=order.pause, tone=order.tone)
    return json_response(RoomRecordResponse(room=room.name or "", status=recording.state.value, path=recording.path))


async def conference(request: Request) -> Response:
    """POST /api/call/conference: all sides of the calls into one room."""
    principal = principal_of(request, "call")
    message = await body_of(request, ConferenceRequest)
    if len(set(message.callIds)) != len(message.callIds):
        raise BadRequest("callIds names a call twice", reason="invalid_field")
    sessions = sessions_of(request)
    calls = [sessions.find_call(call_id, owner=principal.name) for call_id in message.callIds]
    room = sessions.conferences.join(calls, message.room)
    return json_response(ConferenceStatus(room=room, callIds=message.callIds))


async def supervise(request: Request) -> Response:
    """POST /api/call/supervise. Calls of others need the scope `supervise`."""
    principal = principal_of(request, "call")
    message = await body_of(request, SuperviseRequest)
    sessions = sessions_of(request)
    target = sessions.find_call(message.callId, owner=principal.limited_to)
    supervisor = sessions.find_open(message.sessionId, owner=principal.name)
    mode = None if message.mode == "none" else Mode(message.mode)
    sessions.conferences.supervise(target, supervisor, mode)
    return json_response(CallStatus(callId=message.callId, status=message.mode))


async def mute(request: Request) -> Response:
    """POST /api/call/mute: what one side says is silence to all others."""
    principal = principal_of(request, "call")
    message = await body_of(request, MuteRequest)
    sessions_of(request).find_call(message.callId, owner=principal.name).mute(message.leg, message.mute)
    return json_response(CallStatus(callId=message.callId, status="muted" if message.mute else "unmuted"))


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/rooms",
        endpoint=list_rooms,
        summary="Conferences",
        response=RoomList,
        errors=(401,),
    ),
    Operation(
        method="GET",
        path="/api/rooms/{room}",
        endpoint=describe_room,
        summary="One conference: its members and who talks",
        response=RoomInfo,
        errors=(401, 404),
    ),
    Operation(
        method="POST",
        path="/api/rooms/{room}/mute",
        endpoint=mute_member,
        summary="Mute a member of a conference",
        request=RoomMember,
        response=RoomStatus,
        errors=(400, 401, 404, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/rooms/{room}/unmute",
        endpoint=unmute_member,
        summary="Unmute a member of a conference",
        request=RoomMember,
        response=RoomStatus,
        errors=(400, 401, 404, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/rooms/{room}/kick",
        endpoint=kick_member,
        summary="Kick a member of a conference",
        request=RoomMember,
        response=RoomStatus,
        errors=(400, 401, 404, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/api/rooms/{room}/record",
        endpoint=record_room,
        summary="Record a conference: begin, pause, resume, stop",
        request=RoomRecordRequest,
        response=RoomRecordResponse,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 503),
    ),
    Operation(
        method="POST",
        path="/api/call/conference",
        endpoint=conference,
        summary="Put the caller's own calls into one room, where all of their sides hear each other",
        request=ConferenceRequest,
        response=ConferenceStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 503),
    ),
    Operation(
        method="POST",
        path="/api/call/supervise",
        endpoint=supervise,
        summary="Listen to a call, whisper to its browser's side, or join it",
        request=SuperviseRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 503),
    ),
    Operation(
        method="POST",
        path="/api/call/mute",
        endpoint=mute,
        summary="Let the others hear silence instead of one side of a call",
        request=MuteRequest,
        response=CallStatus,
        errors=(400, 401, 404, 409, *BODY_ERRORS),
    ),
)
