"""The socket of /ws: who may open one, and what ends it."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from asyncio import to_thread
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from peers.agent import Agent, Refused
from peers.aiortc_client import Client
from peers.server import ServerProcess, running
from peers.waiting import until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .conftest import PASSWORDS, registered

SHORT_IDLE_S = 2.0
"""More than a busy machine holds up the client that pings."""
KEY, OTHER_KEY = "a-key-with-calls", "a-key-without-calls"
FOREIGN = "https://elsewhere.example"


def ws_url(server: ServerProcess, query: str = "") -> str:
    return server.url.replace("http", "ws", 1) + "/ws" + query


@pytest.fixture(scope="module")
def keyed(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    """Asks for API keys."""

    def key(name: str, secret: str, *scopes: str) -> dict[str, Any]:
        return {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "scopes": list(scopes)}

    keys = [key("web", KEY, "session", "call"), key("echo", OTHER_KEY, "session")]
    with running(ServerProcess({"dn": dns, "auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


# -- who may open one


@pytest.mark.parametrize("offered", [["sdpserver.v1"], ["other", "sdpserver.v1"], ["other"], None])
async def test_the_subprotocol_is_optional(server: ServerProcess, offered: list[Any] | None) -> None:
    async with connect(ws_url(server), proxy=None, subprotocols=offered) as socket:
        chosen = "sdpserver.v1" if offered and "sdpserver.v1" in offered else None
        assert socket.subprotocol == chosen


async def refused(url: str, **handshake: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as raised:
        await connect(url, proxy=None, **handshake)
    response = raised.value.response
    return response.status_code, orjson.loads(response.body or b"{}")["reason"]


@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "http://127.0.0.1:1", "file://", "http://127.0.0.1.elsewhere.example"]
)
async def test_pages_of_other_sites_are_refused(server: ServerProcess, origin: str) -> None:
    assert await refused(ws_url(server), origin=origin) == (403, "origin_not_allowed")


async def test_the_servers_own_pages_and_those_of_cors_origins_are_not(
    own_server: Callable[..., ServerProcess], dns: list[dict[str, Any]]
) -> None:
    server = own_server({"dn": dns, "http": {"cors_origins": [FOREIGN]}})
    for origin in (server.url, FOREIGN):
        async with Agent(server.url, origin=origin) as agent:
            await agent.register("7001", PASSWORDS["7001"])


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example"])
async def test_a_name_that_is_not_the_servers_is_refused(server: ServerProcess, host: str) -> None:
    uri = f"ws://{host}:{server.http_port}/ws"
    assert await refused(uri, host="127.0.0.1", port=server.http_port) == (403, "host_not_allowed")


async def test_a_key_comes_by_a_header_or_by_the_query(keyed: ServerProcess) -> None:
    headers = ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"})
    for agent in (*(Agent(keyed.url, additional_headers=header) for header in headers), Agent(keyed.url, query=KEY)):
        async with agent:
            call = await agent.call("echo")
            await call.hang_up()


@pytest.mark.parametrize("by_query", [True, False])
async def test_a_wrong_key_is_refused(keyed: ServerProcess, by_query: bool) -> None:
    handshake: dict[str, Any] = {} if by_query else {"additional_headers": {"X-API-Key": "wrong"}}
    url = ws_url(keyed, "?token=wrong" if by_query else "")
    assert await refused(url, **handshake) == (401, "credentials_invalid")


@pytest.mark.parametrize("key", ["", OTHER_KEY])
async def test_without_a_key_for_calls_only_a_registration_gives_rights(keyed: ServerProcess, key: str) -> None:
    async with Agent(keyed.url, query=key) as agent:
        with pytest.raises(Refused) as raised:
            await agent.call("echo")
        assert (raised.value.code, raised.value.reason) == (403, "not_registered")
        await agent.register("7001", PASSWORDS["7001"])
        call = await agent.call("echo")
        await call.hang_up()
        await agent.request("unregister")
        with pytest.raises(Refused) as raised:
            await agent.call("echo")
        assert (raised.value.code, raised.value.reason) == (403, "not_registered")


# -- what ends it


async def test_a_flood_is_cut_off(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        for _ in range(300):
            await agent.send('{"type": "ping"}')
        assert await agent.wait_closed() == (1008, "more than 50 messages a second")
        assert len(agent.received) < 200


async def test_a_bunch_of_candidates_is_no_flood(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        call = await agent.call("echo")
        for number in range(60):
            text = f"candidate:{number} 1 UDP 1 127.0.0.1 {9000 + number} typ host"
            await agent.send_message("iceCandidate", callId=call.call_id, candidate=text)
        await agent.request("ping")
        await call.hang_up()


@pytest.mark.parametrize(("octets", "is_taken"), [(60_000, True), (70_000, False), (3_000_000, False)])
async def test_an_oversize_message_is_cut_off(server: ServerProcess, octets: int, is_taken: bool) -> None:
    async with Agent(server.url) as agent:
        await agent.send(orjson.dumps({"type": "x" * octets}).decode())
        if is_taken:
            assert (await agent.next(0))["payload"]["details"]["reason"] == "unknown_type"
        else:
            code, _ = await agent.wait_closed()
            assert code == 1009


async def test_a_client_that_does_not_read_is_cut_off(server: ServerProcess) -> None:
    """What others do fills its queue: calls to its DN that come and go."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", server.http_port))
    deaf = await connect(ws_url(server), proxy=None, sock=narrow, compression=None, ping_interval=None)
    deaf.transport.pause_reading()
    register = {"type": "register", "payload": {"dn": "7001", "password": PASSWORDS["7001"]}}
    await deaf.send(orjson.dumps(register).decode())
    headers = {f"X-{number}": "x" * 1000 for number in range(4)}
    async with Client(server.url) as caller:
        body = {"sdp": {"type": "offer", "sdp": await caller.offer()}, "call": {"to": "7001", "headers": headers}}

        async def called() -> bool:
            response = await caller.http.post("/webrtc/offer", json=body)
            if response.status_code == 200:
                await caller.http.post("/webrtc/close", json={"session_id": response.json()["session_id"]})
            return response.status_code == 200

        await until(called, timeout_s=5, what="the deaf client to be registered")
        # The kernel takes some megabytes, then the queue 256 messages, two for each call.
        deadline = time.monotonic() + 40
        while "the client does not read" not in server.log:
            await called()
            assert time.monotonic() < deadline
        deaf.transport.abort()
        await until(lambda: not server.calls(), timeout_s=5, what="the calls to end")


