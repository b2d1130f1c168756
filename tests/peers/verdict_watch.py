"""Looks at the verdicts on all calls of a server, time and again: who watches for alarms sees what this sees."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx

from .waiting import until

EVERY_S = 0.1


class VerdictWatch:
    """`async with watching(url) as watch`. `alarms` are the verdicts that nobody has expected."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._expected: dict[str, set[str]] = defaultdict(set)
        self.seen: dict[str, Counter[str]] = defaultdict(Counter)
        """How often each cause was told, by call."""
        self.alarms: list[tuple[str, dict[str, Any]]] = []

    async def look(self) -> None:
        """At all live calls, once."""
        calls = (await self._http.get("/api/calls/active")).raise_for_status().json()["calls"]
        for call in calls:
            call_id = call["callId"]
            expected = set(self._expected[call_id])
            answer = await self._http.get(f"/api/calls/{call_id}/verdict")
            if answer.status_code in (404, 409):  # it has ended meanwhile
                continue
            self._judge(call_id, answer.raise_for_status().json(), expected | self._expected[call_id])

    async def look_at_session(self, session_id: str, call_id: str) -> None:
        """At one that may have ended."""
        verdict = (await self._http.get(f"/webrtc/sessions/{session_id}/verdict")).raise_for_status().json()
        self._judge(call_id, verdict, set())

    def _judge(self, call_id: str, verdict: dict[str, Any], expected: set[str]) -> None:
        self.seen[call_id][verdict["cause"]] += 1
        if verdict["ok"] is False and verdict["cause"] not in expected:
            self.alarms.append((call_id, verdict))

    def expect(self, call_id: str, cause: str) -> None:
        """From now on this may be told of the call."""
        self._expected[call_id].add(cause)

    def unexpect(self, call_id: str, cause: str) -> None:
        """From the next look on it may not. Idempotent."""
        self._expected[call_id].discard(cause)

    @contextlib.asynccontextmanager
    async def expecting(self, call_id: str, cause: str) -> AsyncIterator[None]:
        """Until this is told, then the block, in which it may still be."""
        before = self.seen[call_id][cause]
        self.expect(call_id, cause)
        try:
            await until(lambda: self.seen[call_id][cause] > before, timeout_s=10, what=f"the verdict {cause}")
            yield
        finally:
            self.unexpect(call_id, cause)

    async def is_well(self, call_id: str, *, timeout_s: float = 8.0) -> None:
        """Until the call is found good, from now on."""
        before = self.seen[call_id]["ok"]
        await until(lambda: self.seen[call_id]["ok"] > before + 1, timeout_s=timeout_s, what=f"{call_id} to be well")


@contextlib.asynccontextmanager
async def watching(url: str) -> AsyncIterator[VerdictWatch]:
    """Until the end of the block."""
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        watch = VerdictWatch(http)

        async def forever() -> None:
            while True:
                await watch.look()
                await asyncio.sleep(EVERY_S)

        watcher = asyncio.create_task(forever())
        try:
            yield watch
            await watch.look()
            if watcher.done():
                watcher.result()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
