"""How long the garbage collector may hold up the event loop.

CPython's full collection looks through every object of the process: with hundreds of agents connected that takes 50 to
300 ms, several times a minute under load, and every request waits. What has survived one full collection is therefore
put aside (`gc.freeze`) and not looked through again: it goes when its last reference goes, as nearly all of it does.
The little that only a collection can free (connections whose objects refer to each other) waits for the next time that
everything is looked through, which is done when no calls are being made, and otherwise every half hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import Any

import structlog

log = structlog.get_logger(__name__)

LOOK_S = 30.0
"""How often it is asked whether this is a quiet moment."""

THRESHOLDS = (2_000, 10, 100)
"""Of `gc.set_threshold`: a call's objects are gone by themselves before a collection has to look at them twice."""

QUIET_AFTER_S, AT_LATEST_S = 300.0, 1800.0


@contextlib.asynccontextmanager
async def short_collections(calls_made: Callable[[], int]) -> AsyncIterator[None]:
    """While the process serves. `calls_made` counts all calls so far; a moment is quiet when it has not changed."""
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_put_aside)
    thresholds = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    keeper = asyncio.create_task(_collect_all(calls_made), name="full collections")
    try:
        yield
    finally:
        gc.callbacks.remove(_put_aside)
        gc.set_threshold(*thresholds)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        gc.unfreeze()


def _put_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()


async def _collect_all(calls_made: Callable[[], int]) -> None:
    loop = asyncio.get_running_loop()
    last_s, made = loop.time(), calls_made()
    while True:
        await asyncio.sleep(LOOK_S)
        before, made = made, calls_made()
        since_s = loop.time() - last_s
        if since_s >= AT_LATEST_S or (since_s >= QUIET_AFTER_S and made == before):
            started_s = perf_counter()
            gc.unfreeze()
            found = gc.collect()  # puts aside what is left, by the callback
            log.info("collected", objects=found, took_ms=round((perf_counter() - started_s) * 1000, 1))
            last_s = loop.time()
