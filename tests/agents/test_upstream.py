"""Agents whose DNs are an Asterisk's users: they register there, call through it and are called by it."""

from __future__ import annotations

from asyncio import to_thread

import pytest
from peers import audio
from peers.agent import Agent, Refused
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import until

ANN, BOB = "1002", "1003"
ANN_HZ, BOB_HZ = 700.0, 1100.0


async def contacts(pbx: Asterisk) -> str:
    return await to_thread(pbx.rx, "pjsip show contacts")


async def test_an_agent_is_registered_while_it_is_connected(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with Agent(upstream.url) as ann:
        assert (await ann.register(ANN, f"pw{ANN}"))["dn"] == ANN
        assert f"sip:{ANN}@" in await contacts(pbx)

    async def is_gone() -> bool:
        return f"sip:{ANN}@" not in await contacts(pbx)

    await until(is_gone, timeout_s=5, what="the contact to go")


async def test_a_wrong_password_is_the_registrars_refusal(upstream: ServerProcess) -> None:
    async with Agent(upstream.url) as ann:
        with pytest.raises(Refused) as refused:
            await ann.register(ANN, "wrong")
        assert refused.value.code in (401, 403)
        await ann.register(ANN, f"pw{ANN}")


async def test_agents_call_each_other_through_the_pbx(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with Agent(upstream.url) as ann, Agent(upstream.url) as bob:
        await ann.register(ANN, f"pw{ANN}")
        await bob.register(BOB, f"pw{BOB}")
        calling = await ann.call(BOB, frequency_hz=ANN_HZ)
        incoming = await bob.incoming()
        assert incoming["from"] == ANN
        await calling.wait("callProgress", state="ringing")
        answered = await bob.answer(incoming, frequency_hz=BOB_HZ)
        await calling.wait("callAccepted")
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        (await calling.client.listen(1.2)).check_tone(BOB_HZ)
        (await answered.client.listen(1.2)).check_tone(ANN_HZ)
        await answered.order("hangup")
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"
    await to_thread(pbx.wait_no_channels)


async def test_a_call_to_the_pbx_itself_is_the_agents(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with Agent(upstream.url) as ann:
        await ann.register(ANN, f"pw{ANN}")
        mark = pbx.ami.mark()
        call = await ann.call("600", frequency_hz=ANN_HZ)
        channel = await to_thread(pbx.wait_channel, since=mark)
        assert channel.startswith(f"PJSIP/{ANN}-")
        await call.client.wait_tone(ANN_HZ)
        recording = await to_thread(pbx.record, channel)
        (await call.client.listen(1.2)).check_tone(ANN_HZ)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, ANN_HZ, min_duration_s=1.0)
        await call.hang_up()
    await to_thread(pbx.wait_no_channels)
