"""The captured offers, and a small one to vary."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "offers"
CAPTURED = sorted(str(path.relative_to(DATA).with_suffix("")) for path in DATA.glob("*/*.sdp"))
FINGERPRINT = ":".join(["AB"] * 32)


def captured(name: str) -> str:
    """`captured("chromium/audio")`"""
    return (DATA / f"{name}.sdp").read_bytes().decode()


def section(
    kind: str = "audio",
    *,
    mid: str | None = "0",
    port: int = 9,
    protocol: str = "",
    formats: str = "",
    lines: tuple[str, ...] = (),
    transport: bool = True,
    setup: str = "actpass",
) -> list[str]:
    protocol = protocol or ("UDP/DTLS/SCTP" if kind == "application" else "UDP/TLS/RTP/SAVPF")
    formats = formats or ("webrtc-datachannel" if kind == "application" else "0")
    text = [f"m={kind} {port} {protocol} {formats}", "c=IN IP4 0.0.0.0"]
    text += [f"a=mid:{mid}"] if mid is not None else []
    text += ["a=rtcp-mux"] if kind != "application" else []
    if transport:
        text += [
            "a=ice-ufrag:ufrag",
            f"a=ice-pwd:{'p' * 24}",
            f"a=fingerprint:sha-256 {FINGERPRINT}",
            f"a=setup:{setup}",
        ]
    return [*text, *lines]


def offer(*sections: list[str], bundle: str | None = "0", session_lines: tuple[str, ...] = (), origin: int = 1) -> str:
    lines = ["v=0", f"o=- {origin} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines += [f"a=group:BUNDLE {bundle}"] if bundle is not None else []
    lines += session_lines
    for each in sections:
        lines += each
    return "\r\n".join(lines) + "\r\n"
