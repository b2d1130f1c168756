"""A WebRTC offer or answer, read and checked: functions of text, without sockets or state.

Nothing of an offer goes any further unless it has passed one of the patterns below, so an offer cannot write lines into
our answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from aiortc.sdp import MediaDescription, SessionDescription

from sdpserver.errors import BadRequest
from sdpserver.sdp import Codec, Direction, check_limits, milliseconds

AUDIO = "audio"
DATA = "application"
DATA_FORMAT = "webrtc-datachannel"
RTP_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"})
"""What an offer may call DTLS-SRTP; the answer repeats it (RFC 8829 section 5.1.2)."""
DATA_PROTOCOLS = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
HASHES = frozenset({"sha-256", "sha-384", "sha-512"})
"""Hash functions of certificate fingerprints that we check."""

SCTP_PORT = 5000
OFFERED_MID = "0"
"""Of the one m-section that an offer of ours has."""
MAX_MESSAGE_OCTETS = 65536
"""Of a data channel, both ways: what every implementation takes (RFC 8831 section 6.6)."""
_TOKEN = r"[!#-'*+.0-9A-Z^-~-]+"  # RFC 8866 section 9, "token"
MEDIA_LINE = re.compile(rf"m=({_TOKEN}) ([0-9]{{1,5}})(?:/[0-9]{{1,5}})? ({_TOKEN}(?:/{_TOKEN})*)((?: {_TOKEN})+) *")
_ORIGIN_LINE = re.compile(r"o=\S+ (\S+) \S+ IN IP[46] \S+")
MID = re.compile(rf"{_TOKEN}")
ICE_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839 section 5.4
ICE_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:)+[0-9A-F]{2}")  # RFC 8122 section 5
_RTPMAP = re.compile(r"([0-9]{1,3}) +([!-.0-~]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_FMTP = re.compile(r"a=fmtp:([0-9]{1,3}) ([ -~]{1,256})")
_NUMBER = re.compile(r"[0-9]{1,10}")
MAX_MID = 255
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
    bundle_only: bool = False
    """It has no transport of its own (RFC 9143 section 6)."""
    rtpmap: str = ""
    """Of RTP that we do not speak: the `a=rtpmap` of its first format, for keeping the section without using it."""
    direction: Direction = Direction.SENDRECV
    codecs: tuple[Codec, ...] = ()
    """Of audio: in the offerer's order and with its payload types."""
    ptime_ms: int = 0
    max_ptime_ms: int = 0
    """0: not said."""
    fmtps: tuple[tuple[str, str], ...] = ()
    """Of audio: format and its parameters."""
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
    """A checked offer: it has at least one audio or data section that we can take. Or a checked answer to ours."""

    origin_id: str
    """The session id of its `o=` line: the same in all offers of one peer connection (RFC 8866 section 5.2)."""
    sections: tuple[Section, ...]
    bundles: tuple[tuple[str, ...], ...]


def parse_offer(sdp: str) -> Offer:
    """Read an offer.

    :raises BadRequest: `invalid_sdp`, `sdp_too_large`, `no_audio` (neither audio nor a data channel), or why its audio
        or data section cannot be taken: `unsupported_protocol`, `rtcp_mux_required`, `no_ice`, `no_fingerprint`,
        `section_rejected`.
    """
    offer = _read(sdp)
    if not any(section.usable for section in offer.sections):
        for section in offer.sections:
            if section.kind in (AUDIO, DATA) and section.problem is not None:
                raise section.problem
        raise BadRequest("the offer has neither audio nor a data channel", reason="no_audio")
    return offer


def parse_answer(sdp: str) -> Offer:
    """Read the answer to an offer of ours: one audio section, which it takes.

    :raises BadRequest: `invalid_sdp`, `sdp_too_large`, `rejected` (the audio is), or what `parse_offer` says of a
        section that cannot be taken.
    """
    answer = _read(sdp)
    section = answer.sections[0] if len(answer.sections) == 1 else None
    if section is None or section.kind != AUDIO or section.mid not in (None, OFFERED_MID):
        raise BadRequest("the answer's m-sections are not those of the offer", reason="invalid_sdp")
    if not section.offered or section.bundle_only:
        raise BadRequest("the answer rejects the audio", reason="rejected")
    if section.problem is not None:
        raise section.problem
    if section.transport is not None and section.transport.setup == "actpass":
        raise BadRequest("a=setup of an answer is active or passive", reason="invalid_sdp")  # RFC 8842 section 5.3
    return answer


def _read(sdp: str) -> Offer:
    try:
        check_limits(sdp)
        return _parse(sdp)
    except BadRequest:
        raise
    except Exception as exc:
        # aiortc's parser raises nearly anything on bad text, the codec of text UnicodeError on half a surrogate pair.
        raise BadRequest("the SDP cannot be read", reason="invalid_sdp") from exc


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
    match = MEDIA_LINE.fullmatch(lines[0])
    if match is None:
        raise BadRequest("the SDP has an invalid m= line", reason="invalid_sdp")
    kind, port, protocol, formats = match[1], int(match[2]), match[3], tuple(match[4].split())
    attributes = _attributes(lines)
    mid = attributes.get("mid")
    if mid is not None and (len(mid) > MAX_MID or MID.fullmatch(mid) is None):
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
        bundle_only=offered and port == 0,
        rtpmap=_first_rtpmap(lines, formats[0]) if protocol in RTP_PROTOCOLS and "rtcp-mux" in attributes else "",
        direction=Direction(sorted(directions)[0]),
        fmtps=tuple((match[1], match[2]) for line in lines if kind == AUDIO and (match := _FMTP.fullmatch(line))),
        ptime_ms=milliseconds(attributes.get("ptime")),
        max_ptime_ms=milliseconds(attributes.get("maxptime")),
        problem=problem,
    )


def _first_rtpmap(lines: list[str], number: str) -> str:
    prefix = f"a=rtpmap:{number} "
    found = next((line for line in lines if line.startswith(prefix)), "").removeprefix("a=rtpmap:")
    return found if _RTPMAP.fullmatch(found) else ""


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
    fmtps = dict(section.fmtps)
    by_payload_type = {codec.payloadType: codec for codec in parsed.rtp.codecs}
    codecs = tuple(
        Codec(
            name=codec.name,
            clock_rate_hz=codec.clockRate,
            payload_type=int(number),
            send_payload_type=int(number),
            channels=codec.channels or 1,
            remote_fmtp=fmtps.get(number, ""),
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
    if ICE_UFRAG.fullmatch(ufrag) is None or ICE_PWD.fullmatch(pwd) is None:
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
