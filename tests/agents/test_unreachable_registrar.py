"""A DN whose registrar is away: supervisors see that nobody outside can call it; its clients and their calls stay."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest
from peers.agent import Agent
from peers.asterisk import Asterisk, User, running_asterisk
from peers.registrar import Refusal, Registrar
from peers.server import ServerProcess, running
from peers.waiting import until

from .conftest import ANN, ANN_HZ, BOB, BOB_HZ, CEM, CEM_HZ, EXTENSIONS
from .test_supervision import Board, board

pytestmark = pytest.mark.timeout(300)  # a machine that is busy for long makes the pauses between attempts longer

BACK_S = 90.0
"""More than the longest time between two attempts to register."""


@pytest.fixture
def own_pbx() -> Iterator[Asterisk]:
    """One for a single test, which kills and starts it."""
    with running_asterisk(*(User(number, f"pw{number}", "ulaw,alaw") for number in EXTENSIONS)) as peer:
        yield peer


@pytest.fixture
def agents_of_it(own_pbx: Asterisk) -> Iterator[ServerProcess]:
    """Whose agents register there by TCP, which tells at once that it has gone; they call each other without it."""
    trunk = {"name": "pbx", "server": own_pbx.address, "transport": "tcp", "agent_registrar": True}
    routes = [{"match": "^6", "trunk": "pbx"}]
    tables = {"trunks": [trunk], "routes": routes, "log": {"level": "info", "format": "json"}}
    with running(ServerProcess(tables)) as process:
        yield process


@pytest.fixture
async def registrars() -> AsyncIterator[tuple[Registrar, Registrar]]:
    """Two; a second is what a registration lasts at either."""
    async with await Registrar.open() as first, await Registrar.open() as second:
        for registrar in (first, second):
            registrar.passwords = {number: f"pw{number}" for number in EXTENSIONS}
            registrar.granted_s = 1
            registrar.answer_by_itself("OPTIONS")
        yield first, second


@pytest.fixture
async def agents_of_two(registrars: tuple[Registrar, Registrar]) -> AsyncIterator[ServerProcess]:
    first, second = registrars
    trunks = [
        {"name": "first", "server": first.host_port, "agent_registrar": True, "also_register": "second"},
        {"name": "second", "server": second.host_port},
    ]
    server = ServerProcess({"trunks": trunks})
    context = running(server)
    await to_thread(context.__enter__)
    try:
        yield server
    finally:
        await to_thread(context.__exit__, None, None, None)


async def get(server: ServerProcess, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as client:
        return (await client.get(path)).raise_for_status()


async def statuses(server: ServerProcess) -> dict[str, str]:
    listed: list[dict[str, Any]] = (await get(server, "/api/dn/list")).json()["dns"]
    return {dn["dn"]: dn["status"] for dn in listed}


async def registered_at(server: ServerProcess, **expected: int) -> None:
    """Until the trunks' registrars know so many DNs each."""

    async def is_so() -> bool:
        trunks = (await get(server, "/api/genesys/status")).json()["trunks"]
        return {trunk["name"]: trunk["agents"] for trunk in trunks} == expected

    await until(is_so, timeout_s=BACK_S, what=f"so many DNs to be registered: {expected}")


def logged(server: ServerProcess, dn: str) -> list[str]:
    """What the log of the SIP side says of a DN, line by line."""
    lines = [orjson.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line.get("dn") == dn and "trunk" in line]


async def told(wall: Board, dn: str, *expected: str) -> None:
    """The status has been these, one after the other, and nothing else."""
    await until(lambda: len(wall.statuses(dn)) >= len(expected), timeout_s=BACK_S, what=f"{dn} to be told {expected}")
    assert wall.statuses(dn) == list(expected)


async def test_dns_are_offline_while_asterisk_is_down_and_all_else_of_theirs_goes_on(
    agents_of_it: ServerProcess, own_pbx: Asterisk
) -> None:
    server = agents_of_it
    async with (
        Agent(server.url) as ann,
        Agent(server.url) as bob,
        Agent(server.url) as cem,
        board(server.url, types="dnStatus") as wall,
    ):
        for agent, dn in ((ann, ANN), (bob, BOB), (cem, CEM)):
            await agent.register(dn, f"pw{dn}")
            await told(wall, dn, "available")
        talking = await cem.call("echo", frequency_hz=CEM_HZ)
        await told(wall, CEM, "available", "busy")
        messages = {agent: len(agent.received) for agent in (ann, bob)}

        await to_thread(own_pbx.kill)
        await told(wall, ANN, "available", "offline")
        await told(wall, BOB, "available", "offline")

        # Every way to ask says the same.
        ann_now = (await get(server, f"/api/dn/{ANN}")).json()
        assert (ann_now["status"], ann_now["connections"], ann_now["contact"]) == ("offline", 1, "upstream")
        assert await statuses(server) == {ANN: "offline", BOB: "offline", CEM: "busy"}
        assert [dn["dn"] for dn in (await get(server, "/api/dn/list?status=offline")).json()["dns"]] == [ANN, BOB]
        assert (await get(server, "/stats")).json()["agents"]["dns"] == {"available": 0, "busy": 1, "offline": 2}
        assert 'sdpserver_dns{status="offline"} 2.0' in (await get(server, "/metrics")).text

        # Its clients have heard nothing of it, talk on, and call each other.
        assert {agent: len(agent.received) for agent in (ann, bob)} == messages
        await registered_at(server, pbx=0)
        assert (await statuses(server))[CEM] == "busy"
        (await talking.client.listen(1.2)).check_tone(CEM_HZ)
        calling = await ann.call(BOB, frequency_hz=ANN_HZ)
        answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        await calling.wait("callAccepted")
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        await told(wall, BOB, "available", "offline", "busy")
        await calling.hang_up()
        await told(wall, ANN, "available", "offline", "busy", "offline")
        await told(wall, BOB, "available", "offline", "busy", "offline")

        await to_thread(own_pbx.start)
        await told(wall, ANN, "available", "offline", "busy", "offline", "available")
        await told(wall, BOB, "available", "offline", "busy", "offline", "available")
        (await talking.client.listen(1.2)).check_tone(CEM_HZ)
        await registered_at(server, pbx=3)
        await talking.hang_up()
        await told(wall, CEM, "available", "busy", "available")
        await to_thread(own_pbx.rx, f"channel originate PJSIP/{ANN} extension 601@test")
        await ann.request("reject", callId=(await ann.incoming(timeout_s=10))["callId"], reason="rejected")
        for dn in EXTENSIONS:
            assert [line for line in logged(server, dn) if "registered" in line] == [
                "DN registered",
                "DN not registered, to be tried again",
                "DN registered",
            ]


async def test_a_dn_that_a_second_registrar_knows_is_available(
    agents_of_two: ServerProcess, registrars: tuple[Registrar, Registrar]
) -> None:
    server, (first, second) = agents_of_two, registrars
    async with Agent(server.url) as ann, board(server.url, types="dnStatus") as wall:
        await ann.register(ANN, f"pw{ANN}")
        await registered_at(server, first=1, second=1)
        first.refusals[""] = Refusal(503, "Service Unavailable")
        await registered_at(server, first=0, second=1)
        assert await statuses(server) == {ANN: "available"}
        second.refusals[""] = Refusal(500, "Server Internal Error")
        await told(wall, ANN, "available", "offline")

        async with Agent(server.url) as page:  # who comes now rings for calls from here, and changes nothing
            await page.register(ANN, f"pw{ANN}")
            assert await statuses(server) == {ANN: "offline"}
            assert (await get(server, f"/api/dn/{ANN}")).json()["connections"] == 2

        second.refusals.clear()
        await told(wall, ANN, "available", "offline", "available")
        await registered_at(server, first=0, second=1)
        first.refusals.clear()
        await registered_at(server, first=1, second=1)
        await told(wall, ANN, "available", "offline", "available")
        assert [message["type"] for message in ann.received] == ["registered"]
