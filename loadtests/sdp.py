"""The SDP of the bench's callers: what they offer, and what they read in an answer."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from .loadgen import Endpoint

_RTPMAPS = {
    "PCMU": ("0", "a=rtpmap:0 PCMU/8000"),
    "PCMA": ("8", "a=rtpmap:8 PCMA/8000"),
    "opus": ("111", "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1"),
}


def webrtc_offer(endpoint: Endpoint, codec: str = "PCMU") -> str:
    """What a browser offers for one audio call (RFC 8829), with one codec and one candidate."""
    payload_type, rtpmap = _RTPMAPS[codec]
    lines = [
        "v=0",
        f"o=- {endpoint.id} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        f"m=audio {endpoint.port} UDP/TLS/RTP/SAVPF {payload_type} 126",
        "c=IN IP4 127.0.0.1",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=candidate:1 1 udp 2130706431 127.0.0.1 {endpoint.port} typ host",
        f"a=ice-ufrag:{endpoint.ufrag}",
        f"a=ice-pwd:{endpoint.pwd}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {endpoint.fingerprint}",
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        rtpmap,
        "a=rtpmap:126 telephone-event/8000",
    ]
    return "\r\n".join(lines) + "\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRtcAnswer:
    ip: str
    port: int
    ufrag: str
    pwd: str
    fingerprint: str


def _first(pattern: str, sdp: str) -> str:
    found = re.search(pattern, sdp, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {pattern!r} in the SDP:\n{sdp}")
    return found[1]


def parse_webrtc_answer(sdp: str) -> WebRtcAnswer:
    """Raises ValueError when something that a client needs is missing."""
    ip, port = _first(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+ \d+) typ host", sdp).split()
    return WebRtcAnswer(
        ip=ip,
        port=int(port),
        ufrag=_first(r"^a=ice-ufrag:(\S+)", sdp),
        pwd=_first(r"^a=ice-pwd:(\S+)", sdp),
        fingerprint=_first(r"^a=fingerprint:sha-256 (\S+)", sdp).upper(),
    )


def rtp_sdp(port: int, codec: str = "PCMU", *, crypto: tuple[str, bytes] | None = None) -> str:
    """A phone's SDP on 127.0.0.1. crypto: suite and key for SDES (RFC 4568)."""
    payload_type, rtpmap = _RTPMAPS[codec]
    lines = [
        "v=0",
        f"o=- {port} 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        f"m=audio {port} {'RTP/SAVP' if crypto else 'RTP/AVP'} {payload_type}",
        rtpmap,
        "a=sendrecv",
        "a=ptime:20",
    ]
    if crypto:
        lines.append(f"a=crypto:1 {crypto[0]} inline:{base64.b64encode(crypto[1]).decode()}")
    return "\r\n".join(lines) + "\r\n"


def rtp_address(sdp: str) -> tuple[str, int]:
    """Where audio goes."""
    return _first(r"^c=IN IP4 (\S+)", sdp), int(_first(r"^m=audio (\d+)", sdp))


def sdes_key(sdp: str, suite: str) -> bytes:
    """The key of the `a=crypto` with this suite."""
    return base64.b64decode(_first(rf"^a=crypto:\d+ {suite} inline:([A-Za-z0-9+/=]+)", sdp) + "==")
