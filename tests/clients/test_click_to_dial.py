"""Click-to-dial: somebody else orders a call for an agent, whose page in Chromium rings and then talks to Asterisk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from peers.agent import Agent
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ
from peers.server import ServerProcess, running

from .conftest import BOB_HZ, PASSWORDS, Ann

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def server(asterisk: Asterisk, dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    with running(ServerProcess.for_asterisk(asterisk, {"dn": dns})) as process:
        yield process


async def order(server: ServerProcess, action: str, **body: Any) -> dict[str, Any]:
    """POST /api/call/<action>."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        response = await client.post(f"/api/call/{action}", json=body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


async def test_a_page_that_answers_by_itself_talks_to_the_pbx(ann: Ann, server: ServerProcess) -> None:
    made = await order(server, "make", **{"from": "5001", "to": "600", "autoAnswer": True})
    await ann.until("incoming.length === 1 && incoming[0].state === 'answered'")
    assert await ann.do("window.call = incoming[0]; return [call.id, call.from]") == [made["callId"], "600"]
    await ann.hears(MICROPHONE_HZ)  # the PBX's echo: both ways at once
    await order(server, "hangup", callId=made["callId"])
    await ann.until("call.ended")
    assert await ann.ended() == ["normal_clearing"]


async def test_a_page_rings_until_its_agent_answers(ann: Ann, server: ServerProcess) -> None:
    async with Agent(server.url) as bob:
        await bob.register("5002", PASSWORDS["5002"])
        await order(server, "make", **{"from": "5001", "to": "5002"})
        await ann.until("incoming.length === 1")
        assert await ann.do("window.call = incoming[0]; return call.state") == "incoming"
        assert not any(message["type"] == "incomingCall" for message in bob.received)  # it is not called yet
        await ann.do("await call.answer()")
        theirs = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await ann.hears(BOB_HZ)
        await theirs.client.wait_tone(MICROPHONE_HZ)
        await theirs.hang_up()
        await ann.until("call.ended")


async def test_a_number_that_is_busy_is_told_to_the_page(ann: Ann, server: ServerProcess) -> None:
    await order(server, "make", **{"from": "5001", "to": "602", "autoAnswer": True})
    await ann.until("incoming.length === 1 && incoming[0].ended")
    assert await ann.ended() == ["busy"]
