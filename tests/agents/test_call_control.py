"""DNs and their calls, seen and controlled over REST; judged by what the agents hear and are told."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from peers.agent import Agent, AgentCall
from peers.server import ServerProcess, running

from .conftest import ANN_HZ, BOB_HZ, CEM_HZ, PASSWORDS, connected, registered


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


def found(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_dns_are_listed_with_their_status_and_calls(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        dn = found(await http.get("/api/dn/7001"))
        assert (dn["status"], dn["displayName"], dn["contact"], dn["calls"]) == ("available", "Ann", "local", [])
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        listed = {dn["dn"]: dn for dn in found(await http.get("/api/dn/list"))["dns"]}
        assert (listed["7001"]["status"], listed["7002"]["calls"]) == ("busy", [answered.call_id])
        calls = {call["callId"]: call for call in found(await http.get("/api/calls/active"))["calls"]}
        there = calls[answered.call_id]
        assert (there["dn"], there["direction"], there["from"], there["to"]) == ("7002", "inbound", "7001", "7002")
        assert found(await http.get("/api/calls/dn/7001"))["calls"][0]["callId"] == calling.call_id
        assert found(await http.get(f"/api/calls/{calling.call_id}"))["state"] == "answered"
        assert found(await http.get("/api/dn/9999"), 404)["reason"] == "dn_not_found"
        await calling.hang_up()
        await answered.wait("callEnded")
        assert found(await http.get(f"/api/calls/{calling.call_id}"), 409)["reason"] == "call_ended"


async def test_a_call_is_made_for_an_agent(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        made = found(await http.post("/api/call/make", json={"from": "7001", "to": "7002", "autoAnswer": True}))
        incoming = await ann.incoming()
        assert (incoming["callId"], incoming["from"], incoming["autoAnswer"]) == (made["callId"], "7002", True)
        assert not any(message["type"] == "incomingCall" for message in bob.received)
        mine = await ann.answer(incoming, frequency_hz=ANN_HZ)
        await mine.client.wait_tone(425)
        there = await bob.incoming()
        assert there["from"] == "7001"
        theirs = await bob.answer(there, frequency_hz=BOB_HZ)
        await mine.client.wait_tone(BOB_HZ)
        await theirs.client.wait_tone(ANN_HZ)
        (await mine.client.listen(1.2)).check_tone(BOB_HZ)
        (await theirs.client.listen(1.2)).check_tone(ANN_HZ)
        found(await http.post("/api/call/hangup", json={"dn": "7001"}))
        await theirs.wait("callEnded")
        await mine.wait("callEnded")


async def test_a_number_that_cannot_be_called_is_refused(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann:
        response = await http.post("/api/call/make", json={"from": "7001", "to": "nobody"})
        assert found(response, 400)["reason"] == "bad_destination"
        assert not any(message["type"] == "incomingCall" for message in ann.received)


async def test_an_agent_is_told_why_the_number_did_not_answer(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        found(await http.post("/api/call/make", json={"from": "7001", "to": "7002"}))
        call = await ann.answer(await ann.incoming(), frequency_hz=ANN_HZ)
        await bob.request("reject", callId=(await bob.incoming())["callId"])
        assert (await call.wait("callEnded"))["reason"] == "rejected"


async def test_an_agent_that_does_not_answer_is_not_called_for(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        found(await http.post("/api/call/make", json={"from": "7001", "to": "7002"}))
        await ann.request("reject", callId=(await ann.incoming())["callId"])
        assert not any(message["type"] == "incomingCall" for message in bob.received)
    assert found(await http.post("/api/call/make", json={"from": "7003", "to": "7002"}), 502)["reason"] == "unavailable"


async def test_hold_resume_and_transfer_by_dn(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        assert found(await http.post("/api/call/hold", json={"dn": "7002"}))["status"] == "held"
        await answered.wait("held", by="local")
        await calling.wait("held", by="remote")
        assert found(await http.post("/api/call/resume", json={"callId": answered.call_id}))["status"] == "resumed"
        await calling.client.wait_tone(BOB_HZ)
        found(await http.post("/api/call/transfer", json={"dn": "7002", "to": "7003"}))
        taken: AgentCall = await cem.answer(await cem.incoming(), frequency_hz=CEM_HZ)
        await calling.client.wait_tone(CEM_HZ)
        assert (await answered.wait("callEnded"))["reason"] == "transferred"
        assert found(await http.post("/api/call/hold", json={"dn": "7002"}), 409)["reason"] == "no_call"
        assert found(await http.post("/api/call/hold", json={}), 400)["reason"] == "missing_field"
        await calling.hang_up()
        await taken.wait("callEnded")


@pytest.fixture(scope="module")
def keyed(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    """Whose keys have scopes."""
    scopes = {"calls": ["session", "call"], "control": ["call", "dn"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-key".encode()).hexdigest(), "scopes": found_scopes}
        for name, found_scopes in scopes.items()
    ]
    with running(ServerProcess({"dn": dns, "auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


async def test_agents_calls_are_for_who_has_the_scope(keyed: ServerProcess) -> None:
    async with Agent(keyed.url) as ann:
        await ann.register("7001", PASSWORDS["7001"])
        call = await ann.call("echo")
        async with httpx.AsyncClient(base_url=keyed.url, trust_env=False) as client:
            calls, control = ({"x-api-key": f"{name}-key"} for name in ("calls", "control"))
            assert found(await client.get("/api/dn/list", headers=calls), 403)["reason"] == "scope_missing"
            assert found(await client.get("/api/calls/active", headers=calls))["calls"] == []
            body = {"callId": call.call_id}
            assert (
                found(await client.post("/api/call/hangup", json=body, headers=calls), 404)["reason"]
                == "call_not_found"
            )
            assert found(await client.get("/api/calls/active", headers=control))["calls"][0]["callId"] == call.call_id
            found(await client.post("/api/call/hangup", json=body, headers=control))
        await call.wait("callEnded")
