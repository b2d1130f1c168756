"""Offer and answer toward SIP peers (RFC 3264 over RFC 8866): RTP/AVP or RTP/SAVP audio. Pure.

We describe one audio stream: our address, our codecs, telephone-event, SRTP keys (`sdes`). What the peer says is read
here too, not by pjsip, since pjsip keeps less of it than the media plane needs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import BadRequest
from ..sdp import DEFAULT_PTIME_MS, Codec, Direction, check_limits, milliseconds, packet_time_ms
from . import sdes
from .sdes import Crypto, SrtpKeys, SrtpUse

MAX_FORMATS = 64
PLAIN_RTP = frozenset({"RTP/AVP", "RTP/AVPF"})
SECURE_RTP = frozenset({"RTP/SAVP", "RTP/SAVPF"})
HELD_CONNECTION = "c=IN IP4 0.0.0.0"
# The static payload types that we may meet without an a=rtpmap (RFC 3551 table 4).
STATIC_CODECS: Mapping[int, tuple[str, int]] = {0: ("PCMU", 8000), 8: ("PCMA", 8000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAudio:
    """Our RTP leg. `codecs` as we offer them, preferred first, telephone-events last. RTCP is on the next port."""

    ip: str
    rtp_port: int
    codecs: tuple[Codec, ...]
    ptime_ms: int = DEFAULT_PTIME_MS
    srtp: SrtpUse = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAudio:
    """The peer's RTP leg, as negotiated.

    `direction` is ours. `rtcp_port` equals `rtp_port` when multiplexed (RFC 5761). `codecs` are those that both sides
    speak, preferred first, telephone-events last; `send_payload_type` is the peer's number.
    `rtp_port` 0: there is no address to send to yet. `srtp` None: plain RTP.
    """

    ip: str
    rtp_port: int
    rtcp_port: int
    direction: Direction
    codecs: list[Codec]
    ptime_ms: int = DEFAULT_PTIME_MS
    srtp: SrtpKeys | None = None


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


@dataclass(frozen=True, slots=True)
class Answer:
    """Our answer to a peer's offer: the lines that follow the origin, and the leg that it makes.

    `common` is what could have been answered as well, in the offerer's order.
    """

    body: str
    remote: RemoteAudio
    common: tuple[Codec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What is negotiable of an offer of ours."""

    codecs: tuple[Codec, ...]
    direction: Direction = Direction.SENDRECV
    cryptos: tuple[Crypto, ...] = ()


@dataclass(slots=True)
class Origin:
    """The o= line of one call's SDPs: one identifier, and a version that grows by one with each change.

    RFC 3264 section 8: an unchanged SDP keeps its version.
    """

    session_id: int
    version: int = 0
    _body: str = field(default="", repr=False)

    def describe(self, ip: str, body: str) -> str:
        """The whole SDP with this body."""
        if body != self._body:
            self.version += 1
            self._body = body
        # Both are a name for none (RFC 3264 section 5). pjsip sets the version itself, and overlooks a change of keys,
        # ptime or rtcp-mux, but not this one.
        name = "-" if self.version % 2 else " "
        return f"v=0\r\no=- {self.session_id} {self.version} IN {_address(ip)}\r\ns={name}\r\n{body}"


def _invalid(what: str) -> BadRequest:
    return BadRequest(f"the SIP peer's SDP is invalid: {what}", reason="invalid_sdp")


def _address(ip: str) -> str:
    return f"IP{ipaddress.ip_address(ip).version} {ip}"


# Reading


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
                raise _invalid(f"line {line[:40]!r}")
            if key == "m":
                sections.append([])
            sections[-1].append((key, value.strip()))
    return [_section(lines, sections[0]) for lines in sections[1:]]


def _section(lines: Sequence[tuple[str, str]], session: Sequence[tuple[str, str]]) -> MediaSection:
    fields = lines[0][1].split()
    if len(fields) < 4:
        raise _invalid(f"m={lines[0][1][:60]}")
    kind, port, proto, *formats = fields
    connection = _last(lines, "c") or _last(session, "c")
    rtp_port = _number(port.partition("/")[0], 65535, "a port")
    attributes = [value for key, value in lines if key == "a"]
    if rtp_port and connection is None:
        raise _invalid("no c= line")
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
        raise _invalid(f"{text[:20]!r} is no {what}")
    return int(text)


