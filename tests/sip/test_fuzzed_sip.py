"""A hundred thousand spoilt datagrams, streams of garbage and idle connections at the SIP port, with a call up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers.agent import Agent
from peers.live_call import STRANGER_IP, TRUNK_IP, LiveCall, ask_options, live_call
from peers.server import ServerProcess
from peers.sip_flood import Mutator
from peers.sip_peer import SipPeer, sdp
from peers.waiting import until

from sdpserver.passwords import hash_password

from .torture import MESSAGES, request

RING_S = 3
TRANSACTIONS_S = 33.0
"""A transaction of SIP's is kept for 32 s (64 times T1) after its answer."""
PEAK_MB = 400
"""What 80,000 datagrams within half a minute take at most, some 5,000 of them calls that the trunk may make."""
MORE_MB = 40
STRANGERS_MB = 40
LOG_OCTETS = 2_000_000
TESTS = Path(__file__).parents[1]
OFFER = sdp(30000)
SOUND = [
    request("s1", frozenset(), "INVITE sip:nobody@example.com SIP/2.0", body=OFFER),
    request("s2", frozenset(), "INVITE sip:nobody@example.com SIP/2.0"),
    request("s3", frozenset(), "INVITE sip:nobody@example.com SIP/2.0", "Replaces: a;to-tag=1;from-tag=2", body=OFFER),
    request("s4", frozenset(), "REFER sip:nobody@example.com SIP/2.0", "Refer-To: <sip:900@192.0.2.1?Replaces=a>"),
    request("s5", frozenset(), "SUBSCRIBE sip:nobody@example.com SIP/2.0", "Event: presence", "Expires: 60"),
    request("s6", frozenset(), "CANCEL sip:nobody@example.com SIP/2.0"),
    request("s7", frozenset(), "ACK sip:nobody@example.com SIP/2.0"),
    request(
        "s8", frozenset(), "BYE sip:nobody@example.com SIP/2.0", "To: <sip:a@b.org>;tag=1", "Reason: Q.850;cause=16"
    ),
    request(
        "s9", frozenset(), "OPTIONS sip:nobody@example.com SIP/2.0", 'Authorization: Digest username="x",realm="y"'
    ),
    request("s0", frozenset(), "PRACK sip:nobody@example.com SIP/2.0", "RAck: 1 1 INVITE", "To: <sip:a@b.org>;tag=1"),
]

TO_AN_AGENT = [
    request("a1", frozenset(), "INVITE sip:7001@127.0.0.1 SIP/2.0", body=OFFER),
    request("a2", frozenset(), "INVITE sip:7001@127.0.0.1 SIP/2.0", "Require: 100rel", "Alert-Info: <x>;info=x"),
    request(
        "a3", frozenset(), "INVITE sip:7001@127.0.0.1 SIP/2.0", "Session-Expires: 90", "Supported: timer", body=OFFER
    ),
]


