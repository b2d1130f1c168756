"""The bodies of the HTTP routes, requests and answers: validation, `/openapi.json` and the code read the same types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# Python's $ also matches before a line feed at the end; other dialects' does not, and takes the lookahead too.
SessionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,128}$(?!\n)", min_length=1, max_length=128)]
CandidateText = Annotated[str, Meta(max_length=1024)]


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request body; members that it does not name are refused."""


class Response(msgspec.Struct, kw_only=True):
    """A response body."""


class SdpOffer(Request):
    """What `RTCPeerConnection.localDescription` serialises to."""

    type: Literal["offer"]
    sdp: str


class SdpAnswer(Response):
    """What `RTCPeerConnection.setRemoteDescription` takes."""

    sdp: str
    type: Literal["answer"] = "answer"


class CallOptions(Request, rename={"from_": "from"}):
    """Where the session goes and how. Everything is optional."""

    to: Annotated[str, Meta(max_length=256)] | None = None
    from_: Annotated[str, Meta(max_length=256)] | None = None
    display_name: Annotated[str, Meta(max_length=128)] | None = None
    trunk: Annotated[str, Meta(max_length=64)] | None = None
    headers: dict[str, str] = {}
    codecs: list[Literal["PCMU", "PCMA", "opus", "G722"]] = []
    record: bool = False
    ring_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 60
    wait_for: Literal["answer", "early", "none"] = "none"


class OfferRequest(Request):
    """POST /webrtc/offer."""

    sdp: SdpOffer
    session_id: SessionId | None = None
    resume_token: Annotated[str, Meta(max_length=128)] | None = None
    metadata: dict[str, Any] = {}
    call: CallOptions | None = None


class CallInfo(Response):
    """The far end of a session."""

    call_id: str
    to: str
    state: str


class IceCandidateInfo(Response):
    """One of the server's candidates, in the form of `RTCIceCandidateInit`."""

    candidate: str
    sdpMid: str
    sdpMLineIndex: int


class OfferResponse(Response):
    """The answer to an offer."""

    sdp: SdpAnswer
    session_id: str
    ice_candidates: list[IceCandidateInfo]
    metadata: dict[str, Any]
    resume_token: str
    call: CallInfo


class IceCandidate(Request):
    """`RTCIceCandidateInit` (W3C WebRTC section 4.8.1.1)."""

    candidate: CandidateText = ""
    sdpMid: Annotated[str, Meta(max_length=64)] | None = None
    sdpMLineIndex: Annotated[int, Meta(ge=0, le=65535)] | None = None
    usernameFragment: Annotated[str, Meta(max_length=256)] | None = None


class IceCandidateRequest(Request):
    """POST /webrtc/ice-candidate: one or many; null or an empty candidate ends them."""

    session_id: SessionId
    candidate: IceCandidate | msgspec.UnsetType | None = msgspec.UNSET
    candidates: Annotated[list[IceCandidate | None], Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET


class IceCandidateResponse(Response):
    session_id: str
    status: Literal["received"] = "received"


class CloseRequest(Request):
    """POST /webrtc/close."""

    session_id: SessionId
    reason: Annotated[str, Meta(max_length=128)] | None = None


class CloseResponse(Response):
    session_id: str
    status: Literal["closed"] = "closed"


class IceServerInfo(Response, omit_defaults=True):
    """An entry of `RTCConfiguration.iceServers`."""

    urls: list[str]
    username: str = ""
    credential: str = ""


class ErrorResponse(Response, omit_defaults=True):
    """Every error of every route."""

    error: str
    code: int
    reason: str
    request_id: str
    session_id: str | None = None
    sip_status: int | None = None
    sip_reason: str | None = None


class SessionList(Response):
    """GET /webrtc/sessions: the caller's open sessions, oldest first, each as it describes itself alone."""

    sessions: list[dict[str, Any]]


class Health(Response):
    """GET /health: the process lives."""

    version: str
    uptime_s: float
    status: Literal["ok"] = "ok"


class Ready(Response):
    """GET /ready: new sessions are taken."""

    status: Literal["ready"] = "ready"
