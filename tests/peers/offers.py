"""Offers for tests that need no media: what is in them is right, and nobody is behind them."""

from __future__ import annotations

import secrets
from typing import Any

FINGERPRINT = ":".join(["AB"] * 32)


def make_offer_sdp(*, lines: tuple[str, ...] = ()) -> str:
    """What a browser would offer for one audio stream (RFC 8829), with `lines` added to it."""
    parts = [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 101",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{secrets.token_hex(2)}",
        f"a=ice-pwd:{secrets.token_hex(12)}",
        f"a=fingerprint:sha-256 {FINGERPRINT}",
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        *lines,
    ]
    return "\r\n".join(parts) + "\r\n"


def make_offer(**members: Any) -> dict[str, Any]:
    """The body of POST /webrtc/offer."""
    return {"sdp": {"type": "offer", "sdp": make_offer_sdp()}, **members}