def of_the_call(call: LiveCall) -> list[bytes]:
    """What the trunk may say in the live call without its being an order that we would have to follow."""
    invite, dialog = call.dialog.invite, call.dialog
    contact = re.search(r"<([^>]+)>", invite["contact"])
    assert contact is not None
    unknown_codec = sdp(30000, "a=rtpmap:18 G729/8000", formats="18")

    def message(method: str, *headers: str, cseq: str = "@CSEQ", tag: str = dialog.tag, body: str = "") -> bytes:
        lines = [
            f"{method} {contact[1]} SIP/2.0",
            "Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bKd@ID",
            f"From: {invite['to']};tag={tag}",
            f"To: {invite['from']}",
            f"Call-ID: {invite['call-id']}",
            f"CSeq: {cseq} {method}",
            "Max-Forwards: 70",
            "Contact: <sip:peer@@HOST>",
            *headers,
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        return "\r\n".join([*lines, "X-Mutable: x", f"Content-Length: {len(body)}", "", body]).encode()

    stale = [
        message(method, cseq="1", body=unknown_codec) for method in ("INVITE", "BYE", "UPDATE", "INFO", "TELEPORT")
    ]
    elsewhere = [
        message(method, tag="another", body=unknown_codec) for method in ("INVITE", "BYE", "CANCEL", "ACK", "UPDATE")
    ]
    orders = [message("REFER", "Refer-To: <sip:900@192.0.2.1>"), message("NOTIFY", "Event: refer"), message("OPTIONS")]
    offers = [message(method, body=unknown_codec) for method in ("INVITE", "UPDATE")]
    return [
        *stale,
        *elsewhere,
        *orders,
        *offers,
        *(message(method) for method in ("INFO", "PRACK", "SUBSCRIBE", "MESSAGE")),
    ]


async def flood(call: LiveCall, *, count: int, seed: int) -> dict[str, Any]:
    """Runs in a process of its own, so that it takes no time from those who listen."""
    anywhere = [message.octets("@HOST", "@ID") for message in (*MESSAGES, *SOUND * 3, *TO_AN_AGENT)]
    order = {"to": call.sip_address, "source_ip": TRUNK_IP, "count": count, "seed": seed}
    for name, messages in (("anywhere", anywhere), ("in_dialog", of_the_call(call))):
        order[name] = [base64.b64encode(octets).decode() for octets in messages]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peers.sip_flood"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=TESTS,
    )
    output, _ = await process.communicate(json.dumps(order).encode())
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


def calls_on_the_trunk(server: ServerProcess) -> int:
    answer = httpx.get(f"{server.url}/api/genesys/status", timeout=5, trust_env=False).raise_for_status().json()
    calls: int = next(trunk["calls"] for trunk in answer["trunks"] if trunk["name"] == "phone")
    return calls


@pytest.mark.timeout(240)
async def test_a_hundred_thousand_spoilt_datagrams() -> None:
    """Nothing is left of them but memory that the next ones find free. On two idle cores it takes a minute."""
    dn = {"number": "7001", "password_hash": hash_password("ann's")}
    tables = {"dn": [dn], "session": {"ring_timeout_s": RING_S, "linger_s": 1}}
    async with live_call(tables) as call, Agent(call.server.url) as ann:
        await ann.register("7001", "ann's")
        before, started = call.server.usage(), time.monotonic()
        first = await flood(call, count=80_000, seed=4475)
        await call.heard_since(started)
        await asyncio.sleep(TRANSACTIONS_S)
        after_first = call.server.usage()
        assert after_first.rss_mb - before.rss_mb < PEAK_MB
        second = await flood(call, count=20_000, seed=5118)
        after_second = call.server.usage()
        assert after_second.rss_mb - after_first.rss_mb < MORE_MB
        assert first["sent"] + second["sent"] == 100_000
        assert max(first["longest_s"], second["longest_s"]) < 2
        assert {"100", "200", "400", "403", "404", "405", "481", "488"} <= first["statuses"].keys()
        await until(lambda: calls_on_the_trunk(call.server) == 1, timeout_s=RING_S + 5, what="calls to ring out")
        await until(lambda: call.server.usage().udp == before.udp, timeout_s=5, what="their ports to be free")
        after_ringing = call.server.usage()
        assert after_ringing.threads == before.threads
        assert after_ringing.fds <= before.fds + 1  # the agent's socket

        def told(kind: str) -> int:
            return sum(message["type"] == kind for message in ann.received)

        assert told("incomingCall") > 0
        await until(lambda: told("callEnded") == told("incomingCall"), timeout_s=5, what="the agent to be told")
        assert len(call.server.open_sessions()) == 1
        assert len(call.server.log) < LOG_OCTETS
        call.server.check_log()
        call.dialog.cseq = 1_000_000
        await call.is_unhurt(since_s=started)


async def test_invitations_of_strangers_cost_no_memory() -> None:
    """Past the first of each second they are refused without a transaction, and told of as a number."""
    async with (
        live_call() as call,
        await SipPeer.open(STRANGER_IP) as stranger,
        await SipPeer.open(STRANGER_IP) as asker,
    ):
        before, started, sent = call.server.usage(), time.monotonic(), 0
        while sent < 10_000:
            for _ in range(40):
                stranger.request("INVITE", "sip:600@127.0.0.1", call.sip_address, body=OFFER)
            await ask_options(asker, call.sip_address)
            sent += 40
        assert {answer.status for answer in stranger.received} <= {100, 403}
        assert call.server.usage().rss_mb - before.rss_mb < STRANGERS_MB
        await call.is_unhurt(since_s=started)


