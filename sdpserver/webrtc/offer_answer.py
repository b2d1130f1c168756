"""WebRTC offers and our answers to them: functions of text, without sockets or state.

`parse_offer` reads an offer, `negotiate` decides what of it we take, `write_answer` puts that into words. Nothing of an
offer reaches an answer unless it has passed one of the patterns below, so an offer cannot write lines of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from aiortc.sdp import MediaDescription, SessionDescription

from sdpserver.errors import BadRequest
from sdpserver.sdp import TELEPHONE_EVENTS, Codec, Direction, check_limits

AUDIO = "audio"
DATA = "application"
DATA_FORMAT = "webrtc-datachannel"
RTP_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"})
"""What an offer may call DTLS-SRTP; the answer repeats it (RFC 8829 section 5.1.2)."""
DATA_PROTOCOLS = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
"""Hash functions of certificate fingerprints that we check."""

SCTP_PORT = 5000
MAX_MESSAGE_OCTETS = 65536
"""Of a data channel, both ways: what every implementation takes (RFC 8831 section 6.6)."""
PTIME_MS = 20
MAX_PTIME_MS = 60

_TOKEN = r"[!#-'*+.0-9A-Z^-~-]+"  # RFC 8866 section 9, "token"
_MEDIA_LINE = re.compile(rf"m=({_TOKEN}) ([0-9]{{1,5}})(?:/[0-9]{{1,5}})? ({_TOKEN}(?:/{_TOKEN})*)((?: {_TOKEN})+) *")
_ORIGIN_LINE = re.compile(r"o=\S+ (\S+) \S+ IN IP[46] \S+")
_MID = re.compile(rf"{_TOKEN}")
_ICE_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839 section 5.4
_ICE_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:)+[0-9A-F]{2}")  # RFC 8122 section 5
_RTPMAP = re.compile(r"([0-9]{1,3}) +([!-.0-~]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_NUMBER = re.compile(r"[0-9]{1,10}")
_MAX_MID = 255
_DIRECTIONS = frozenset(direction.value for direction in Direction)
_ROLES = frozenset({"active", "passive", "actpass"})
# The attributes that reach aiortc's parser, which is quadratic in some of the others and strict in most.
_PARSED = frozenset({"fingerprint", "setup", "ice-ufrag", "ice-pwd", "rtcp-mux", "sctp-port", "max-message-size"})
_STATIC_FORMATS = {"0": "PCMU/8000", "8": "PCMA/8000"}  # they need no a=rtpmap (RFC 3551 section 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How a peer is reached and known: its ICE credentials, its certificates and its choice of DTLS role."""

    ufrag: str
    pwd: str
    fingerprints: frozenset[tuple[str, str]]
    """(hash function in lower case, digest in upper case)"""
    setup: str
    """`actpass`, `active` or `passive`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One m-section of an offer."""

    kind: str
    protocol: str
    formats: tuple[str, ...]
    mid: str | None
    offered: bool
    """False: port 0, the offerer has given it up (RFC 3264 section 5.1)."""
    direction: Direction = Direction.SENDRECV
    codecs: tuple[Codec, ...] = ()
    """Of audio: in the offerer's order and with its payload types."""
    max_ptime_ms: int = MAX_PTIME_MS
    sctp_port: int = 0
    max_message_octets: int = 0
    transport: Transport | None = None
    problem: BadRequest | None = None
    """Why we cannot take it, whatever codecs it has."""

    @property
    def usable(self) -> bool:
        return self.kind in (AUDIO, DATA) and self.offered and self.transport is not None and self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A checked offer: it has at least one audio or data section that we can take."""

    origin_id: str
    """The session id of its `o=` line: the same in all offers of one peer connection (RFC 8866 section 5.2)."""
    sections: tuple[Section, ...]
    bundles: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """What we take of an offer."""

    offer: Offer
    transport: Transport
    tagged: int
    """Index of the section that speaks for the transport (RFC 9143 section 7.3.1)."""
    bundle: tuple[str, ...]
    """The mids we take, in the offer's order; empty: the offer does not bundle."""
    audio: int | None
    data: int | None
    codecs: tuple[Codec, ...]
    """In our order, with the offerer's payload types, telephone-events last."""
    direction: Direction
    """Of the audio, ours."""
    ptime_ms: int

    @property
    def data_section(self) -> Section | None:
        return None if self.data is None else self.offer.sections[self.data]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTransport:
    """Our side of the transport, as an answer tells it."""

    session_id: int
    ufrag: str
    pwd: str
    fingerprint: str
    """SHA-256, in the form of `a=fingerprint`"""
    setup: str
    """`passive` or `active`"""
    addresses: tuple[str, ...]
    """The preferred one first."""
    port: int


# -- reading


