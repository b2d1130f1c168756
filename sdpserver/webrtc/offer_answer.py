"""What of a WebRTC offer we take, and the answer that says so; offers of ours and what an answer makes of them.

Functions of values, without sockets or state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdpserver.errors import BadRequest
from sdpserver.sdp import (
    CN,
    DEFAULT_PTIME_MS,
    MAX_PTIME_MS,
    RED,
    REDUNDANT_OPUS,
    TELEPHONE_EVENT,
    TELEPHONE_EVENTS,
    Codec,
    Direction,
    OpusReceiver,
    packet_time_ms,
    with_telephone_events,
)

from .offer import (
    AUDIO,
    DATA,
    DATA_FORMAT,
    MAX_MESSAGE_OCTETS,
    OFFERED_MID,
    SCTP_PORT,
    Offer,
    Section,
    Transport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """What we take of an offer, or what an answer takes of ours."""

    remote: Offer
    """What the client said last: its offer, or its answer to ours."""
    transport: Transport
    tagged: int
    """Index of the section that speaks for the transport (RFC 9143 section 7.3.1)."""
    bundle: tuple[str, ...]
    """The mids we take, in the offer's order; empty: the offer does not bundle."""
    audio: int | None
    data: int | None
    unused: int | None
    """A section that is kept, inactive, because the others have no transport without it."""
    codecs: tuple[Codec, ...]
    """In our order, with the offerer's payload types, telephone-events last; of an answer: see `negotiate_answer`."""
    direction: Direction
    """Of the audio, ours."""
    ptime_ms: int
    receive_only: tuple[Codec, ...] = ()
    """Those of our offer that the answer leaves out. A page whose preferences leave them out of Chromium's answer sends
    the first of the offer all the same."""

    @property
    def data_section(self) -> Section | None:
        return None if self.data is None else self.remote.sections[self.data]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTransport:
    """Our side of the transport, as our offer or answer tells it."""

    session_id: int
    ufrag: str
    pwd: str
    fingerprint: str
    """SHA-256, in the form of `a=fingerprint`"""
    setup: str
    """`passive` or `active`; in an offer `actpass`"""
    addresses: tuple[str, ...]
    """The preferred one first."""
    port: int


# -- deciding


def negotiate(offer: Offer, codecs: Sequence[Codec], wanted: Direction = Direction.SENDRECV) -> Negotiated:
    """What we take of an offer: the first audio section that has a codec of ours, and the first data section.

    Both only when they share a BUNDLE group, since a session has one transport.

    :param codecs: audio codecs that we like, the preferred one first.
    :param wanted: what we would do with the audio if the offer allowed everything.
    :raises BadRequest: `no_common_codec`.
    """
    sections = offer.sections
    audio, common = None, list[Codec]()
    for index, section in enumerate(sections):
        if section.kind == AUDIO and section.usable:
            common = _common(section, codecs)
            if common:
                audio = index
                break
    else:
        _refuse_untaken_audio(sections)
    data_sections = [index for index, section in enumerate(sections) if section.kind == DATA and section.usable]
    data = next(
        (index for index in data_sections if audio is None or _bundle_of(offer, audio) & _bundle_of(offer, index)), None
    )
    taken = [index for index in (audio, data) if index is not None]
    group = next((group for group in offer.bundles if sections[taken[0]].mid in group), ())
    mids = {sections[index].mid: index for index in taken}
    bundle = tuple(mid for mid in group if mid in mids)
    tagged = mids[bundle[0]] if bundle else taken[0]
    unused = None
    if bundle:
        # Rejecting the section that has the transport would reject all (RFC 9143 section 7.3.3). Chromium with the
        # policy max-bundle does not mark the others as bundle-only, but gives them all the same transport.
        first = next(index for index, section in enumerate(sections) if section.mid == group[0])
        needs_first = all(
            sections[index].bundle_only or sections[index].transport == sections[first].transport for index in taken
        )
        if needs_first and first not in taken and sections[first].rtpmap:
            tagged = unused = first
            bundle = (group[0], *bundle)
    transport = sections[tagged].transport
    if transport is None:
        raise BadRequest("the m-section that speaks for the BUNDLE group has no transport", reason="invalid_sdp")
    offered_audio = None if audio is None else sections[audio]
    return Negotiated(
        remote=offer,
        transport=transport,
        tagged=tagged,
        bundle=bundle,
        audio=audio,
        data=data,
        unused=unused,
        codecs=tuple(common),
        direction=Direction.INACTIVE if offered_audio is None else offered_audio.direction.answered(wanted),
        ptime_ms=DEFAULT_PTIME_MS if offered_audio is None else _ptime_ms(offered_audio, common),
    )


