"""Figures of the last minutes, in bounded memory. No I/O, no clock of its own."""

from __future__ import annotations

from collections import deque

from sdpserver.models.statistics import Times

KEPT_TIMES = 1000
RATE_S = 60


class RecentTimes:
    """The last `KEPT_TIMES` durations of one kind."""

    def __init__(self) -> None:
        self._count = 0
        self._latest_ms: deque[float] = deque(maxlen=KEPT_TIMES)

    def add(self, duration_ms: float) -> None:
        self._count += 1
        self._latest_ms.append(duration_ms)

    def summary(self) -> Times:
        """Percentiles by the nearest rank: each is a duration that there was."""
        ordered = sorted(self._latest_ms)
        if not ordered:
            return Times(count=0)

        def percentile(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

        return Times(
            count=self._count,
            p50_ms=percentile(0.5),
            p95_ms=percentile(0.95),
            p99_ms=percentile(0.99),
            max_ms=round(ordered[-1], 1),
        )


class Rate:
    """How often something has happened in the last seconds, by whole seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque(maxlen=RATE_S + 1)

    def add(self, now_s: float) -> None:
        second = int(now_s)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))

    def per_second(self, now_s: float, span_s: int) -> float:
        """The mean over the last `span_s` (at most `RATE_S`) whole seconds."""
        first = int(now_s) - span_s
        return round(sum(count for second, count in self._seconds if first <= second < int(now_s)) / span_s, 2)
