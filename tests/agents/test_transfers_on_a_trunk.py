"""Transfers of calls through Asterisk: REFER both ways, with and without Replaces; judged by what each hears."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any

from peers import audio
from peers.asterisk import Asterisk
from peers.server import ServerProcess, running

from .conftest import (
    ANN,
    BOB,
    CEM,
    HZ,
    agents,
    consulted_and_transferred,
    registered,
    sent_on,
    talk_to_the_end,
    transferred_blindly,
)


async def test_a_blind_transfer_to_another_extension(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN, BOB, CEM) as (ann, bob, cem):
        calling = await ann.call(BOB, frequency_hz=HZ[ANN])
        answered = await bob.answer(await bob.incoming(), frequency_hz=HZ[BOB])
        await calling.client.wait_tone(HZ[BOB])
        taken = await transferred_blindly(answered, cem, CEM)
        await talk_to_the_end(calling, taken, numbers=(ANN, CEM))
    await to_thread(pbx.wait_no_channels)


async def test_an_attended_transfer_to_another_extension(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN, BOB, CEM) as (ann, bob, cem):
        first, _, _, second_there = await consulted_and_transferred(ann, bob, cem)
        await talk_to_the_end(first, second_there, numbers=(ANN, CEM))
    await to_thread(pbx.wait_no_channels)


async def test_a_transfer_that_fails_leaves_the_call_as_it_was(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN) as (ann,):
        call = await ann.call("601", frequency_hz=HZ[ANN])
        await call.client.wait_tone(440)
        await call.order("transfer", to="5999")
        failed = await call.wait("transferred", state="failed")
        assert failed["sipStatus"] >= 400
        (await call.client.listen(1.2)).check_tone(440)
        await call.hang_up()
    await to_thread(pbx.wait_no_channels)


async def test_the_pbx_sends_an_agent_on_by_refer(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN) as (ann,):
        call = await sent_on(pbx, ann)
        (await call.client.listen(1.2)).check_tone(440)
        await call.hang_up()
    await to_thread(pbx.wait_no_channels)


async def test_an_attended_transfer_from_the_pbx_to_an_agent_of_this_server(
    dns: list[dict[str, Any]], pbx: Asterisk
) -> None:
    tables = {
        "dn": dns,
        "trunks": [{"name": "pbx", "server": pbx.address, "username": CEM, "password": f"pw{CEM}"}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
        "session": {"reattach_s": 1},
    }
    with running(ServerProcess(tables)) as server:
        async with registered(server, "7001") as ann, registered(server, "7002") as bob:
            first = await ann.call("601", frequency_hz=HZ[ANN])
            await first.client.wait_tone(440)
            second = await ann.call("7002", frequency_hz=HZ[ANN])
            there = await bob.answer(await bob.incoming(), frequency_hz=HZ[BOB])
            await there.client.wait_tone(HZ[ANN])
            await first.order("transfer", consultCallId=second.call_id)
            for call in (first, second):
                assert (await call.wait("callEnded"))["reason"] == "transferred"
            await there.client.wait_tone(440)
            channel = (await to_thread(pbx.channels))[0]
            recording = await to_thread(pbx.record, channel)
            (await there.client.listen(1.2)).check_tone(440)
            pcm, rate = await to_thread(recording.stop)
            audio.check_tone(pcm, rate, HZ[BOB], min_duration_s=1.0)
            await there.order("hangup")
    await to_thread(pbx.wait_no_channels)
