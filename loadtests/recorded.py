"""What call records cost who waits for an answer: two servers, one of which keeps records, take turns in one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from .gateway import CallError, Gateway
from .loadgen import Loadgen
from .sdp import webrtc_offer
from .setups import HOLD_S, at_rate, summary

SERVERS: dict[str, dict[str, Any]] = {"without": {"url": ""}, "with": {"url": "sqlite:///sdpserver.db"}}

WARM = 20


async def _count(gateway: Gateway) -> int:
    """Its records, page by page."""
    count = 0
    cursor: str | None = ""
    while cursor is not None:
        reply = await gateway.http.request("GET", f"/api/cdr?limit=1000{cursor and f'&cursor={cursor}'}")
        count += len(reply.body["records"])
        cursor = reply.body["next_cursor"]
    return count


async def answers_with_and_without(rate_per_s: float = 40, seconds: float = 30) -> dict[str, Any]:
    """POST to the whole reply, of sessions that place a SIP call, at `rate_per_s` to each server: ms.

    Every other offer goes to the other server, so that whatever else the machine does happens to both.
    """
    took_ms: dict[str, list[float]] = {name: [] for name in SERVERS}
    errors: Counter[str] = Counter()
    async with (
        await Loadgen.start() as loadgen,
        Gateway(tables={"records": SERVERS["without"]}) as without,
        Gateway(tables={"records": SERVERS["with"]}) as recording,
    ):
        gateways = (("without", without), ("with", recording))
        sink = await loadgen.endpoint(group="sink", side="b")
        client = await loadgen.endpoint(group="offers")
        for _ in range(WARM):  # imports, caches and connections are there
            for _, gateway in gateways:
                reply = await gateway.offer(webrtc_offer(client), to=str(sink.port))
                await gateway.close_session(reply.body["session_id"])

        async def one(number: int) -> None:
            name, gateway = gateways[number % 2]
            try:
                reply = await gateway.offer(webrtc_offer(client), to=str(sink.port))
                took_ms[name].append(reply.took_ns / 1e6)
                await asyncio.sleep(HOLD_S)
                await gateway.close_session(reply.body["session_id"])
            except (CallError, OSError) as exc:
                errors[f"{name}: {type(exc).__name__}: {str(exc)[:120]}"] += 1

        await at_rate(2 * rate_per_s, seconds, one)
        await asyncio.sleep(HOLD_S)  # the last records are written
        recorded = await _count(recording)
    return {
        "rate_per_s": rate_per_s,
        "seconds": seconds,
        "answer_ms": {name: summary(values) for name, values in took_ms.items()},
        "calls": len(took_ms["with"]) + WARM,
        "recorded": recorded,
        "errors": dict(errors),
    }
