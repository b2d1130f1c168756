"""Bodies of call control: section 4 of the wire contract."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sdpserver import dtmf

from .base import CallId, DnNumber, PageResponse, Request, Response, RoomName, SessionId
from .session import LiveCall


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


class CallStatus(Response):
    """What became of an order for a call: taken, carried out, or about to be."""

    callId: str
    status: str


class WhichCall(Request):
    """A call by its `callId`, or that which a DN talks on."""

    callId: CallId | None = None
    dn: DnNumber | None = None


class HangupRequest(WhichCall):
    """POST /api/call/hangup."""

    reason: Annotated[str, Meta(max_length=128)] | None = None


class TransferRequest(WhichCall):
    """POST /api/call/transfer: blind, `to` a number, or attended, to the far end of the call `consultCallId`."""

    to: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    consultCallId: CallId | None = None


class MakeCallRequest(Request, rename={"from_": "from"}):
    """POST /api/call/make: the DN `from` rings, and `to` is called when it answers."""

    from_: DnNumber
    to: Annotated[str, Meta(min_length=1, max_length=256)]
    autoAnswer: bool = False


class CallList(PageResponse, kw_only=True):
    """GET /api/calls/active and /api/calls/dn/{dn}, oldest first."""

    calls: list[LiveCall]


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
