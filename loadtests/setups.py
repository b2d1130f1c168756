"""How fast calls are made: offer to answer, offer to first audio, and a hundred set-ups a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .gateway import Call, CallError, Gateway
from .loadgen import Endpoint, Loadgen, LoadgenError
from .sdp import webrtc_offer

PROFILE = "AEAD_AES_128_GCM"
HOLD_S = 1.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values_ms: Sequence[float]) -> dict[str, float]:
    """Count, median, 99th percentile and largest; empty without values."""
    if not values_ms:
        return {"count": 0}
    return {
        "count": len(values_ms),
        "p50": quantile(values_ms, 0.5),
        "p99": quantile(values_ms, 0.99),
        "max": max(values_ms),
    }


async def at_rate(rate_per_s: float, seconds: float, job: Callable[[int], Awaitable[None]]) -> None:
    """Start `job(i)` at even intervals, whether or not earlier ones have ended: an open load."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for i in range(round(rate_per_s * seconds)):
            await asyncio.sleep(max(0.0, start_s + i / rate_per_s - loop.time()))
            tasks.create_task(_run(job, i))


async def _run(job: Callable[[int], Awaitable[None]], number: int) -> None:
    await job(number)


async def offer_to_answer(rate_per_s: float = 20, seconds: float = 10) -> dict[str, Any]:
    """POST to the whole reply, sessions that place a SIP call, as their first HTTP request would see it: ms."""
    took_ms: list[float] = []
    errors: Counter[str] = Counter()
    async with await Loadgen.start() as loadgen, Gateway() as gateway:
        sink = await loadgen.endpoint(group="sink", side="b")
        client = await loadgen.endpoint(group="offers")
        for _ in range(20):  # imports, caches and connections are there
            reply = await gateway.offer(webrtc_offer(client), to=str(sink.port))
            await gateway.close_session(reply.body["session_id"])

        async def one(_: int) -> None:
            try:
                reply = await gateway.offer(webrtc_offer(client), to=str(sink.port))
                took_ms.append(reply.took_ns / 1e6)
                await asyncio.sleep(HOLD_S)
                await gateway.close_session(reply.body["session_id"])
            except (CallError, OSError) as exc:
                errors[f"{type(exc).__name__}: {str(exc)[:120]}"] += 1

        await at_rate(rate_per_s, seconds, one)
    return {"rate_per_s": rate_per_s, "seconds": seconds, "answer_ms": summary(took_ms), "errors": dict(errors)}


async def first_audio(runs: int = 30) -> dict[str, Any]:
    """POST sent to connected and to the first SRTP packet back, one call at a time: ms."""
    result: dict[str, Any] = {}
    async with await Loadgen.start() as loadgen, Gateway() as gateway:
        makers: dict[str, Callable[[], Awaitable[Call]]] = {
            "echo": lambda: gateway.echo_call(loadgen, group="echo", profile=PROFILE),
            "sip": lambda: gateway.call(loadgen, group="sip", profile=PROFILE, autostart=True),
        }
        for name, make in makers.items():
            answer, connected, heard = [], [], []
            for i in range(runs + 3):
                call = await make()
                first_ns = await loadgen.wait(call.a.id, "first_rtp")
                if i >= 3:  # warm
                    answer.append(call.answer_took_ns / 1e6)
                    connected.append((call.connected_ns - call.offered_ns) / 1e6)
                    heard.append((first_ns - call.offered_ns) / 1e6)
                await gateway.hang_up(loadgen, call)
            result[name] = {
                "answer_ms": summary(answer),
                "connected_ms": summary(connected),
                "first_audio_ms": summary(heard),
            }
    return result


async def setup_rate(rate_per_s: float = 100, connect_per_s: float = 30, seconds: float = 30) -> dict[str, Any]:
    """Set-ups a second, each with HTTP and SIP (the reply waits for the SIP answer), a part with ICE and DTLS too.

    Each is held for `HOLD_S`, then closed. Every INVITE must have met its ACK and its BYE at the end.
    """
    answered_ms: list[float] = []
    connected_ms: list[float] = []
    closed_ms: list[float] = []
    errors: Counter[str] = Counter()
    every = round(rate_per_s / connect_per_s) if connect_per_s else 0
    tables = {"session": {"max_sessions": 2000}}
    async with await Loadgen.start() as loadgen, Gateway(tables=tables) as gateway:
        sink = await loadgen.endpoint(group="sink", side="b")
        idle = await loadgen.endpoint(group="idle")

        async def one(number: int) -> None:
            # Bresenham's way to spread connect_per_s over rate_per_s.
            connects = int((number + 1) * connect_per_s / rate_per_s) > int(number * connect_per_s / rate_per_s)
            endpoint: Endpoint | None = None
            try:
                endpoint = await loadgen.endpoint(group="connecting") if connects else None
                reply = await gateway.offer(webrtc_offer(endpoint or idle), to=str(sink.port), wait_for="answer")
                answered_ms.append(reply.took_ns / 1e6)
                if endpoint is not None:
                    gateway.connect(loadgen, endpoint, reply, PROFILE)
                    connected_ms.append((await loadgen.wait(endpoint.id, "connected") - reply.sent_ns) / 1e6)
                await asyncio.sleep(HOLD_S)
                closed_ms.append((await gateway.close_session(reply.body["session_id"])).took_ns / 1e6)
            except (CallError, LoadgenError, OSError, TimeoutError) as exc:
                errors[f"{type(exc).__name__}: {str(exc)[:120]}"] += 1
            finally:
                if endpoint is not None:
                    loadgen.remove(endpoint.id)

        started_s = time.monotonic()
        await at_rate(rate_per_s, seconds, one)
        took_s = time.monotonic() - started_s
        deadline = time.monotonic() + 5
        sip = await gateway.sip_counts()
        while sip.get("BYE", 0) < sip.get("INVITE", 0) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            sip = await gateway.sip_counts()
    wanted = round(rate_per_s * seconds)
    for method in ("ACK", "BYE"):
        if sip.get(method, 0) < wanted:
            errors[f"SIP: {wanted - sip.get(method, 0)} calls without {method}"] += 1
    return {
        "rate_per_s": rate_per_s,
        "connect_per_s": connect_per_s if every else 0,
        "seconds": seconds,
        "took_s": took_s,
        "setups": len(answered_ms),
        "connected": len(connected_ms),
        "answered_ms": summary(answered_ms),
        "connected_ms": summary(connected_ms),
        "closed_ms": summary(closed_ms),
        "sip": sip,
        "errors": dict(errors),
    }
