"""A desktop as it is used: a page of another origin orders by HTTP, the softphone page in Chromium talks to Asterisk.
Judged by what both hear."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from peers.agent import Agent, Refused
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ
from peers.server import ServerProcess, running
from playwright.async_api import Browser, Page

from .conftest import BOB_HZ, Ann

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESKTOP = "https://desktop.example.com"
ORDER = """async ([url, body]) => {
  const response = await fetch(url, body === null ? {} : {
    method: "POST", headers: {"Content-Type": "application/json"}, body: body === "" ? undefined : JSON.stringify(body),
  });
  return [response.status, await response.json()];
}"""


@pytest.fixture(scope="module")
def server(asterisk: Asterisk, dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    tables = {"dn": dns, "session": {"reattach_s": 5}, "http": {"cors_origins": [DESKTOP]}}
    with running(ServerProcess.for_asterisk(asterisk, tables)) as process:
        yield process


class Desktop:
    """A page of another origin, which has no audio."""

    def __init__(self, page: Page, url: str) -> None:
        self._page, self._url = page, url

    async def post(self, name: str, **body: Any) -> dict[str, Any]:
        """Without members: without a body."""
        return await self._fetch(name, body or "")

    async def get(self, name: str) -> dict[str, Any]:
        return await self._fetch(name, None)

    async def _fetch(self, name: str, body: Any) -> dict[str, Any]:
        status, found = await self._page.evaluate(ORDER, [f"{self._url}/{name}", body])
        assert status == 200, found
        reply: dict[str, Any] = found
        return reply


@contextlib.asynccontextmanager
async def _desktop(browser: Browser, server: ServerProcess) -> AsyncIterator[Desktop]:
    context = await browser.new_context()
    # Chromium asks the agent once whether a page of the network may use a server on this workstation.
    await context.grant_permissions(["local-network-access"], origin=DESKTOP)
    page = await context.new_page()
    await page.route(f"{DESKTOP}/**", lambda route: route.fulfill(body="<title>desktop</title>"))
    await page.goto(f"{DESKTOP}/")
    try:
        yield Desktop(page, server.url)
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desktop(chromium: Browser, server: ServerProcess) -> AsyncIterator[Desktop]:
    async with _desktop(chromium, server) as found:
        yield found


async def test_a_shift_at_the_desktop(ann: Ann, bob: Agent, desktop: Desktop) -> None:
    """Its six orders and two questions, in the order of a day."""
    assert await desktop.get("GetIsEndpointActive") == {"get_IsEndpointActiveResult": True}
    signed_on = await desktop.post("RegisterDn", users=["5001"], addresses=["192.0.2.1:5060"])
    assert signed_on == {"RegisterDnResult": True}
    assert await desktop.get("Ping") == {"PingResult": True}

    # Out: to the PBX's echo.
    made = await desktop.post("MakeCall", destination="600")
    assert made["MakeCallResult"]
    await ann.until("incoming.length === 1 && incoming[0].state === 'answered'")
    await ann.do("window.call = incoming[0]; await call.answered")
    assert await ann.do("return call.id") == made["callId"]
    await ann.hears(MICROPHONE_HZ)
    assert await desktop.post("HangUp") == {"HangUpResult": True, "callId": made["callId"]}
    await ann.until("call.ended")

    # In: a call that rings is answered, held, retrieved and hung up.
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 2")
    assert await ann.do("return incoming[1].state") == "incoming"
    assert (await desktop.post("AnswerCall"))["AnswerCallResult"]
    await ann.until("incoming[1].state === 'answered'")
    await ann.do("window.call = incoming[1]")
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    assert (await desktop.post("Hold"))["HoldResult"]
    await ann.until("call.held")
    await calling.wait("held", by="remote")
    assert (await desktop.post("Retrieve"))["RetrieveResult"]
    await ann.until("!call.held")
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    assert (await desktop.post("HangUp"))["HangUpResult"]
    assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"
    await ann.until("call.ended")

    assert await desktop.post("UnregisterDn", users=["5001"]) == {"UnregisterDnResult": True}
    await ann.until("agent.state === 'signedOff'")


async def test_a_page_that_answers_by_hand_answers_for_the_desktop(ann: Ann, bob: Agent, desktop: Desktop) -> None:
    await ann.do("agent.options.autoAnswer = false")
    await desktop.post("RegisterDn", users=["5001"])
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    both = "await Promise.all([incoming[0].answer(), incoming[0].answered])"
    assert (await desktop.post("AnswerCall"))["AnswerCallResult"]
    await ann.do(both)  # pressed in the page too, and the same connection
    await ann.do("window.call = incoming[0]")
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    await calling.hang_up()
    await ann.until("call.ended")


async def test_a_page_that_was_signed_off_rings_again_once_signed_on(ann: Ann, bob: Agent, desktop: Desktop) -> None:
    await desktop.post("RegisterDn", users=["5001"])
    await desktop.post("UnregisterDn")
    await ann.until("agent.state === 'signedOff'")
    with pytest.raises(Refused, match="unavailable"):
        await bob.request("call", to="5001", sdp=await bob.client().offer())
    assert (await desktop.post("RegisterDn", users=["5001"]))["RegisterDnResult"]
    await ann.until("agent.state === 'registered'")
    calling = await bob.call("5001", frequency_hz=BOB_HZ)
    await ann.until("incoming.length === 1")
    await ann.do("window.call = incoming[0]; await call.answer()")
    await ann.hears(BOB_HZ)
    await calling.client.wait_tone(MICROPHONE_HZ)
    await calling.hang_up()
    await ann.until("call.ended")


async def test_a_wall_board_in_the_browser_is_told_by_an_event_source(ann: Ann, bob: Agent) -> None:
    """Also across a lost connection, after which it has what it missed."""
    await ann.do(
        "window.told = []; window.board = new EventSource('/api/events?snapshot=1&types=callBegan,callEnded&dn=5002');"
        "board.onmessage = ({data, lastEventId}) => told.push({...JSON.parse(data), lastEventId: Number(lastEventId)})"
    )
    await ann.until("told.length === 1")
    assert await ann.do("return [told[0].type, told[0].data.dns.map(({dn}) => dn)]") == ["snapshot", ["5002"]]
    first = await bob.call("echo")
    await ann.until("told.length === 2")
    assert await ann.do("return [told[1].type, told[1].data.callId]") == ["callBegan", first.call_id]
    await ann.do("board.close()")
    await first.hang_up()
    # As the browser would by itself, but for the header, which a page cannot set.
    await ann.do(
        "window.board = new EventSource('/api/events?types=callBegan,callEnded&dn=5002&last_event_id=' + told[1].id);"
        "board.onmessage = ({data}) => told.push(JSON.parse(data))"
    )
    await ann.until("told.length === 3")
    assert await ann.do("return [told[2].type, told[2].data.callId, told.every(it => it.id > 0)]") == [
        "callEnded",
        first.call_id,
        True,
    ]
    await ann.do("board.close()")
