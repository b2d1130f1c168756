"""Calls between agents are transferred, without any PBX; judged by what each hears."""

from __future__ import annotations

import pytest
from peers.agent import Refused
from peers.server import ServerProcess

from .conftest import ANN_HZ, BOB_HZ, CEM_HZ, connected, registered


async def test_a_blind_transfer_connects_the_other_side_with_whom_it_is_sent_to(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        assert (await answered.order("transfer", to="7003"))["state"] == "ringing"
        incoming = await cem.incoming()
        assert incoming["from"] == "7001"
        taken = await cem.answer(incoming, frequency_hz=CEM_HZ)
        assert (await answered.wait("transferred", state="completed"))["to"] == "7003"
        assert (await answered.wait("callEnded"))["reason"] == "transferred"
        await calling.client.wait_tone(CEM_HZ)
        await taken.client.wait_tone(ANN_HZ)
        (await calling.client.listen(1.2)).check_tone(CEM_HZ)
        (await taken.client.listen(1.2)).check_tone(ANN_HZ)
        await taken.order("hangup")
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"


@pytest.mark.parametrize("to", ["7003", "7999"], ids=["rejected", "unknown"])
async def test_a_blind_transfer_that_fails_leaves_the_call_as_it_was(server: ServerProcess, to: str) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        if to == "7999":
            with pytest.raises(Refused) as refused:
                await answered.order("transfer", to=to)
            assert refused.value.reason == "bad_destination"
        else:
            await answered.order("transfer", to=to)
            await cem.request("reject", callId=(await cem.incoming())["callId"])
            assert (await answered.wait("transferred", state="failed"))["reason"] == "rejected"
        (await calling.client.listen(1.2)).check_tone(BOB_HZ)
        (await answered.client.listen(1.2)).check_tone(ANN_HZ)
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_an_attended_transfer_connects_the_two_that_an_agent_has_talked_to(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        first, first_there = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        second = await bob.call("7003", frequency_hz=BOB_HZ)
        assert (await first_there.wait("held"))["by"] == "local"
        assert (await first.wait("held"))["by"] == "remote"
        second_there = await cem.answer(await cem.incoming(), frequency_hz=CEM_HZ)
        await second.client.wait_tone(CEM_HZ)
        done = await first_there.order("transfer", consultCallId=second.call_id)
        assert done["state"] == "completed"
        for call in (first_there, second):
            assert (await call.wait("callEnded"))["reason"] == "transferred"
        await first.client.wait_tone(CEM_HZ)
        await second_there.client.wait_tone(ANN_HZ)
        assert (await first.wait("resumed"))["by"] == "remote"
        (await first.client.listen(1.2)).check_tone(CEM_HZ)
        (await second_there.client.listen(1.2)).check_tone(ANN_HZ)
        await first.hang_up()
        assert (await second_there.wait("callEnded"))["reason"] == "normal_clearing"
