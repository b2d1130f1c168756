"""Whoever hangs up, the other end knows within a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from asyncio import to_thread

from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import until

KNOWN_S = 1.0


async def test_the_pbx_knows_of_a_close_request(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url) as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        asked_s = time.monotonic()
        await client.hang_up()
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - asked_s < KNOWN_S
        assert await client.wait_closed() - asked_s < KNOWN_S
        # Idempotent while the session lingers.
        await client.hang_up()


async def test_the_pbx_knows_of_a_page_that_closes_its_connection(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url) as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        asked_s = time.monotonic()
        await client.pc.close()
        hangup = await to_thread(asterisk.wait_hangup, channel)
        session = await client.describe()
        assert (session["state"], session["close_reason"]) == ("closed", "client_closed")
        # Most of the second is `[session] resume_s`, in which the page may come back.
        assert session["timeline"]["closed"] - session["timeline"]["disconnected"] < KNOWN_S * 1000
        assert hangup.at_s - asked_s < KNOWN_S


async def test_the_client_knows_of_a_hangup_by_the_pbx(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url, events=True) as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        asked_s = await to_thread(asterisk.hangup, channel)
        ended = await client.wait_event("ended", timeout_s=2)
        assert ended["reason"] == "normal_clearing"
        assert ended["came_s"] - asked_s < KNOWN_S
        assert await client.wait_closed() - asked_s < KNOWN_S
        session = await client.describe()
        assert (session["state"], session["close_reason"]) == ("closed", "normal_clearing")


async def test_the_client_knows_of_a_hangup_by_the_dialplan(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url) as client:
        channel = await dial(client, asterisk, "612", trunk="any")
        closed_s = await client.wait_closed(4)
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert closed_s - hangup.at_s < KNOWN_S


async def test_both_hanging_up_at_once_is_a_hangup(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url) as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)

        async def pbx_hangs_up() -> None:
            with contextlib.suppress(RuntimeError):  # the channel was gone already
                await to_thread(asterisk.hangup, channel)

        await asyncio.gather(client.hang_up(), pbx_hangs_up())
        await client.wait_closed()
        await until(lambda: not gateway.open_sessions(), timeout_s=5, what="the session to be closed")


async def test_a_ringing_call_is_cancelled_by_close(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url) as client:
        channel = await dial(client, asterisk, "603", trunk="any")
        asked_s = time.monotonic()
        await client.hang_up()
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - asked_s < KNOWN_S


async def test_a_call_closed_before_it_is_connected_leaves_nothing(gateway: ServerProcess, asterisk: Asterisk) -> None:
    mark = asterisk.ami.mark()
    async with Client(gateway.url) as client:
        response = await client.post_offer(to="601", trunk="any")
        client.answer = response.json()
        channel = await to_thread(asterisk.wait_channel, since=mark)  # else an INVITE that is challenged is its last
        await client.hang_up()
        await to_thread(asterisk.wait_hangup, channel)
