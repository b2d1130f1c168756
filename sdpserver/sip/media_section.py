"""The m-sections of a peer's SDP (RFC 8866), as far as they concern RTP audio. Pure.

What the peer says is read here, not by pjsip, since pjsip keeps less of it than the media plane needs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import BadRequest
from ..sdp import Codec, Direction, check_limits, milliseconds, packet_time_ms

MAX_FORMATS = 64
PLAIN_RTP = frozenset({"RTP/AVP", "RTP/AVPF"})
SECURE_RTP = frozenset({"RTP/SAVP", "RTP/SAVPF"})
HELD_CONNECTION = "c=IN IP4 0.0.0.0"
# The static payload types that we may meet without an a=rtpmap (RFC 3551 table 4).
STATIC_CODECS: Mapping[int, tuple[str, int]] = {0: ("PCMU", 8000), 8: ("PCMA", 8000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of a peer's m-section, in the peer's numbering."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int
    fmtp: str

    def fits(self, codec: Codec) -> bool:
        """Names compare without case (RFC 4855 section 3); Opus is always 48000/2 (RFC 7587 section 7)."""
        same = self.name.lower() == codec.name.lower() and self.clock_rate_hz == codec.clock_rate_hz
        return same and self.channels == codec.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSection:
    """An m-section of a peer's SDP, the session level's values merged in. `media_line` is what a rejection repeats."""

    kind: str
    port: int
    proto: str
    format_list: str
    ip: str
    rtcp_port: int
    rtcp_mux: bool
    direction: Direction
    ptime_ms: int
    formats: tuple[Format, ...]
    cryptos: tuple[str, ...] = field(default=(), repr=False)
    """The values of its `a=crypto`, unread."""

    @property
    def is_audio(self) -> bool:
        return self.kind == "audio" and self.port != 0 and self.proto in PLAIN_RTP | SECURE_RTP

    @property
    def needs_srtp(self) -> bool:
        return self.proto in SECURE_RTP

    @property
    def is_held(self) -> bool:
        """RFC 2543's hold, still met: the address is all zero (RFC 3264 section 8.4)."""
        return self.ip == "0.0.0.0"

    @property
    def offered_direction(self) -> Direction:
        """From the peer's point of view; on RFC 2543's hold it does not receive."""
        return Direction.of(sends=self.direction.sends, receives=self.direction.receives and not self.is_held)


def invalid(what: str) -> BadRequest:
    return BadRequest(f"the SIP peer's SDP is invalid: {what}", reason="invalid_sdp")


def parse(sdp: str) -> list[MediaSection]:
    """The m-sections of a peer's SDP.

    :raises BadRequest: reason `invalid_sdp` or `sdp_too_large`.
    """
    text = sdp.encode("utf-8", "replace").decode()  # pjsip hands on octets that are no UTF-8 as lone surrogates
    check_limits(text)
    sections: list[list[tuple[str, str]]] = [[]]
    for line in text.splitlines():
        if line.strip():
            key, equals, value = line.partition("=")
            if len(key) != 1 or not equals:
                raise invalid(f"line {line[:40]!r}")
            if key == "m":
                sections.append([])
            sections[-1].append((key, value.strip()))
    return [_section(lines, sections[0]) for lines in sections[1:]]


def _section(lines: Sequence[tuple[str, str]], session: Sequence[tuple[str, str]]) -> MediaSection:
    fields = lines[0][1].split()
    if len(fields) < 4:
        raise invalid(f"m={lines[0][1][:60]}")
    kind, port, proto, *formats = fields
    connection = _last(lines, "c") or _last(session, "c")
    rtp_port = _number(port.partition("/")[0], 65535, "a port")
    attributes = [value for key, value in lines if key == "a"]
    if rtp_port and connection is None:
        raise invalid("no c= line")
    rtcp_port, rtcp_mux = _rtcp(attributes, rtp_port)
    return MediaSection(
        kind=kind.lower(),
        port=rtp_port,
        proto=proto.upper(),
        format_list=f"{proto} {' '.join(formats[:MAX_FORMATS])}",
        ip=_connection_ip(connection) if connection else "0.0.0.0",
        rtcp_port=rtcp_port,
        rtcp_mux=rtcp_mux,
        direction=_direction(attributes, [value for key, value in session if key == "a"]),
        ptime_ms=_ptime_ms(attributes),
        cryptos=tuple(value[7:] for value in attributes if value.startswith("crypto:")),
        formats=_formats(formats, attributes) if kind.lower() == "audio" and proto.upper().startswith("RTP/") else (),
    )


