"""Presses that are sent by SIP INFO, one after the other in their own time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MAX_QUEUED = 128


class InfoPresses:
    """`send(digit, duration_ms)` is called when a press is over, as phones do; the next one begins after the pause."""

    def __init__(self, send: Callable[[str, int], None]) -> None:
        self._send = send
        self._queue: deque[tuple[str, int, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def queue(self, digits: str, *, duration_ms: int, gap_ms: int) -> None:
        """After those that wait.

        :raises OverflowError: more than `MAX_QUEUED` would wait; none of them is taken.
        """
        if len(self._queue) + len(digits) > MAX_QUEUED:
            raise OverflowError
        self._queue.extend((digit, duration_ms, gap_ms) for digit in digits)
        if self._timer is None:
            self._press()

    def _press(self) -> None:
        self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(self._queue[0][1] / 1000, self._release)

    def _release(self) -> None:
        digit, duration_ms, gap_ms = self._queue.popleft()
        self._timer = asyncio.get_running_loop().call_later(gap_ms / 1000, self._press)
        self._send(digit, duration_ms)

    def close(self) -> None:
        """Forget what waits. Idempotent."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
