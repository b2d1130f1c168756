"""Timers by name: one that is set again begins anew, and all end with their owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Of one session."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def set(self, name: str, delay_s: float, action: Callable[[], object]) -> None:
        """Call `action` once, unless the timer is cancelled or set again before."""
        self.cancel(name)
        self._timers[name] = self._loop.call_later(delay_s, action)

    def cancel(self, name: str) -> None:
        """Idempotent."""
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def cancel_all(self) -> None:
        """Idempotent."""
        for name in tuple(self._timers):
            self.cancel(name)
