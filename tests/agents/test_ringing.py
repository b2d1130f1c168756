"""A call to a DN with several connections: who rings, who wins, what the others and the caller are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from peers.agent import Agent, Refused
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import PASSWORDS, REATTACH_S, registered

ANN_HZ, BOB_HZ = 700.0, 1100.0


@pytest.fixture
async def ann(server: ServerProcess) -> AsyncIterator[Agent]:
    """Who calls. A test leaves no session."""
    async with registered(server, "7001") as agent:
        yield agent
    await until(lambda: server.calls() == [], timeout_s=REATTACH_S + 5, what="all sessions to be closed")


@contextlib.asynccontextmanager
async def bobs(server: ServerProcess, count: int) -> AsyncIterator[list[Agent]]:
    """Connections of one DN."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(registered(server, "7002")) for _ in range(count)]


async def test_all_ring_and_the_first_answer_wins(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 3) as (first, second, third):
        call = await ann.call("7002", frequency_hz=ANN_HZ)
        offers = [await agent.incoming() for agent in (first, second, third)]
        assert {offer["callId"] for offer in offers} == {offers[0]["callId"]}
        assert len({offer["sdp"] for offer in offers}) == 3
        answered = await second.answer(offers[1], frequency_hz=BOB_HZ)
        for agent in (first, third):
            ended = await agent.wait("callEnded", callId=offers[0]["callId"])
            assert (ended["reason"], ended["duration"]) == ("answered_elsewhere", 0)
            with pytest.raises(Refused) as refused:
                await agent.request("answer", callId=offers[0]["callId"], sdp="v=0\r\n")
            assert refused.value.reason == "call_not_found"
        await call.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await call.hang_up()
        assert (await answered.wait("callEnded"))["reason"] == "normal_clearing"


@pytest.mark.leaks("aioice begins to ask for consent when a connection is closed in the moment that it is made")
async def test_of_answers_at_once_one_wins(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 4) as agents:
        call = await ann.call("7002")
        offers = [await agent.incoming() for agent in agents]
        answers = [await agent.client().answer_to(offer["sdp"]) for agent, offer in zip(agents, offers, strict=True)]
        replies = await asyncio.gather(
            *(
                agent.exchange("answer", callId=call_offer["callId"], sdp=sdp)
                for agent, call_offer, sdp in zip(agents, offers, answers, strict=True)
            )
        )
        assert sorted(reply["type"] for reply in replies) == ["callAccepted", "error", "error", "error"]
        winner = next(agent for agent, reply in zip(agents, replies, strict=True) if reply["type"] == "callAccepted")
        await winner.clients[0].wait_connected()
        await call.wait("callAccepted")
        for agent in agents:
            if agent is not winner:
                await agent.wait("callEnded", reason="answered_elsewhere")
        await call.hang_up()
        await winner.wait("callEnded", reason="normal_clearing")


@pytest.mark.parametrize("type_", ["reject", "hangup"])
async def test_one_reject_is_the_dns(server: ServerProcess, ann: Agent, type_: str) -> None:
    async with bobs(server, 2) as (first, second):
        call = await ann.call("7002")
        offer = await first.incoming()
        await second.incoming()
        reply = await first.exchange(type_, callId=offer["callId"])
        assert (reply["type"], reply["payload"]["reason"]) == ("callEnded", "rejected")
        assert (await second.wait("callEnded"))["reason"] == "rejected"
        ended = await call.wait("callEnded")
        assert (ended["reason"], ended["sipStatus"]) == ("rejected", 603)


async def test_busy_is_of_one_connection_until_all_are(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 2) as (first, second):
        call = await ann.call("7002")
        offer = await first.incoming()
        await second.incoming()
        reply = await first.exchange("reject", callId=offer["callId"], reason="busy")
        assert (reply["type"], reply["payload"]["reason"]) == ("callEnded", "busy")
        with contextlib.suppress(TimeoutError):  # proof of absence
            await second.wait("callEnded", timeout_s=0.3)
            pytest.fail("the other one does not ring any more")
        await second.request("reject", callId=offer["callId"], reason="busy")
        assert (await call.wait("callEnded"))["reason"] == "busy"


