"""What both legs know of SDP: codecs, directions and the limits that every offer and answer must keep."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .errors import BadRequest

MAX_OCTETS = 32 * 1024
MAX_LINES = 500
MAX_MEDIA = 16
MAX_SSRC = 64
MAX_CANDIDATES = 64
TELEPHONE_EVENT = "telephone-event"
CN = "CN"
RED = "red"

NARROWBAND_HZ, WIDEBAND_HZ = 8000, 16000
"""Rates at which audio is mixed and recorded."""
WIDEBAND_CODECS = frozenset({"opus", "G722"})
"""Those that carry more than 4 kHz of it."""

DEFAULT_PTIME_MS = 20
MIN_PTIME_MS, MAX_PTIME_MS = 10, 60
"""What the media plane sends, in steps of 10."""


class Direction(enum.Enum):
    """RFC 8866 section 6.7, from the point of view of whoever wrote the SDP."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same stream from the other side."""
        return Direction.of(sends=self.receives, receives=self.sends)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    def answered(self, wanted: Direction) -> Direction:
        """The answer to this offered direction by a side that wants `wanted` (RFC 3264 section 6.1)."""
        return Direction.of(sends=wanted.sends and self.receives, receives=wanted.receives and self.sends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One negotiated or offered format of an audio stream.

    `payload_type` is the number we list and receive, `send_payload_type` the one the peer lists. They are equal except
    toward an answerer that renumbered (RFC 3264 section 6.1).
    """

    name: str
    clock_rate_hz: int
    payload_type: int
    send_payload_type: int
    channels: int = 1
    fmtp: str = ""
    remote_fmtp: str = ""
    """The peer's own: how it wants to receive (RFC 3264 section 6.1)."""

    @property
    def is_telephone_event(self) -> bool:
        return self.name == TELEPHONE_EVENT

    @property
    def is_speech(self) -> bool:
        """It carries a call by itself; telephone-event, CN and red only come with one that does."""
        return self.name in AUDIO_CODECS

    @property
    def rtpmap(self) -> str:
        """The value of `a=rtpmap` (RFC 8866 section 6.6)."""
        channels = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.payload_type} {self.name}/{self.clock_rate_hz}{channels}"

    @property
    def lines(self) -> list[str]:
        """`a=rtpmap` and, when it has parameters, `a=fmtp` (RFC 8866 sections 6.6 and 6.15)."""
        fmtp = [f"a=fmtp:{self.payload_type} {self.fmtp}"] if self.fmtp else []
        return [f"a=rtpmap:{self.rtpmap}", *fmtp]

    def with_payload_type(self, payload_type: int) -> Codec:
        return replace(self, payload_type=payload_type, send_payload_type=payload_type)

    def as_entry(self) -> tuple[str, int, int, int]:
        """The form that the media plane takes."""
        return (self.name, self.clock_rate_hz, self.send_payload_type, self.payload_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusReceiver:
    """How a peer wants to get Opus, by its a=fmtp (RFC 7587 section 6.1). We always send mono, which it must take."""

    max_playback_rate_hz: int = 48000
    max_average_bitrate_bps: int = 510_000
    use_inband_fec: bool = False
    use_dtx: bool = False
    min_ptime_ms: int = 0

    @classmethod
    def parse(cls, fmtp: str) -> OpusReceiver:
        """Unknown parameters and values out of range are as if they were not there."""
        pairs = (item.partition("=") for item in fmtp.split(";"))
        values = {name.strip().lower(): value.strip() for name, _, value in pairs}

        def number(name: str, least: int, most: int, default: int) -> int:
            text = values.get(name, "")
            value = int(text) if re.fullmatch(r"\d{1,7}", text, re.ASCII) else -1
            return value if least <= value <= most else default

        return cls(
            max_playback_rate_hz=number("maxplaybackrate", 8000, 48000, 48000),
            max_average_bitrate_bps=number("maxaveragebitrate", 6000, 510_000, 510_000),
            use_inband_fec=number("useinbandfec", 0, 1, 0) == 1,
            use_dtx=number("usedtx", 0, 1, 0) == 1,
            min_ptime_ms=number("minptime", 3, 120, 0),
        )


def _codec(name: str, clock_rate_hz: int, payload_type: int, channels: int = 1, fmtp: str = "") -> Codec:
    return Codec(
        name=name,
        clock_rate_hz=clock_rate_hz,
        payload_type=payload_type,
        send_payload_type=payload_type,
        channels=channels,
        fmtp=fmtp,
    )


# maxplaybackrate=8000 asks for narrowband (RFC 7587 section 6.1): a third of the size, and we decode at 8 kHz anyway.
OPUS_FMTP = "maxplaybackrate=8000;useinbandfec=1"
AUDIO_CODECS: dict[str, Codec] = {
    "PCMU": _codec("PCMU", 8000, 0),
    "PCMA": _codec("PCMA", 8000, 8),
    "opus": _codec("opus", 48000, 111, channels=2, fmtp=OPUS_FMTP),
    "G722": _codec("G722", 8000, 9),  # of 16 kHz, whatever its RTP clock says (RFC 3551 section 4.5.2)
}
"""The audio codecs that the media plane speaks, by the name used in the configuration and in `call.codecs`."""

TELEPHONE_EVENTS: dict[int, Codec] = {
    8000: _codec(TELEPHONE_EVENT, 8000, 101, fmtp="0-16"),
    48000: _codec(TELEPHONE_EVENT, 48000, 110, fmtp="0-16"),
}
"""RFC 4733 events by clock rate."""
COMFORT_NOISE = _codec(CN, 8000, 13)
"""RFC 3389, for codecs with that clock rate that have no pauses of their own."""
REDUNDANT_OPUS = _codec(RED, 48000, 63, channels=2)
"""RFC 2198, to be received; its a=fmtp names Opus' payload type."""


def audio_codecs(names: Iterable[str]) -> list[Codec]:
    """The codecs named, in that order, that the media plane speaks; names compare without case (RFC 4855 section 3)."""
    by_lower = {name.lower(): codec for name, codec in AUDIO_CODECS.items()}
    found = (by_lower.get(name.lower()) for name in names)
    return list(dict.fromkeys(codec for codec in found if codec is not None))


def with_telephone_events(codecs: Sequence[Codec]) -> list[Codec]:
    """The codecs and one telephone-event for each of their clock rates (RFC 4733 section 2.6)."""
    rates = dict.fromkeys(codec.clock_rate_hz for codec in codecs if codec.is_speech)
    return [*codecs, *(TELEPHONE_EVENTS[rate] for rate in rates if rate in TELEPHONE_EVENTS)]


def with_comfort_noise(codecs: Sequence[Codec]) -> list[Codec]:
    """The codecs and, if one of them can do with it, comfort noise."""
    useful = any(codec.is_speech and codec.clock_rate_hz == COMFORT_NOISE.clock_rate_hz for codec in codecs)
    return [*codecs, COMFORT_NOISE] if useful else list(codecs)


def milliseconds(text: str | None) -> int:
    """The value of a=ptime and the like, 0 for what is none; a fraction is cut off."""
    match = re.fullmatch(r"(\d{1,4})(?:\.\d+)?", text or "", re.ASCII)
    return int(match[1]) if match else 0


def packet_time_ms(*, wanted_ms: int = 0, shortest_ms: int = 0, longest_ms: int = 0) -> int:
    """How long our packets are for a peer that wishes so; 0: it did not say. The longest that it takes comes first."""
    wanted = max(wanted_ms or DEFAULT_PTIME_MS, shortest_ms)
    if longest_ms:
        wanted = min(wanted, longest_ms)
    return min(max(wanted // 10 * 10, MIN_PTIME_MS), MAX_PTIME_MS)


def check_limits(sdp: str) -> None:
    """Refuse an SDP that no honest client sends, before any parser sees it.

    Parsers of SDP are quadratic in places; the limits keep every one of them under a millisecond or two.

    :raises BadRequest: reason `sdp_too_large`, or `invalid_sdp` when it is no SDP at all.
    """
    if len(sdp) > MAX_OCTETS:
        raise BadRequest(f"the SDP has {len(sdp)} characters, at most {MAX_OCTETS} are taken", reason="sdp_too_large")
    try:
        octets = len(sdp.encode())
    except UnicodeEncodeError as exc:
        raise BadRequest("the SDP has half a surrogate pair", reason="invalid_sdp") from exc
    if octets > MAX_OCTETS:
        raise BadRequest(f"the SDP has {octets} octets, at most {MAX_OCTETS} are taken", reason="sdp_too_large")
    if "\0" in sdp:
        raise BadRequest("the SDP contains a NUL", reason="invalid_sdp")
    lines = sdp.splitlines()
    if not lines or lines[0].strip() != "v=0":
        raise BadRequest("the SDP does not begin with v=0", reason="invalid_sdp")
    for what, count, limit in (
        ("lines", len(lines), MAX_LINES),
        ("m-sections", sum(line.startswith("m=") for line in lines), MAX_MEDIA),
        ("a=ssrc lines", sum(line.startswith("a=ssrc") for line in lines), MAX_SSRC),
        ("candidates", sum(line.startswith("a=candidate:") for line in lines), MAX_CANDIDATES),
    ):
        if count > limit:
            raise BadRequest(f"the SDP has {count} {what}, at most {limit} are taken", reason="sdp_too_large")
