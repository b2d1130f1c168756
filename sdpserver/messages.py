"""The bodies of the HTTP routes, requests and answers: validation, `/openapi.json` and the code read the same types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from . import dtmf

# Python's $ also matches before a line feed at the end; other dialects' does not, and takes the lookahead too.
SessionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,128}$(?!\n)", min_length=1, max_length=128)]
CallId = SessionId
RoomName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,64}$(?!\n)", min_length=1, max_length=64)]
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


class DtmfRequest(Request):
    """POST /api/call/dtmf: keys pressed one after the other, toward `leg`. Without `method`: what its peer takes."""

    callId: CallId
    digits: Annotated[str, Meta(extra_json_schema={"pattern": f"^[0-9A-Da-d*#]{{1,{dtmf.MAX_DIGITS}}}$"})]
    durationMs: Annotated[int, Meta(ge=dtmf.MIN_MS, le=dtmf.MAX_DURATION_MS)] = dtmf.DEFAULT_DURATION_MS
    gapMs: Annotated[int, Meta(ge=dtmf.MIN_MS, le=dtmf.MAX_GAP_MS)] = dtmf.DEFAULT_GAP_MS
    method: Literal["rfc4733", "info", "inband"] | None = None
    leg: Literal["sip", "webrtc"] = "sip"


class PlayRequest(Request):
    """POST /api/call/play: a file of `[media] sounds_dir`, heard by one leg or both; or `stop` what is played."""

    callId: CallId
    file: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    leg: Literal["webrtc", "sip", "both"] = "webrtc"
    loop: bool = False
    stop: bool = False


class RecordRequest(Request):
    """POST /api/call/record. `pause`: silence in the file until it is false again. `tone`: whether both legs hear a
    beep at the start; left out: as `[media] record_tone` has it."""

    callId: CallId
    record: bool
    pause: bool | None = None
    tone: bool | None = None


class RecordResponse(Response):
    """Where the call's recording is, and what it does."""

    callId: str
    status: Literal["starting", "recording", "paused", "stopping", "stopped", "failed"]
    path: str


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


class CallStatus(Response):
    """What became of an order for a call: taken, carried out, or about to be."""

    callId: str
    status: str


class WhichCall(Request):
    """A call by its `callId`, or that which a DN talks on."""

    callId: CallId | None = None
    dn: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class HangupRequest(WhichCall):
    """POST /api/call/hangup."""

    reason: Annotated[str, Meta(max_length=128)] | None = None


class TransferRequest(WhichCall):
    """POST /api/call/transfer: blind, `to` a number, or attended, to the far end of the call `consultCallId`."""

    to: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    consultCallId: CallId | None = None


class MakeCallRequest(Request, rename={"from_": "from"}):
    """POST /api/call/make: the DN `from` rings, and `to` is called when it answers."""

    from_: Annotated[str, Meta(min_length=1, max_length=64)]
    to: Annotated[str, Meta(min_length=1, max_length=256)]
    autoAnswer: bool = False


class DnList(Response):
    """GET /api/dn/list: those of the configuration, and those that are registered upstream."""

    dns: list[dict[str, Any]]


class CallList(Response):
    """GET /api/calls/active and /api/calls/dn/{dn}."""

    calls: list[dict[str, Any]]


class MuteRequest(Request):
    """POST /api/call/mute: what comes from `leg` is silence to all others."""

    callId: CallId
    mute: bool
    leg: Literal["webrtc", "sip"] = "webrtc"


class ConferenceRequest(Request):
    """POST /api/call/conference. Without `room`: one with a new name."""

    callIds: Annotated[list[CallId], Meta(min_length=1, max_length=28)]
    room: RoomName | None = None


class ConferenceStatus(Response):
    room: str
    callIds: list[str]


class SuperviseRequest(Request):
    """POST /api/call/supervise. `sessionId`: of the supervisor's own session, to a built-in destination."""

    callId: CallId
    sessionId: SessionId
    mode: Literal["listen", "whisper", "barge", "none"]


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


class TrunkList(Response):
    """GET /api/genesys/status: every trunk, in the order of the configuration.

    `connected`: it answered the last OPTIONS; null while that is not known.
    """

    trunks: list[dict[str, Any]]


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
