"""Sends SIP datagrams made by seeded mutation, from a process of its own, as fast as the server reads them.

    python -m peers.sip_flood < order

The order is JSON: `to` and `source_ip`, `count`, `seed`, and in base64 `anywhere` and `in_dialog`, the messages to
begin with. `@HOST`, `@ID` and `@CSEQ` in them become the sender's address, a word of the datagram's own and a number
that rises. Those of `in_dialog` keep what is in front of their X-Mutable, and offer no codec of ours. After each batch
an OPTIONS is answered, so that none is lost in a full buffer. Prints JSON: `sent`, `took_s`, the `longest_s` that the
server took for a batch, and how often each of the `statuses` came back.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

BATCH_OCTETS = 40_000
"""With what the kernel counts on top of each datagram, a third of a socket's usual buffer."""
MAX_OCTETS = 15_000
FIRST_CSEQ = 1000
METHODS = [
    *(b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"INFO", b"PRACK", b"UPDATE"),
    *(b"SUBSCRIBE", b"NOTIFY", b"REFER", b"MESSAGE", b"PUBLISH", b"TELEPORT", b"invite", b""),
]
NESTED = [
    *(b"%25%25%32%35", b"%00", b"%", b"%zz", b'\\"\\"\\"', b'"', b"<<<<>>>>", b"<sip:<sip:<sip:", b"((((", b"\\\\"),
    *(b";;;;,,,,", b"=", b"?Route=%3Csip:x%3E&Replaces=a%3Bto-tag%3D1", b"[::1]", b"[", b"\0", b"\r\n ", b"\r\n\r\n"),
    *(b"\xff\xfe", b"\xf0\x9f\x98\x80", b"sips:tel:+1;phone-context=", b"@@@", b"://", b"*"),
]
NUMBERS = [
    b"0",
    b"-1",
    b"99999",
    b"65536",
    b"2147483648",
    b"4294967296",
    b"18446744073709551616",
    b"9" * 300,
    b"x",
    b"",
]
SDP_LINES = [
    *(b"v=1", b"o=- 9999999999999999999999 1 IN IP4 127.0.0.1", b"o=", b"c=IN IP6 ::", b"c=IN IP4 999.1.1.1/300"),
    *(b"m=audio 0 RTP/AVP 18", b"m=audio 99999 RTP/AVP", b"m=audio 1/999 RTP/SAVP 18 18 18", b"m=", b"m=video 5 X 1"),
    *(
        b"a=rtpmap:18",
        b"a=rtpmap:18 /",
        b"a=rtpmap:999 x/y/z",
        b"a=fmtp:",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
    ),
    *(b"a=crypto:x y z", b"a=ptime:-1", b"a=ptime:99999999999", b"a=candidate:", b"a=ice-ufrag:", b"a=fingerprint:x"),
    *(b"a=" + b"y" * 900, b"t=", b"b=AS:-5", b"k=clear:x", b"a=group:BUNDLE", b"a=rtcp:1 IN IP4 ", b"=", b"\0"),
]
Mutation = Callable[[random.Random, bytes], bytes]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    octets = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
    return bytes(octets)


def cut_off(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(1, len(data))]


def insert_noise(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 64, 1000))) + data[at:]


