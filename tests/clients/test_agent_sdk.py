"""The agent SDK in Chromium against the real server: calls between agents and over a trunk, judged by what is heard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peers.agent import Agent
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ
from peers.server import ServerProcess, running
from playwright.async_api import Browser, WebSocketRoute

from .conftest import BOB_HZ, PASSWORDS, Ann, page_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def server(asterisk: Asterisk, dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    ann, bob = dns
    tables = {"dn": [ann, bob | {"display_name": "Bob"}], "session": {"reattach_s": 5}}
    with running(ServerProcess.for_asterisk(asterisk, tables)) as process:
        yield process


# -- registration


async def test_it_is_registered(ann: Ann) -> None:
    assert await ann.do("return [agent.state, events]") == ["registered", [["registered", None]]]


async def test_a_wrong_password_is_told(chromium: Browser, server: ServerProcess) -> None:
    async with page_of(chromium, server) as page:
        with pytest.raises(Exception, match="SdpServerAgentError"):
            await page.open(password="wrong")
        assert await page.do("return [agent.state, events]") == ["closed", [["registrationFailed", "wrong_password"]]]


# -- calls


async def test_a_call_over_a_trunk_is_heard_and_hung_up(ann: Ann) -> None:
    await ann.call("600")
    assert await ann.do("return [call.state, call.direction, call.to]") == ["answered", "outbound", "600"]
    await ann.hears(MICROPHONE_HZ)
    await ann.do("await call.hangup()")
    assert await ann.do("return [call.ended, call.endReason, agent.calls.length]") == [True, "normal_clearing", 0]
    assert await ann.ended() == ["normal_clearing"]


async def test_what_a_trunk_refuses_ends_with_its_reason(ann: Ann) -> None:
    await ann.do("window.call = await agent.call('602')")
    failure = await ann.do("return await call.answered.then(() => null, ({reason, details}) => [reason, details])")
    assert failure[0] == "busy"
    assert failure[1]["sipStatus"] == 486


async def test_early_media_is_heard_before_the_answer(ann: Ann) -> None:
    await ann.do(
        "window.call = await agent.call('604'); window.states = [call.state];"
        "call.on('progress', p => states.push(p.state))"
    )
    await ann.hears(620)
    await ann.do("await call.answered")
    await ann.hears(440)
    assert "early" in await ann.do("return states")


async def test_a_call_to_another_agent_is_heard_on_both_sides(ann: Ann, bob: Agent) -> None:
    await ann.do("window.call = await agent.call('5002')")
    answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
    await ann.do("await call.answered")
    await ann.hears(BOB_HZ)
    await answered.client.wait_tone(MICROPHONE_HZ)
    await answered.hang_up()
    await ann.until("call.ended")
    assert await ann.ended() == ["normal_clearing"]


async def test_a_call_that_comes_in_is_answered_and_heard_on_both_sides(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    found = await ann.do("window.call = incoming[0]; return [call.state, call.direction, call.from, call.displayName]")
    assert found == ["incoming", "inbound", "5002", "Bob"]
    await ann.do("await Promise.all([call.answer(), call.answer()])")
    await calling.wait("callAccepted")
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    assert await ann.do("return call.state") == "answered"
    await calling.hang_up()
    await ann.until("call.ended")


async def test_a_call_that_comes_in_can_be_rejected(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001")
    await ann.until("incoming.length === 1")
    await ann.do("await incoming[0].reject()")
    assert (await calling.wait("callEnded"))["reason"] == "rejected"
    assert await ann.do("return [incoming[0].ended, agent.calls.length]") == [True, 0]


async def test_of_two_pages_the_first_answer_wins(
    ann: Ann, bob: Agent, chromium: Browser, server: ServerProcess
) -> None:
    async with page_of(chromium, server) as second:
        await second.open()
        calling = await bob.call("5001", frequency_hz=BOB_HZ)
        await ann.until("incoming.length === 1")
        await second.until("incoming.length === 1")
        await second.do("window.call = incoming[0]; await call.answer()")
        await ann.until("incoming[0].ended")
        assert await ann.ended() == ["answered_elsewhere"]
        await second.hears(BOB_HZ)
        await calling.hang_up()


async def test_a_caller_who_gives_up_stops_the_ringing(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001")
    await ann.until("incoming.length === 1")
    await calling.hang_up()
    await ann.until("incoming[0].ended")
    assert (await ann.do("return await incoming[0].answer().then(() => null, ({reason}) => reason)")) is not None


# -- during a call


async def test_a_muted_agent_is_not_heard(ann: Ann, bob: Agent) -> None:
    await ann.do("window.call = await agent.call('5002')")
    answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
    await answered.client.wait_tone(MICROPHONE_HZ)
    await ann.do("await call.mute()")
    assert await ann.do("return [call.muted, call.pc.getSenders()[0].track.enabled]") == [True, False]
    await answered.client.wait_silence(timeout_s=3)
    assert await answered.client.is_silent(0.5)
    await ann.do("await call.mute(false)")
    await answered.client.wait_tone(MICROPHONE_HZ)
    assert await ann.do("return call.muted") is False


async def test_a_held_call_comes_back(ann: Ann) -> None:
    await ann.call("600")
    await ann.hears(MICROPHONE_HZ)
    await ann.do("window.told = []; for (const type of ['held', 'resumed']) call.on(type, () => told.push(type))")
    await ann.do("await call.hold()")
    assert await ann.do("return call.held") is True
    await ann.do("await call.resume()")
    assert await ann.do("return [call.held, told]") == [False, ["held", "resumed"]]
    await ann.hears(MICROPHONE_HZ)


async def test_keys_reach_the_far_end(ann: Ann, asterisk: Asterisk) -> None:
    mark = asterisk.ami.mark()
    await ann.call("605")
    await ann.do("await call.sendDtmf('2A*8', {durationMs: 80})")
    assert asterisk.wait_digits(since=mark, timeout_s=8) == "2A*8"


async def test_a_call_is_recorded(ann: Ann) -> None:
    await ann.call("600")
    started = await ann.do("return await call.record()")
    assert started["path"].endswith(".wav")
    assert await ann.do("return call.recording") is True
    await ann.do("await call.record(false)")
    await ann.until("call.recording === false")


async def test_calls_are_put_into_one_room(ann: Ann, bob: Agent) -> None:
    await ann.do("window.call = await agent.call('5002')")
    answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
    await ann.do("await call.answered; window.second = await agent.call('601'); await second.answered")
    found = await ann.do("return await agent.conference([call, second])")
    assert len(found["callIds"]) == 2
    await answered.client.wait_audio(10)


async def test_an_order_for_a_call_that_is_over_is_refused(ann: Ann) -> None:
    await ann.call("echo")
    assert await ann.do(
        "const {id} = call; await call.hangup();"
        "return await agent.request('hold', {callId: id}).then(() => null, ({reason, code}) => [reason, code])"
    ) == ["call_not_found", 404]


# -- transfers


async def test_a_blind_transfer_connects_the_other_two(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; window.told = []; call.on('transferred', it => told.push(it.state))")
    await ann.do("await call.answer(); await call.transfer('601')")
    await ann.until("call.ended")
    assert await ann.do("return [call.endReason, told.at(-1)]") == ["transferred", "completed"]
    await calling.client.wait_tone(440)
    await calling.hang_up()


async def test_a_consultation_ends_in_a_transfer(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; await call.answer()")
    await ann.do("window.second = await call.consult('600'); await second.answered")
    assert await ann.do("return [call.held, second.held, agent.calls.length]") == [True, False, 2]
    await ann.hears(MICROPHONE_HZ, "second")
    await ann.do("await call.transfer(second)")
    await ann.until("call.ended && second.ended")
    await calling.client.wait_tone(BOB_HZ)  # the echo of its own
    await calling.hang_up()


async def test_a_consultation_that_leads_nowhere_is_left_for_the_call(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; await call.answer()")
    assert await ann.do("return await call.consult('not a number').then(() => null, ({code}) => code)") == 400
    assert await ann.do("return call.held") is False
    await ann.hears(BOB_HZ)
    await calling.hang_up()


# -- what calls survive


async def test_a_reloaded_page_gets_its_call_back(ann: Ann) -> None:
    await ann.call("600")
    before = await ann.do("return call.id")
    await ann.open()
    await ann.until("events.some(([type]) => type === 'callResumed')")
    found = await ann.do(
        "window.call = agent.calls[0]; await call.answered; return [call.id, call.state, call.direction]"
    )
    assert found == [before, "answered", "outbound"]
    await ann.hears(MICROPHONE_HZ)
    await ann.do("await call.hangup()")


async def test_a_call_that_came_in_changes_its_path_and_outlives_a_reload(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; await call.answer(); await call.restartIce()")
    await ann.until("call.pc.signalingState === 'stable'")
    await ann.hears(BOB_HZ)
    await ann.open()
    await ann.until("events.some(([type]) => type === 'callResumed')")
    found = await ann.do(
        "window.call = agent.calls[0]; return [call.state, call.direction, call.from, call.displayName]"
    )
    assert found == ["answered", "inbound", "5002", "Bob"]
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    await calling.hang_up()


async def test_a_call_that_rings_rings_again_after_a_reload(ann: Ann, bob: Agent) -> None:
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.open()
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; await call.answer()")
    await ann.hears(BOB_HZ)
    await calling.hang_up()


async def test_a_page_that_comes_back_too_late_registers_anew(ann: Ann) -> None:
    await ann.do("addEventListener('pagehide', () => sessionStorage.setItem(sessionStorage.key(0), 'never-was'))")
    await ann.open()
    assert await ann.do("return [agent.state, events]") == ["registered", [["registered", None]]]


async def test_a_dropped_socket_comes_back_and_the_call_goes_on(
    chromium: Browser, server: ServerProcess, bob: Agent
) -> None:
    async with page_of(chromium, server) as ann:
        sockets: list[tuple[WebSocketRoute, WebSocketRoute]] = []
        await ann.page.route_web_socket("**/ws", lambda side: sockets.append((side, side.connect_to_server())))
        await ann.open()
        await ann.do("window.call = await agent.call('5002')")
        answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await ann.do("await call.answered")
        for side in sockets[0]:
            await side.close(code=1012)
        await ann.is_disconnected()
        await answered.client.wait_tone(MICROPHONE_HZ)
        await ann.until("agent.state === 'registered'")
        await ann.hears(BOB_HZ)
        assert await ann.do("return [call.ended, agent.calls.length]") == [False, 1]
        await ann.do("await call.hold()")
        await answered.hang_up()
        await ann.until("call.ended")


async def test_what_was_hung_up_while_the_socket_was_gone_ends(
    chromium: Browser, server: ServerProcess, bob: Agent
) -> None:
    async with page_of(chromium, server) as ann:
        sockets: list[tuple[WebSocketRoute, WebSocketRoute]] = []
        await ann.page.route_web_socket("**/ws", lambda side: sockets.append((side, side.connect_to_server())))
        await ann.open()
        await ann.do("window.call = await agent.call('5002')")
        answered = await bob.answer(await bob.incoming())
        await ann.do(
            "await call.answered;"
            "const hangUp = () => call.hangup().then(() => null, ({reason}) => reason);"
            "window.hungUp = new Promise(done => agent.on('disconnected', () => done(hangUp())))"
        )
        for side in sockets[0]:
            await side.close(code=1012)
        assert await ann.do("return await hungUp") == "disconnected"
        assert (await answered.wait("callEnded"))["reason"] == "normal_clearing"
        assert await ann.do("return agent.calls.length") == 0


async def test_a_change_of_network_keeps_the_call(ann: Ann) -> None:
    await ann.call("600")
    await ann.hears(MICROPHONE_HZ)
    await ann.do("await call.restartIce()")
    await ann.until("call.pc.signalingState === 'stable'")
    assert await ann.do("return call.state") == "answered"
    await ann.hears(MICROPHONE_HZ)


# -- the example


async def test_the_softphone_registers_dials_is_called_holds_and_leaves(
    chromium: Browser, server: ServerProcess, bob: Agent
) -> None:
    page = await chromium.new_page()
    try:
        await page.goto(f"{server.url}/examples/agent_softphone.html")
        await page.fill("#dn", "5001")
        await page.fill("#password", PASSWORDS["5001"])
        await page.click("#register")
        await page.get_by_text("Registered as 5001.").wait_for(timeout=5000)

        await page.fill("#to", "5002")
        await page.click("#call")
        outgoing = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await page.get_by_text("5002 · answered").wait_for(timeout=5000)
        await outgoing.client.wait_tone(MICROPHONE_HZ)
        await page.get_by_role("button", name="Hold").click()
        await page.get_by_text("5002 · answered · on hold").wait_for(timeout=5000)
        await page.get_by_role("button", name="Resume").click()
        await outgoing.client.wait_tone(MICROPHONE_HZ)
        await page.get_by_role("button", name="Hang up").click()
        await outgoing.wait("callEnded")

        calling = await bob.call("5001", frequency_hz=BOB_HZ)
        await page.get_by_role("button", name="Answer").click()
        await page.get_by_text("Bob · answered").wait_for(timeout=5000)
        await calling.client.wait_tone(MICROPHONE_HZ)
        await page.click("#unregister")
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"
        await page.get_by_text("Not registered.").wait_for(timeout=5000)
    finally:
        await page.close()
