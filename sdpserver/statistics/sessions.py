"""What is counted of sessions while they live and when they end."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from sdpserver.events import SessionEvent
from sdpserver.models.session import CallDirection
from sdpserver.session import Session
from sdpserver.sip import reasons

from .recent import Rate, RecentTimes

DIRECTIONS: tuple[CallDirection, ...] = ("inbound", "outbound")

ANSWERED, OTHER = "answered", "other"
KNOWN_REASONS = frozenset(
    {
        *reasons.BY_STATUS.values(),
        *reasons.BY_CAUSE.values(),
        reasons.ANSWERED_ELSEWHERE,
        reasons.NORMAL_CLEARING,
        reasons.NO_SRTP,
        reasons.OTHER,
        reasons.REDIRECT_REFUSED,
        reasons.TRUNK_FULL,
        reasons.TRUNK_UNREACHABLE,
        "client_closed",
        "client_disconnected",
        "client_gone",
        "dtls_failed",
        "internal_error",
        "kicked",
        "max_duration",
        "media_timeout",
        "redirected",
        "server_shutdown",
        "setup_timeout",
        "transferred",
    }
)
"""Clients may close a session for whatever reason they like; in figures all of theirs are one."""

# Seconds. An answer to an offer takes milliseconds, a person half a minute.
OFFER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
CONNECT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ANSWER_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
DURATION_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400)
MOS_BUCKETS = (1.5, 2, 2.5, 3, 3.3, 3.6, 3.8, 4, 4.2, 4.4)


class SessionStatistics:
    """A follower of all sessions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.began: Counter[CallDirection] = Counter()
        self.ended: Counter[tuple[CallDirection, bool, str]] = Counter()
        """By direction, whether it was answered, and why it ended."""
        self.offer, self.connect, self.answer = RecentTimes(), RecentTimes(), RecentTimes()
        self.setups = Rate()

        def histogram(name: str, what: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"sdpserver_{name}", what, labels, buckets=buckets, registry=registry)

        self._offer_s = histogram("offer_seconds", "From a client's offer to our answer.", OFFER_BUCKETS)
        self._connect_s = histogram("connect_seconds", "From the offer to the end of DTLS.", CONNECT_BUCKETS)
        self._answer_s = histogram(
            "call_answer_seconds", "From the offer or INVITE to the answer.", ANSWER_BUCKETS, ("direction", "trunk")
        )
        self._duration_s = histogram("call_duration_seconds", "Of answered calls, from the answer.", DURATION_BUCKETS)
        self._mos = histogram("call_mos", "Of what came in from a side, at the end.", MOS_BUCKETS, ("side",))

    # -- a follower

    def session_began(self, session: Session) -> None:
        self.began[session.direction] += 1
        self.setups.add(time.monotonic())
        session.events.follow(_Watch(self, session).see)

    def session_ended(self, session: Session) -> None:
        """Nothing more: its last event has told everything."""

    # -- what a session's watch tells

    def offered(self, duration_ms: float) -> None:
        self.offer.add(duration_ms)
        self._offer_s.observe(duration_ms / 1000)

    def connected(self, duration_ms: float) -> None:
        self.connect.add(duration_ms)
        self._connect_s.observe(duration_ms / 1000)

    def answered(self, direction: CallDirection, trunk: str, duration_ms: float) -> None:
        self.answer.add(duration_ms)
        self._answer_s.labels(direction, trunk).observe(duration_ms / 1000)

    def closed(self, direction: CallDirection, reason: str, talked_ms: float | None, quality: dict[str, Any]) -> None:
        known = reason if reason in KNOWN_REASONS else OTHER
        self.ended[direction, talked_ms is not None, known] += 1
        if talked_ms is None:
            return
        self._duration_s.observe(talked_ms / 1000)
        for side, figures in quality.items():
            mos = figures["received"]["mos"] if figures else None
            if mos is not None:
                self._mos.labels(side).observe(mos)

    # -- for GET /stats

    def by_result(self) -> dict[str, int]:
        """`answered`, or why not."""
        results: Counter[str] = Counter()
        for (_, answered, reason), count in self.ended.items():
            results[ANSWERED if answered else reason] += count
        return dict(results)


class _Watch:
    """One session's steps, each counted the first time."""

    def __init__(self, statistics: SessionStatistics, session: Session) -> None:
        self._statistics = statistics
        self._direction = session.direction
        self._trunk = session.destination.trunk_name
        self._is_offered = self._is_connected = False
        self._answered_ms: float | None = None

    def see(self, event: SessionEvent) -> None:
        match event.type:
            case "answer" if not self._is_offered:
                self._is_offered = True
                if self._direction == "outbound":  # an agent's answer to our offer is no work of ours
                    self._statistics.offered(event.elapsed_ms)
            case "dtls" if not self._is_connected:
                self._is_connected = True
                self._statistics.connected(event.elapsed_ms)
            case "answered" if self._answered_ms is None:
                self._answered_ms = event.elapsed_ms
                self._statistics.answered(self._direction, self._trunk, event.elapsed_ms)
            case "closed":
                talked_ms = None if self._answered_ms is None else event.elapsed_ms - self._answered_ms
                reason, quality = event.data["reason"], event.data["quality"]
                self._statistics.closed(self._direction, reason, talked_ms, quality)
