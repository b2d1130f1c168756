"""Sockets that drop in the middle of something: calls go on, come back with their client, or end when it does not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from peers import audio
from peers.agent import Agent, AgentCall, Refused
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import PASSWORDS, REATTACH_S, registered

ANN_HZ, BOB_HZ, NEW_HZ = 700.0, 1100.0, 1500.0
RELOAD_S = 2.0
"""Within which a reloaded page hears its call again."""


def dn_status(server: ServerProcess, number: str) -> str:
    """GET /api/dn/{dn}."""
    answer = httpx.get(f"{server.url}/api/dn/{number}", timeout=5, trust_env=False).raise_for_status()
    return str(answer.json()["status"])


@contextlib.asynccontextmanager
async def call_between(server: ServerProcess) -> AsyncIterator[tuple[AgentCall, AgentCall]]:
    """Ann's side and Bob's of a call, both heard."""
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling = await ann.call("7002", frequency_hz=ANN_HZ)
        answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        yield calling, answered
    await until(lambda: server.calls() == [], timeout_s=REATTACH_S + 4, what="all sessions to be closed")


async def test_audio_goes_on_without_a_gap_and_the_calls_are_taken_back(server: ServerProcess) -> None:
    async with call_between(server) as (calling, answered):
        started = time.monotonic()
        bob = answered.agent
        await answered.order("mute")
        await answered.order("mute", mute=False)
        await bob.drop()
        await answered.client.wait(0.7)
        await bob.connect()
        told = await bob.resume()
        assert (told["dn"], told["resumeToken"]) == ("7002", bob.resume_token)
        assert told["calls"] == [
            {
                "callId": answered.call_id,
                "state": "answered",
                "direction": "inbound",
                "remote": "7001",
                "displayName": "Ann",
                "held": False,
                "muted": False,
            }
        ]
        await answered.client.wait(REATTACH_S)  # what would have been the end of it
        for client, frequency_hz in ((answered.client, ANN_HZ), (calling.client, BOB_HZ)):
            pcm, rate = client.heard.since(started).pcm()
            audio.check_tone(audio.cut(pcm, rate, 0.5), rate, frequency_hz, min_duration_s=REATTACH_S)
        await answered.order("hangup")
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"


async def test_what_happens_meanwhile_is_seen_on_the_way_back(server: ServerProcess) -> None:
    async with call_between(server) as (calling, answered):
        await answered.order("hold")
        await calling.agent.drop()
        await answered.order("mute")
        await calling.agent.connect()
        told = await calling.agent.resume()
        assert [(call["direction"], call["remote"], call["held"]) for call in told["calls"]] == [
            ("outbound", "7002", False)
        ]
        await answered.agent.drop()
        await answered.agent.connect()
        told = await answered.agent.resume()
        assert [(call["held"], call["muted"]) for call in told["calls"]] == [(True, True)]
        await answered.agent.drop()
        await calling.hang_up()
        await answered.agent.connect()
        assert (await answered.agent.resume())["calls"] == []


async def test_a_reloaded_page_hears_its_call_again(server: ServerProcess) -> None:
    async with call_between(server) as (calling, answered):
        bob = answered.agent
        await bob.drop()
        await answered.client.close()  # close_notify, as a browser says it
        started = time.monotonic()
        page = bob.client(frequency_hz=NEW_HZ)
        await bob.connect()
        told = await bob.resume()
        reply = await bob.request("call", callId=told["calls"][0]["callId"], sdp=await page.offer())
        await page.accept({"sdp": {"sdp": reply["sdp"]}})
        await page.wait_connected()
        await page.wait_tone(ANN_HZ)
        assert time.monotonic() - started < RELOAD_S
        await calling.client.wait_tone(NEW_HZ)
        (await page.listen(1.2)).check_tone(ANN_HZ)
        (await calling.client.listen(1.2)).check_tone(NEW_HZ)
        await bob.request("hangup", callId=answered.call_id)
        await calling.wait("callEnded")


async def test_a_reloaded_page_of_a_held_call_finds_it_held(server: ServerProcess) -> None:
    async with call_between(server) as (calling, answered):
        bob = answered.agent
        await answered.order("hold")
        await bob.drop()
        await answered.client.close()
        page = bob.client(frequency_hz=NEW_HZ)
        await bob.connect()
        told = await bob.resume()
        assert told["calls"][0]["held"]
        reply = await bob.request("call", callId=answered.call_id, sdp=await page.offer())
        await page.accept({"sdp": {"sdp": reply["sdp"]}})
        await page.wait_connected()
        assert not (await calling.client.wait(0.6)).pcm()[0].any(), "the held one hears nothing"
        await bob.request("hold", callId=answered.call_id, hold=False)
        await calling.client.wait_tone(NEW_HZ)
        await page.wait_tone(ANN_HZ)


@pytest.mark.parametrize("page_goes_too", [True, False])
async def test_who_does_not_come_back_in_time_loses_the_call(server: ServerProcess, page_goes_too: bool) -> None:
    async with call_between(server) as (calling, answered):
        bob = answered.agent
        started = time.monotonic()
        await bob.drop()
        if page_goes_too:
            await answered.client.close()
        ended = await calling.wait("callEnded", timeout_s=REATTACH_S + 2)
        assert ended["reason"] in ("client_gone", "client_closed")
        assert REATTACH_S <= time.monotonic() - started < REATTACH_S + 2
        # The page's time and the socket's are two: the call may end by either.
        await until(lambda: dn_status(server, "7002") == "offline", timeout_s=3, what="the registration to end")
        await bob.connect()
        with pytest.raises(Refused) as refused:
            await bob.resume()
        assert (refused.value.code, refused.value.payload["details"]["reason"]) == (404, "connection_not_found")
        with pytest.raises(Refused) as refused:
            await calling.agent.call("7002")
        assert refused.value.reason == "unavailable"


async def test_who_drops_while_it_rings_is_rung_again(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        call = await ann.call("7002", frequency_hz=ANN_HZ)
        first = await bob.incoming()
        await bob.drop()
        await bob.connect()
        assert (await bob.resume())["calls"] == []
        second = await bob.incoming(number=1)
        assert second["callId"] == first["callId"]
        assert second["sdp"] != first["sdp"]
        answered = await bob.answer(second, frequency_hz=BOB_HZ)
        await call.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await call.hang_up()
        await answered.wait("callEnded")


async def test_what_began_to_ring_meanwhile_rings_on_the_way_back(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await bob.drop()
        call = await ann.call("7002", frequency_hz=ANN_HZ)
        await bob.connect()
        await bob.resume()
        answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await call.hang_up()
        await answered.wait("callEnded")


async def test_a_token_used_twice_moves_the_connection_to_the_last_socket(server: ServerProcess) -> None:
    async with call_between(server) as (calling, answered):
        bob = answered.agent
        async with Agent(server.url) as tab:
            told = await tab.request("register", resumeToken=bob.resume_token)
            assert [call["callId"] for call in told["calls"]] == [answered.call_id]
            assert await bob.wait_closed() == (1001, "the connection was taken over")
            await calling.client.listen(REATTACH_S + 0.5)  # nothing ends it
            await tab.request("hold", callId=answered.call_id)
            await calling.wait("held", by="remote")
            await tab.request("hangup", callId=answered.call_id)
            await calling.wait("callEnded")


@pytest.mark.parametrize("token", ["", "x", "ä" * 32, "A" * 32])
async def test_a_strangers_token_takes_nothing(server: ServerProcess, token: str) -> None:
    async with Agent(server.url) as stranger:
        message = await stranger.exchange("register", resumeToken=token)
        assert (message["type"], message["payload"]["code"]) == ("registrationFailed", 404)


async def test_a_token_is_no_way_round_a_registration(server: ServerProcess) -> None:
    """One that is registered, or has unregistered, cannot become another connection, nor be become."""
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, Agent(server.url) as other:
        message = await ann.exchange("register", resumeToken=bob.resume_token)
        assert (message["type"], message["payload"]["code"]) == ("registrationFailed", 409)
        await bob.request("unregister")
        message = await other.exchange("register", resumeToken=bob.resume_token)
        assert (message["type"], message["payload"]["code"]) == ("registrationFailed", 404)
        await bob.register("7002", PASSWORDS["7002"])


async def test_an_unregistered_clients_calls_end_with_its_socket(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        call = await agent.call("echo")
        await agent.drop()
        await call.client.wait_closed(2)
    await until(lambda: server.calls() == [], timeout_s=2, what="the session to be closed")