def _connection_ip(value: str) -> str:
    """The address of a c= line. A host name is refused: looking it up would let the peer choose what we ask the DNS."""
    fields = value.split()
    if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
        raise _invalid(f"c={value[:60]}")
    try:
        address = ipaddress.ip_address(fields[2].partition("/")[0])
    except ValueError as exc:
        raise _invalid(f"c={value[:60]}") from exc
    if address.version != int(fields[1][2]) or address.is_multicast or str(address) == "::":
        raise _invalid(f"c={value[:60]}")
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
        raise _invalid(f"{len(payload_types)} formats")
    maps: dict[int, tuple[str, int, int]] = {}
    parameters: dict[int, str] = {}
    for value in attributes:
        name, _, rest = value.partition(":")
        if name == "rtpmap":
            match = re.fullmatch(r"(\d{1,3})\s+([^/\s]{1,64})/(\d{1,6})(?:/(\d{1,2}))?", rest.strip(), re.ASCII)
            if match is None:
                raise _invalid(f"a={value[:60]}")
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


# Our side


def offer_body(local: LocalAudio, offered: Offered) -> str:
    """Our offer, without its first three lines (`Origin.describe` adds them).

    Keys under RTP/AVP are an offer of SRTP that a peer may leave aside, under RTP/SAVP it must take one.
    """
    proto = "RTP/SAVP" if local.srtp == "required" else "RTP/AVP"
    return _head(local) + _audio(local, offered.codecs, offered.direction, proto, offered.cryptos)


def read_own_offer(local: LocalAudio, sdp: str) -> Offered:
    """What an offer has that pjsip made for us of what was agreed on.

    :raises BadRequest: it is not of our leg.
    """
    section = next(iter(parse(sdp)), None)
    if section is None or (section.ip, section.port) != (local.ip, local.rtp_port):
        raise _invalid("this is not our leg")
    numbered = [
        codec.with_payload_type(form.payload_type)
        for form in section.formats
        for codec in local.codecs
        if form.fits(codec)
    ]
    cryptos = [crypto for value in section.cryptos if (crypto := Crypto.parse(value))]
    return Offered(codecs=tuple(numbered), direction=section.direction, cryptos=tuple(cryptos))


