"""A call as one resource: POST /invite makes it, GET /call/{id} looks at it, DELETE /call/{id} hangs up."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sdpserver.json_bodies import check_metadata
from sdpserver.models.invite import HungUp, InvitedCall, InviteRequest, InviteResponse
from sdpserver.models.webrtc import CallOptions, OfferRequest, SdpOffer
from sdpserver.session import Session
from sdpserver.session.ended import EndedSession

from .dn_routes import find_any_call
from .operations import BODY_ERRORS, Operation
from .requests import body_of, check_destination, principal_of, sessions_of, while_connected
from .responses import json_response


async def invite(request: Request) -> Response:
    """POST /invite."""
    principal = principal_of(request)
    message = await body_of(request, InviteRequest)
    check_metadata(message.metadata)
    offer = OfferRequest(
        sdp=SdpOffer(type="offer", sdp=message.sdp),
        metadata=message.metadata,
        call=CallOptions(to=message.target, from_=message.caller, wait_for=message.wait_for),
    )
    check_destination(request, offer, principal)
    answering = sessions_of(request).offer(offer, owner=principal.name, call_id=message.callId)
    answer = await (answering if message.wait_for == "none" else while_connected(answering, request.receive))
    return json_response(
        {"callId": answer.call.call_id, "status": answer.call.state, "sdp": answer.sdp.sdp},
    )


async def describe(request: Request) -> Response:
    """GET /call/{call_id}; also of one that has ended within `linger_s`."""
    call = find_any_call(request, principal_of(request), request.path_params["call_id"])
    return json_response(_describe(call))


def _describe(call: Session | EndedSession) -> dict[str, object]:
    """As `InvitedCall`."""
    described = call.describe()
    about = described["call"]
    has_ended = isinstance(call, EndedSession) or call.closed
    return {
        "callId": call.call_id,
        "sessionId": call.id,
        "status": "ended" if has_ended else about["state"],
        "sdp": None if isinstance(call, EndedSession) or has_ended else call.answer_sdp,
        "target": about["to"],
        "caller": about["from"],
        "direction": about["direction"],
        "since": described["created_at"],
        "duration_s": described["duration_s"],
        "held": about["on_hold"] and not has_ended,
        "reason": described["close_reason"],
        "sipStatus": about["sip_status"],
        "metadata": described["metadata"],
        "timeline": described["timeline"],
    }


async def hang_up(request: Request) -> Response:
    """DELETE /call/{call_id}. Again within `linger_s`: the same answer."""
    call = find_any_call(request, principal_of(request), request.path_params["call_id"])
    if isinstance(call, Session):
        call.close("normal_clearing")
        await call.wait_closed()
    return json_response(HungUp(callId=call.call_id))


OPERATIONS = (
    Operation(
        method="POST",
        path="/invite",
        endpoint=invite,
        summary="Make a call: an SDP offer in, an answer out",
        request=InviteRequest,
        response=InviteResponse,
        errors=(400, 401, 404, 409, *BODY_ERRORS, 502, 503, 504),
    ),
    Operation(
        method="GET",
        path="/call/{call_id}",
        endpoint=describe,
        summary="How a call goes, also one that has just ended",
        response=InvitedCall,
        errors=(401, 404),
    ),
    Operation(
        method="DELETE",
        path="/call/{call_id}",
        endpoint=hang_up,
        summary="Hang up",
        response=HungUp,
        errors=(401, 404),
    ),
)
