"""When each connected session tells how it sounds: every `INTERVAL_S`, by one timer for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

INTERVAL_S = 5.0
STEP_S = 0.1
"""Sessions that are due within it share a wake-up."""


class Reporter(Protocol):
    """A session, as its reports see it."""

    def report_quality(self) -> None: ...


class QualityReports:
    """Who is due when. Nobody connected: no timer runs."""

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        # All have the same interval, so whoever is appended is due last. One that leaves stays until it would be due.
        self._due: deque[tuple[float, Reporter]] = deque()
        self._since: dict[Reporter, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reporting(self) -> int:
        """How many sessions are reported on."""
        return len(self._since)

    @property
    def running(self) -> bool:
        return self._timer is not None

    def start(self, reporter: Reporter) -> None:
        """The first report is due after one interval. Idempotent."""
        if reporter not in self._since:
            self._schedule(reporter, asyncio.get_running_loop().time())
            self._run_at(self._due[0][0])

    def stop(self, reporter: Reporter) -> None:
        """No more reports. Idempotent."""
        self._since.pop(reporter, None)
        if not self._since:
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _schedule(self, reporter: Reporter, last: float) -> None:
        due = last + self._interval_s
        self._since[reporter] = due
        self._due.append((due, reporter))

    def _run_at(self, at: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(at, self._report)

    def _report(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            due, reporter = self._due.popleft()
            if self._since.get(reporter) != due:
                continue  # it has left, or come back since
            self._schedule(reporter, due if now - due < self._interval_s else now)
            try:
                reporter.report_quality()
            except Exception:
                # One session's failure must not keep the others' reports back.
                log.exception("quality report failed")
        if self._due:
            self._run_at(max(self._due[0][0], now + STEP_S))
