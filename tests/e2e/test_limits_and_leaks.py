"""What happens at the edges: full, dead trunks, clients that vanish; and that nothing adds up."""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import to_thread
from collections.abc import Callable

import pytest
from peers.aiortc_client import VOICE_HZ, Client
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import until

CALLS = 200
AT_ONCE = 10
LINGER_S = 1
SIP_TIMER_S = 32
"""64 * T1, RFC 3261 section 17."""


@pytest.mark.timeout(180)
async def test_200_calls_in_a_row_leave_nothing_behind(
    own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server({"session": {"linger_s": LINGER_S}, "log": {"level": "info"}}, asterisk=asterisk)

    async def one_call(number: int) -> None:
        to = ("600", "601", "echo", "604")[number % 4]
        codec = ("PCMU", "opus")[number // 4 % 2]
        async with Client(server.url, codec=codec, events=number % 5 == 0) as client:
            await client.call(to)
            await client.wait_audio(3)
            # By each of the ways in which a caller may end a call.
            if number % 3:
                await client.hang_up()

    async def calls(count: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                await one_call(number)

        await asyncio.gather(*(one(number) for number in range(count)))
        await until(lambda: not server.sessions(), timeout_s=5, what="the sessions to end")
        await to_thread(asterisk.wait_no_channels)

    started = time.monotonic()
    await calls(CALLS)  # warm: pools, caches, lazily loaded parts
    await asyncio.sleep(LINGER_S + 0.5)
    before = after = server.usage()
    # SIP remembers each transaction for 32 s after its end, and so after the second 200 calls as after the first.
    # Neither the end of linger_s nor of that is announced.
    await asyncio.sleep(max(0.0, started + SIP_TIMER_S + 5 - time.monotonic()))
    await calls(CALLS)
    await asyncio.sleep(LINGER_S + 0.5)

    def is_back() -> bool:
        nonlocal after
        after = server.usage()
        return (after.fds, after.threads, after.udp) == (before.fds, before.threads, before.udp)

    await until(is_back, timeout_s=5, what=f"{before} to be reached again")
    # 50 KB a call: the DTLS state of one leg alone is 99 KB, a SIP call in pjsua2 80 KB. An allocator's slack is 4 MB.
    assert after.rss_mb - before.rss_mb < 10, (before, after)


async def test_a_full_server_says_503_until_there_is_room(own_server: Callable[..., ServerProcess]) -> None:
    server = own_server({"session": {"max_sessions": 2}})
    async with Client(server.url) as one, Client(server.url) as two, Client(server.url) as three:
        await one.call("echo")
        await two.call("echo")
        response = await three.post_offer(to="echo")
        assert response.status_code == 503, response.text
        assert int(response.headers["Retry-After"]) > 0
        await two.wait_tone(VOICE_HZ)
        await two.hang_up()
        await three.accept((await three.post_offer(to="echo")).json())
        await three.wait_connected()
        await three.wait_tone(VOICE_HZ)
        for client in (one, three):
            await client.hang_up()


async def test_a_trunk_where_nobody_listens_is_an_error_and_not_a_hang(
    own_server: Callable[..., ServerProcess],
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as black_hole,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as closed,
    ):
        for sock in (black_hole, closed):
            sock.bind(("127.0.0.1", 0))
        trunks = [
            {"name": "black_hole", "server": f"127.0.0.1:{black_hole.getsockname()[1]}"},
            {"name": "refused", "server": f"127.0.0.1:{closed.getsockname()[1]}", "transport": "tcp"},
            {"name": "unknown", "server": "no-such-host.invalid"},
        ]
        server = own_server({"trunks": trunks})

        async def failure(trunk: str) -> tuple[int, str, float]:
            async with Client(server.url) as client:
                started = time.monotonic()
                response = await client.post_offer(to="600", trunk=trunk, wait_for="answer", ring_timeout_s=2)
                return response.status_code, response.json()["reason"], time.monotonic() - started

        results = await asyncio.gather(*(failure(str(trunk["name"])) for trunk in trunks))
        assert [result[:2] for result in results] == [
            (504, "sip_timeout"),
            (504, "trunk_unreachable"),
            (504, "trunk_unreachable"),
        ]
        assert [result[2] < 5 for result in results] == [True] * 3, results  # SIP itself would try for 32 s
        # And the server still takes calls.
        async with Client(server.url) as client:
            await client.call("echo")
            await client.wait_tone(VOICE_HZ)
            await client.hang_up()


async def test_a_caller_that_never_connects_is_dropped(own_server: Callable[..., ServerProcess]) -> None:
    server = own_server({"session": {"setup_timeout_s": 1}})
    async with Client(server.url) as client:
        client.answer = (await client.post_offer(to="echo")).json()
        await until(lambda: not server.open_sessions(), timeout_s=5, what="setup_timeout_s")
        session = await client.describe()
        assert (session["state"], session["close_reason"]) == ("closed", "setup_timeout")


async def test_a_call_ends_at_its_longest_duration(
    own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server({"session": {"max_duration_s": 4}}, asterisk=asterisk)  # its tone is heard long before
    async with Client(server.url) as client:
        await client.call("601")
        await client.wait_tone(440)
        await client.wait_closed(6)
        assert (await client.describe())["close_reason"] == "max_duration"
        await to_thread(asterisk.wait_no_channels)
