"""Agents under load: registered DNs, calls between them set up at a rate, and how soon the other side hears of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from sdpserver.passwords import hash_password

from .gateway import Gateway
from .loadgen import Loadgen, LoadgenError
from .sdp import webrtc_offer
from .setups import PROFILE, at_rate, summary

FIRST_NUMBER = 5000
PASSWORD = "bench"
EVENT_S = 5.0
REGISTERING_AT_ONCE = 8
CLICKED, CLICKS_PER_S = 20, 5.0
"""Agents beside the others, for whom calls are ordered by POST /api/call/make, and how often."""


class SignallingError(Exception):
    """A request was refused, or an event did not come."""


class Agent:
    """One DN's connection. `expect(type, call_id)` gives the time at which that message comes."""

    def __init__(self, socket: ClientConnection, number: str) -> None:
        self.number = number
        self._socket = socket
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._expected: dict[tuple[str, str], asyncio.Future[tuple[int, dict[str, Any]]]] = {}
        self._reader = asyncio.create_task(self._read(), name=f"agent {number}")

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        async for text in self._socket:
            now_ns = time.monotonic_ns()
            message = orjson.loads(text)
            payload = message["payload"]
            if message["type"] == "incomingCall":  # the caller is who knows what it waits for
                key = (message["type"], payload["from"])
            else:
                key = (message["type"], payload.get("callId", ""))
            if (expected := self._expected.pop(key, None)) is not None and not expected.done():
                expected.set_result((now_ns, payload))
            if (reply := self._replies.pop(message["id"], None)) is not None and not reply.done():
                reply.set_result(message)

    def expect(self, type_: str, about: str) -> asyncio.Future[tuple[int, dict[str, Any]]]:
        future = self._expected[(type_, about)] = asyncio.get_running_loop().create_future()
        return future

    async def request(self, type_: str, **payload: object) -> dict[str, Any]:
        """The reply's payload."""
        id_ = next(self._ids)
        reply = self._replies[id_] = asyncio.get_running_loop().create_future()
        await self._socket.send(orjson.dumps({"type": type_, "payload": payload, "id": id_}).decode())
        message = await asyncio.wait_for(reply, EVENT_S)
        found: dict[str, Any] = message["payload"]
        if message["type"] in ("error", "registrationFailed"):
            raise SignallingError(f"{type_}: {found}")
        return found


def _tables(dns: int) -> Mapping[str, Any]:
    hashed = hash_password(PASSWORD)
    numbers = [str(FIRST_NUMBER + index) for index in range(dns)]
    return {
        "dn": [{"number": number, "password_hash": hashed} for number in numbers],
        "session": {"max_sessions": 4000, "linger_s": 1},
    }


async def agents_under_load(
    dns: int = 500, live: int = 200, rate_per_s: float = 50, seconds: float = 20, hold_s: float = 1.0
) -> dict[str, Any]:
    """`rate_per_s` calls a second between `dns` agents, each rung, answered, hung up, beside `live` calls with audio.

    Times are from a client's request to the event at the other one, in ms; `click_ms` from the order of a call to its
    first `incomingCall`, at the agent's own client.
    """
    rang_ms: list[float] = []
    answered_ms: list[float] = []
    ended_ms: list[float] = []
    click_ms: list[float] = []
    errors: Counter[str] = Counter()
    async with await Loadgen.start() as loadgen, Gateway(tables=_tables(dns + CLICKED)) as gateway:
        registered = await _register(gateway, dns + CLICKED)
        agents, clicked = registered[:dns], registered[dns:]
        calls = [await gateway.call(loadgen, group="live", profile=PROFILE, autostart=True) for _ in range(live)]
        idle = await loadgen.endpoint(group="idle")
        offer = webrtc_offer(idle)
        answer = offer.replace("a=setup:actpass", "a=setup:active")

        async def one(number: int) -> None:
            # No agent is in two calls at once: each is used anew after all others.
            caller, callee = agents[2 * number % dns], agents[(2 * number + 1) % dns]
            try:
                rings = callee.expect("incomingCall", caller.number)
                sent_ns = time.monotonic_ns()
                reply = await caller.request("call", to=callee.number, sdp=offer)
                came_ns, incoming = await asyncio.wait_for(rings, EVENT_S)
                rang_ms.append((came_ns - sent_ns) / 1e6)
                accepted = caller.expect("callAccepted", reply["callId"])
                sent_ns = time.monotonic_ns()
                await callee.request("answer", callId=incoming["callId"], sdp=answer)
                came_ns, _ = await asyncio.wait_for(accepted, EVENT_S)
                answered_ms.append((came_ns - sent_ns) / 1e6)
                await asyncio.sleep(hold_s)
                ended = callee.expect("callEnded", incoming["callId"])
                sent_ns = time.monotonic_ns()
                await caller.request("hangup", callId=reply["callId"])
                came_ns, _ = await asyncio.wait_for(ended, EVENT_S)
                ended_ms.append((came_ns - sent_ns) / 1e6)
            except (SignallingError, TimeoutError) as exc:
                errors[f"{type(exc).__name__}: {str(exc)[:120]}"] += 1

        async def click(number: int) -> None:
            agent = clicked[number % CLICKED]
            try:
                rings = agent.expect("incomingCall", "echo")
                reply = await gateway.http.post("/api/call/make", {"from": agent.number, "to": "echo"})
                if reply.status != HTTPStatus.OK:
                    raise SignallingError(f"/api/call/make: {reply.body}")
                came_ns, incoming = await asyncio.wait_for(rings, EVENT_S)
                click_ms.append((came_ns - reply.sent_ns) / 1e6)
                await agent.request("reject", callId=incoming["callId"])
            except (SignallingError, OSError, TimeoutError) as exc:
                errors[f"{type(exc).__name__}: {str(exc)[:120]}"] += 1

        await asyncio.gather(at_rate(rate_per_s, seconds, one), at_rate(CLICKS_PER_S, seconds, click))
        for call in calls:
            await gateway.hang_up(loadgen, call)
        await asyncio.gather(*(agent.close() for agent in registered))
    return {
        "dns": dns,
        "live": live,
        "rate_per_s": rate_per_s,
        "seconds": seconds,
        "rang_ms": summary(rang_ms),
        "answered_ms": summary(answered_ms),
        "ended_ms": summary(ended_ms),
        "click_ms": summary(click_ms),
        "events_ms": summary([*rang_ms, *answered_ms, *ended_ms]),
        "errors": dict(errors),
    }


async def _register(gateway: Gateway, dns: int) -> list[Agent]:
    at_once = asyncio.Semaphore(REGISTERING_AT_ONCE)
    uri = gateway.url.replace("http", "ws", 1) + "/ws"

    async def register(number: str) -> Agent:
        async with at_once:
            agent = Agent(await connect(uri, proxy=None, ping_interval=None), number)
            await agent.request("register", dn=number, password=PASSWORD)
            return agent

    try:
        return await asyncio.gather(*(register(str(FIRST_NUMBER + index)) for index in range(dns)))
    except (SignallingError, OSError, TimeoutError) as exc:
        raise LoadgenError(f"{dns} DNs cannot be registered: {exc}") from exc
