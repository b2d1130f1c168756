"""Agents' calls over a trunk, controlled over REST; judged by what the agent and the PBX hear."""

from __future__ import annotations

import time
from asyncio import to_thread

import httpx
from peers import audio
from peers.agent import Agent
from peers.asterisk import Asterisk
from peers.server import ServerProcess

from .conftest import registered
from .test_calls_from_a_trunk import uri_of

PBX_HZ, ANN_HZ, BOB_HZ = 440, 1100.0, 1700.0


async def order(server: ServerProcess, action: str, **body: object) -> str:
    """POST /api/call/ACTION; the status."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        response = await http.post(f"/api/call/{action}", json=body)
        assert response.status_code == 200, response.text
        return str(response.json()["status"])


async def is_silent_for(agent: Agent, duration_s: float) -> None:
    """What the agent's last call hears now."""
    client = agent.clients[-1]
    started = time.monotonic()
    await client.wait(duration_s)
    pcm, rate = client.heard.since(started).pcm()
    assert audio.level_dbfs(audio.cut(pcm, rate, 0.1)) < audio.SILENCE_DBFS


async def test_a_call_is_made_held_taken_back_and_ended(trunked: ServerProcess, asterisk: Asterisk) -> None:
    async with registered(trunked, "7001") as ann:
        mark = asterisk.ami.mark()
        assert await order(trunked, "make", **{"from": "7001", "to": "601"}) == "ringing"
        call = await ann.answer(await ann.incoming(), frequency_hz=ANN_HZ, codec="PCMU")
        channel = await to_thread(asterisk.wait_channel, since=mark)
        await call.client.wait_tone(PBX_HZ)
        assert await order(trunked, "hold", callId=call.call_id) == "held"
        await call.wait("held", by="local")
        await call.client.wait_silence()  # what was on its way has come
        recording = await to_thread(asterisk.record, channel)
        await is_silent_for(ann, 1.0)
        pcm, rate = await to_thread(recording.stop)
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.2)) < audio.SILENCE_DBFS
        assert await order(trunked, "resume", dn="7001") == "resumed"
        await call.client.wait_tone(PBX_HZ)
        recording = await to_thread(asterisk.record, channel)
        (await call.client.listen(1.2)).check_tone(PBX_HZ)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, ANN_HZ, min_duration_s=0.8)
        assert await order(trunked, "hangup", callId=call.call_id) == "ended"
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await to_thread(asterisk.wait_hangup, channel)


async def test_a_call_of_the_pbx_is_sent_on_to_another_agent(trunked: ServerProcess, asterisk: Asterisk) -> None:
    async with registered(trunked, "7001") as ann, registered(trunked, "7002") as bob:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        call = await ann.answer(await ann.incoming(), frequency_hz=ANN_HZ, codec="PCMU")
        await call.client.wait_tone(PBX_HZ)
        assert await order(trunked, "transfer", dn="7001", to="7002") == "transferring"
        taken = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ, codec="opus")
        assert (await call.wait("callEnded"))["reason"] == "transferred"
        await taken.client.wait_tone(PBX_HZ)
        recording = await to_thread(asterisk.record, channel)
        (await taken.client.listen(1.2)).check_tone(PBX_HZ)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, BOB_HZ, min_duration_s=0.8)
        await order(trunked, "hangup", dn="7002")
        await taken.wait("callEnded")
        await to_thread(asterisk.wait_hangup, channel)