def _ptime_ms(section: Section, codecs: Sequence[Codec]) -> int:
    first = next(codec for codec in codecs if codec.is_speech)
    shortest_ms = OpusReceiver.parse(first.remote_fmtp).min_ptime_ms if first.name == "opus" else 0
    return packet_time_ms(wanted_ms=section.ptime_ms, shortest_ms=shortest_ms, longest_ms=section.max_ptime_ms)


def _refuse_untaken_audio(sections: Sequence[Section]) -> None:
    """An offer of audio is not answered with data alone."""
    audio = [section for section in sections if section.kind == AUDIO and section.offered]
    if any(section.usable for section in audio):
        offered = dict.fromkeys(codec.name for section in audio for codec in section.codecs)
        text = f"m=audio offers no codec this server speaks: offered {', '.join(offered) or 'none'}"
        raise BadRequest(text, reason="no_common_codec")
    for section in audio:
        if section.problem is not None:
            raise section.problem


def _bundle_of(offer: Offer, index: int) -> set[tuple[str, ...]]:
    return {bundle for bundle in offer.bundles if offer.sections[index].mid in bundle}


def _common(section: Section, liked: Sequence[Codec]) -> list[Codec]:
    """Ours that the section has too, with its payload types; then a telephone-event for each clock rate, comfort noise.

    Redundant audio is taken where Opus is, and stays before or behind it, as the offerer would rather send.
    """

    def offered(codec: Codec) -> Codec | None:
        for other in section.codecs:
            if _same(codec, other):
                return replace(codec.with_payload_type(other.payload_type), remote_fmtp=other.remote_fmtp)
        return None

    common = [found for codec in liked if codec.is_speech and (found := offered(codec))]
    rates = dict.fromkeys(codec.clock_rate_hz for codec in common)
    events = [found for rate in rates if (event := TELEPHONE_EVENTS.get(rate)) and (found := offered(event))]
    noise = [
        found for codec in liked if codec.name == CN and codec.clock_rate_hz in rates and (found := offered(codec))
    ]
    return _with_redundancy(common, section, offered(REDUNDANT_OPUS)) + events + noise


def _with_redundancy(codecs: list[Codec], section: Section, red: Codec | None) -> list[Codec]:
    at = next((index for index, codec in enumerate(codecs) if codec.name == "opus"), None)
    if red is None or at is None:
        return codecs
    opus = codecs[at]
    if not _is_redundancy_of(str(opus.payload_type), red.remote_fmtp):
        return codecs  # of something else, or of several
    offered = [codec.payload_type for codec in section.codecs]
    preferred = offered.index(red.payload_type) < offered.index(opus.payload_type)
    red = replace(red, fmtp=f"{opus.payload_type}/{opus.payload_type}")
    return [*codecs[:at], *((red, opus) if preferred else (opus, red)), *codecs[at + 1 :]]


def offered_codecs(liked: Sequence[Codec]) -> list[Codec]:
    """What an offer of ours lists: the audio codecs that we like, redundant audio behind Opus, a telephone-event for
    each clock rate, and comfort noise if we like it.

    :raises ValueError: there is no audio codec.
    """
    codecs = list[Codec]()
    for codec in liked:
        if codec.is_speech:
            codecs.append(codec)
        if codec.name == "opus":
            codecs.append(replace(REDUNDANT_OPUS, fmtp=f"{codec.payload_type}/{codec.payload_type}"))
    if not codecs:
        raise ValueError("an offer needs an audio codec")
    rates = {codec.clock_rate_hz for codec in codecs}
    noise = [codec for codec in liked if codec.name == CN and codec.clock_rate_hz in rates]
    return with_telephone_events(codecs) + noise


