"""SDP over HTTP: offers, candidates, closing, and what became of a session."""

from __future__ import annotations

from typing import cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sdpserver.errors import BadRequest
from sdpserver.json_bodies import check_metadata
from sdpserver.models.events import SessionEventInfo
from sdpserver.models.session import SessionInfo
from sdpserver.models.webrtc import (
    CloseRequest,
    CloseResponse,
    IceCandidate,
    IceCandidateRequest,
    IceCandidateResponse,
    IceServerInfo,
    OfferRequest,
    OfferResponse,
    SessionList,
    Verdict,
)
from sdpserver.session.verdict import judge

from .call_filters import SESSION_PARAMETERS, age, matches
from .credentials import ANONYMOUS
from .ice_servers import IceServers
from .operations import BODY_ERRORS, Content, Operation
from .paging import page
from .query import read_query
from .requests import body_of, check_destination, principal_of, sessions_of, stream_principal_of, while_connected
from .responses import json_response
from .server_sent_events import LAST_EVENT_ID, EventStream, SessionFrames, last_event_id


async def offer(request: Request) -> Response:
    """POST /webrtc/offer."""
    principal = principal_of(request)
    message = await body_of(request, OfferRequest)
    check_metadata(message.metadata)
    if message.resume_token is None:
        check_destination(request, message, principal)
    sessions = sessions_of(request)
    answering = sessions.offer(message, owner=principal.name)
    if message.call is None or message.call.wait_for == "none":
        return json_response(await answering)
    return json_response(await while_connected(answering, request.receive))


async def ice_candidate(request: Request) -> Response:
    """POST /webrtc/ice-candidate."""
    principal = principal_of(request)
    message = await body_of(request, IceCandidateRequest)
    candidates = _candidates(message)
    sessions_of(request).add_candidates(message.session_id, candidates, owner=principal.name)
    return json_response(IceCandidateResponse(session_id=message.session_id))


def _candidates(message: IceCandidateRequest) -> list[IceCandidate | None]:
    one, many = message.candidate, message.candidates
    if isinstance(many, msgspec.UnsetType):
        if isinstance(one, msgspec.UnsetType):
            raise BadRequest("candidate is missing", reason="missing_field")
        return [one]
    if not isinstance(one, msgspec.UnsetType):
        raise BadRequest("candidate and candidates are both there; only one may be", reason="invalid_field")
    return many


async def close(request: Request) -> Response:
    """POST /webrtc/close."""
    principal = principal_of(request)
    message = await body_of(request, CloseRequest)
    await sessions_of(request).close(message.session_id, message.reason, owner=principal.name)
    return json_response(CloseResponse(session_id=message.session_id))


async def ice_servers(request: Request) -> Response:
    """GET /iceservers. Needs a credential once the list has credentials in it."""
    servers = cast(IceServers, request.app.state.ice_servers)
    principal = principal_of(request) if servers.has_credentials else ANONYMOUS
    return json_response(await servers.list_for(principal.name))


async def list_sessions(request: Request) -> Response:
    """GET /webrtc/sessions."""
    principal = principal_of(request)
    query = read_query(request, SESSION_PARAMETERS)
    found = [
        session
        for session in sessions_of(request).of_owner(principal.name)
        if matches(session, query) and query.get("status", session.state) == session.state
    ]
    listed = page(found, age, query)
    return json_response(
        SessionList(sessions=[session.describe() for session in listed.items], **listed.members(query))
    )


async def describe_session(request: Request) -> Response:
    """GET /webrtc/sessions/{id}."""
    principal = principal_of(request)
    return json_response(sessions_of(request).describe_one(request.path_params["session_id"], owner=principal.name))


async def session_verdict(request: Request) -> Response:
    """GET /webrtc/sessions/{id}/verdict."""
    principal = principal_of(request)
    session = sessions_of(request).describe_one(request.path_params["session_id"], owner=principal.name)
    return json_response(judge(session))


async def session_events(request: Request) -> Response:
    """GET /webrtc/sessions/{id}/events."""
    principal = stream_principal_of(request)
    session_id, after_id = request.path_params["session_id"], last_event_id(request) or 0
    subscription = sessions_of(request).subscribe(session_id, owner=principal.name, after_id=after_id)
    return EventStream(SessionFrames(subscription))


OPERATIONS = (
    Operation(
        method="POST",
        path="/webrtc/offer",
        endpoint=offer,
        summary="Open a session with an SDP offer, or send a new offer for one",
        request=OfferRequest,
        response=OfferResponse,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 502, 503, 504),
    ),
    Operation(
        method="POST",
        path="/webrtc/ice-candidate",
        endpoint=ice_candidate,
        summary="Tell the client's ICE candidates",
        request=IceCandidateRequest,
        response=IceCandidateResponse,
        errors=(400, 401, 404, *BODY_ERRORS),
    ),
    Operation(
        method="POST",
        path="/webrtc/close",
        endpoint=close,
        summary="Close a session",
        request=CloseRequest,
        response=CloseResponse,
        errors=(400, 401, 404, *BODY_ERRORS),
    ),
    Operation(
        method="GET",
        path="/iceservers",
        endpoint=ice_servers,
        summary="ICE servers for RTCPeerConnection",
        response=list[IceServerInfo],
        errors=(401,),
    ),
    Operation(
        method="GET",
        path="/webrtc/sessions",
        endpoint=list_sessions,
        summary="The caller's open sessions",
        response=SessionList,
        parameters=SESSION_PARAMETERS,
        errors=(400, 401),
    ),
    Operation(
        method="GET",
        path="/webrtc/sessions/{session_id}",
        endpoint=describe_session,
        summary="One session: state, media, timeline",
        response=SessionInfo,
        errors=(401, 404),
    ),
    Operation(
        method="GET",
        path="/webrtc/sessions/{session_id}/verdict",
        endpoint=session_verdict,
        summary="Why a session has no audio: one sentence and its evidence",
        response=Verdict,
        errors=(401, 404),
    ),
    Operation(
        method="GET",
        path="/webrtc/sessions/{session_id}/events",
        endpoint=session_events,
        summary="One session's events, as they happen",
        response=Content(
            media_type="text/event-stream",
            description="`data:` of each event is JSON as `x-event-schema` has it, `id:` its id.",
            event=SessionEventInfo,
        ),
        other={204: "The session is closed and all of its events have been read."},
        errors=(400, 401, 404),
        parameters=(LAST_EVENT_ID,),
    ),
)
