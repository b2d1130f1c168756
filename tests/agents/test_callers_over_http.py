"""POST /webrtc/offer with a DN as its destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from peers.agent import Agent
from peers.aiortc_client import Client
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import registered

CALLER_HZ, BOB_HZ = 700.0, 1100.0


@pytest.fixture
async def bob(server: ServerProcess) -> AsyncIterator[Agent]:
    async with registered(server, "7002") as agent:
        yield agent
    await until(lambda: not server.calls(), timeout_s=5, what="all calls to end")


@pytest.fixture
async def caller(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(server.url, frequency_hz=CALLER_HZ) as client:
        yield client


def failure(response: httpx.Response) -> tuple[int, str, Any]:
    body = response.json()
    assert body["code"] == response.status_code
    return body["code"], body["reason"], body.get("sip_status")


async def test_a_caller_is_answered_and_both_hear_each_other(caller: Client, bob: Agent) -> None:
    options: dict[str, Any] = {"from": "4711", "display_name": "Web", "headers": {"X-Case": "7"}}
    await caller.call("7002", **options)
    incoming = await bob.incoming()
    assert (incoming["from"], incoming["displayName"]) == ("4711", "Web")
    assert incoming["headers"] == {"X-Case": "7"}
    await caller.wait_tone(425)
    answered = await bob.answer(incoming, frequency_hz=BOB_HZ)
    await caller.wait_tone(BOB_HZ)
    await answered.client.wait_tone(CALLER_HZ)
    assert (await caller.describe())["call"]["to"] == "7002"
    await caller.hang_up()
    assert (await answered.wait("callEnded"))["reason"] == "normal_clearing"


async def test_an_anonymous_caller_is_called_that(caller: Client, bob: Agent) -> None:
    await caller.call("7002")
    assert (await bob.incoming())["from"] == "anonymous"
    await caller.hang_up()
    assert (await bob.wait("callEnded"))["reason"] == "cancelled"


async def test_wait_for_answer_holds_the_reply(caller: Client, bob: Agent) -> None:
    posting = asyncio.create_task(caller.post_offer(to="7002", wait_for="answer"))
    incoming = await bob.incoming()
    assert not posting.done()
    answering = asyncio.create_task(bob.answer(incoming, frequency_hz=BOB_HZ))
    response = await posting
    assert response.json()["call"]["state"] == "answered"
    await caller.accept(response.json())
    await caller.wait_connected()
    await answering
    await caller.wait_tone(BOB_HZ)
    await caller.hang_up()


@pytest.mark.parametrize(("reason", "expected"), [("rejected", (502, "rejected", 603)), ("busy", (502, "busy", 486))])
async def test_wait_for_answer_tells_a_refusal(
    caller: Client, bob: Agent, reason: str, expected: tuple[int, str, int]
) -> None:
    posting = asyncio.create_task(caller.post_offer(to="7002", wait_for="answer"))
    await bob.request("reject", callId=(await bob.incoming())["callId"], reason=reason)
    assert failure(await posting) == expected


@pytest.mark.parametrize("wait_for", ["none", "answer"])
async def test_a_dn_that_is_offline_is_unavailable(caller: Client, bob: Agent, wait_for: str) -> None:
    assert failure(await caller.post_offer(to="7003", wait_for=wait_for)) == (502, "unavailable", 480)


async def test_a_dn_with_eight_calls_is_busy(server: ServerProcess, caller: Client, bob: Agent) -> None:
    body = {"sdp": {"type": "offer", "sdp": await caller.offer()}, "call": {"to": "7002"}}
    answers = [(await caller.http.post("/webrtc/offer", json=body)).json() for _ in range(8)]
    assert failure(await caller.http.post("/webrtc/offer", json=body)) == (502, "busy", 486)
    for answer in answers:
        await caller.http.post("/webrtc/close", json={"session_id": answer["session_id"]})


async def test_nobody_answers_in_time(caller: Client, bob: Agent) -> None:
    posting = asyncio.create_task(caller.post_offer(to="7002", wait_for="answer", ring_timeout_s=0.5))
    assert failure(await posting)[:2] == (504, "no_answer")
    assert (await bob.wait("callEnded"))["reason"] == "no_answer"


async def test_a_caller_that_leaves_while_it_waits_stops_the_ringing(caller: Client, bob: Agent) -> None:
    posting = asyncio.create_task(caller.post_offer(to="7002", wait_for="answer"))
    await bob.incoming()
    posting.cancel()
    assert (await bob.wait("callEnded"))["reason"] in ("cancelled", "client_disconnected")


@pytest.mark.parametrize(
    "headers", [{"Call-Info": "<sip:x>;answer-after=0"}, {"X-A": "a\r\nb"}, {"X A": "1"}, {"X-A": "x" * 5000}]
)
async def test_headers_are_those_that_a_trunk_would_take(caller: Client, bob: Agent, headers: dict[str, str]) -> None:
    response = await caller.post_offer(to="7002", headers=headers)
    assert (response.status_code, response.json()["reason"]) == (400, "bad_header")
    await bob.request("ping")
    assert not any(message["type"] == "incomingCall" for message in bob.received)


async def test_a_refused_caller_hears_why(caller: Client, bob: Agent) -> None:
    await caller.call("7002")
    await caller.wait_tone(425)
    await bob.request("reject", callId=(await bob.incoming())["callId"])
    ended = await caller.wait_closed(6)
    assert ended
    assert (await caller.describe())["close_reason"] == "rejected"


async def test_a_reloaded_caller_goes_on(caller: Client, server: ServerProcess, bob: Agent) -> None:
    await caller.call("7002")
    answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
    await caller.wait_tone(BOB_HZ)
    tokens = {"session_id": caller.session_id, "resume_token": caller.answer["resume_token"]}
    async with Client(server.url, frequency_hz=CALLER_HZ * 2) as page:
        response = await page.post_offer(tokens)
        assert response.status_code == 200, response.text
        await page.accept(response.json())
        await page.wait_connected()
        await page.wait_tone(BOB_HZ)
        await answered.client.wait_tone(CALLER_HZ * 2)
        await answered.order("hangup")
        await page.wait_closed()
