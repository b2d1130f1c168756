"""Bodies of /invite and /call/{id}: signalling for clients that want an SDP in and an SDP out, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .base import CallId, Request, Response
from .session import CallDirection

CallState = Literal["calling", "ringing", "early", "answered", "ended"]


class InviteRequest(Request):
    """POST /invite. `caller`: as `call.from` of an offer; `callId`: left out, one is made. `wait_for`: what the reply
    waits for, as of an offer; a call that fails first is the reply's error."""

    target: Annotated[str, Meta(min_length=1, max_length=256)]
    sdp: str
    caller: Annotated[str, Meta(max_length=256)] | None = None
    callId: CallId | None = None
    wait_for: Literal["answer", "early", "none"] = "none"
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class InviteResponse(Response):
    """`sdp`: the answer."""

    callId: str
    status: CallState
    sdp: str


class InvitedCall(Response):
    """GET /call/{id}. `sdp`: our latest answer, null once the call has ended; `reason`: why it ended; `timeline`: ms
    from the offer to each step."""

    callId: str
    sessionId: str
    status: CallState
    sdp: str | None
    target: str
    caller: str | None
    direction: CallDirection
    since: str
    duration_s: float
    held: bool
    reason: str | None
    sipStatus: int | None
    metadata: dict[str, Any]
    timeline: dict[str, float]


class HungUp(Response):
    """DELETE /call/{id}."""

    callId: str
    status: Literal["ended"] = "ended"
