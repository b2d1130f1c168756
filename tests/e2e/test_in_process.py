"""A server in the test's own process, where a leaked task, thread or file fails the test (tests/conftest.py)."""

from __future__ import annotations

from peers.aiortc_client import VOICE_HZ
from peers.in_process import in_process


async def test_a_call_leaves_no_task_thread_or_file_behind() -> None:
    async with in_process() as server:
        async with server.client(codec="opus", events=True) as client:
            await client.call("echo")
            await client.wait_tone(VOICE_HZ)
            await client.hang_up()
            await client.wait_closed(1)
        async with server.client(codec="PCMU") as client:
            await client.call("tone")
            await client.wait_tone(440)
            await client.pc.close()
        async with server.client() as client:
            await client.post_offer(to="echo")  # and never connects


async def test_a_server_that_stops_with_live_calls_leaves_nothing_behind() -> None:
    async with in_process() as server:
        callers = [server.client(events=True) for _ in range(3)]
        for caller in callers:
            await caller.call("echo")
            await caller.wait_tone(VOICE_HZ)
    for caller in callers:
        await caller.wait_closed(1)
        await caller.close()
