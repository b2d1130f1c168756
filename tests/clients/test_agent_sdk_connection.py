"""How the agent SDK holds its connection when the far end is slow, gone or refuses.

The far end here is the test's, since no server can be told to misbehave; calls are made in test_agent_sdk.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from peers.chromium import own_page
from peers.waiting import until
from playwright.async_api import Browser, Page, Route, WebSocketRoute

SOURCE = Path(__file__).parents[2] / "clients" / "js" / "src"
LOAD = "import('/sdk/agent.js').then(it => { Object.assign(window, it) })"
START = """options => {
  window.events = [];
  window.agent = new SdpServerAgent({url: "http://localhost", dn: "5001", password: "pw", iceServers: [], ...options});
  for (const type of ["registered", "registrationFailed", "disconnected", "error"])
    agent.addEventListener(type, ({detail}) => events.push([type, {...detail}]));
  window.outcome = null;
  agent.connect().then(reply => { outcome = reply; }, error => { outcome = {...error}; });
}"""
OUTCOME = "promise => promise.then(value => [value ?? null, null], ({...error}) => [null, error])"

pytestmark = pytest.mark.asyncio(loop_scope="session")


class FarEnd:
    """What the agent connects to: `reply` says what a message is answered with, if at all."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.socket: WebSocketRoute
        self.connections = 0
        self.reply: Callable[[dict[str, Any]], tuple[str, dict[str, Any]] | None] = self.registers

    def registers(self, message: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        if message["type"] != "register":
            return None
        return "registered", {"dn": "5001", "expires": 0, "server": "x", "resumeToken": f"token{self.connections}"}

    def accept(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        self.connections += 1
        socket.on_message(self._on_message)

    def _on_message(self, data: str | bytes) -> None:
        message = json.loads(data)
        self.received.append(message)
        if (reply := self.reply(message)) is not None:
            self.send(*reply, id=message["id"])

    def send(self, kind: str, payload: dict[str, Any], **members: Any) -> None:
        self.socket.send(json.dumps({"type": kind, "payload": payload, **members}))

    def has_connections(self, count: int) -> bool:
        return self.connections == count

    def payloads(self, kind: str) -> list[dict[str, Any]]:
        return [message["payload"] for message in self.received if message["type"] == kind]


@pytest.fixture
def far_end() -> FarEnd:
    return FarEnd()


async def _source(route: Route) -> None:
    name = route.request.url.rpartition("/")[2]
    await route.fulfill(content_type="text/javascript", body=(SOURCE / name).read_text())


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, far_end: FarEnd) -> AsyncIterator[Page]:
    async with own_page(chromium, "0") as found:
        await found.route_web_socket("ws://localhost/ws**", far_end.accept)
        await found.route("http://localhost/sdk/*", _source)
        await found.evaluate(LOAD)
        yield found


async def registered(page: Page, **options: Any) -> None:
    await page.evaluate(START, options)
    await page.wait_for_function("() => agent.state === 'registered'", polling=10, timeout=3000)


async def disconnected(page: Page) -> None:
    """Until the connection has been lost. It may be back by then: the first attempt comes after 250 to 500 ms."""
    script = "() => events.some(([type]) => type === 'disconnected')"
    await page.wait_for_function(script, polling=10, timeout=3000)


async def events(page: Page, kind: str) -> list[dict[str, Any]]:
    return [detail for found, detail in await page.evaluate("events") if found == kind]


async def failure(page: Page, order: str) -> dict[str, Any]:
    """How an order fails."""
    value, error = await page.evaluate(f"({OUTCOME})((async () => {order})())")
    assert error is not None, value
    found: dict[str, Any] = error
    return found


async def test_it_registers_with_what_it_was_given(page: Page, far_end: FarEnd) -> None:
    await registered(page, displayName="Ann", expires=60)
    assert far_end.payloads("register") == [{"dn": "5001", "password": "pw", "displayName": "Ann", "expires": 60}]
    assert far_end.socket.url == "ws://localhost/ws"
    assert (await page.evaluate("outcome"))["resumeToken"] == "token1"
    assert [detail["dn"] for detail in await events(page, "registered")] == ["5001"]


async def test_a_token_is_in_the_url_too(page: Page, far_end: FarEnd) -> None:
    await registered(page, password=None, token="a b")
    assert far_end.socket.url == "ws://localhost/ws?token=a+b"
    assert far_end.payloads("register")[0]["token"] == "a b"


async def test_a_refused_registration_ends_it(page: Page, far_end: FarEnd) -> None:
    far_end.reply = lambda message: (
        "registrationFailed",
        {"reason": "the password is wrong", "code": 403, "details": {"reason": "wrong_password"}},
    )
    await page.evaluate(START, {})
    await page.wait_for_function("() => outcome !== null", polling=10, timeout=3000)
    outcome = await page.evaluate("outcome")
    assert (outcome["reason"], outcome["code"]) == ("wrong_password", 403)
    assert await page.evaluate("agent.state") == "closed"
    assert [detail["code"] for detail in await events(page, "registrationFailed")] == [403]


async def test_a_lost_connection_comes_back_with_its_token(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await far_end.socket.close(code=1012)
    await disconnected(page)
    await page.wait_for_function("() => agent.state === 'registered'", polling=10, timeout=3000)
    assert far_end.payloads("register")[1]["resumeToken"] == "token1"
    (lost,) = await events(page, "disconnected")
    assert lost["code"] == 1012
    assert 250 <= lost["delayMs"] <= 500


async def test_it_waits_longer_each_time_and_by_chance(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await page.clock.install()
    far_end.reply = lambda message: None  # the server accepts and says nothing
    await far_end.socket.close(code=1001)
    delays = []
    for tries in range(1, 10):
        await page.wait_for_function(f"() => events.filter(([type]) => type === 'disconnected').length === {tries}")
        delays.append((await events(page, "disconnected"))[-1]["delayMs"])
        await page.clock.run_for(delays[-1] + 1)
        await until(partial(far_end.has_connections, tries + 1), timeout_s=3, what="the next connection")
        await page.clock.run_for(10001)  # the reply to `register` does not come
    limits = [min(500 * 2**tries, 30000) for tries in range(9)]
    assert all(limit / 2 <= delay <= limit for delay, limit in zip(delays, limits, strict=True)), delays


async def test_who_has_sent_too_much_waits_longer(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await far_end.socket.close(code=1008, reason="flood")
    await disconnected(page)
    (lost,) = await events(page, "disconnected")
    assert (lost["code"], lost["reason"]) == (1008, "flood")
    assert 4000 <= lost["delayMs"] <= 8000


async def test_a_server_that_falls_silent_is_left(page: Page, far_end: FarEnd) -> None:
    await page.clock.install()
    await registered(page)
    await page.clock.run_for(20001)
    await until(lambda: len(far_end.payloads("ping")) == 1, timeout_s=3, what="a ping")
    far_end.send("pong", {})
    await page.evaluate("null")  # goes the same way, so the pong is there before it
    await page.clock.run_for(19000)
    assert await page.evaluate("agent.state") == "registered"
    await page.clock.run_for(11001)  # its next ping is not answered
    await disconnected(page)


async def test_a_reload_keeps_the_token_and_another_agent_does_not_get_it(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await page.reload()
    await page.evaluate(LOAD)
    await registered(page)
    assert far_end.payloads("register")[1]["resumeToken"] == "token1"
    assert await page.evaluate("sessionStorage.length") == 0, "a copy of the tab would have a copy of it"
    await page.reload()
    await page.evaluate(LOAD)
    await registered(page, dn="5002")
    assert "resumeToken" not in far_end.payloads("register")[2]


async def test_orders_fail_with_the_servers_word(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    far_end.reply = lambda message: ("error", {"message": "no such number", "code": 404, "details": {"reason": "gone"}})
    error = await failure(page, "agent.call('600', {stream: false})")
    assert (error["code"], error["reason"], error["details"]) == (404, "gone", {"reason": "gone"})
    assert await page.evaluate("agent.calls.length") == 0


async def test_orders_without_a_reply_fail_in_time(page: Page, far_end: FarEnd) -> None:
    await registered(page, timeoutMs=200)
    assert (await failure(page, "agent.conference([])"))["reason"] == "timeout"


async def test_orders_fail_at_once_when_the_connection_is_lost(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    order = f"async () => [await ({OUTCOME})(agent.conference([])), await ({OUTCOME})(agent.conference([]))]"
    orders = asyncio.create_task(page.evaluate(order))  # the second while there is no connection
    await until(lambda: bool(far_end.payloads("conference")), timeout_s=3, what="the order")
    await far_end.socket.close(code=1012)
    assert [error["reason"] for _, error in await orders] == ["disconnected", "disconnected"]
    assert len(far_end.payloads("conference")) == 1


async def test_bad_messages_are_told_and_change_nothing(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    far_end.socket.send("{")
    far_end.send("error", {"message": "slow down", "code": 429})
    far_end.send("held", {"callId": "never-was"})
    far_end.send("invented", {})
    await page.wait_for_function("() => events.filter(([type]) => type === 'error').length === 2")
    assert [error.get("code") for error in await events(page, "error")] == [0, 429]
    assert await page.evaluate("agent.state") == "registered"


async def test_closing_unregisters(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    far_end.reply = lambda message: ("unregistered", {"dn": "5001"})
    await page.evaluate("agent.close()")
    assert far_end.payloads("unregister") == [{"dn": "5001"}]
    assert await page.evaluate("agent.state") == "closed"


ANSWERED = """async () => {
  window.far = new RTCPeerConnection();
  const microphone = await navigator.mediaDevices.getUserMedia({audio: true});
  far.addTrack(microphone.getTracks()[0]);
  window.answerTo = async sdp => {
    await far.setRemoteDescription({type: "offer", sdp});
    await far.setLocalDescription();
    return far.localDescription.sdp;
  };
}"""


async def answered_call(page: Page, far_end: FarEnd) -> None:
    """`call` in the page, whose media goes to another connection of the page."""
    await page.evaluate(ANSWERED)
    far_end.reply = lambda message: None
    dialing = asyncio.create_task(page.evaluate("async () => { window.call = await agent.call('600'); }"))
    await until(lambda: bool(far_end.payloads("call")), timeout_s=3, what="the call")
    message = far_end.received[-1]
    sdp = await page.evaluate("sdp => answerTo(sdp)", message["payload"]["sdp"])
    far_end.send("callProgress", {"callId": "c1", "state": "ringing", "sdp": sdp}, id=message["id"])
    await dialing
    far_end.send("callAccepted", {"callId": "c1", "sdp": sdp})
    await page.wait_for_function("() => call.state === 'answered' && call.pc.signalingState === 'stable'")


def comes_back(far_end: FarEnd, *calls: dict[str, Any]) -> None:
    """From now on the server lists these calls to who registers."""

    def reply(message: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        found = far_end.registers(message)
        return found and (found[0], {**found[1], "calls": list(calls)})

    far_end.reply = reply


async def test_the_answer_may_come_with_progress_and_again(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await answered_call(page, far_end)
    assert await page.evaluate("[call.id, call.ended, call.pc.signalingState]") == ["c1", False, "stable"]


async def test_a_call_that_the_server_has_no_more_is_lost(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await answered_call(page, far_end)
    comes_back(far_end)
    await far_end.socket.close(code=1012)
    await page.wait_for_function("() => call.ended", polling=10, timeout=3000)
    assert await page.evaluate("[call.endReason, call.pc, agent.state]") == ["lost", None, "registered"]


async def test_who_comes_back_learns_how_its_calls_are(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await answered_call(page, far_end)
    comes_back(far_end, {"callId": "c1", "state": "answered", "held": True, "muted": True})
    await far_end.socket.close(code=1012)
    await disconnected(page)
    await page.wait_for_function("() => agent.state === 'registered'", polling=10, timeout=3000)
    found = await page.evaluate("[call.held, call.muted, call.pc.getSenders()[0].track.enabled]")
    assert found == [True, True, False]


async def test_an_offer_whose_reply_was_lost_is_made_again(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await answered_call(page, far_end)
    far_end.reply = lambda message: None
    error = asyncio.create_task(failure(page, "call.restartIce()"))
    await until(lambda: len(far_end.payloads("call")) == 2, timeout_s=3, what="the offer")
    comes_back(far_end, {"callId": "c1", "state": "answered"})
    await page.evaluate("far.close()")  # so the connection needs a new path once the socket is back
    await far_end.socket.close(code=1012)
    assert (await error)["reason"] == "disconnected"
    await until(lambda: len(far_end.payloads("call")) == 3, timeout_s=5, what="the offer again")
    first, second = far_end.payloads("call")[1:]
    assert (first["callId"], second["callId"]) == ("c1", "c1")


async def test_an_answer_to_the_first_offer_is_none_to_a_later_one(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await answered_call(page, far_end)
    old = await page.evaluate("call.pc.remoteDescription.sdp")
    far_end.reply = lambda message: None
    restarting = asyncio.create_task(page.evaluate("call.restartIce()"))
    await until(lambda: len(far_end.payloads("call")) == 2, timeout_s=3, what="the offer")
    far_end.send("callAccepted", {"callId": "c1", "sdp": old})
    message = far_end.received[-1]
    sdp = await page.evaluate("sdp => answerTo(sdp)", message["payload"]["sdp"])
    far_end.send("callAccepted", {"callId": "c1", "sdp": sdp}, id=message["id"])
    await restarting
    await page.wait_for_function("() => call.pc.signalingState === 'stable'", polling=10, timeout=3000)
    assert await page.evaluate("call.pc.remoteDescription.sdp") == sdp
    assert await events(page, "error") == []


async def rings(page: Page, far_end: FarEnd, **members: Any) -> str:
    """A call comes in; the offer is that of another connection of the page."""
    sdp: str = await page.evaluate(
        "async () => { window.far = new RTCPeerConnection(); far.addTransceiver('audio');"
        "window.incoming ??= []; window.off ??= agent.on('incomingCall', call => incoming.push(call));"
        "await far.setLocalDescription(); return far.localDescription.sdp; }"
    )
    far_end.send("incomingCall", {"callId": "c1", "from": "600", "displayName": "", "sdp": sdp, **members})
    await page.wait_for_function("() => incoming.length > 0", polling=10, timeout=3000)
    return sdp


def accepts(message: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    return ("callAccepted", {"callId": "c1"}) if message["type"] == "answer" else None


@pytest.mark.parametrize(
    ("asked", "allowed", "answered"), [(True, True, True), (True, False, False), (False, True, False)]
)
async def test_a_call_answers_itself_if_the_server_asks_for_it_and_the_page_lets_it(
    page: Page, far_end: FarEnd, asked: bool, allowed: bool, answered: bool
) -> None:
    await registered(page, autoAnswer=allowed)
    far_end.reply = accepts
    await rings(page, far_end, **({"autoAnswer": True} if asked else {}))
    if answered:
        await page.wait_for_function("() => incoming[0].state === 'answered'", polling=10, timeout=3000)
    else:
        await page.wait_for_timeout(300)
        assert await page.evaluate("incoming[0].state") == "incoming"
    assert len(far_end.payloads("answer")) == answered


async def test_an_answer_that_failed_can_be_given_again(page: Page, far_end: FarEnd) -> None:
    await registered(page)
    await rings(page, far_end)
    far_end.reply = lambda message: ("error", {"message": "no", "code": 400, "details": {"reason": "invalid_sdp"}})
    assert (await failure(page, "incoming[0].answer()"))["reason"] == "invalid_sdp"
    assert await page.evaluate("[incoming[0].state, incoming[0].pc]") == ["incoming", None]
    far_end.reply = accepts
    await page.evaluate("incoming[0].answer().then(() => null)")
    assert await page.evaluate("incoming[0].state") == "answered"


@pytest.mark.parametrize("again", [True, False])
async def test_what_rings_is_told_again_after_a_loss_or_is_over(page: Page, far_end: FarEnd, again: bool) -> None:
    await registered(page)
    await rings(page, far_end)
    far_end.reply = far_end.registers
    await far_end.socket.close(code=1012)
    await disconnected(page)
    await page.wait_for_function("() => agent.state === 'registered'", polling=10, timeout=3000)
    if not again:
        await page.wait_for_function("() => incoming[0].ended", polling=10, timeout=4000)
        assert await page.evaluate("incoming[0].endReason") == "lost"
        return
    sdp = await rings(page, far_end)
    await page.wait_for_timeout(2200)  # by when it would be lost
    far_end.reply = accepts
    await page.evaluate("incoming[0].answer().then(() => null)")
    assert await page.evaluate("[incoming.length, incoming[0].state]") == [1, "answered"]
    assert await page.evaluate("incoming[0].pc.remoteDescription.sdp") == sdp


async def test_an_answer_whose_reply_was_lost_is_made_good(page: Page, far_end: FarEnd) -> None:
    """The server took it, so it lists the call; the page has let go of the connection that it answered with."""
    await registered(page)
    await rings(page, far_end)
    far_end.reply = lambda message: None
    error = asyncio.create_task(failure(page, "incoming[0].answer()"))
    await until(lambda: bool(far_end.payloads("answer")), timeout_s=3, what="the answer")
    comes_back(far_end, {"callId": "c1", "state": "answered", "direction": "inbound", "remote": "600"})
    await far_end.socket.close(code=1012)
    assert (await error)["reason"] == "disconnected"
    await until(lambda: bool(far_end.payloads("call")), timeout_s=3, what="the offer")
    assert far_end.payloads("call")[0]["callId"] == "c1"
    assert await page.evaluate("[incoming[0].state, agent.calls.length, incoming[0].pc !== null]") == [
        "answered",
        1,
        True,
    ]
