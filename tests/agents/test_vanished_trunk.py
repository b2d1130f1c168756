"""An Asterisk that is killed in the middle of something, and one that freezes: nothing of it is left."""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import Iterator
from typing import Any

import pytest
from peers.asterisk import Asterisk, running_asterisk
from peers.server import ServerProcess, running
from peers.waiting import until

from .conftest import registered
from .test_calls_from_a_peer import nothing_left
from .test_calls_from_a_trunk import uri_of

MEDIA_TIMEOUT_S, RING_S = 2.0, 3.0
TRANSACTION_S = 32.0
"""64 T1 (RFC 3261 section 17.1.1.2): how long SIP waits for an answer."""


@pytest.fixture
def pbx() -> Iterator[Asterisk]:
    with running_asterisk() as peer:
        yield peer
        if peer.process is None:
            peer.start()


@pytest.fixture
def server(pbx: Asterisk, dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    session = {"media_timeout_s": MEDIA_TIMEOUT_S, "ring_timeout_s": RING_S, "reattach_s": 1}
    with running(ServerProcess.for_asterisk(pbx, {"dn": dns, "session": session})) as process:
        yield process


@pytest.mark.timeout(90)
async def test_asterisk_is_killed_in_a_call_and_while_another_rings(server: ServerProcess, pbx: Asterisk) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await to_thread(pbx.originate, uri_of(server, "7001"), "601")
        answered = await ann.answer(await ann.incoming())
        await answered.client.wait_tone(440)
        await to_thread(pbx.originate, uri_of(server, "7002"), "601")
        ringing = await bob.incoming()
        await to_thread(pbx.kill)
        killed = time.monotonic()
        ended = await answered.wait("callEnded", timeout_s=MEDIA_TIMEOUT_S + 2)
        assert ended["reason"] == "media_timeout"
        ended = await bob.wait("callEnded", callId=ringing["callId"], timeout_s=RING_S + 2)
        assert ended["reason"] == "no_answer"
        await until(lambda: not server.calls() and not server.rtp_ports(), timeout_s=3, what="calls and ports")
        await nothing_left(server, timeout_s=TRANSACTION_S + 5)
        assert time.monotonic() - killed < TRANSACTION_S + RING_S + 5
        await ann.request("ping")
        await to_thread(pbx.start)
        await to_thread(pbx.originate, uri_of(server, "7001"), "601")  # and the trunk serves again
        again = await ann.answer(await ann.incoming(number=1))
        await again.client.wait_tone(440)
        await again.order("hangup")
        await to_thread(pbx.wait_no_channels)


@pytest.mark.timeout(90)
async def test_an_answer_to_a_killed_asterisk_ends_in_time(server: ServerProcess, pbx: Asterisk) -> None:
    async with registered(server, "7001") as ann:
        await to_thread(pbx.originate, uri_of(server, "7001"), "601")
        incoming = await ann.incoming()
        await to_thread(pbx.kill)
        call = await ann.answer(incoming)
        ended = await call.wait("callEnded", timeout_s=TRANSACTION_S + 3)
        assert ended["reason"] in ("sip_timeout", "media_timeout", "trunk_unreachable")
        await nothing_left(server, timeout_s=TRANSACTION_S + 5)
