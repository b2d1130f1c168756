"""The messages of JSON signalling, as clients send them. What the server sends is written where it is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from sdpserver import dtmf
from sdpserver.models.base import CallId, Request, RoomName
from sdpserver.models.webrtc import IceCandidate

Number = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~+*#-]{1,64}$(?!\n)", min_length=1, max_length=64)]
Secret = Annotated[str, Meta(max_length=512)]
Sdp = Annotated[str, Meta(max_length=32 * 1024)]
Reason = Annotated[str, Meta(max_length=128)]
To = Annotated[str, Meta(min_length=1, max_length=256)]


class Register(Request):
    """`resumeToken` alone takes back the calls of a connection that dropped; else `dn` with `password` or `token`."""

    dn: Number | None = None
    password: Secret | None = None
    token: Secret | None = None
    displayName: Annotated[str, Meta(max_length=128)] | None = None
    expires: Annotated[int, Meta(ge=0, le=86400)] | None = None
    resumeToken: Secret | None = None


class Unregister(Request):
    dn: Number | None = None


class Call(Request):
    """With `callId`: a new offer for a call that is there (a reloaded page, an ICE restart); else `to`."""

    sdp: Sdp
    to: To | None = None
    callId: CallId | None = None
    iceServers: list[Any] = field(default_factory=list)
    """As in the contract: for clients that send what they use. Nothing here needs it."""
    headers: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    codecs: list[Literal["PCMU", "PCMA", "opus", "G722"]] = field(default_factory=list)
    record: bool = False


class Answer(Request):
    callId: CallId
    sdp: Sdp


class Reject(Request):
    callId: CallId
    reason: Reason | None = None


class Hangup(Request):
    callId: CallId
    reason: Reason | None = None


class Hold(Request):
    callId: CallId
    hold: bool = True


class Mute(Request):
    callId: CallId
    mute: bool = True


class Dtmf(Request):
    """`digit` or `digits`."""

    callId: CallId
    digit: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    digits: Annotated[str, Meta(min_length=1, max_length=dtmf.MAX_DIGITS)] | None = None
    durationMs: Annotated[int, Meta(ge=dtmf.MIN_MS, le=dtmf.MAX_DURATION_MS)] = dtmf.DEFAULT_DURATION_MS
    method: Literal["rfc4733", "info", "inband"] | None = None


class Candidate(Request):
    """A null or empty candidate ends them."""

    callId: CallId
    candidate: IceCandidate | str | None = None


class Transfer(Request):
    """`to`: blind. `consultCallId`: attended, completing a consultation that is another call of the connection.

    `to` with `sdp` begins a consultation: the call is put on hold, and `to` is called with this offer. `cancel` goes
    back: the consultation ends, and the call is talked to again.
    """

    callId: CallId
    to: To | None = None
    sdp: Sdp | None = None
    consultCallId: CallId | None = None
    cancel: bool = False


class Conference(Request):
    callIds: Annotated[list[CallId], Meta(min_length=1, max_length=28)]
    room: RoomName | None = None


class Record(Request):
    callId: CallId
    record: bool = True
    pause: bool | None = None


class Ping(Request):
    pass
