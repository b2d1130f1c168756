"""WHIP (RFC 9725): an offer as the whole body of a POST, and the session as a resource. The answer is `sendrecv`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import cast

import structlog
from starlette.requests import Request
from starlette.responses import Response

from sdpserver.errors import BadRequest, Conflict, NotFound
from sdpserver.models.webrtc import CallOptions, IceServerInfo, OfferRequest, SdpOffer
from sdpserver.session import Session
from sdpserver.session.whip import check_offer, entity_tag, patch
from sdpserver.webrtc import parse_offer
from sdpserver.webrtc.sdpfrag import MEDIA_TYPE as SDPFRAG
from sdpserver.webrtc.sdpfrag import parse_fragment

from . import bodies
from .credentials import Principal
from .ice_servers import IceServers
from .operations import BODY_ERRORS, Content, Operation, Parameter
from .requests import check_destination, principal_of, sessions_of

log = structlog.get_logger(__name__)

SDP = "application/sdp"
MAX_TO = 256
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
_URI = re.compile(r"[!#-;=?-~]+")  # nothing that would end it where a Link has it between < and >


async def offer(request: Request) -> Response:
    """POST /whip/{to}."""
    principal = principal_of(request)
    sdp = await _text(request, SDP, accept_header="accept-post", reason="invalid_sdp")
    to = request.path_params["to"]
    if len(to) > MAX_TO:
        raise BadRequest(f"the destination has more than {MAX_TO} characters", reason="bad_destination")
    message = OfferRequest(sdp=SdpOffer(type="offer", sdp=sdp), call=CallOptions(to=to))
    check_destination(request, message, principal)
    check_offer(parse_offer(sdp))
    servers = asyncio.ensure_future(cast(IceServers, request.app.state.ice_servers).list_for(principal.name))
    try:
        # A client has no token to resume with, so its close_notify is the end (RFC 9725 section 4.2).
        answer = await sessions_of(request).offer(message, owner=principal.name, resume_s=0.0)
        session = _open_session(request, answer.session_id, principal)
        headers = {"location": f"/whip/sessions/{session.id}", "etag": entity_tag(session)}
        response = Response(answer.sdp.sdp, status_code=201, media_type=SDP, headers=headers)
        for link in ice_server_links(await servers):
            response.headers.append("link", link)
        return response
    finally:
        servers.cancel()


async def trickle(request: Request) -> Response:
    """PATCH /whip/sessions/{session_id}."""
    principal = principal_of(request)
    session = _open_session(request, request.path_params["session_id"], principal)
    fragment = parse_fragment(await _text(request, SDPFRAG, accept_header="accept-patch", reason="invalid_sdpfrag"))
    if session.closed:
        raise _gone(session.id)
    if_match = request.scope["headers_by_name"].get(b"if-match", b"").decode("latin-1")
    ours = patch(session, fragment, if_match)
    if ours is None:
        return Response(status_code=204)
    return Response(ours, media_type=SDPFRAG, headers={"etag": entity_tag(session)})


async def delete(request: Request) -> Response:
    """DELETE /whip/sessions/{session_id}: hangs up. Again within `linger_s`: the same answer."""
    principal = principal_of(request)
    await sessions_of(request).close(request.path_params["session_id"], None, owner=principal.name)
    return Response()


async def options(request: Request) -> Response:
    """OPTIONS /whip/{to}. CORS preflights have been answered already."""
    return Response(headers={"allow": "OPTIONS, POST", "accept-post": SDP})


async def session_options(request: Request) -> Response:
    """OPTIONS /whip/sessions/{session_id}: whether there is one is not told."""
    return Response(headers={"allow": "DELETE, OPTIONS, PATCH", "accept-patch": SDPFRAG})


def _open_session(request: Request, session_id: str, principal: Principal) -> Session:
    try:
        return sessions_of(request).find_open(session_id, owner=principal.name)
    except Conflict as exc:  # it lingers, but what was deleted is no resource any more
        raise _gone(session_id) from exc


def _gone(session_id: str) -> NotFound:
    return NotFound("the session has ended", reason="session_not_found", session_id=session_id)


async def _text(request: Request, media_type: str, *, accept_header: str, reason: str) -> str:
    headers = request.scope["headers_by_name"]
    bodies.check_content_type(headers, media_type, accept_header=accept_header)
    body = await bodies.read(request.receive, headers)
    if not body.strip():
        raise BadRequest(f"the body is missing; it must be {media_type}", reason="missing_body")
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest("the body is not UTF-8", reason=reason) from exc


def ice_server_links(servers: Iterable[IceServerInfo]) -> list[str]:
    """The values of `Link` headers, one for each URL (RFC 9725 section 4.6)."""
    links = []
    for server in servers:
        for url in server.urls:
            parts = [f"<{url}>", 'rel="ice-server"']
            if url.startswith(("turn:", "turns:")) and server.credential:
                parts += [f"username={_quoted(server.username)}", f"credential={_quoted(server.credential)}"]
                parts.append('credential-type="password"')
            if _URI.fullmatch(url) is None or _HEADER_TEXT.fullmatch(link := "; ".join(parts)) is None:
                log.warning("an ICE server cannot be told in a Link header", url=url)
                continue
            links.append(link)
    return links


def _quoted(text: str) -> str:
    """RFC 9110 section 5.6.4."""
    return '"{}"'.format(re.sub(r'(["\\])', r"\\\1", text))


_IF_MATCH = Parameter(
    name="If-Match",
    type=str,
    description="The ETag of the ICE session, for candidates; * for an ICE restart.",
    where="header",
)

OPERATIONS = (
    Operation(
        method="PATCH",
        path="/whip/sessions/{session_id}",
        endpoint=trickle,
        summary="Trickle ICE candidates, or restart ICE (RFC 9725)",
        request=Content(media_type=SDPFRAG, description="RFC 8840: the client's ICE credentials and its candidates."),
        response=Content(media_type=SDPFRAG, description="Our side of the restarted ICE session."),
        headers={"ETag": "Of the restarted ICE session."},
        other={204: "The candidates are taken."},
        errors=(400, 401, 404, 409, 412, 422, 428, *BODY_ERRORS),
        parameters=(_IF_MATCH,),
    ),
    Operation(
        method="DELETE",
        path="/whip/sessions/{session_id}",
        endpoint=delete,
        summary="End a session",
        response=None,
        errors=(401, 404),
    ),
    Operation(
        method="OPTIONS",
        path="/whip/sessions/{session_id}",
        endpoint=session_options,
        summary="What a session takes",
        response=None,
        headers={"Accept-Patch": f"{SDPFRAG}."},
    ),
    Operation(
        method="POST",
        path="/whip/{to}",
        endpoint=offer,
        summary="Open a session with an SDP offer (RFC 9725); its resource is at Location",
        request=Content(media_type=SDP, description="The offer."),
        response=Content(media_type=SDP, description="The answer."),
        status=201,
        headers={
            "Location": "The session's resource, for PATCH and DELETE.",
            "ETag": "Of the ICE session.",
            "Link": 'rel="ice-server", one for each URL that GET /iceservers has.',
        },
        errors=(400, 401, 404, 422, *BODY_ERRORS, 502, 503, 504),
    ),
    Operation(
        method="OPTIONS",
        path="/whip/{to}",
        endpoint=options,
        summary="What the endpoint takes",
        response=None,
        headers={"Accept-Post": f"{SDP}."},
    ),
)