def negotiate_answer(answer: Offer, offered: Sequence[Codec], direction: Direction) -> Negotiated:
    """What an answer takes of our offer.

    Its codecs are in the answerer's order, since a client sends the first and would rather get it too (RFC 3264
    section 7). `payload_type` stays ours, `send_payload_type` is the answerer's (section 6.1).

    :param offered: the codecs of the offer.
    :param direction: that of the offer.
    :raises BadRequest: `no_common_codec`.
    """
    (section,) = answer.sections
    if section.transport is None:
        raise BadRequest("the answer has no transport", reason="invalid_sdp")
    codecs = _answered(section, offered)
    if not any(codec.is_speech for codec in codecs):
        listed = ", ".join(dict.fromkeys(codec.name for codec in section.codecs))
        text = f"the answer takes no codec of the offer: it lists {listed or 'none'}"
        raise BadRequest(text, reason="no_common_codec")
    taken = {codec.payload_type for codec in codecs}
    return Negotiated(
        remote=answer,
        transport=section.transport,
        tagged=0,
        bundle=answer.bundles[0] if answer.bundles else (),
        audio=0,
        data=None,
        unused=None,
        codecs=tuple(codecs),
        direction=section.direction.answered(direction),
        ptime_ms=_ptime_ms(section, codecs),
        receive_only=tuple(codec for codec in offered if codec.payload_type not in taken),
    )


def _answered(section: Section, offered: Sequence[Codec]) -> list[Codec]:
    """Ours that the answer lists, each once; what comes only with audio of its clock rate is last, and redundant audio
    stays where it is, if it is of the answer's Opus."""
    found: dict[int, Codec] = {}
    for theirs in section.codecs:
        for codec in offered:
            if _same(codec, theirs) and codec.payload_type not in found:
                found[codec.payload_type] = replace(
                    codec, send_payload_type=theirs.payload_type, remote_fmtp=theirs.remote_fmtp
                )
    speech = [codec for codec in found.values() if codec.is_speech]
    rates = {codec.clock_rate_hz for codec in speech}
    opus = next((str(codec.send_payload_type) for codec in speech if codec.name == "opus"), None)
    audio = [
        codec
        for codec in found.values()
        if codec.is_speech or (codec.name == RED and opus is not None and _is_redundancy_of(opus, codec.remote_fmtp))
    ]
    others = [codec for codec in found.values() if codec.name in (TELEPHONE_EVENT, CN) and codec.clock_rate_hz in rates]
    return audio + sorted(others, key=lambda codec: codec.name == CN)


def _same(codec: Codec, other: Codec) -> bool:
    """The same format, whatever its payload type and parameters; names compare without case (RFC 4855 section 3)."""
    return (codec.name.lower(), codec.clock_rate_hz, codec.channels) == (
        other.name.lower(),
        other.clock_rate_hz,
        other.channels,
    )


def _is_redundancy_of(payload_type: str, fmtp: str) -> bool:
    """By the a=fmtp of redundant audio (RFC 2198 section 5): of this payload type and of no other."""
    return all(part.strip() == payload_type for part in fmtp.split("/"))


# -- writing


def candidates(addresses: Sequence[str], port: int) -> list[str]:
    """`candidate:...` lines of host candidates, the preferred address first (RFC 8445 section 5.1.2.1, RFC 8839)."""
    return [
        f"candidate:{number} 1 udp {(126 << 24) + ((65535 - number) << 8) + 255} {address} {port} typ host"
        for number, address in enumerate(addresses, 1)
    ]


