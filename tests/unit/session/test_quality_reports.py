"""One timer for the reports of all sessions, on a loop whose clock the test turns."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from typing import Any

import pytest

from sdpserver.session.quality_reports import INTERVAL_S, STEP_S, QualityReports


class TurnedLoop(asyncio.SelectorEventLoop):
    """Instead of waiting it moves its clock to the next timer, and counts how often it woke up for one."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self.now = 1000.0
        self.wakes = 0

    def time(self) -> float:
        return self.now

    def run_for(self, duration_s: float) -> None:
        end = self.now + duration_s
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].when() <= end:
            self.now = max(self.now, timers[0].when())
            self.wakes += 1
            self.run_until_complete(asyncio.sleep(0))
        self.now = end

    def call(self, function: Any, *arguments: Any) -> None:
        async def called() -> None:
            function(*arguments)

        self.run_until_complete(called())


@pytest.fixture
def loop() -> Iterator[TurnedLoop]:
    made = TurnedLoop()
    yield made
    made.close()


class Session:
    def __init__(self, loop: TurnedLoop, *, fails: bool = False) -> None:
        self._loop, self._fails = loop, fails
        self.reported: list[float] = []

    def report_quality(self) -> None:
        self.reported.append(self._loop.now)
        if self._fails:
            raise RuntimeError("a leg is gone")


def test_the_first_report_comes_after_an_interval_and_then_one_each(loop: TurnedLoop) -> None:
    reports, session = QualityReports(), Session(loop)
    loop.call(reports.start, session)
    loop.call(reports.start, session)
    loop.run_for(21)
    assert session.reported == pytest.approx([1000 + INTERVAL_S * count for count in range(1, 5)])


def test_nothing_runs_while_nobody_is_connected(loop: TurnedLoop) -> None:
    reports, session = QualityReports(), Session(loop)
    assert (reports.reporting, reports.running) == (0, False)
    loop.call(reports.start, session)
    assert (reports.reporting, reports.running) == (1, True)
    loop.call(reports.stop, session)
    loop.call(reports.stop, session)
    assert (reports.reporting, reports.running) == (0, False)
    loop.run_for(60)
    assert session.reported == []
    assert loop.wakes == 0


def test_one_that_leaves_and_comes_back_waits_a_whole_interval(loop: TurnedLoop) -> None:
    reports, other, session = QualityReports(), Session(loop), Session(loop)
    loop.call(reports.start, other)
    loop.call(reports.start, session)
    loop.run_for(3)
    loop.call(reports.stop, session)
    loop.run_for(1)
    loop.call(reports.start, session)
    loop.run_for(8)
    assert session.reported == pytest.approx([1009])
    assert len(other.reported) == 2


def test_thousands_of_sessions_share_few_wake_ups(loop: TurnedLoop) -> None:
    reports = QualityReports()
    sessions = [Session(loop) for _ in range(2000)]
    for session in sessions:
        loop.call(reports.start, session)
        loop.run_for(0.001)
    loop.wakes = 0
    loop.run_for(60)
    assert {len(session.reported) for session in sessions} <= {11, 12}
    gaps = [b - a for session in sessions for a, b in zip(session.reported, session.reported[1:], strict=False)]
    assert min(gaps) > INTERVAL_S - 2 * STEP_S
    assert max(gaps) < INTERVAL_S + 2 * STEP_S
    assert loop.wakes <= 60 / STEP_S


def test_a_session_that_fails_keeps_no_other_back(loop: TurnedLoop) -> None:
    reports, failing, session = QualityReports(), Session(loop, fails=True), Session(loop)
    loop.call(reports.start, failing)
    loop.call(reports.start, session)
    loop.run_for(11)
    assert len(session.reported) == len(failing.reported) == 2


def test_a_loop_that_was_held_up_makes_no_burst_of_reports(loop: TurnedLoop) -> None:
    reports, session = QualityReports(), Session(loop)
    loop.call(reports.start, session)
    loop.now += 31
    loop.run_for(6)
    assert len(session.reported) == 2
