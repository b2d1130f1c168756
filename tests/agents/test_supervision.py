"""GET /api/events: what a wall board is told of agents, their calls and the trunks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from peers.agent import Agent
from peers.aiortc_client import Client
from peers.server import ServerProcess, running
from peers.sip_peer import SipPeer
from peers.waiting import until

from .conftest import ANN_HZ, BOB_HZ, PASSWORDS, connected, registered


class Board:
    """A stream of events, read as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = False
        self._response = response

    async def read(self) -> None:
        async for line in self._response.aiter_lines():
            if line.startswith("data: "):
                self.events.append(orjson.loads(line[6:]))
        self.ended = True

    def of(self, call_id: str) -> list[str]:
        """The types of a call's events."""
        return [event["type"] for event in self.events if event["data"].get("callId") == call_id]

    def statuses(self, dn: str) -> list[str]:
        found = [event["data"] for event in self.events if event["type"] == "dnStatus"]
        return [data["status"] for data in found if data["dn"] == dn]

    async def wait(self, found: Callable[[], object], what: str) -> None:
        await until(lambda: bool(found()), timeout_s=5, what=what)


@contextlib.asynccontextmanager
async def board(url: str, *, last_event_id: int | None = None, **query: str) -> AsyncIterator[Board]:
    """One that is connected, and sees what happens from now on."""
    headers = {} if last_event_id is None else {"last-event-id": str(last_event_id)}
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
        client.stream("GET", "/api/events", params=query, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        found = Board(response)
        reading = asyncio.create_task(found.read())
        try:
            yield found
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def test_a_call_between_agents_from_its_beginning_to_its_end(server: ServerProcess) -> None:
    async with board(server.url) as wall:
        async with registered(server, "7001") as ann, registered(server, "7002") as bob:
            calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
            await calling.order("hold", hold=True)
            await calling.order("hold", hold=False)
            await calling.hang_up()
            await answered.wait("callEnded")
            await wall.wait(lambda: "callEnded" in wall.of(answered.call_id), "the end")
            await wall.wait(lambda: wall.statuses("7002")[-1:] == ["available"], "the DN to be free")
        await wall.wait(lambda: wall.statuses("7002")[-1:] == ["offline"], "the DN to be gone")
    assert wall.of(calling.call_id) == [
        "callBegan",
        "callRinging",
        "callAnswered",
        "callHeld",
        "callResumed",
        "callEnded",
    ]
    theirs = wall.of(answered.call_id)
    assert (theirs[0], theirs[1], theirs[-1]) == ("callBegan", "callRinging", "callEnded")
    assert wall.statuses("7002") == ["available", "busy", "available", "offline"]
    ids = [event["id"] for event in wall.events]
    assert ids == sorted(set(ids))
    end = next(event["data"] for event in wall.events if event["type"] == "callEnded")
    assert end["reason"] == "normal_clearing"
    assert end["duration_s"] > 0
    assert {"callId", "sessionId", "dn", "direction", "from", "to", "state"} <= end.keys()
    held = {event["data"]["dn"]: event["data"] for event in wall.events if event["type"] == "callHeld"}
    assert (held["7001"]["by"], held["7001"]["held"], held["7002"]["by"]) == ("local", True, "remote")


async def test_a_new_reader_is_first_told_how_things_are(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann:
        call = await ann.call("echo")
        async with board(server.url, snapshot="1") as wall:
            await wall.wait(lambda: wall.events, "the snapshot")
            snapshot = wall.events[0]
            assert snapshot["type"] == "snapshot"
            assert [it["callId"] for it in snapshot["data"]["calls"]] == [call.call_id]
            dns = {dn["dn"]: dn["status"] for dn in snapshot["data"]["dns"]}
            assert (dns["7001"], dns["7002"]) == ("busy", "offline")
            assert snapshot["data"]["trunks"] == []
            await call.hang_up()
            await wall.wait(lambda: "callEnded" in wall.of(call.call_id), "the end")


async def test_a_reader_that_comes_back_has_missed_nothing(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann:
        async with board(server.url) as wall:
            call = await ann.call("echo")
            await wall.wait(lambda: "callAnswered" in wall.of(call.call_id), "the answer")
            last_id = wall.events[-1]["id"]
        await call.hang_up()
        await ann.wait("callEnded")
        async with board(server.url, last_event_id=last_id, snapshot="1") as wall:
            await wall.wait(lambda: "callEnded" in wall.of(call.call_id), "the end")
            assert "snapshot" not in [event["type"] for event in wall.events]
            assert wall.events[0]["id"] == last_id + 1


async def test_a_gap_is_told_and_followed_by_how_things_are(server: ServerProcess) -> None:
    async with board(server.url, last_event_id=17) as wall:
        await wall.wait(lambda: len(wall.events) == 2, "two events")
        assert [event["type"] for event in wall.events] == ["gap", "snapshot"]
        assert wall.events[0]["data"] == {"after": 17}


async def test_only_what_was_asked_for_is_told(server: ServerProcess) -> None:
    async with (
        registered(server, "7001") as ann,
        registered(server, "7002") as bob,
        board(server.url, types="callEnded,dnStatus", dn="7002") as narrow,
        board(server.url, types="callQuality") as quality,
    ):
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await until(lambda: len(quality.events) >= 2, timeout_s=10, what="how both sound")
        await calling.hang_up()
        await answered.wait("callEnded")
        await narrow.wait(lambda: "callEnded" in narrow.of(answered.call_id), "the end")
        await narrow.wait(lambda: len(narrow.statuses("7002")) == 2, "the DN's status")
    assert narrow.of(calling.call_id) == []
    assert {event["type"] for event in narrow.events} == {"callEnded", "dnStatus"}
    assert {event["type"] for event in quality.events} == {"callQuality"}
    assert quality.events[0]["data"]["quality"]["webrtc"]["received"]["packets"] > 0


@pytest.mark.parametrize(
    ("query", "reason", "named"),
    [
        ({"types": "callEnded,nonsense"}, "invalid_field", "types"),
        ({"type": "callEnded"}, "unknown_field", "type"),
        ({"snapshot": "maybe"}, "invalid_field", "snapshot"),
        ({"dn": ""}, "invalid_field", "dn"),
        ({"last_event_id": "x"}, "invalid_field", "Last-Event-ID"),
    ],
)
async def test_a_wrong_query_is_a_bad_request(
    server: ServerProcess, query: dict[str, str], reason: str, named: str
) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        response = await client.get("/api/events", params=query)
        body = response.json()
        assert (response.status_code, body["reason"]) == (400, reason)
        assert body["error"].startswith(named)


@pytest.fixture(scope="module")
def keyed(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    scopes = {"boss": ["supervise"], "desk": ["dn"], "caller": ["session", "call"], "nobody": ["session"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": found}
        for name, found in scopes.items()
    ]
    with running(ServerProcess({"dn": dns, "auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


async def test_each_sees_what_his_scopes_allow(keyed: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=keyed.url, trust_env=False) as client:
        assert (await client.get("/api/events")).status_code == 401
        refused = await client.get("/api/events", params={"token": "nobody"})
        assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
    async with (
        board(keyed.url, token="boss") as boss,
        board(keyed.url, token="desk") as desk,
        board(keyed.url, token="caller") as caller,
        Agent(keyed.url) as ann,
        Client(keyed.url) as web,
    ):
        await ann.register("7001", PASSWORDS["7001"])
        agents = await ann.call("echo")
        web.http.headers["x-api-key"] = "caller"
        await web.call("echo")
        own: str = (await web.describe())["call"]["call_id"]
        await web.hang_up()
        await agents.hang_up()
        await boss.wait(lambda: "callEnded" in boss.of(own) and "callEnded" in boss.of(agents.call_id), "both ends")
        await desk.wait(lambda: "callEnded" in desk.of(agents.call_id), "the agent's end")
        await caller.wait(lambda: "callEnded" in caller.of(own), "the caller's end")
        assert desk.of(own) == []
        assert caller.of(agents.call_id) == []
        assert caller.statuses("7001") == []
        assert desk.statuses("7001")[:2] == ["available", "busy"]


async def test_streams_end_with_the_server(dns: list[dict[str, Any]]) -> None:
    with running(ServerProcess({"dn": dns})) as process:
        async with board(process.url) as wall, Client(process.url) as client:
            await client.call("echo")
            await wall.wait(lambda: wall.events, "the call")
            await asyncio.to_thread(process.terminate)
            await wall.wait(lambda: wall.ended, "the end of the stream")
            assert wall.events[-1]["type"] == "callEnded"
            assert wall.events[-1]["data"]["reason"] == "server_shutdown"


async def test_a_trunk_that_begins_to_answer_is_told() -> None:
    async with await SipPeer.open() as peer:
        trunk = {"name": "peer", "server": peer.host_port, "options_interval_s": 1}
        with running(ServerProcess({"trunks": [trunk]})) as process:
            request = await peer.receive("OPTIONS")
            async with board(process.url, snapshot="1") as wall:
                await wall.wait(lambda: wall.events, "the snapshot")
                assert wall.events[0]["data"]["trunks"][0]["connected"] is None
                peer.respond(request, 200)
                await wall.wait(lambda: len(wall.events) > 1, "the trunk's status")
                assert wall.events[1]["type"] == "trunkStatus"
                assert (wall.events[1]["data"]["name"], wall.events[1]["data"]["connected"]) == ("peer", True)
