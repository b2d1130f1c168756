"""A PBX for the bench: answers every INVITE at once, in a process of its own. `python -m loadtests.sip_uas`

The number that is called is the UDP port where the caller's far end listens (0-padded or not), so that
one stateless answerer serves every call. Lines of JSON on standard output: `{"port": N}` first, its SIP
port; then for each INVITE `{"called": N, "ip": ..., "rtp_port": ...}`, where the caller wants its audio; on
`counts` at standard input, `{"counts": {...}}`. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from typing import Any, cast

import msgspec

from .sdp import rtp_address, rtp_sdp

T1_S, T2_S = 0.5, 4.0  # RFC 3261 section 17.1.1.1


def _tell(message: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


class Uas(asyncio.DatagramProtocol):
    """Server transactions over UDP: INVITE, ACK, BYE, CANCEL, OPTIONS (RFC 3261 sections 13.3, 15.1.2, 17.2)."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._transport: asyncio.DatagramTransport | None = None
        self._resends: dict[str, asyncio.TimerHandle] = {}  # of 200s that no ACK has come for, by Call-ID
        self._answers: dict[str, bytes] = {}  # by branch, for retransmitted INVITEs
        self.counts: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass
        _tell({"port": transport.get_extra_info("sockname")[1]})

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        text = data.decode(errors="replace")
        head, _, body = text.partition("\r\n\r\n")
        if not head.strip():
            return  # keep-alive
        start, *lines = head.split("\r\n")
        method, _, rest = start.partition(" ")
        fields: list[tuple[str, str]] = [
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
        ]
        one = dict(reversed(fields))
        call_id, branch = one.get("call-id", one.get("i", "")), one.get("via", one.get("v", ""))
        self.counts[method] += 1
        if method == "INVITE":
            if branch in self._answers:
                self.counts["INVITE retransmitted"] += 1
                self._send(self._answers[branch], addr)
                return
            called = re.match(r"sips?:\+?(\d+)", rest)
            if called is None:
                self._send(self._reply("404 Not Found", fields), addr)
                return
            number = int(called[1])
            self._send(self._reply("100 Trying", fields, tag=False), addr)
            ok = self._reply("200 OK", fields, sdp=rtp_sdp(number, self._codec))
            self._answers[branch] = ok
            asyncio.get_running_loop().call_later(32, self._answers.pop, branch, None)
            ip, port = rtp_address(body)
            _tell({"called": number, "ip": ip, "rtp_port": port})
            self._send_until_ack(call_id, ok, addr, T1_S)
        elif method == "ACK":
            if handle := self._resends.pop(call_id, None):
                handle.cancel()
        elif method in ("BYE", "OPTIONS", "CANCEL", "UPDATE"):
            self._send(self._reply("200 OK", fields), addr)
        elif not start.startswith("SIP/2.0"):
            self._send(self._reply("501 Not Implemented", fields), addr)

    def _send_until_ack(self, call_id: str, ok: bytes, addr: tuple[str | Any, int], after_s: float) -> None:
        self._send(ok, addr)
        if after_s > 32:
            return
        if after_s > T1_S:
            self.counts["200 retransmitted"] += 1
        handle = asyncio.get_running_loop().call_later(
            after_s, self._send_until_ack, call_id, ok, addr, min(after_s * 2, T2_S)
        )
        self._resends[call_id] = handle

    def _reply(self, status: str, fields: list[tuple[str, str]], *, tag: bool = True, sdp: str = "") -> bytes:
        assert self._transport is not None
        port = self._transport.get_extra_info("sockname")[1]
        lines = [f"SIP/2.0 {status}"]
        for name, value in fields:
            if name in ("via", "v", "from", "f", "call-id", "i", "cseq", "record-route"):
                lines.append(f"{name}: {value}")
            elif name in ("to", "t"):
                lines.append(f"To: {value}" + (";tag=bench" if tag and "tag=" not in value else ""))
        lines += [f"Contact: <sip:bench@127.0.0.1:{port}>", "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"]
        if sdp:
            lines.append("Content-Type: application/sdp")
        return "\r\n".join([*lines, f"Content-Length: {len(sdp)}", "", sdp]).encode()

    def _send(self, message: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(message, addr)


async def serve(codec: str) -> None:
    loop = asyncio.get_running_loop()
    transport, uas = await loop.create_datagram_endpoint(lambda: Uas(codec), local_addr=("127.0.0.1", 0))
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"counts":
            _tell({"counts": dict(uas.counts)})
    transport.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1] if len(sys.argv) > 1 else "PCMU"))
