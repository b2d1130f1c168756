"""Percentiles and rates of the last minutes."""

from __future__ import annotations

import pytest

from sdpserver.models.statistics import Times
from sdpserver.statistics.recent import KEPT_TIMES, Rate, RecentTimes


def test_nothing_has_no_percentiles() -> None:
    assert RecentTimes().summary() == Times(count=0)


@pytest.mark.parametrize(
    ("durations_ms", "expected"),
    [
        ([7.0], Times(count=1, p50_ms=7, p95_ms=7, p99_ms=7, max_ms=7)),
        ([float(ms) for ms in range(100)], Times(count=100, p50_ms=50, p95_ms=95, p99_ms=99, max_ms=99)),
        ([3.0, 1.0, 2.0], Times(count=3, p50_ms=2, p95_ms=3, p99_ms=3, max_ms=3)),
    ],
)
def test_percentiles_are_durations_that_there_were(durations_ms: list[float], expected: Times) -> None:
    times = RecentTimes()
    for duration_ms in durations_ms:
        times.add(duration_ms)
    assert times.summary() == expected


def test_only_the_latest_count_for_percentiles() -> None:
    times = RecentTimes()
    for duration_ms in [9999.0] * KEPT_TIMES + [1.0] * KEPT_TIMES:
        times.add(duration_ms)
    assert times.summary() == Times(count=2 * KEPT_TIMES, p50_ms=1, p95_ms=1, p99_ms=1, max_ms=1)


def test_a_rate_is_of_whole_seconds_that_are_over() -> None:
    rate = Rate()
    for at_s in (100.1, 100.9, 105.0, 109.5, 110.2):
        rate.add(at_s)
    assert rate.per_second(110.5, 10) == 0.4  # the running second is not over
    assert rate.per_second(111.0, 10) == 0.3  # that of 100 is too long ago
    assert rate.per_second(200.0, 60) == 0


def test_a_rate_forgets() -> None:
    rate = Rate()
    for second in range(1000):
        rate.add(float(second))
    assert rate.per_second(1000.0, 60) == 1
    assert len(rate._seconds) <= 61
