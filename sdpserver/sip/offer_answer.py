"""Offer and answer toward SIP peers (RFC 3264 over RFC 8866): RTP/AVP or RTP/SAVP audio. Pure.

We describe one audio stream: our address, our codecs, telephone-event, SRTP keys (`sdes`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import BadRequest
from ..sdp import DEFAULT_PTIME_MS, Codec, Direction
from . import sdes
from .media_section import HELD_CONNECTION, Format, MediaSection, invalid, parse
from .sdes import Crypto, SrtpKeys, SrtpUse


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


@dataclass(frozen=True, slots=True)
class Answer:
    """Our answer to a peer's offer: the lines that follow the origin, and the leg that it makes.

    `common` is what could have been answered as well, in the offerer's order; `places` and `proto` are as in `Offered`.
    """

    body: str
    remote: RemoteAudio
    common: tuple[Codec, ...]
    places: tuple[str | None, ...]
    proto: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What is negotiable of an offer of ours.

    `places` are its m-sections: None is ours, the others are rejected ones of an earlier offer of the peer's, whose
    number and order stay for the life of the call (RFC 3264 section 8). `proto` is what is in use, "" before anything
    is.
    """

    codecs: tuple[Codec, ...]
    direction: Direction = Direction.SENDRECV
    cryptos: tuple[Crypto, ...] = ()
    places: tuple[str | None, ...] = (None,)
    proto: str = ""


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


def _address(ip: str) -> str:
    return f"IP{ipaddress.ip_address(ip).version} {ip}"


def offer_body(local: LocalAudio, offered: Offered) -> str:
    """Our offer, without its first three lines (`Origin.describe` adds them).

    Keys under RTP/AVP are an offer of SRTP that a peer may leave aside, under RTP/SAVP it must take one.
    """
    proto = offered.proto or ("RTP/SAVP" if local.srtp == "required" else "RTP/AVP")
    audio = _audio(local, offered.codecs, offered.direction, proto, offered.cryptos)
    return _head(local) + "".join(audio if place is None else place for place in offered.places)


def read_own_offer(local: LocalAudio, sdp: str) -> Offered:
    """What an offer has that pjsip made for us of what was agreed on.

    :raises BadRequest: it is not of our leg.
    """
    sections = parse(sdp)
    section = next((found for found in sections if (found.ip, found.port) == (local.ip, local.rtp_port)), None)
    if section is None:
        raise invalid("this is not our leg")
    numbered = [
        codec.with_payload_type(form.payload_type)
        for form in section.formats
        for codec in local.codecs
        if form.fits(codec)
    ]
    return Offered(
        codecs=tuple(numbered),
        direction=section.direction,
        cryptos=tuple(crypto for value in section.cryptos if (crypto := Crypto.parse(value))),
        places=tuple(None if other is section else _rejected(other) for other in sections),
        proto=section.proto,
    )


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
        lines += codec.lines
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
    place = offered.places.index(None)
    if len(sections) <= place or sections[place].kind != "audio":
        raise invalid(f"the answer's m-section {place + 1} is not the audio that was offered")
    section = sections[place]
    if section.port == 0:
        raise BadRequest("the SIP peer's answer rejects the audio", reason="no_common_codec")
    if not section.is_audio or (section.needs_srtp and not offered.cryptos):
        raise invalid(f"the answer's m-section is {section.proto}")
    srtp = sdes.answered(offered.cryptos, section.cryptos)
    if srtp is None and (local.srtp == "required" or section.needs_srtp):
        raise BadRequest("the SIP peer's answer has no SRTP key for our offer", reason="no_srtp")
    if srtp is None and offered.cryptos and section.cryptos:
        raise invalid("the answer's a=crypto is none of our offer's")
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
    audio = _audio(local, codecs, answered, chosen.proto, (crypto,) if crypto else (), chosen)
    places = tuple(None if section is chosen else _rejected(section) for section in sections)
    body = _head(local) + "".join(audio if place is None else place for place in places)
    remote = _remote(chosen, codecs, answered, previous, srtp)
    return Answer(body, remote, tuple(common), places, chosen.proto)


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
