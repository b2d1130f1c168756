"""The agent desktop's routes: which DN is meant, what the page is told, what is refused and how."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from peers.agent import Agent
from peers.server import ServerProcess, running
from peers.waiting import until

from .conftest import ANN_HZ, BOB_HZ, PASSWORDS, connected, registered

DESKTOP = "http://desktop.example.com"
ORDERS = ("HangUp", "AnswerCall", "Hold", "Retrieve")


@pytest.fixture
async def desktop(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """One that leaves as it came: signed on to nothing."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client
        await client.post("/UnregisterDn")


async def order(client: httpx.AsyncClient, name: str, **members: Any) -> dict[str, Any]:
    """POST /<name>; without members: without a body, as a desktop does."""
    response = await (client.post(f"/{name}", json=members) if members else client.post(f"/{name}"))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def refused(name: str, reason: str, body: dict[str, Any]) -> bool:
    return (body[f"{name}Result"], body["reason"]) == (False, reason) and bool(body["error"])


async def test_signing_on_is_true_when_pages_are_connected(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001"):
        assert await order(desktop, "RegisterDn", users=["7001"], addresses=["192.0.2.1:5060"]) == {
            "RegisterDnResult": True
        }
        both = await order(desktop, "RegisterDn", users=["7001", "7002"])
        assert refused("RegisterDn", "unavailable", both)
        async with registered(server, "7002"):
            assert (await order(desktop, "RegisterDn", users=["7001", "7002"]))["RegisterDnResult"]
    assert refused("RegisterDn", "dn_not_found", await order(desktop, "RegisterDn", users=["9999"]))


async def test_an_endpoint_is_active_while_a_page_is_connected(
    server: ServerProcess, desktop: httpx.AsyncClient
) -> None:
    async def active(**query: str) -> bool:
        found: bool = (await desktop.get("/GetIsEndpointActive", params=query)).json()["get_IsEndpointActiveResult"]
        return found

    assert not await active()
    async with registered(server, "7001"):
        assert await active()
        assert (await active(dn="7001"), await active(dn="7002"), await active(dn="9999")) == (True, False, False)
        await order(desktop, "RegisterDn", users=["7001"])
        assert await active()
    assert (await desktop.get("/Ping")).json() == {"PingResult": True}


async def test_an_order_of_a_desktop_that_is_not_signed_on_is_refused(
    server: ServerProcess, desktop: httpx.AsyncClient
) -> None:
    async with registered(server, "7001") as ann:
        for name in ORDERS:
            assert refused(name, "not_signed_on", await order(desktop, name))
        assert refused("MakeCall", "not_signed_on", await order(desktop, "MakeCall", destination="7002"))
        assert refused("UnregisterDn", "not_signed_on", await order(desktop, "UnregisterDn"))
        assert not any(message["type"] == "incomingCall" for message in ann.received)


async def test_of_several_dns_an_order_has_to_name_one(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001"):
        async with registered(server, "7002"):
            await order(desktop, "RegisterDn", users=["7001", "7002"])
            assert refused("HangUp", "several_dns", await order(desktop, "HangUp"))
            assert refused("HangUp", "no_call", await order(desktop, "HangUp", dn="7002"))
            assert refused("HangUp", "no_call", await order(desktop, "HangUp", users=["7002"]))
            assert refused("HangUp", "invalid_field", await order(desktop, "HangUp", users=["7002"], dn="7002"))
        # The other one's page is gone, so this one is meant.
        assert refused("HangUp", "no_call", await order(desktop, "HangUp"))


async def test_a_call_is_made_and_hung_up(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await order(desktop, "RegisterDn", users=["7001"])
        made = await order(desktop, "MakeCall", destination="7002")
        assert made["MakeCallResult"]
        incoming = await ann.incoming()
        assert (incoming["callId"], incoming["autoAnswer"]) == (made["callId"], True)
        mine = await ann.answer(incoming, frequency_hz=ANN_HZ)
        theirs = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await mine.client.wait_tone(BOB_HZ)
        await theirs.client.wait_tone(ANN_HZ)
        assert (await order(desktop, "HangUp"))["HangUpResult"]
        assert (await theirs.wait("callEnded"))["reason"] == "normal_clearing"
        await mine.wait("callEnded")
        assert refused("MakeCall", "bad_destination", await order(desktop, "MakeCall", to="nobody"))


async def test_a_ringing_call_is_told_once_more_to_be_answered(
    server: ServerProcess, desktop: httpx.AsyncClient
) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await order(desktop, "RegisterDn", users=["7002"])
        assert refused("AnswerCall", "not_ringing", await order(desktop, "AnswerCall"))
        calling = await ann.call("7002", frequency_hz=ANN_HZ)
        first = await bob.incoming()
        assert "autoAnswer" not in first
        assert await order(desktop, "AnswerCall") == {"AnswerCallResult": True, "callId": first["callId"]}
        second = await bob.incoming(number=1)
        assert (second["callId"], second["sdp"], second["autoAnswer"]) == (first["callId"], first["sdp"], True)
        answered = await bob.answer(second, frequency_hz=BOB_HZ)
        await calling.client.wait_tone(BOB_HZ)
        assert refused("AnswerCall", "not_ringing", await order(desktop, "AnswerCall", callId=first["callId"]))
        assert refused("AnswerCall", "call_not_found", await order(desktop, "AnswerCall", callId="other"))
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_of_two_pages_the_one_that_came_last_answers(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as old, registered(server, "7002") as new:
        await order(desktop, "RegisterDn", users=["7002"])
        calling = await ann.call("7002")
        await old.incoming()
        await new.incoming()
        assert (await order(desktop, "AnswerCall"))["AnswerCallResult"]
        assert (await new.incoming(number=1))["autoAnswer"]
        assert [message["type"] for message in old.received].count("incomingCall") == 1
        await calling.hang_up()


async def test_a_ringing_call_is_rejected_by_hanging_up(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await order(desktop, "RegisterDn", users=["7002"])
        calling = await ann.call("7002")
        await bob.incoming()
        assert (await order(desktop, "HangUp"))["HangUpResult"]
        assert (await calling.wait("callEnded"))["reason"] == "rejected"


async def test_a_call_is_held_and_retrieved(server: ServerProcess, desktop: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await order(desktop, "RegisterDn", users=["7002"])
        assert (await order(desktop, "Hold"))["HoldResult"]
        await answered.wait("held", by="local")
        await calling.wait("held", by="remote")
        assert (await order(desktop, "Hold"))["HoldResult"]  # again is no error
        assert await order(desktop, "Retrieve") == {"RetrieveResult": True, "callId": answered.call_id}
        await answered.wait("resumed", by="local")
        await calling.client.wait_tone(BOB_HZ)
        assert (await order(desktop, "Hold", hold=True))["HoldResult"]
        assert (await order(desktop, "Hold", hold=False))["HoldResult"]
        await calling.client.wait_tone(BOB_HZ)
        await calling.hang_up()
        await answered.wait("callEnded")


def told(agent: Agent) -> list[tuple[str, int]]:
    """How it was registered, one after the other."""
    payloads = [message["payload"] for message in agent.received if message["type"] == "registered"]
    return [(payload["dn"], payload["expires"]) for payload in payloads]


async def test_what_is_signed_off_rings_no_more_until_it_is_signed_on_again(
    server: ServerProcess, desktop: httpx.AsyncClient
) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        await order(desktop, "RegisterDn", users=["7002"])
        assert await order(desktop, "UnregisterDn", users=["7002"], addresses=[]) == {"UnregisterDnResult": True}
        await bob.wait("registered", expires=0)
        assert (await desktop.get("/api/dn/7002")).json()["status"] == "offline"
        assert (await desktop.get("/GetIsEndpointActive", params={"dn": "7002"})).json()["get_IsEndpointActiveResult"]
        made = await order(desktop, "MakeCall", dn="7002", destination="7001")
        assert refused("MakeCall", "unavailable", made)
        assert (await order(desktop, "RegisterDn", users=["7002"]))["RegisterDnResult"]
        await until(lambda: len(told(bob)) == 3, timeout_s=5, what="the page to be told")
        assert told(bob) == [("7002", 3600), ("7002", 0), ("7002", 3600)]
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_a_page_that_leaves_while_signed_off_is_not_signed_on_again(
    server: ServerProcess, desktop: httpx.AsyncClient
) -> None:
    async with registered(server, "7002"):
        await order(desktop, "RegisterDn", users=["7002"])
        await order(desktop, "UnregisterDn")

    async def is_gone() -> bool:
        return not (await desktop.get("/GetIsEndpointActive")).json()["get_IsEndpointActiveResult"]

    await until(is_gone, timeout_s=5, what="the page to be gone")
    assert refused("RegisterDn", "unavailable", await order(desktop, "RegisterDn", users=["7002"]))
    assert await is_gone()


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("RegisterDn", b"", "missing_body"),
        ("RegisterDn", b"{}", "missing_field"),
        ("RegisterDn", b'{"users": []}', "invalid_field"),
        ("RegisterDn", b'{"users": "7001"}', "invalid_field"),
        ("RegisterDn", b'{"users": ["7001"], "password": "x"}', "unknown_field"),
        ("UnregisterDn", b'{"users": [1]}', "invalid_field"),
        ("MakeCall", b"{}", "missing_field"),
        ("MakeCall", b'{"destination": "1", "to": "2"}', "missing_field"),
        ("MakeCall", b'{"destination": ""}', "invalid_field"),
        ("HangUp", b"[]", "invalid_field"),
        ("HangUp", b"{", "invalid_json"),
        ("AnswerCall", b'{"callId": "a b"}', "invalid_field"),
        ("AnswerCall", b'{"users": ["7001", "7002"]}', "invalid_field"),
        ("Hold", b'{"hold": 1}', "invalid_field"),
    ],
)
async def test_a_wrong_body_is_a_bad_request(desktop: httpx.AsyncClient, name: str, body: bytes, reason: str) -> None:
    response = await desktop.post(f"/{name}", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["reason"]) == (400, reason)


async def test_agents_of_a_registrar_are_signed_off_and_on_there(upstream: ServerProcess) -> None:
    async with (
        Agent(upstream.url) as agent,
        httpx.AsyncClient(base_url=upstream.url, trust_env=False, timeout=10) as client,
    ):
        await agent.register("1002", "pw1002")
        await order(client, "RegisterDn", users=["1002"])
        await order(client, "UnregisterDn")
        assert (await client.get("/api/dn/1002")).json()["reason"] == "dn_not_found"
        assert (await order(client, "RegisterDn", users=["1002"]))["RegisterDnResult"]
        assert (await client.get("/api/dn/1002")).json()["status"] == "available"


@pytest.fixture(scope="module")
def keyed(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    """Whose keys have scopes, and which a desktop's page of another origin may use."""
    scopes = {"calls": ["session", "call"], "control": ["dn"], "other": ["dn"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-key".encode()).hexdigest(), "scopes": found}
        for name, found in scopes.items()
    ]
    tables = {"dn": dns, "auth": {"mode": "api_key", "api_keys": keys}, "http": {"cors_origins": [DESKTOP]}}
    with running(ServerProcess(tables)) as process:
        yield process


async def test_a_desktop_needs_the_scope_and_has_its_own_dns(keyed: ServerProcess) -> None:
    async with Agent(keyed.url) as ann, httpx.AsyncClient(base_url=keyed.url, trust_env=False) as client:
        await ann.register("7001", PASSWORDS["7001"])
        body = {"users": ["7001"]}
        assert (await client.post("/RegisterDn", json=body)).status_code == 401
        response = await client.post("/RegisterDn", json=body, headers={"x-api-key": "calls-key"})
        assert (response.status_code, response.json()["reason"]) == (403, "scope_missing")
        assert (await client.get("/Ping")).status_code == 401
        client.headers["x-api-key"] = "control-key"
        assert (await order(client, "RegisterDn", users=["7001"]))["RegisterDnResult"]
        assert refused("HangUp", "no_call", await order(client, "HangUp"))
        client.headers["x-api-key"] = "other-key"
        assert refused("HangUp", "not_signed_on", await order(client, "HangUp"))


async def test_a_desktop_of_another_origin_is_allowed_by_the_configuration(keyed: ServerProcess) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}
    async with httpx.AsyncClient(base_url=keyed.url, trust_env=False) as client:
        preflight = await client.options("/RegisterDn", headers={"origin": DESKTOP, **asks})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == DESKTOP
        reply = await client.get("/Ping", headers={"origin": DESKTOP, "x-api-key": "control-key"})
        assert reply.headers["access-control-allow-origin"] == DESKTOP
        stranger = await client.post("/HangUp", headers={"origin": "http://evil.example.com"})
        assert (stranger.status_code, stranger.json()["reason"]) == (403, "origin_not_allowed")
