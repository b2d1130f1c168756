"""Lists of DNs, calls and sessions: pages and filters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from peers.aiortc_client import Client
from peers.server import ServerProcess

from .conftest import ANN_HZ, BOB_HZ, connected, registered


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


async def listed(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    response = await http.get(path, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_dns_come_in_pages_by_number(server: ServerProcess, http: httpx.AsyncClient) -> None:
    whole = await listed(http, "/api/dn/list")
    assert [dn["dn"] for dn in whole["dns"]] == ["7001", "7002", "7003"]
    assert whole.keys() == {"dns"}  # as clients of whole lists know it
    first = await listed(http, "/api/dn/list", limit=2)
    assert ([dn["dn"] for dn in first["dns"]], first["total"]) == (["7001", "7002"], 3)
    second = await listed(http, "/api/dn/list", limit=2, cursor=first["next_cursor"])
    assert ([dn["dn"] for dn in second["dns"]], second["next_cursor"]) == (["7003"], None)
    async with registered(server, "7002"):
        assert [dn["dn"] for dn in (await listed(http, "/api/dn/list", status="available"))["dns"]] == ["7002"]
        assert (await listed(http, "/api/dn/list", status="offline", dn="7002,7003"))["total"] == 1


async def test_calls_are_filtered_and_come_oldest_first(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, Client(server.url) as web:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await web.call("echo")

        async def ids(path: str = "/api/calls/active", **query: Any) -> list[str]:
            return [call["callId"] for call in (await listed(http, path, **query))["calls"]]

        everything = await ids()
        assert everything[:2] == [calling.call_id, answered.call_id]
        assert len(everything) == 3
        assert await ids(direction="inbound") == [answered.call_id]
        assert await ids(dn="7001") == [calling.call_id]
        assert await ids(dn="7001,7002", direction="outbound") == [calling.call_id]
        assert await ids(status="ringing") == []
        assert await ids(trunk="pbx") == []
        assert await ids("/api/calls/dn/7002", status="answered") == [answered.call_id]
        first = await listed(http, "/api/calls/active", limit=1)
        assert (first["total"], first["calls"][0]["callId"]) == (3, calling.call_id)
        await calling.hang_up()  # the call that the cursor names, and with it the other side
        await answered.wait("callEnded")
        rest = await listed(http, "/api/calls/active", limit=10, cursor=first["next_cursor"])
        assert [call["callId"] for call in rest["calls"]] == everything[2:]
        sessions = await listed(http, "/webrtc/sessions", limit=1, direction="outbound", status="connected")
        assert (sessions["total"], len(sessions["sessions"]), sessions["next_cursor"]) == (1, 1, None)
        await web.hang_up()


async def test_calls_of_a_trunk(trunked: ServerProcess) -> None:
    async with (
        Client(trunked.url) as out,
        Client(trunked.url) as here,
        httpx.AsyncClient(base_url=trunked.url, trust_env=False) as http,
    ):
        await out.call("600")
        await here.call("echo")
        assert (await listed(http, "/api/calls/active", direction="outbound"))["total"] == 2
        of_trunk = await listed(http, "/api/calls/active", trunk="any")
        assert [call["to"].split("@")[0] for call in of_trunk["calls"]] == ["sip:600"]
        assert (await listed(http, "/webrtc/sessions", trunk="any"))["total"] == 1
        await out.hang_up()
        await here.hang_up()


@pytest.mark.parametrize("path", ["/api/dn/list", "/api/calls/active", "/api/calls/dn/7001", "/webrtc/sessions"])
@pytest.mark.parametrize(
    ("query", "reason", "named"),
    [
        ({"limit": "0"}, "invalid_field", "limit"),
        ({"limit": "1001"}, "invalid_field", "limit"),
        ({"limit": "ten"}, "invalid_field", "limit"),
        ({"cursor": "nonsense"}, "invalid_cursor", "cursor"),
        ({"status": "asleep"}, "invalid_field", "status"),
        ({"page": "2"}, "unknown_field", "page"),
    ],
)
async def test_a_wrong_parameter_is_named(
    http: httpx.AsyncClient, path: str, query: dict[str, str], reason: str, named: str
) -> None:
    response = await http.get(path, params=query)
    body = response.json()
    assert (response.status_code, body["reason"]) == (400, reason)
    assert body["error"].startswith(named)
