"""The events of a session, as server-sent events and the data channel `events` carry them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from .legs import Quality, QualityReport
from .session import MediaDirection, PublicState

LegName = Literal["webrtc", "sip"]
Party = Literal["local", "remote"]


class NoData(TypedDict):
    """Its type says it all."""


class Progress(TypedDict, total=False):
    """What the SIP peer said; empty for a far end that is none."""

    sip_status: int
    sip_reason: str


class Answered(TypedDict):
    """Our answer to an offer, or a browser's to ours."""

    codecs: list[str]


class StateChanged(TypedDict):
    state: PublicState


class MediaChanged(TypedDict):
    """By the SIP peer's SDP: our side's direction. `held`: it does not listen."""

    direction: MediaDirection
    was: MediaDirection
    held: bool


class Hold(TypedDict):
    held: bool
    by: Party


class Muted(TypedDict):
    """`room`, `member` and `callId` where the call is in a room."""

    leg: str
    muted: bool
    room: NotRequired[str | None]
    member: NotRequired[str]
    callId: NotRequired[str]


class Ended(TypedDict):
    """The far end's end. `sip_status` 0: no response said so."""

    reason: str
    sip_status: int
    sip_reason: str


class TransferStep(TypedDict):
    """`to`: where to; `remote`: who the far end is now; `reason`: why it failed."""

    state: str
    sipStatus: int
    to: NotRequired[str]
    remote: NotRequired[str]
    reason: NotRequired[str]


class Renegotiated(TypedDict):
    direction: MediaDirection


class IceConnected(TypedDict):
    """`remote`: the browser's address and port."""

    remote: str


class DtlsConnected(TypedDict):
    """`profile`: of SRTP, empty for data channels only."""

    profile: str


class FirstRtp(TypedDict):
    codec: str


class Dtmf(TypedDict):
    """A key that was pressed on `leg`."""

    digit: str
    duration_ms: int
    leg: LegName
    method: Literal["rfc4733", "info", "inband"]


class DtlsFailed(TypedDict):
    error: str


class CallQuality(TypedDict):
    """Null: that side has no leg."""

    webrtc: Quality | None
    sip: Quality | None


class QualityReports(TypedDict):
    """Null: that side has no leg."""

    webrtc: QualityReport | None
    sip: QualityReport | None


class Closed(TypedDict):
    """The session's end. `sip_status` 0: no response said so."""

    reason: str
    duration_s: float
    sip_status: int
    quality: CallQuality


class RecordingStep(TypedDict):
    """`path` is null when it could not begin; `room`: of a room's."""

    state: Literal["started", "paused", "resumed", "stopped", "failed"]
    path: str | None
    duration_s: NotRequired[float]
    dropped_frames: NotRequired[int]
    error: NotRequired[str]
    room: NotRequired[str | None]


class PlayEnded(TypedDict):
    leg: str
    file: str
    reason: str


class Talking(TypedDict):
    """Who talks in the room; `room` is null in that of a supervised call."""

    room: str | None
    members: list[str]


class RoomChange(TypedDict):
    """`members`: how many there are now; `reason`: why one has left."""

    room: str | None
    member: str
    callId: str
    leg: str
    members: int
    reason: NotRequired[str]


DATA: Mapping[str, Any] = {
    "offer": NoData,
    "answer": Answered,
    "ice": IceConnected,
    "dtls": DtlsConnected,
    "first_rtp_in": FirstRtp,
    "first_rtp_out": FirstRtp,
    "renegotiated": Renegotiated,
    "disconnected": NoData,
    "resumed": NoData,
    "failed": DtlsFailed,
    "state": StateChanged,
    "ringing": Progress,
    "early": Progress,
    "answered": Progress,
    "media_changed": MediaChanged,
    "hold": Hold,
    "muted": Muted,
    "dtmf": Dtmf,
    "transfer": TransferStep,
    "play_ended": PlayEnded,
    "recording": RecordingStep,
    "room_joined": RoomChange,
    "room_left": RoomChange,
    "talking": Talking,
    "quality": QualityReports,
    "ended": Ended,
    "closed": Closed,
}
"""What each event tells, by its type."""


def _event(type_: str, data: Any) -> Any:
    """`id` counts from 1 in a session, `elapsed_ms` from its offer."""
    return msgspec.defstruct(
        "".join(word.capitalize() for word in type_.split("_")) + "Event",
        [("id", Annotated[int, Meta(ge=1)]), ("at", str), ("elapsed_ms", float), ("data", data)],
        tag_field="type",
        tag=type_,
        kw_only=True,
        module=__name__,
    )


SessionEventInfo: Any = reduce(or_, (_event(type_, data) for type_, data in DATA.items()))
"""Any of them, told apart by `type`."""