def _last(lines: Sequence[tuple[str, str]], key: str) -> str | None:
    return next((value for name, value in reversed(lines) if name == key), None)


def _number(text: str, limit: int, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > limit:
        raise invalid(f"{text[:20]!r} is no {what}")
    return int(text)


def _connection_ip(value: str) -> str:
    """The address of a c= line. A host name is refused: looking it up would let the peer choose what we ask the DNS."""
    fields = value.split()
    if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
        raise invalid(f"c={value[:60]}")
    try:
        address = ipaddress.ip_address(fields[2].partition("/")[0])
    except ValueError as exc:
        raise invalid(f"c={value[:60]}") from exc
    if address.version != int(fields[1][2]) or address.is_multicast or str(address) == "::":
        raise invalid(f"c={value[:60]}")
    return str(address)


def _rtcp(attributes: Sequence[str], rtp_port: int) -> tuple[int, bool]:
    """(port, multiplexed): RTP's port plus one unless said otherwise (RFC 3605, RFC 5761)."""
    mux = "rtcp-mux" in attributes
    if mux or not rtp_port:
        return rtp_port, mux
    value = _attribute(attributes, "rtcp")
    if value is None:
        return min(rtp_port + 1, 65535), False
    return _number(value.split(maxsplit=1)[0] if value else "", 65535, "an RTCP port"), False


def _attribute(attributes: Sequence[str], name: str) -> str | None:
    prefix = name + ":"
    return next((value[len(prefix) :].strip() for value in attributes if value.startswith(prefix)), None)


def _direction(attributes: Sequence[str], session: Sequence[str]) -> Direction:
    for level in (attributes, session):
        for value in level:
            if value in ("sendrecv", "sendonly", "recvonly", "inactive"):
                return Direction(value)
    return Direction.SENDRECV


def _ptime_ms(attributes: Sequence[str]) -> int:
    """What the peer wants to receive (RFC 8866 section 6.4), as we can make it; a=maxptime is more than a wish."""
    return packet_time_ms(
        wanted_ms=milliseconds(_attribute(attributes, "ptime")),
        longest_ms=milliseconds(_attribute(attributes, "maxptime")),
    )


def _formats(payload_types: Sequence[str], attributes: Sequence[str]) -> tuple[Format, ...]:
    if len(payload_types) > MAX_FORMATS:
        raise invalid(f"{len(payload_types)} formats")
    maps: dict[int, tuple[str, int, int]] = {}
    parameters: dict[int, str] = {}
    for value in attributes:
        name, _, rest = value.partition(":")
        if name == "rtpmap":
            match = re.fullmatch(r"(\d{1,3})\s+([^/\s]{1,64})/(\d{1,6})(?:/(\d{1,2}))?", rest.strip(), re.ASCII)
            if match is None:
                raise invalid(f"a={value[:60]}")
            maps[int(match[1])] = (match[2], int(match[3]), int(match[4] or 1))
        elif name == "fmtp":
            payload_type, _, text = rest.strip().partition(" ")
            if payload_type.isascii() and payload_type.isdigit():
                parameters[int(payload_type[:4])] = text.strip()
    found = []
    for text in payload_types:
        number = _number(text, 127, "a payload type")
        if number in maps:
            name, rate, channels = maps[number]
        elif number in STATIC_CODECS:
            (name, rate), channels = STATIC_CODECS[number], 1
        else:
            continue  # a static type that we do not speak, or a dynamic one that is not explained
        fmtp = parameters.get(number, "")
        found.append(Format(payload_type=number, name=name, clock_rate_hz=rate, channels=channels, fmtp=fmtp))
    return tuple(found)
