"""A session, a call and a recording as clients see them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from .legs import LegFigures

PublicState = Annotated[
    str,
    Meta(
        extra_json_schema={
            "enum": ["connecting", "calling", "ringing", "early", "answered", "ended", "connected", "ending", "closed"]
        }
    ),
]
CallProgress = Annotated[str, Meta(extra_json_schema={"enum": ["calling", "ringing", "early", "answered", "ended"]})]
CallDirection = Literal["inbound", "outbound"]
MediaDirection = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
RecordingState = Literal["starting", "recording", "paused", "stopping", "stopped", "failed"]

SessionCall = TypedDict(
    "SessionCall",
    {
        "call_id": str,
        "to": str,
        "from": str | None,
        "direction": CallDirection,
        "state": CallProgress,
        "on_hold": bool,
        "held_by_remote": bool,
        "muted": bool,
        "reason": str | None,
        "sip_status": int | None,
    },
)
"""The far end. `reason` and `sip_status` (0: no response said so) are of its end, null before."""

LiveCall = TypedDict(
    "LiveCall",
    {
        "callId": str,
        "sessionId": str,
        "dn": str | None,
        "direction": CallDirection,
        "from": str | None,
        "to": str | None,
        "state": CallProgress,
        "since": str,
        "held": bool,
        "muted": bool,
    },
)
"""A call as /api/calls has it. `dn`: whose it is."""


class IceState(TypedDict):
    state: Annotated[str, Meta(extra_json_schema={"enum": ["new", "connected", "disconnected"]})]
    remote_address: str
    remote_candidates: int


class DtlsState(TypedDict):
    state: Annotated[str, Meta(extra_json_schema={"enum": ["new", "connecting", "connected", "closed", "failed"]})]
    role: str
    version: str
    cipher: str
    srtp_profile: str
    flights_resent: int
    error: str


class BrowserState(TypedDict):
    """The browser's leg, without its figures. `data_channels`: the state of their association, null without one."""

    ice: IceState
    dtls: DtlsState
    direction: MediaDirection
    codecs: list[str]
    data_channels: str | None


class BrowserLeg(BrowserState, LegFigures):
    """The browser's leg."""


class SipLeg(LegFigures):
    """The SIP leg. `remote`, `direction` and `srtp` are null until the peer's SDP has come, `srtp` also for RTP."""

    trunk: str
    on_hold: bool
    sip_call_id: str | None
    local_port: int
    remote: str | None
    direction: MediaDirection | None
    codecs: list[str]
    srtp: str | None


class RecordingDetail(TypedDict, total=False):
    """`duration_s` and `dropped_frames` once it is whole, `error` when it failed."""

    duration_s: float
    dropped_frames: int
    error: str


class RecordingInfo(RecordingDetail):
    """Of a call or a room."""

    state: RecordingState
    path: str


class SessionInfo(TypedDict):
    """GET /webrtc/sessions/{id}. `timeline`: when each step was first reached, in ms since the offer; `latest`: the
    last time. `webrtc` is null while no browser has answered, `sip` for a far end that is no SIP call."""

    session_id: str
    state: PublicState
    created_at: str
    duration_s: float
    close_reason: str | None
    metadata: dict[str, Any]
    call: SessionCall
    webrtc: BrowserLeg | None
    sip: SipLeg | None
    recording: RecordingInfo | None
    timeline: dict[str, float]
    latest: dict[str, float]