def insert_nested(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice(NESTED) * rng.choice((1, 2, 20, 200)) + data[at:]


def on_header(change: Callable[[random.Random, list[bytes], int], None]) -> Mutation:
    """A mutation of one of the header lines."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        change(rng, lines, rng.randrange(len(lines)))
        return b"\r\n".join(lines) + end + body

    return mutate


def repeat(rng: random.Random, lines: list[bytes], at: int) -> None:
    lines[at:at] = [lines[at]] * rng.choice((1, 2, 5, 60))


def leave_out(rng: random.Random, lines: list[bytes], at: int) -> None:
    del lines[at]


def shuffle(rng: random.Random, lines: list[bytes], at: int) -> None:
    rest = lines[1:]
    rng.shuffle(rest)
    lines[1:] = rest


def swell(rng: random.Random, lines: list[bytes], at: int) -> None:
    name = lines[at].partition(b":")[0]
    filler = rng.choice((b"A", b"9", b" ", b",", b"a;b=", b"<", b'"', b"%41"))
    lines[at] = name + b": " + filler * rng.choice((50, 500, 1500))


def misnumber(rng: random.Random, lines: list[bytes], at: int) -> None:
    lines[at] = re.sub(rb"\d+", lambda _: rng.choice(NUMBERS), lines[at], count=rng.randint(1, 3))


def lie_about_length(rng: random.Random, lines: list[bytes], at: int) -> None:
    name = rng.choice((b"Content-Length", b"l", b"content-length"))
    lines.insert(at + 1, name + b": " + rng.choice(NUMBERS))


def rename(rng: random.Random, lines: list[bytes], at: int) -> None:
    which = rng.randrange(3)
    for index, line in enumerate(lines):
        if which != 1 and index == 0:
            lines[index] = rng.choice(METHODS) + b" " + line.partition(b" ")[2]
        if which != 0 and line.lower().startswith(b"cseq"):
            lines[index] = b"CSeq: 5 " + rng.choice(METHODS)


def change_sdp(rng: random.Random, data: bytes) -> bytes:
    head, end, body = data.partition(b"\r\n\r\n")
    lines = body.split(b"\r\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        action = rng.randrange(4)
        if action == 0:
            lines[at] = rng.choice(SDP_LINES)
        elif action == 1:
            lines[at:at] = [rng.choice(SDP_LINES)] * rng.choice((1, 3, 100))
        elif action == 2:
            del lines[at]
            lines = lines or [b""]
        else:
            lines[at] = re.sub(rb"\d+", lambda _: rng.choice(NUMBERS), lines[at], count=2)
    return _with_length(head + end + b"\r\n".join(lines))


def _with_length(data: bytes) -> bytes:
    head, end, body = data.partition(b"\r\n\r\n")
    return re.sub(rb"(?im)^content-length:.*$", b"Content-Length: %d" % len(body), head) + end + body


ON_HEADERS = [on_header(change) for change in (repeat, leave_out, shuffle, swell, misnumber, lie_about_length, rename)]
MUTATIONS: list[Mutation] = [flip_bits, cut_off, insert_noise, insert_nested, *ON_HEADERS, change_sdp, change_sdp]


class Mutator:
    """Datagrams without end, the same for the same seed."""

    def __init__(self, seed: int, anywhere: list[bytes], in_dialog: list[bytes], host: bytes) -> None:
        self._rng = random.Random(seed)
        self._anywhere, self._in_dialog, self._host = anywhere, in_dialog, host
        self._count = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._count += 1
        rng = self._rng
        is_of_the_call = bool(self._in_dialog) and rng.random() < 0.2
        data = rng.choice(self._in_dialog if is_of_the_call else self._anywhere)
        data = data.replace(b"@HOST", self._host).replace(b"@ID", b"f%d" % self._count)
        data = data.replace(b"@CSEQ", b"%d" % (FIRST_CSEQ + self._count))
        data = self._mutated_in_dialog(data) if is_of_the_call else self._mutated(data)
        return data[:MAX_OCTETS]

    def _mutated(self, data: bytes) -> bytes:
        for _ in range(self._rng.choice((0, 1, 1, 1, 2, 3))):
            data = self._rng.choice(MUTATIONS)(self._rng, data) or b"\0"
        return data

    def _mutated_in_dialog(self, data: bytes) -> bytes:
        """Behind the lines that make it the live call's: what the phone could order is the phone's to answer for."""
        head, end, rest = data.partition(b"\r\nX-Mutable: ")
        changed = change_sdp(self._rng, data) if self._rng.random() < 0.5 else head + end + self._mutated(rest)
        formats = re.findall(rb"m=audio \S+ \S+ ([^\r\n]*)", changed)
        return data if any(set(found.split()) - {b"18"} for found in formats) else changed


class _Sender(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.pinged: asyncio.Event = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(b"SIP/2.0 "):
            self.statuses[int(data[8:11])] += 1
        if b"flood-ping" in data:
            self.pinged.set()


async def flood(order: dict[str, Any]) -> dict[str, Any]:
    """Send them all."""
    to: tuple[str, int] = tuple(order["to"])
    loop = asyncio.get_running_loop()
    transport, sender = await loop.create_datagram_endpoint(_Sender, local_addr=(order["source_ip"], 0))
    host = f"{order['source_ip']}:{transport.get_extra_info('sockname')[1]}"
    anywhere, in_dialog = ([base64.b64decode(text) for text in order[name]] for name in ("anywhere", "in_dialog"))
    mutator = Mutator(order["seed"], anywhere, in_dialog, host.encode())
    started, sent, longest_s = time.monotonic(), 0, 0.0
    ping = (
        f"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host};rport;branch=z9hG4bKping%d\r\nMax-Forwards: 70\r\n"
        "From: <sip:m@example.org>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: flood-ping.%d\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    while sent < order["count"]:
        batch: list[bytes] = []
        while len(batch) < order["count"] - sent and sum(len(data) + 1000 for data in batch) < BATCH_OCTETS:
            batch.append(next(mutator))
        for data in batch:
            transport.sendto(data, to)
        sent += len(batch)
        sender.pinged.clear()
        asked = time.monotonic()
        transport.sendto((ping % (sent, sent)).encode(), to)
        async with asyncio.timeout(10):
            await sender.pinged.wait()
        longest_s = max(longest_s, time.monotonic() - asked)
    took_s = time.monotonic() - started
    transport.close()
    return {"sent": sent, "took_s": took_s, "longest_s": longest_s, "statuses": dict(sender.statuses)}


if __name__ == "__main__":
    json.dump(asyncio.run(flood(json.load(sys.stdin))), sys.stdout)