def _audio(
    local: LocalAudio,
    codecs: Sequence[Codec],
    direction: Direction,
    proto: str,
    cryptos: Sequence[Crypto] = (),
    offered: MediaSection | None = None,
) -> str:
    # What a peer wants to get is what it likes to send, so we ask for the same.
    ptime_ms = local.ptime_ms if offered is None else offered.ptime_ms
    lines = [f"m=audio {local.rtp_port} {proto} {' '.join(str(codec.payload_type) for codec in codecs)}"]
    if offered is not None and offered.is_held:
        lines.append(HELD_CONNECTION)
    for codec in codecs:
        lines.append(f"a=rtpmap:{codec.rtpmap}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    lines += [crypto.line for crypto in cryptos]
    lines += [f"a=ptime:{ptime_ms}", f"a={direction.value}"]
    if offered is not None and offered.rtcp_mux:
        lines.append("a=rtcp-mux")
    return "".join(line + "\r\n" for line in lines)


def negotiate(ours: Sequence[Codec], formats: Sequence[Format]) -> list[Codec]:
    """What both sides speak, in the peer's order, telephone-events and comfort noise last; empty without a common audio
    codec.

    `payload_type` stays ours, `send_payload_type` is the peer's. Only telephone-events and comfort noise with the clock
    rate of a common codec count (RFC 4733 section 2.1, RFC 3389 section 4).
    """
    common = [
        replace(codec, send_payload_type=form.payload_type, remote_fmtp=form.fmtp)
        for form in formats
        for codec in ours
        if form.fits(codec)
    ]
    audio = _unique([codec for codec in common if codec.is_speech])
    rates = {codec.clock_rate_hz for codec in audio}
    others = _unique([codec for codec in common if not codec.is_speech and codec.clock_rate_hz in rates])
    return [*audio, *others]


def _unique(codecs: Sequence[Codec]) -> list[Codec]:
    """The first of each payload type of ours."""
    return list({codec.payload_type: codec for codec in reversed(codecs)}.values())[::-1]


def accept_answer(local: LocalAudio, offered: Offered, sdp: str, *, previous: RemoteAudio | None = None) -> RemoteAudio:
    """The leg that the peer's answer to our offer makes.

    Several codecs in an answer are all usable at any packet (RFC 3264 section 7), the first is preferred.

    :raises BadRequest: reason `invalid_sdp`, `sdp_too_large`, `no_common_codec` when the audio is rejected, or
        `no_srtp`: it has no keys, and must.
    """
    sections = parse(sdp)
    if not sections or sections[0].kind != "audio":
        raise _invalid("the answer's first m-section is not the audio that was offered")
    section = sections[0]
    if section.port == 0:
        raise BadRequest("the SIP peer's answer rejects the audio", reason="no_common_codec")
    if not section.is_audio or (section.needs_srtp and not offered.cryptos):
        raise _invalid(f"the answer's m-section is {section.proto}")
    srtp = sdes.answered(offered.cryptos, section.cryptos)
    if srtp is None and (local.srtp == "required" or section.needs_srtp):
        raise BadRequest("the SIP peer's answer has no SRTP key for our offer", reason="no_srtp")
    if srtp is None and offered.cryptos and section.cryptos:
        raise _invalid("the answer's a=crypto is none of our offer's")
    codecs = negotiate(offered.codecs, section.formats)
    if not codecs:
        raise BadRequest("the SIP peer's answer has no codec of our offer", reason="no_common_codec")
    return _remote(section, codecs, section.offered_direction.answered(offered.direction), previous, srtp)


def answer_offer(
    local: LocalAudio,
    sdp: str,
    *,
    previous: RemoteAudio | None = None,
    direction: Direction = Direction.SENDRECV,
) -> Answer:
    """Our answer to the peer's offer; `direction` is what we would like.

    It has exactly one audio codec, with its telephone-event: pjsip keeps one codec of an answer, in the offerer's
    order, so with more what we say and what it sends would differ. The codec in use stays while it is offered;
    otherwise it is the peer's first that we speak. Payload types are the offerer's, in both directions
    (RFC 3264 section 6.1). A stream with SRTP is taken before one without. m-sections that we do not take are rejected
    with port 0. An offer without audio
    (its only stream taken down) is refused: pjsip keeps no call without a stream.

    :raises BadRequest: reason `invalid_sdp`, `sdp_too_large`, `no_common_codec` or `no_srtp`: the offer is refused with
        a 488 and the call goes on as it was.
    """
    sections = parse(sdp)
    spoken = [section for section in sections if section.is_audio and _common(local, section)]
    if not spoken:
        raise BadRequest("the SIP peer's offer has no audio that we speak", reason="no_common_codec")
    chosen, crypto, srtp = _secured(spoken, local.srtp, previous.srtp if previous is not None else None)
    common = _common(local, chosen)
    codecs = _answered(common, previous)
    # A hold of RFC 2543 is answered with its own address, by which neither side receives; pjsip would add it anyway.
    answered = Direction.INACTIVE if chosen.is_held else chosen.offered_direction.answered(direction)
    body = [_head(local)]
    for section in sections:
        if section is chosen:
            body.append(_audio(local, codecs, answered, section.proto, (crypto,) if crypto else (), section))
        else:
            body.append(_rejected(section))
    return Answer("".join(body), _remote(chosen, codecs, answered, previous, srtp), tuple(common))


def _secured(
    sections: Sequence[MediaSection], use: SrtpUse, in_use: SrtpKeys | None
) -> tuple[MediaSection, Crypto | None, SrtpKeys | None]:
    """The section to take: the first with keys that we may use, else the first that may be plain RTP."""
    if use != "off":
        for section in sections:
            if (answer := sdes.answer(section.cryptos, in_use)) is not None:
                return section, *answer
    if use != "required":
        for section in sections:
            if not section.needs_srtp:
                return section, None, None
    raise BadRequest("the SIP peer's offer and the trunk's `srtp` have nothing in common", reason="no_srtp")


def _head(local: LocalAudio) -> str:
    return f"c=IN {_address(local.ip)}\r\nt=0 0\r\n"


def _rejected(section: MediaSection) -> str:
    held = f"{HELD_CONNECTION}\r\n" if section.is_held else ""
    return f"m={section.kind} 0 {section.format_list}\r\n{held}"


def _common(local: LocalAudio, section: MediaSection) -> list[Codec]:
    return negotiate(local.codecs, section.formats)


def _answered(common: Sequence[Codec], previous: RemoteAudio | None) -> list[Codec]:
    """One audio codec and its telephone-event, numbered as the offerer has them."""
    audio = [codec for codec in common if codec.is_speech]
    in_use = previous.codecs[0].name if previous is not None and previous.codecs else ""
    codec = next((codec for codec in audio if codec.name == in_use), audio[0])
    events = [e for e in common if e.is_telephone_event and e.clock_rate_hz == codec.clock_rate_hz]
    return [chosen.with_payload_type(chosen.send_payload_type) for chosen in (codec, *events[:1])]


def _remote(
    section: MediaSection,
    codecs: list[Codec],
    direction: Direction,
    previous: RemoteAudio | None,
    srtp: SrtpKeys | None,
) -> RemoteAudio:
    ip, port, rtcp_port = section.ip, section.port, section.rtcp_port
    if section.is_held:
        # There is no address to send to; the one that we know stays, so that its packets are still taken.
        ip, port, rtcp_port = (previous.ip, previous.rtp_port, previous.rtcp_port) if previous else (ip, 0, 0)
    return RemoteAudio(
        ip=ip,
        rtp_port=port,
        rtcp_port=rtcp_port,
        direction=direction,
        codecs=codecs,
        ptime_ms=section.ptime_ms,
        srtp=srtp,
    )