async def test_streams_of_garbage_and_silence() -> None:
    """Who connects and says no SIP is let go after 10 s; meanwhile requests over TCP have their answers."""
    rng = random.Random(4475)
    async with live_call() as call:
        before, started = call.server.usage(), time.monotonic()
        sound = b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.2;branch=z9hG4bK1"
        half = [
            sound,
            sound + b"\r\nContent-Length: 99999\r\n\r\n",
            b"INVITE ",
            b"\r\n",
            b"\0",
            b"SIP/2.0 200 OK\r\n\r\n",
        ]
        garbage = [
            rng.randbytes(20_000),
            b"\r\n" * 5000,
            b"A" * 50_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 99,
        ]
        said = [b""] * 200 + half * 5 + garbage * 5
        streams = await asyncio.gather(*(connect(call, octets) for octets in said))
        assert (await options_over_tcp(call)).startswith(b"SIP/2.0 200")
        # Whatever there was to read: it ends, by the server.
        async with asyncio.timeout(20):
            await asyncio.gather(*(let_go(reader) for reader, _ in streams[: len(said) - len(garbage) * 5]))
        for _, writer in streams:
            writer.transport.abort()
        assert (await options_over_tcp(call)).startswith(b"SIP/2.0 200")
        await until(lambda: call.server.usage().fds <= before.fds, timeout_s=5, what="the connections to be closed")
        await call.is_unhurt(since_s=started)


@pytest.mark.parametrize("ip", [TRUNK_IP, STRANGER_IP], ids=["trunk", "stranger"])
async def test_spoilt_messages_in_streams(ip: str) -> None:
    """Each in two halves, thirty to a connection, which is then broken off."""
    async with live_call() as call:
        started = time.monotonic()
        messages = [message.octets("@HOST", "@ID") for message in (*MESSAGES, *SOUND * 3)]
        anywhere, in_dialog = ([data.replace(b"/UDP", b"/TCP") for data in of] for of in (messages, of_the_call(call)))
        mutator = Mutator(3261, anywhere, in_dialog, f"{ip}:9".encode())

        async def spoil() -> None:
            _, writer = await asyncio.open_connection(*call.sip_address, local_addr=(ip, 0))
            with contextlib.suppress(ConnectionError):  # it may have been let go
                for data in itertools.islice(mutator, 30):
                    for half in (data[: len(data) // 2], data[len(data) // 2 :]):
                        writer.write(half)
                        await asyncio.wait_for(writer.drain(), 5)
            writer.transport.abort()

        for _ in range(20):
            await asyncio.gather(*(spoil() for _ in range(10)))
            assert (await options_over_tcp(call)).startswith(b"SIP/2.0 200")
        call.dialog.cseq = 1_000_000
        await call.is_unhurt(since_s=started)


async def connect(call: LiveCall, octets: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of a stranger's, and what he says on it."""
    reader, writer = await asyncio.open_connection(*call.sip_address, local_addr=(STRANGER_IP, 0))
    writer.write(octets)
    return reader, writer


async def let_go(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(4096):
            pass


async def options_over_tcp(call: LiveCall) -> bytes:
    """The answer."""
    lines = [
        "OPTIONS sip:sdpserver@127.0.0.1 SIP/2.0",
        f"Via: SIP/2.0/TCP {TRUNK_IP}:9;branch=z9hG4bK{time.monotonic_ns()}",
        "Max-Forwards: 70",
        "From: <sip:stranger@example.com>;tag=s1",
        "To: <sip:sdpserver@127.0.0.1>",
        f"Call-ID: {time.monotonic_ns()}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    ]
    reader, writer = await asyncio.open_connection(*call.sip_address)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer
