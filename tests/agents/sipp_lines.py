"""A server with many trunks, a PBX scripted with SIPp at the end of each, and what has to be left after a call."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from peers.agent import Agent, AgentCall
from peers.aiortc_client import Client
from peers.ports import claim_block, release_block
from peers.server import ServerProcess, Usage, running
from peers.sipp import Sipp, Step
from peers.sipp_calls import CALLEE, Party, called, talk
from peers.waiting import until, wait_until

from sdpserver.passwords import hash_password

LINES = 60
DN, PASSWORD = "7001", "ann's"
TRUNK_USER, TRUNK_PASSWORD = "1002", "pw1002"


@dataclass(slots=True)
class Lines:
    """Each test takes lines that nobody has used, so that no test hears the rest of another's."""

    server: ServerProcess
    port: int
    idle: Usage
    used: int = field(default=0)

    def next(self, folder: Path) -> Line:
        self.used += 1
        assert self.used <= LINES, "more lines are needed"
        place = folder / f"line{self.used}"
        place.mkdir()
        return Line(self.server, self.used, self.port, place)

    def check_idle(self, timeout_s: float = 3.0) -> None:
        """No session, no call on any trunk, no port of a leg."""
        wait_until(lambda: not self.sessions(), timeout_s=timeout_s, what="the sessions to be closed")
        wait_until(lambda: self.calls() == 0, timeout_s=timeout_s, what="the trunks' calls to end")
        wait_until(lambda: self.server.usage().udp == self.idle.udp, timeout_s=timeout_s, what="the legs' ports")
        self.server.check_log()

    def sessions(self) -> list[dict[str, Any]]:
        """Those of pages and of agents."""
        found: list[dict[str, Any]] = self._get("/api/calls/active")["calls"]
        return found

    def calls(self) -> int:
        """On all trunks."""
        return sum(trunk["calls"] for trunk in self._get("/api/genesys/status")["trunks"])

    def _get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(self.server.url + path, timeout=5, trust_env=False).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True, slots=True)
class Line:
    """A trunk, and whom it has at its end."""

    server: ServerProcess
    number: int
    port: int
    folder: Path

    @property
    def ip(self) -> str:
        return f"127.0.1.{self.number}"

    @property
    def host_port(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def _ports(self) -> tuple[int, int, int]:
        return self.port, self.port + 2, self.port + 100 + self.number

    def user(self, extension: int = 0) -> str:
        """A number that the routes send to this trunk."""
        return f"{self.number:02d}{extension:03d}"

    @property
    def dn(self) -> str:
        """A number that its caller may call."""
        return f"{7000 + self.number}"

    @contextlib.asynccontextmanager
    async def callee(self, scenario: Step, *, calls: int = 1, timeout_s: float = 30.0) -> AsyncIterator[Sipp]:
        """A PBX that is called."""
        async with Sipp.running(
            scenario, self.folder, calls=calls, ip=self.ip, ports=self._ports, timeout_s=timeout_s
        ) as sipp:
            wait_until(self._is_listening, timeout_s=5, what="SIPp to listen")
            yield sipp

    def _is_listening(self) -> bool:
        octets = bytes(reversed([int(part) for part in self.ip.split(".")])).hex().upper()
        return f"{octets}:{self.port:04X}" in Path("/proc/net/udp").read_text()

    @contextlib.asynccontextmanager
    async def caller(self, scenario: Step, *, calls: int = 1, timeout_s: float = 30.0) -> AsyncIterator[Sipp]:
        """A PBX that calls the line's DN."""
        to = f"{self.dn}@127.0.0.1:{self.server.sip_port}"
        async with Sipp.running(
            scenario, self.folder, calls=calls, ip=self.ip, ports=self._ports, to=to, timeout_s=timeout_s
        ) as sipp:
            yield sipp

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """With the line's DN."""
        async with Agent(self.server.url) as agent:
            await agent.register(self.dn, PASSWORD)
            yield agent

    @contextlib.asynccontextmanager
    async def talking(self, scenario: Step, **options: Any) -> AsyncIterator[tuple[AgentCall, Sipp]]:
        """An agent has called the PBX, which has answered."""
        async with AsyncExitStack() as stack:
            sipp = await stack.enter_async_context(self.callee(scenario, **options))
            agent = await stack.enter_async_context(self.agent())
            call = await agent.call(self.user(), codec="PCMU")
            await call.wait("callAccepted")
            yield call, sipp

    @contextlib.asynccontextmanager
    async def called(self, scenario: Step, **options: Any) -> AsyncIterator[tuple[Agent, dict[str, Any], Sipp]]:
        """The PBX calls an agent, whose phone rings."""
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(self.agent())
            sipp = await stack.enter_async_context(self.caller(scenario, **options))
            yield agent, await agent.incoming(), sipp

    @contextlib.asynccontextmanager
    async def up(self, party: Party, rest: Step, **options: Any) -> AsyncIterator[tuple[AgentCall, Sipp]]:
        """A call that is up, which the agent made (`CALLEE`) or took (`CALLER`); the scenario goes on by `rest`."""
        if party is CALLEE:
            async with self.talking(talk() + rest, **options) as (call, sipp):
                yield call, sipp
        else:
            async with self.called(called() + rest, **options) as (agent, incoming, sipp):
                yield await self.take(agent, incoming), sipp

    async def take(self, agent: Agent, incoming: dict[str, Any]) -> AgentCall:
        """Answer a call that comes; returns when the PBX has acknowledged it: before, no request can be sent in it."""
        call = await agent.answer(incoming, codec="PCMU")
        await until(lambda: self._is_answered(call), timeout_s=5, what="the ACK")
        return call

    def _is_answered(self, call: AgentCall) -> bool:
        url = f"{self.server.url}/api/calls/{call.call_id}"
        answer = httpx.get(url, timeout=5, trust_env=False).raise_for_status()
        return bool(answer.json()["state"] == "answered")

    async def dial(self, **call: Any) -> httpx.Response:
        """A page calls the PBX, and waits for its answer."""
        async with Client(self.server.url) as client:
            return await client.post_offer(to=self.user(), wait_for="answer", **call)


async def signal(call: AgentCall) -> None:
    """Have the scenario go on behind `signalled`."""
    await call.order("dtmf", digit="5", method="info")


@contextlib.contextmanager
def running_lines(session: dict[str, Any], count: int = LINES) -> Iterator[Lines]:
    """:param session: the table `[session]`."""
    ports = claim_block()
    hashed = hash_password(PASSWORD)
    numbers = range(1, count + 1)
    tables = {
        "session": session,
        "dn": [{"number": f"{7000 + number}", "password_hash": hashed} for number in numbers],
        "trunks": [
            {
                "name": f"line{number}",
                "server": f"127.0.1.{number}:{ports[0]}",
                "username": TRUNK_USER,
                "password": TRUNK_PASSWORD,
                "options_interval_s": 0,
            }
            for number in numbers
        ],
        "routes": [{"match": f"^{number:02d}[0-9]{{3}}$", "trunk": f"line{number}"} for number in numbers],
    }
    try:
        with running(ServerProcess(tables)) as server:
            yield Lines(server, ports[0], server.usage())
    finally:
        release_block(ports)
