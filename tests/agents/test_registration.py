"""Who may be which DN."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from peers.agent import Agent, Refused
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import PASSWORDS, registered

ANN = PASSWORDS["7001"]


async def refusal(agent: Agent, dn: str, password: str, **more: Any) -> tuple[int, str]:
    message = await agent.exchange("register", dn=dn, password=password, **more)
    assert message["type"] == "registrationFailed"
    assert message["payload"]["dn"] == dn
    assert message["payload"]["reason"]
    return message["payload"]["code"], message["payload"]["details"]["reason"]


async def test_what_registered_tells(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        told = await agent.register("7001", ANN)
        assert told.pop("resumeToken")
        assert told == {"dn": "7001", "displayName": "Ann", "expires": 3600, "server": "sdpserver", "calls": []}


@pytest.mark.parametrize(("asked", "granted"), [(0, 60), (59, 60), (120, 120), (86400, 86400)])
async def test_expires_is_at_least_a_minute(server: ServerProcess, asked: int, granted: int) -> None:
    async with Agent(server.url) as agent:
        assert (await agent.register("7001", ANN, expires=asked))["expires"] == granted


async def test_a_client_may_have_another_display_name(server: ServerProcess) -> None:
    async with Agent(server.url) as agent, registered(server, "7002") as bob:
        assert (await agent.register("7001", ANN, displayName="Zoë"))["displayName"] == "Zoë"
        call = await agent.call("7002")
        assert (await bob.incoming())["displayName"] == "Zoë"
        await call.hang_up()


async def test_the_password_may_come_as_token(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        assert (await agent.request("register", dn="7001", token=ANN))["dn"] == "7001"


async def test_a_wrong_password_is_refused_and_the_right_one_is_taken_then(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        assert await refusal(agent, "7001", "wrong") == (403, "wrong_password")
        assert await refusal(agent, "7001", PASSWORDS["7002"]) == (403, "wrong_password")
        assert await refusal(agent, "7001", "") == (403, "wrong_password")
        await agent.register("7001", ANN)


async def test_a_dn_that_is_not_known_is_refused(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        assert await refusal(agent, "7999", "x") == (404, "dn_not_found")


async def test_after_five_wrong_passwords_the_address_has_to_wait(
    own_server: Callable[..., ServerProcess], dns: list[dict[str, Any]]
) -> None:
    server = own_server({"dn": dns})
    async with Agent(server.url) as guesser, Agent(server.url) as other:
        for number in range(5):
            assert await refusal(guesser, "7001", f"guess {number}") == (403, "wrong_password")
        for agent in (guesser, other):  # over all of its connections, even with the right one
            assert await refusal(agent, "7001", ANN) == (429, "too_many_attempts")
        await other.register("7002", PASSWORDS["7002"])  # other DNs are not its victims


async def test_guesses_at_once_are_counted_too(
    own_server: Callable[..., ServerProcess], dns: list[dict[str, Any]]
) -> None:
    server = own_server({"dn": dns})
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(Agent(server.url)) for _ in range(20)]
        found = await asyncio.gather(*(refusal(agent, "7001", "guess") for agent in agents))
        assert found.count((403, "wrong_password")) <= 7  # those that were being checked when the fifth was known
        assert set(found) <= {(403, "wrong_password"), (429, "too_many_attempts")}


async def test_a_second_registration_is_for_the_same_dn_only(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        first = await agent.register("7001", ANN)
        again = await agent.register("7001", ANN, displayName="Another")
        assert (again["resumeToken"], again["displayName"]) == (first["resumeToken"], "Another")
        assert await refusal(agent, "7002", PASSWORDS["7002"]) == (409, "already_registered")
        assert await refusal(agent, "7001", "wrong") == (403, "wrong_password")
        async with registered(server, "7002") as bob:  # and is the first one still
            call = await bob.call("7001")
            assert (await agent.incoming())["from"] == "7002"
            await call.hang_up()


async def test_an_unregistered_dn_is_offline_and_may_register_again(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        with pytest.raises(Refused) as refused:
            await ann.request("unregister", dn="7002")
        assert refused.value.reason == "not_registered"
        assert (await ann.request("unregister", dn="7001"))["expires"] == 0
        with pytest.raises(Refused) as refused:
            await bob.call("7001")
        assert (refused.value.code, refused.value.reason) == (502, "unavailable")
        with pytest.raises(Refused):
            await ann.request("register", resumeToken=ann.resume_token)
        await ann.register("7002", PASSWORDS["7002"])
        await ann.request("unregister")
        await ann.register("7001", ANN)
        call = await bob.call("7001")
        await ann.incoming()
        await call.hang_up()


async def test_calls_outlive_an_unregistration_and_what_rings_does_not(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        answered = await ann.call("7002", frequency_hz=700)
        bobs = await bob.answer(await bob.incoming(), frequency_hz=900)
        ringing = await cem.call("7002")
        await bob.incoming(number=1)
        await bob.request("unregister")
        assert (await ringing.wait("callEnded"))["reason"] == "unavailable"
        await answered.client.wait_tone(900)
        (await bobs.client.listen(1.2)).check_tone(700)
        await bobs.hang_up()
        await answered.wait("callEnded")


async def test_a_dn_has_sixteen_connections(server: ServerProcess) -> None:
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(Agent(server.url)) for _ in range(17)]
        for agent in agents[:16]:
            await agent.register("7001", ANN)
        assert await refusal(agents[16], "7001", ANN) == (409, "too_many_connections")
        await agents[3].register("7001", ANN)  # it is one of them
        await agents[3].request("unregister")
        await agents[16].register("7001", ANN)
    await until(lambda: server.calls() == [], timeout_s=5, what="the end")


async def test_a_client_that_is_gone_before_its_password_is_checked_is_not_registered(server: ServerProcess) -> None:
    async with registered(server, "7002") as bob:
        for _ in range(5):
            agent = Agent(server.url)
            await agent.connect()
            await agent.send_message("register", dn="7003", password=PASSWORDS["7003"])
            await agent.drop()

        async def is_offline() -> bool:
            reply = await bob.exchange("call", to="7003", sdp=await bob.client().offer())
            if reply["type"] != "error":
                await bob.request("hangup", callId=reply["payload"]["callId"])
            return bool(reply["type"] == "error")

        await until(is_offline, timeout_s=8, what="the DN to be offline")