def parse_offer(sdp: str) -> Offer:
    """Read an offer.

    :raises BadRequest: `invalid_sdp`, `sdp_too_large`, `no_audio` (neither audio nor a data channel), or why its audio
        or data section cannot be taken: `unsupported_protocol`, `rtcp_mux_required`, `no_ice`, `no_fingerprint`,
        `section_rejected`.
    """
    try:
        check_limits(sdp)
        offer = _parse(sdp)
    except BadRequest:
        raise
    except Exception as exc:
        # aiortc's parser raises nearly anything on bad text, the codec of text UnicodeError on half a surrogate pair.
        raise BadRequest("the SDP cannot be read", reason="invalid_sdp") from exc
    if not any(section.usable for section in offer.sections):
        for section in offer.sections:
            if section.kind in (AUDIO, DATA) and section.problem is not None:
                raise section.problem
        raise BadRequest("the offer has neither audio nor a data channel", reason="no_audio")
    return offer


def _parse(sdp: str) -> Offer:
    session_lines: list[str] = []
    media_lines: list[list[str]] = []
    for line in sdp.splitlines():
        line = line.rstrip()
        if line.startswith("m="):
            media_lines.append([line])
        else:
            (media_lines[-1] if media_lines else session_lines).append(line)
    origin = next((match for line in session_lines if (match := _ORIGIN_LINE.fullmatch(line))), None)
    if origin is None:
        raise BadRequest("the SDP has no valid o= line", reason="invalid_sdp")
    bundles = _bundles(session_lines)
    sections = _sections(session_lines, media_lines, {mid for bundle in bundles for mid in bundle})
    mids = [section.mid for section in sections if section.mid is not None]
    if len(set(mids)) != len(mids):
        raise BadRequest("two m-sections have the same a=mid", reason="invalid_sdp")
    if any(mid not in mids for bundle in bundles for mid in bundle):
        raise BadRequest("a=group:BUNDLE names an a=mid that no m-section has", reason="invalid_sdp")
    return Offer(origin_id=origin[1], sections=tuple(_inherited(sections, bundles)), bundles=bundles)