async def test_the_callers_hangup_stops_all(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 2) as agents:
        call = await ann.call("7002")
        for agent in agents:
            await agent.incoming()
        await call.hang_up()
        for agent in agents:
            ended = await agent.wait("callEnded")
            assert (ended["reason"], ended["duration"]) == ("cancelled", 0)


async def test_who_registers_meanwhile_rings_too_and_may_answer(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 1) as (first,), Agent(server.url) as late:
        call = await ann.call("7002", frequency_hz=ANN_HZ)
        await first.incoming()
        await late.register("7002", PASSWORDS["7002"])
        answered = await late.answer(await late.incoming(), frequency_hz=BOB_HZ)
        assert (await first.wait("callEnded"))["reason"] == "answered_elsewhere"
        await call.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await call.hang_up()


async def test_who_registers_after_the_answer_does_not_ring(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 1) as (first,), Agent(server.url) as late:
        call = await ann.call("7002")
        await first.answer(await first.incoming())
        await late.register("7002", PASSWORDS["7002"])
        await late.request("ping")
        assert [message["type"] for message in late.received] == ["registered", "pong"]
        await call.hang_up()


async def test_when_all_have_gone_the_caller_hears_that_nobody_is_there(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 2) as agents:
        call = await ann.call("7002")
        for agent in agents:
            await agent.incoming()
            await agent.drop()
        ended = await call.wait("callEnded", timeout_s=REATTACH_S + 5)
        assert (ended["reason"], ended["sipStatus"]) == ("unavailable", 480)


async def test_an_answer_that_is_refused_leaves_it_ringing(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 1) as (bob,):
        call = await ann.call("7002")
        offer = await bob.incoming()
        for sdp in ("", "v=0\r\n", (await bob.client().offer()).replace("UDP/TLS/RTP/SAVPF", "RTP/AVP")):
            with pytest.raises(Refused) as refused:
                await bob.request("answer", callId=offer["callId"], sdp=sdp)
            assert refused.value.code == 400
        await bob.answer(offer, frequency_hz=BOB_HZ)
        with pytest.raises(Refused) as refused:
            await bob.request("answer", callId=offer["callId"], sdp="v=0\r\n")
        assert refused.value.reason == "already_answered"
        with pytest.raises(Refused) as refused:
            await bob.request("reject", callId=offer["callId"])
        assert refused.value.reason == "already_answered"
        await call.client.wait_tone(BOB_HZ)
        await call.hang_up()


@pytest.mark.parametrize("type_", ["hold", "mute", "record"])
async def test_what_rings_can_only_be_answered_or_rejected(server: ServerProcess, ann: Agent, type_: str) -> None:
    async with bobs(server, 1) as (bob,):
        call = await ann.call("7002")
        offer = await bob.incoming()
        with pytest.raises(Refused) as refused:
            await bob.request(type_, callId=offer["callId"])
        assert (refused.value.code, refused.value.reason) == (409, "call_ringing")
        with pytest.raises(Refused) as refused:
            await call.order("hold")
        assert (refused.value.code, refused.value.reason) == (409, "call_not_answered")
        await call.hang_up()


async def test_the_ninth_call_of_a_dn_hears_that_it_is_busy(server: ServerProcess, ann: Agent) -> None:
    async with bobs(server, 1) as (bob,):
        sdp = await ann.client().offer()
        calls = [await ann.request("call", to="7002", sdp=sdp) for _ in range(7)]
        async with registered(server, "7003") as cem:
            eighth = await cem.request("call", to="7002", sdp=sdp)
            with pytest.raises(Refused) as refused:
                await cem.request("call", to="7002", sdp=sdp)
            payload = refused.value.payload
            assert (payload["code"], payload["details"]["sipStatus"]) == (502, 486)
            assert refused.value.reason == "busy"
            await bob.incoming(number=7)
            await cem.request("hangup", callId=eighth["callId"])
        for call in calls:
            await ann.request("hangup", callId=call["callId"])


async def test_a_dn_can_call_itself_on_another_connection(server: ServerProcess, ann: Agent) -> None:
    async with registered(server, "7001") as other:
        call = await ann.call("7001", frequency_hz=ANN_HZ)
        answered = await other.answer(await other.incoming(), frequency_hz=BOB_HZ)
        await call.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await call.hang_up()
        await answered.wait("callEnded")
