"""Waiting for what announces itself by no event of its own, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_STEP_S = 0.01


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> float:
    """Look every 10 ms; the seconds it took. Raises TimeoutError with what was waited for."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(_STEP_S)
    return time.monotonic() - started


async def until(condition: Callable[[], bool | Awaitable[bool]], *, timeout_s: float, what: str) -> float:
    """The same on the event loop."""
    started = time.monotonic()
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return time.monotonic() - started
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        await asyncio.sleep(_STEP_S)