def write_answer(negotiated: Negotiated, local: LocalTransport, *, version: int) -> str:
    """The answer's text, with an m-section for each of the offer's, in its order; those not taken have port 0.

    No header extension is understood, none is answered. Nor is RTCP feedback: lost audio is concealed before
    a NACK could bring it, and there is no picture to ask for (RFC 4585, RFC 5104). There is no a=ssrc: the media plane
    chooses its SSRC, and a wrong one here is silence.
    """
    offer = negotiated.remote
    taken = {index for index in (negotiated.audio, negotiated.data, negotiated.unused) if index is not None}
    transport = _transport(local)
    lines = _session(local, version, negotiated.bundle)
    if len(taken) < len(offer.sections):
        lines += transport  # aiortc's RTCPeerConnection looks for it in rejected sections too
    connection = _connection(local)
    for index, section in enumerate(offer.sections):
        if index not in taken:
            lines += _rejected(section)
            continue
        if index == negotiated.audio:
            formats = _formats(negotiated.codecs)
            attributes = _audio(negotiated.codecs, negotiated.direction, negotiated.ptime_ms)
        elif index == negotiated.data:
            formats, attributes = DATA_FORMAT, _data()
        else:
            formats, attributes = section.formats[0], ["a=inactive", "a=rtcp-mux", f"a=rtpmap:{section.rtpmap}"]
        lines += [f"m={section.kind} {local.port} {section.protocol} {formats}", connection]
        if section.mid is not None:
            lines.append(f"a=mid:{section.mid}")
        lines += attributes + transport
        if index == negotiated.tagged:
            lines += _candidates(local)
    return "\r\n".join(lines) + "\r\n"


def write_offer(codecs: Sequence[Codec], direction: Direction, local: LocalTransport, *, version: int) -> str:
    """An offer of one audio section. What an answer leaves out (see `write_answer`) is not offered either."""
    lines = [
        *_session(local, version, (OFFERED_MID,)),
        f"m={AUDIO} {local.port} UDP/TLS/RTP/SAVPF {_formats(codecs)}",
        _connection(local),
        f"a=mid:{OFFERED_MID}",
        *_audio(codecs, direction, DEFAULT_PTIME_MS),
        *_transport(local),
        *_candidates(local),
    ]
    return "\r\n".join(lines) + "\r\n"


def _session(local: LocalTransport, version: int, bundle: Sequence[str]) -> list[str]:
    lines = ["v=0", f"o=- {local.session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    if bundle:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    return [*lines, "a=msid-semantic:WMS *"]


def _transport(local: LocalTransport) -> list[str]:
    return [
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        f"a=fingerprint:sha-256 {local.fingerprint}",
        f"a=setup:{local.setup}",
    ]


def _connection(local: LocalTransport) -> str:
    address = local.addresses[0] if local.addresses else "0.0.0.0"
    return f"c=IN IP{6 if ':' in address else 4} {address}"


def _candidates(local: LocalTransport) -> list[str]:
    return [*(f"a={candidate}" for candidate in candidates(local.addresses, local.port)), "a=end-of-candidates"]


def _formats(codecs: Sequence[Codec]) -> str:
    return " ".join(str(codec.payload_type) for codec in codecs)


def _rejected(section: Section) -> list[str]:
    """RFC 3264 section 6: port 0, everything else of the line as offered."""
    lines = [f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}", "c=IN IP4 0.0.0.0"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    lines.append("a=inactive")
    if "RTP" in section.protocol:
        lines.append("a=rtcp-mux")
    return lines


def _audio(codecs: Sequence[Codec], direction: Direction, ptime_ms: int) -> list[str]:
    lines = [f"a={direction.value}"]
    if direction.sends:
        lines.append("a=msid:sdpserver audio")
    lines.append("a=rtcp-mux")
    for codec in codecs:
        lines += codec.lines
    return [*lines, f"a=ptime:{ptime_ms}", f"a=maxptime:{MAX_PTIME_MS}"]


def _data() -> list[str]:
    return [f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{MAX_MESSAGE_OCTETS}"]
