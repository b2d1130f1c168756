"""Agents of the `server` that a module has: Ann, a page in Chromium with the agent SDK, and Bob, who has no browser."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from peers.agent import Agent
from peers.chromium import HEARD_HZ
from peers.server import ServerProcess
from peers.waiting import until
from playwright.async_api import Browser, Page

from sdpserver.passwords import hash_password

BOB_HZ = 700.0
PASSWORDS = {"5001": "ann's", "5002": "bob's"}
START = """options => {
  window.events = [];
  window.incoming = [];
  window.agent = new SdpServerAgent({dn: "5001", password: "ann's", ...options});
  for (const type of ["registered", "registrationFailed", "disconnected", "callResumed", "callEnded", "error"])
    agent.on(type, detail => events.push([type, detail.reason ?? detail.id ?? null]));
  agent.on("incomingCall", call => incoming.push(call));
  return agent.connect();
}"""


@pytest.fixture(scope="session")
def dns() -> list[dict[str, Any]]:
    return [{"number": number, "password_hash": hash_password(word)} for number, word in PASSWORDS.items()]


class Ann:
    """A page with the SDK, registered as 5001."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self, **options: Any) -> dict[str, Any]:
        """Load the page, again after a first time, and register."""
        await self.page.goto(f"{self.url}/health")
        await self.page.evaluate("import('/sdk/agent.js').then(it => { Object.assign(window, it) })")
        reply: dict[str, Any] = await self.page.evaluate(START, options)
        return reply

    async def do(self, script: str) -> Any:
        """The body of an async function."""
        return await self.page.evaluate(f"async () => {{ {script} }}")

    async def until(self, condition: str) -> None:
        await self.page.wait_for_function(f"() => {condition}", polling=10, timeout=5000)

    async def call(self, to: str) -> None:
        """`call` in the page; returns when it is answered."""
        await self.do(f"window.call = await agent.call({to!r}); await call.answered")

    async def hears(self, frequency_hz: float, call: str = "call") -> None:
        """This as the loudest, within 5 s."""
        await self.until(f"{call}.stream !== null")
        found = await self.page.evaluate(f"() => ({HEARD_HZ})({call}.stream.getAudioTracks()[0])")
        assert found == pytest.approx(frequency_hz, rel=0.02)

    async def is_disconnected(self) -> None:
        """Until its socket has been lost. It may be back by then: the first attempt comes after 250 to 500 ms."""
        await self.until("events.some(([type]) => type === 'disconnected')")

    async def ended(self) -> list[str]:
        """Why its calls ended."""
        return [reason for kind, reason in await self.page.evaluate("events") if kind == "callEnded"]


@contextlib.asynccontextmanager
async def page_of(browser: Browser, server: ServerProcess) -> AsyncIterator[Ann]:
    context = await browser.new_context()
    page = await context.new_page()
    ann = Ann(page, server.url)
    try:
        yield ann
        await ann.do("await window.agent?.close()")
        assert not ann.errors, ann.errors
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def ann(chromium: Browser, server: ServerProcess) -> AsyncIterator[Ann]:
    async with page_of(chromium, server) as found:
        await found.open()
        yield found
    await until(lambda: not server.open_sessions(), timeout_s=5, what="the sessions to end")


@pytest_asyncio.fixture(loop_scope="session")
async def bob(server: ServerProcess) -> AsyncIterator[Agent]:
    async with Agent(server.url) as agent:
        await agent.register("5002", PASSWORDS["5002"])
        yield agent
