"""Bodies of SDP over HTTP: section 1 of the wire contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .base import PageResponse, Request, Response, SessionId
from .session import SessionInfo

CandidateText = Annotated[str, Meta(max_length=1024)]


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
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    codecs: list[Literal["PCMU", "PCMA", "opus", "G722"]] = msgspec.field(default_factory=list)
    record: bool = False
    ring_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 60
    wait_for: Literal["answer", "early", "none"] = "none"


class OfferRequest(Request):
    """POST /webrtc/offer."""

    sdp: SdpOffer
    session_id: SessionId | None = None
    resume_token: Annotated[str, Meta(max_length=128)] | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
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


class SessionList(PageResponse, kw_only=True):
    """GET /webrtc/sessions: the caller's open sessions, oldest first, each as it describes itself alone."""

    sessions: list[SessionInfo]


Cause = Literal[
    "ok",
    "too_early",
    "call_failed",
    "no_ice_check",
    "ice_lost",
    "dtls_failed",
    "dtls_not_connected",
    "no_audio_agreed",
    "srtp_failed",
    "codec_mismatch",
    "browser_does_not_send",
    "browser_does_not_listen",
    "no_rtp_from_browser",
    "on_hold",
    "sip_direction",
    "rtp_from_elsewhere",
    "no_rtp_from_sip_peer",
    "rtp_stopped",
    "no_rtp_to_browser",
]


class Verdict(Response):
    """Why there is no audio. `ok` null: it cannot be told yet. `cause` is a stable word, `text` a sentence for people,
    `evidence` the figures that show it."""

    ok: bool | None
    cause: Cause
    text: str
    evidence: dict[str, Any]
