"""The values that requests and replies carry, in the words of the server's contract and of W3C WebRTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Codec = Literal["PCMU", "PCMA", "opus", "G722"]
WaitFor = Literal["answer", "early", "none"]
Leg = Literal["webrtc", "sip"]
"""The browser's side of a call, and the far end's."""
DtmfMethod = Literal["rfc4733", "info", "inband"]
RecordAction = Literal["start", "pause", "resume", "stop"]


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """`RTCSessionDescriptionInit`; aiortc takes it where it takes its own."""

    sdp: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Where a session goes and how. `wait_for` holds the reply until the far end sends `early` media or answers."""

    to: str | None = None
    from_: str | None = None
    display_name: str | None = None
    trunk: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    codecs: Sequence[Codec] = ()
    record: bool = False
    ring_timeout_s: float = 60.0
    wait_for: WaitFor = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """The far end of a session; `state` is `calling`, `ringing`, `early`, `answered` or `ended`."""

    call_id: str
    to: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IceServer:
    """An entry of `RTCConfiguration.iceServers`."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IceCandidate:
    """`RTCIceCandidateInit`; the empty candidate says that there will be no more."""

    candidate: str = ""
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reply to an offer. `resume_token` lets a later offer take the session over: as secret as a password."""

    sdp: str
    session_id: str
    resume_token: str = field(repr=False)
    ice_candidates: tuple[IceCandidate, ...]
    metadata: Mapping[str, Any]
    call: CallInfo

    @property
    def description(self) -> SessionDescription:
        """For `setRemoteDescription`."""
        return SessionDescription(self.sdp, "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A call's, in a file on the server: `starting`, `recording`, `paused`, `stopping`, `stopped` or `failed`."""

    status: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """A step of the session's life: `ringing`, `answered`, `ended`, ... `elapsed_ms` counts from the offer."""

    id: int
    type: str
    elapsed_ms: float
    data: Mapping[str, Any]
