"""One request holds a call and consults, one completes the transfer, one goes back."""

from __future__ import annotations

import pytest
from peers.agent import Agent, AgentCall, Refused
from peers.server import ServerProcess

from .conftest import ANN_HZ, BOB_HZ, CEM_HZ, connected, registered


async def consult(agent: Agent, call: AgentCall, to: str) -> AgentCall:
    client = agent.client(frequency_hz=BOB_HZ)
    reply = await call.order("transfer", to=to, sdp=await client.offer())
    assert reply["state"] == "consulting"
    await client.accept({"sdp": {"sdp": reply["sdp"]}})
    await client.wait_connected()
    return AgentCall(agent, reply["consultCallId"], client)


async def test_a_consultation_is_completed(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        first, first_there = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        consultation = await consult(bob, first_there, "7003")
        assert (await first.wait("held"))["by"] == "remote"
        there = await cem.answer(await cem.incoming(), frequency_hz=CEM_HZ)
        await consultation.client.wait_tone(CEM_HZ)
        assert (await first_there.order("transfer", consultCallId=consultation.call_id))["state"] == "completed"
        await first.client.wait_tone(CEM_HZ)
        (await first.client.listen(1.2)).check_tone(CEM_HZ)
        await first.hang_up()
        await there.wait("callEnded")


async def test_an_agent_goes_back_to_the_first_call(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        first, first_there = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        consultation = await consult(bob, first_there, "7003")
        incoming = await cem.incoming()
        assert (await first_there.order("transfer", cancel=True))["state"] == "cancelled"
        assert (await cem.wait("callEnded", callId=incoming["callId"]))["reason"] == "cancelled"
        await consultation.wait("callEnded")
        await first.wait("resumed", by="remote")
        await first.client.wait_tone(BOB_HZ)
        (await first.client.listen(1.2)).check_tone(BOB_HZ)
        with pytest.raises(Refused) as refused:
            await first_there.order("transfer", cancel=True)
        assert refused.value.reason == "no_consultation"
        await first.hang_up()
        await first_there.wait("callEnded")


async def test_a_consultation_that_cannot_be_made_leaves_the_call_as_it_was(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        first, first_there = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        with pytest.raises(Refused) as refused:
            await consult(bob, first_there, "nobody")
        assert refused.value.reason == "bad_destination"
        await first.wait("resumed", by="remote")
        (await first.client.listen(1.2)).check_tone(BOB_HZ)
        await first.hang_up()
        await first_there.wait("callEnded")
