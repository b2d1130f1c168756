"""Timers by name."""

from __future__ import annotations

import asyncio

from sdpserver.session.timers import Timers


async def test_a_timer_that_is_set_again_begins_anew() -> None:
    timers, fired = Timers(), asyncio.Queue[str]()
    timers.set("a", 0, lambda: fired.put_nowait("first"))
    timers.set("a", 0, lambda: fired.put_nowait("second"))
    async with asyncio.timeout(1):
        assert await fired.get() == "second"
    assert fired.empty()


async def test_what_is_cancelled_does_not_fire() -> None:
    timers, fired = Timers(), asyncio.Queue[str]()
    for name in ("a", "b", "c"):
        timers.set(name, 0, lambda name=name: fired.put_nowait(name))  # type: ignore[misc]
    timers.cancel("a")
    timers.cancel("a")
    timers.cancel_all()
    timers.set("d", 0, lambda: fired.put_nowait("d"))
    async with asyncio.timeout(1):
        assert await fired.get() == "d"
    assert fired.empty()