def _bundles(session_lines: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    bundles = tuple(
        tuple(line.split()[1:]) for line in session_lines if line.startswith("a=group:BUNDLE ") and line.split()[1:]
    )
    mids = [mid for bundle in bundles for mid in bundle]
    if len(set(mids)) != len(mids):
        raise BadRequest("an a=mid is twice in a=group:BUNDLE", reason="invalid_sdp")
    return bundles


def _attributes(lines: Iterable[str]) -> dict[str, str]:
    """By name, the last of each."""
    return {name: value for name, _, value in (line[2:].partition(":") for line in lines if line.startswith("a="))}


def _name(attribute_line: str) -> str:
    return attribute_line[2:].partition(":")[0]


def _sections(session_lines: list[str], media_lines: list[list[str]], bundled: set[str]) -> list[Section]:
    """What aiortc's parser makes of the offered sections; of the others only what a refusal repeats."""
    session_attributes = _attributes(session_lines)
    text = ["v=0", *(line for line in session_lines if line.startswith("a=") and _name(line) in _PARSED)]
    outlines = [_outline(lines, session_attributes, bundled) for lines in media_lines]
    for outline, lines in zip(outlines, media_lines, strict=True):
        if outline.offered:
            text += _for_aiortc(outline, lines)
    # Whatever kind they are, since the first of a BUNDLE group may speak for the transport of the others.
    parsed = iter(SessionDescription.parse("\r\n".join(text)).media)
    return [_filled(outline, next(parsed)) if outline.offered else outline for outline in outlines]


def _inherited(sections: list[Section], bundles: Iterable[tuple[str, ...]]) -> list[Section]:
    """The first section of a BUNDLE group speaks for the transport of those that say nothing of it (RFC 9143 7.1.3)."""
    by_mid = {section.mid: section for section in sections}
    tagged = {mid: by_mid[bundle[0]].transport for bundle in bundles for mid in bundle}
    return [
        replace(section, transport=transport, problem=None)
        if section.problem is not None
        and section.problem.reason in ("no_ice", "no_fingerprint")
        and section.mid is not None
        and (transport := tagged.get(section.mid)) is not None
        else section
        for section in sections
    ]


def _outline(lines: list[str], session_attributes: dict[str, str], bundled: set[str]) -> Section:
    match = _MEDIA_LINE.fullmatch(lines[0])
    if match is None:
        raise BadRequest("the SDP has an invalid m= line", reason="invalid_sdp")
    kind, port, protocol, formats = match[1], int(match[2]), match[3], tuple(match[4].split())
    attributes = _attributes(lines)
    mid = attributes.get("mid")
    if mid is not None and (len(mid) > _MAX_MID or _MID.fullmatch(mid) is None):
        raise BadRequest("the SDP has an invalid a=mid", reason="invalid_sdp")
    problem = None
    if kind == AUDIO:
        if protocol not in RTP_PROTOCOLS:
            problem = BadRequest(f"m=audio over {protocol} is not supported", reason="unsupported_protocol")
        elif not all(_NUMBER.fullmatch(number) and int(number) < 128 for number in formats):
            raise BadRequest("m=audio has a payload type out of range", reason="invalid_sdp")
        elif "rtcp-mux" not in attributes:
            problem = BadRequest("m=audio lacks a=rtcp-mux, which is required", reason="rtcp_mux_required")
    elif kind == DATA and (protocol not in DATA_PROTOCOLS or DATA_FORMAT not in formats):
        problem = BadRequest(f"m=application over {protocol} is not supported", reason="unsupported_protocol")
    directions = _DIRECTIONS & attributes.keys() or _DIRECTIONS & session_attributes.keys() or {"sendrecv"}
    # Port 0 with a=bundle-only is an offer (RFC 9143 section 6), for one who bundles.
    offered = port != 0 or ("bundle-only" in attributes and mid in bundled)
    if not offered and kind in (AUDIO, DATA):
        problem = BadRequest(f"m={kind} is offered with port 0", reason="section_rejected")
    return Section(
        kind=kind,
        protocol=protocol,
        formats=formats,
        mid=mid,
        offered=offered,
        direction=Direction(sorted(directions)[0]),
        max_ptime_ms=_milliseconds(attributes.get("maxptime")),
        problem=problem,
    )


def _milliseconds(value: str | None) -> int:
    if value is None or _NUMBER.fullmatch(value) is None or int(value) == 0:
        return MAX_PTIME_MS
    return min(int(value), MAX_PTIME_MS)


def _for_aiortc(section: Section, lines: list[str]) -> list[str]:
    """The lines of a section that aiortc's parser is to read, and the a=rtpmap that static payload types may lack."""
    known = section.kind in (AUDIO, DATA) and section.problem is None
    kept = [f"m={section.kind} 9 UDP {' '.join(section.formats)}" if known else "m=other 9 UDP 0"]
    mapped = set()
    for line in lines[1:]:
        if not line.startswith("a="):
            continue
        name, _, value = line[2:].partition(":")
        if name in _PARSED:
            kept.append(line)
        elif known and name == "rtpmap" and (match := _RTPMAP.fullmatch(value)) and match[1] in section.formats:
            mapped.add(match[1])
            kept.append(line)
    if known and section.kind == AUDIO:
        kept += [
            f"a=rtpmap:{number} {_STATIC_FORMATS[number]}"
            for number in section.formats
            if number in _STATIC_FORMATS and number not in mapped
        ]
    return kept


def _filled(section: Section, parsed: MediaDescription) -> Section:
    transport, problem = _transport(section.kind, parsed)
    by_payload_type = {codec.payloadType: codec for codec in parsed.rtp.codecs}
    codecs = tuple(
        Codec(
            name=codec.name,
            clock_rate_hz=codec.clockRate,
            payload_type=int(number),
            send_payload_type=int(number),
            channels=codec.channels or 1,
        )
        for number in dict.fromkeys(section.formats)
        if section.kind == AUDIO and (codec := by_payload_type.get(int(number))) is not None
    )
    capabilities = parsed.sctpCapabilities
    return replace(
        section,
        codecs=codecs,
        sctp_port=_in_range(parsed.sctp_port, SCTP_PORT),
        max_message_octets=MAX_MESSAGE_OCTETS if capabilities is None else capabilities.maxMessageSize,
        transport=transport,
        problem=section.problem or problem,
    )


def _in_range(port: int | None, default: int) -> int:
    if port is None:
        return default
    if not 0 < port < 65536:
        raise BadRequest("a=sctp-port is out of range", reason="invalid_sdp")
    return port


def _transport(kind: str, parsed: MediaDescription) -> tuple[Transport | None, BadRequest | None]:
    ufrag, pwd = (parsed.ice.usernameFragment or "", parsed.ice.password or "") if parsed.ice else ("", "")
    if _ICE_UFRAG.fullmatch(ufrag) is None or _ICE_PWD.fullmatch(pwd) is None:
        return None, BadRequest(f"m={kind} has no valid a=ice-ufrag and a=ice-pwd", reason="no_ice")
    setup = {"auto": "actpass", "client": "active", "server": "passive"}[parsed.dtls.role] if parsed.dtls else ""
    fingerprints = frozenset(
        (fingerprint.algorithm.lower(), fingerprint.value.upper())
        for fingerprint in (parsed.dtls.fingerprints if parsed.dtls else ())
        if fingerprint.algorithm.lower() in HASHES and _FINGERPRINT.fullmatch(fingerprint.value.upper())
    )
    if not fingerprints or setup not in _ROLES:
        text = f"m={kind} has no a=fingerprint of {', '.join(sorted(HASHES))}, or no a=setup"
        return None, BadRequest(text, reason="no_fingerprint")
    return Transport(ufrag=ufrag, pwd=pwd, fingerprints=fingerprints, setup=setup), None


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
    transport = sections[tagged].transport
    if transport is None:
        raise BadRequest("the m-section that speaks for the BUNDLE group has no transport", reason="invalid_sdp")
    offered_audio = None if audio is None else sections[audio]
    return Negotiated(
        offer=offer,
        transport=transport,
        tagged=tagged,
        bundle=bundle,
        audio=audio,
        data=data,
        codecs=tuple(common),
        direction=Direction.INACTIVE if offered_audio is None else offered_audio.direction.answered(wanted),
        ptime_ms=10 if offered_audio is not None and offered_audio.max_ptime_ms < PTIME_MS else PTIME_MS,
    )


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
    """Ours that the section has too, with its payload types, and a telephone-event for each clock rate."""

    def offered(codec: Codec) -> Codec | None:
        wanted = (codec.name.lower(), codec.clock_rate_hz, codec.channels)
        for other in section.codecs:
            if (other.name.lower(), other.clock_rate_hz, other.channels) == wanted:
                return codec.with_payload_type(other.payload_type)
        return None

    common = [found for codec in liked if not codec.is_telephone_event and (found := offered(codec))]
    rates = dict.fromkeys(codec.clock_rate_hz for codec in common)
    events = [found for rate in rates if (event := TELEPHONE_EVENTS.get(rate)) and (found := offered(event))]
    return common + events


# -- writing


def candidates(addresses: Sequence[str], port: int) -> list[str]:
    """`candidate:...` lines of host candidates, the preferred address first (RFC 8445 section 5.1.2.1, RFC 8839)."""
    return [
        f"candidate:{number} 1 udp {(126 << 24) + ((65535 - number) << 8) + 255} {address} {port} typ host"
        for number, address in enumerate(addresses, 1)
    ]


def write_answer(negotiated: Negotiated, local: LocalTransport, *, version: int) -> str:
    """The answer's text, with an m-section for each of the offer's, in its order; those not taken have port 0.

    No header extension is understood, none is answered. There is no a=ssrc: the media plane chooses its SSRC, and a
    wrong one here is silence.
    """
    offer = negotiated.offer
    taken = {index for index in (negotiated.audio, negotiated.data) if index is not None}
    transport = [
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        f"a=fingerprint:sha-256 {local.fingerprint}",
        f"a=setup:{local.setup}",
    ]
    lines = ["v=0", f"o=- {local.session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    if negotiated.bundle:
        lines.append(f"a=group:BUNDLE {' '.join(negotiated.bundle)}")
    lines.append("a=msid-semantic:WMS *")
    if len(taken) < len(offer.sections):
        lines += transport  # aiortc's RTCPeerConnection looks for it in rejected sections too
    address = local.addresses[0] if local.addresses else "0.0.0.0"
    connection = f"c=IN IP{6 if ':' in address else 4} {address}"
    for index, section in enumerate(offer.sections):
        if index not in taken:
            lines += _rejected(section)
            continue
        formats = (
            " ".join(str(codec.payload_type) for codec in negotiated.codecs) if section.kind == AUDIO else DATA_FORMAT
        )
        lines += [f"m={section.kind} {local.port} {section.protocol} {formats}", connection]
        if section.mid is not None:
            lines.append(f"a=mid:{section.mid}")
        lines += _audio(negotiated) if section.kind == AUDIO else _data()
        lines += transport
        if index == negotiated.tagged:
            lines += [f"a={candidate}" for candidate in candidates(local.addresses, local.port)]
            lines.append("a=end-of-candidates")
    return "\r\n".join(lines) + "\r\n"


def _rejected(section: Section) -> list[str]:
    """RFC 3264 section 6: port 0, everything else of the line as offered."""
    lines = [f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}", "c=IN IP4 0.0.0.0"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    lines.append("a=inactive")
    if "RTP" in section.protocol:
        lines.append("a=rtcp-mux")
    return lines


def _audio(negotiated: Negotiated) -> list[str]:
    lines = [f"a={negotiated.direction.value}"]
    if negotiated.direction.sends:
        lines.append("a=msid:sdpserver audio")
    lines.append("a=rtcp-mux")
    for codec in negotiated.codecs:
        lines.append(f"a=rtpmap:{codec.rtpmap}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    return [*lines, f"a=ptime:{negotiated.ptime_ms}", f"a=maxptime:{MAX_PTIME_MS}"]


def _data() -> list[str]:
    return [f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{MAX_MESSAGE_OCTETS}"]