async def test_a_silent_client_is_cut_off_and_one_that_pings_is_not(
    own_server: Callable[..., ServerProcess], dns: list[dict[str, Any]]
) -> None:
    server = own_server({"dn": dns, "session": {"ws_idle_s": SHORT_IDLE_S}})
    started = time.monotonic()
    async with Agent(server.url) as silent, Agent(server.url) as alive:
        await alive.register("7001", PASSWORDS["7001"])
        closing = asyncio.create_task(silent.wait_closed())
        while not closing.done():
            await alive.request("ping")
            await asyncio.sleep(SHORT_IDLE_S / 20)
        assert await closing == (1001, "nothing was heard for 2 s")
        assert SHORT_IDLE_S <= time.monotonic() - started < SHORT_IDLE_S + 2
        await alive.request("ping")


@pytest.mark.leaks("the call's browser is not told")
async def test_sigterm_closes_every_socket_and_call_in_time(dns: list[dict[str, Any]]) -> None:
    server = ServerProcess({"dn": dns})
    await to_thread(server.start)
    try:
        async with (
            Agent(server.url) as nobody,
            registered(server, "7001") as ann,
            registered(server, "7002") as bob,
            Agent(server.url) as gone,
        ):
            await gone.register("7003", PASSWORDS["7003"])
            await gone.drop()
            calling = await ann.call("7002")
            answered = await bob.answer(await bob.incoming())
            await calling.wait("callAccepted")
            await ann.call("7003")
            ending = asyncio.create_task(to_thread(server.terminate))
            for call in (calling, answered):
                assert (await call.wait("callEnded"))["reason"] == "server_shutdown"
            for agent in (nobody, ann, bob):
                assert await agent.wait_closed() == (1001, "the server is shutting down")
            await calling.client.wait_closed()
            await answered.client.wait_closed()
            assert await ending < 3
    finally:
        server.close()


async def test_sockets_that_come_and_go_leave_nothing(server: ServerProcess) -> None:
    before = server.usage().fds
    for _ in range(3):
        agents = [Agent(server.url) for _ in range(30)]
        await asyncio.gather(*(agent.connect() for agent in agents))
        await asyncio.gather(*(agent.drop() for agent in agents))
    await until(lambda: server.usage().fds <= before, timeout_s=5, what="the sockets to be closed")
