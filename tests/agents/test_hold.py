"""Hold between agents and toward a trunk: what each side hears, and what each is told."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from peers import audio
from peers.agent import Agent, AgentCall
from peers.ami import AmiEvent
from peers.asterisk import Asterisk
from peers.server import ServerProcess, running
from peers.waiting import until

from .conftest import connected, registered

ANN_HZ, BOB_HZ, CEM_HZ, MUSIC_HZ = 700.0, 1100.0, 1700.0, 500.0


@pytest.fixture(scope="module")
def musical(dns: list[dict[str, Any]], asterisk: Asterisk) -> Iterator[ServerProcess]:
    """A server with music on hold."""
    process = ServerProcess.for_asterisk(asterisk, {"dn": dns, "media": {"hold_music": "music.wav"}})
    process.add_sound("music.wav", audio.sine(MUSIC_HZ, 0.4, 16000), 16000)
    with running(process):
        yield process


@pytest.fixture
async def ann(musical: ServerProcess) -> AsyncIterator[Agent]:
    async with registered(musical, "7001") as agent:
        yield agent
    await until(lambda: musical.calls() == [], timeout_s=5, what="all sessions to be closed")


@pytest.fixture
async def bob(musical: ServerProcess) -> AsyncIterator[Agent]:
    async with registered(musical, "7002") as agent:
        yield agent


async def told(call: AgentCall, *expected: tuple[str, str]) -> None:
    """`held` and `resumed` in their order, and by whom: these, and nothing else."""

    def found() -> list[tuple[str, str]]:
        return [(m["type"], m["payload"]["by"]) for m in call.messages if m["type"] in ("held", "resumed")]

    await until(lambda: len(found()) >= len(expected), timeout_s=5, what=f"to be told {expected}")
    assert found() == list(expected)


async def test_the_held_one_hears_music_and_the_holder_nothing(ann: Agent, bob: Agent) -> None:
    calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
    reply = await calling.agent.exchange("hold", callId=calling.call_id, hold=True)
    assert (reply["type"], reply["payload"]["by"]) == ("held", "local")
    await answered.client.wait_tone(MUSIC_HZ)
    await calling.client.wait_silence()
    (await answered.client.listen(1.2)).check_tone(MUSIC_HZ)
    reply = await calling.agent.exchange("hold", callId=calling.call_id, hold=False)
    assert (reply["type"], reply["payload"]["by"]) == ("resumed", "local")
    await answered.client.wait_tone(ANN_HZ)
    await calling.client.wait_tone(BOB_HZ)
    await told(calling, ("held", "local"), ("resumed", "local"))
    await told(answered, ("held", "remote"), ("resumed", "remote"))
    await calling.hang_up()
    await answered.wait("callEnded")


async def test_without_music_the_held_one_hears_silence(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await answered.order("hold")
        await calling.client.wait_silence()
        await answered.client.wait_silence()
        await answered.order("hold", hold=False)
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_of_two_that_hold_one_resumes(ann: Agent, bob: Agent) -> None:
    calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
    await calling.order("hold")
    await answered.order("hold")
    await calling.client.wait_silence()
    await answered.client.wait_silence()
    await calling.order("hold", hold=False)
    await calling.client.wait_tone(MUSIC_HZ)  # held still, by the other side
    await answered.client.wait_silence()
    await answered.order("hold", hold=False)
    await calling.client.wait_tone(BOB_HZ)
    await answered.client.wait_tone(ANN_HZ)
    await told(calling, ("held", "local"), ("held", "remote"), ("resumed", "local"), ("resumed", "remote"))
    await told(answered, ("held", "remote"), ("held", "local"), ("resumed", "remote"), ("resumed", "local"))
    await calling.hang_up()
    await answered.wait("callEnded")


async def test_hold_twice_is_hold_once(ann: Agent, bob: Agent) -> None:
    calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
    for held in (True, True, False, False):
        reply = await ann.exchange("hold", callId=calling.call_id, hold=held)
        assert reply["type"] == ("held" if held else "resumed")
    await answered.client.wait_tone(ANN_HZ)
    await told(answered, ("held", "remote"), ("resumed", "remote"))
    await calling.hang_up()
    await answered.wait("callEnded")


async def test_a_second_call_puts_the_first_on_hold_and_a_resumed_one_the_other(
    musical: ServerProcess, ann: Agent, bob: Agent
) -> None:
    async with registered(musical, "7003") as cem:
        first, bobs = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        second, cems = await connected(ann, cem, "7003", hz=(ANN_HZ, CEM_HZ))
        await first.wait("held", by="local")
        await bobs.client.wait_tone(MUSIC_HZ)
        await first.client.wait_silence()
        await first.order("hold", hold=False)
        await second.wait("held", by="local")
        await bobs.client.wait_tone(ANN_HZ)
        await first.client.wait_tone(BOB_HZ)
        await cems.client.wait_tone(MUSIC_HZ)
        await second.client.wait_silence()
        third = await cem.call("7001", frequency_hz=CEM_HZ)  # an answer holds the others too
        answered = await ann.answer(await ann.incoming(), frequency_hz=ANN_HZ)
        await bobs.client.wait_tone(MUSIC_HZ)
        await third.client.wait_tone(ANN_HZ)
        await answered.client.wait_tone(CEM_HZ)
        for call in (first, second, answered):
            await call.hang_up()
        for call in (bobs, cems, third):
            assert (await call.wait("callEnded"))["reason"] == "normal_clearing"


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_asterisk_is_told_and_its_caller_hears_music(
    musical: ServerProcess, asterisk: Asterisk, ann: Agent, codec: str
) -> None:
    mark = asterisk.ami.mark()
    call = await ann.call("601", frequency_hz=ANN_HZ, codec=codec)
    channel = await to_thread(asterisk.wait_channel, since=mark)
    await call.wait("callAccepted")
    await call.client.wait_tone(440)

    async def wait_ami(name: str) -> AmiEvent:
        return await to_thread(asterisk.ami.wait_for, lambda event: bool(event.name == name), since=mark)

    async def heard_by_asterisk() -> audio.Tone:
        recording = await to_thread(asterisk.record, channel)
        await call.client.wait(0.8)
        return audio.measure(*await to_thread(recording.stop))

    await call.order("hold")
    assert (await wait_ami("Hold")).fields["Channel"] == channel
    await call.client.wait_silence()
    assert (await heard_by_asterisk()).frequency_hz == pytest.approx(MUSIC_HZ, rel=0.02)
    await call.order("hold", hold=False)
    await wait_ami("Unhold")
    await call.client.wait_tone(440)
    assert (await heard_by_asterisk()).frequency_hz == pytest.approx(ANN_HZ, rel=0.02)
    await call.hang_up()
    await to_thread(asterisk.wait_hangup, channel)
