"""What peers have sent and received by their own account: Asterisk's captures of SIP, and SIPp's logs."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .asterisk import Asterisk
from .sip_peer import SipMessage

_FILE_HEADER, _PACKET_HEADER = 24, 16
_ETHERNET, _UDP_PORTS = 14, struct.Struct(">HH")
_SIPP_MESSAGE = re.compile(r"^-{40,} [^\n]*\nUDP message (sent|received) [(\[](\d+)[^\n]*\n\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Captured:
    """A message of a peer's. `was_sent`: by it."""

    was_sent: bool
    text: str

    @property
    def call_id(self) -> str:
        return SipMessage.parse(self.text.encode("utf-8", "surrogateescape"), ("", 0))["call-id"]


class AsteriskCapture:
    """What it has captured, over UDP; all of it once its block has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def messages(self) -> list[Captured]:
        octets = self._path.read_bytes()
        found = []
        position = _FILE_HEADER
        while position < len(octets):
            (length,) = struct.unpack_from("<I", octets, position + 8)
            position += _PACKET_HEADER
            ip = octets[position + _ETHERNET : position + length]
            position += length
            header = (ip[0] & 15) * 4
            source_port, _ = _UDP_PORTS.unpack_from(ip, header)
            # It leaves out its own address.
            found.append(Captured(source_port == 0, ip[header + 8 :].decode("utf-8", "surrogateescape")))
        return found


@contextlib.contextmanager
def asterisk_capture(asterisk: Asterisk) -> Iterator[AsteriskCapture]:
    """All SIP messages of this Asterisk, until the end of the block; what was sent to it over UDP by then is in it."""
    path = asterisk.folder / "sip.pcap"
    path.unlink(missing_ok=True)
    asterisk.rx(f"pjsip set logger pcap {path}")
    asterisk.rx("pjsip set logger on")
    try:
        yield AsteriskCapture(path)
        _ask_options(asterisk)
    finally:
        asterisk.rx("pjsip set logger off")


def _ask_options(asterisk: Asterisk) -> None:
    """It reads its socket in order: with the answer to this one, whatever it is, it has read all that came before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(("127.0.0.1", 0))
        asking.settimeout(5)
        host_port = f"127.0.0.1:{asking.getsockname()[1]}"
        lines = (
            f"OPTIONS sip:{asterisk.address} SIP/2.0",
            f"Via: SIP/2.0/UDP {host_port};branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70",
            f"From: <sip:asking@{host_port}>;tag=1",
            f"To: <sip:{asterisk.address}>",
            f"Call-ID: {secrets.token_hex(8)}",
            "CSeq: 1 OPTIONS",
            "Content-Length: 0",
        )
        asking.sendto("\r\n".join((*lines, "", "")).encode(), ("127.0.0.1", asterisk.sip_port))
        asking.recv(65536)


def sipp_messages(path: Path) -> list[Captured]:
    """Of SIPp's `-trace_msg`; it writes a message's line ends as they are."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    found = []
    for match in _SIPP_MESSAGE.finditer(text):
        octets = text[match.end() :].encode("utf-8", "surrogateescape")[: int(match[2])]
        found.append(Captured(match[1] == "sent", octets.decode("utf-8", "surrogateescape")))
    return found


def of_calls(messages: Sequence[Captured], call_ids: set[str]) -> list[Captured]:
    return [message for message in messages if message.call_id in call_ids]
