"""Events of one session: a bounded log that can be replayed, and subscribers that follow it.

Server-sent events, the `events` data channel and the timeline in a session's JSON read the same log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .timestamps import utc_text

LOG_LENGTH = 256
QUEUE_LENGTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """`id` counts from 1 in a session, `elapsed_ms` from its offer."""

    id: int
    type: str
    at: datetime
    elapsed_ms: float
    data: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The form that clients get, over every transport."""
        return {
            "id": self.id,
            "type": self.type,
            "at": utc_text(self.at),
            "elapsed_ms": round(self.elapsed_ms, 1),
            "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, event: Mapping[str, Any]) -> SessionEvent:
        """The inverse of `as_json`, to the millisecond."""
        return cls(**{**event, "at": datetime.fromisoformat(event["at"])})


class Subscription:
    """One reader of a log. A reader that falls `QUEUE_LENGTH` events behind is ended (`overrun`), not waited for.

    The events that it begins with do not count: all that is kept may be more than that, and it had no time to read.
    """

    def __init__(self, log: EventLog, first: Sequence[SessionEvent]) -> None:
        self._log = log
        self._limit = len(first) + QUEUE_LENGTH
        self._queue: asyncio.Queue[SessionEvent | None] = asyncio.Queue(self._limit + 1)
        self.overrun = False
        self._ended = False
        for event in first:
            self._put(event)

    @property
    def exhausted(self) -> bool:
        """It has ended, and everything in it has been read."""
        return self._ended and self._queue.qsize() <= 1

    def _put(self, event: SessionEvent) -> None:
        if self._queue.qsize() < self._limit:
            self._queue.put_nowait(event)
        else:
            self.overrun = True
            self.close()

    def _end(self) -> None:
        self._ended = True
        # One place more than the limit, kept for this mark.
        if not self._queue.full():
            self._queue.put_nowait(None)

    def close(self) -> None:
        """Stop following. Idempotent."""
        self._log._subscriptions.discard(self)
        self._end()

    async def __aiter__(self) -> AsyncIterator[SessionEvent]:
        while (event := await self._queue.get()) is not None:
            yield event


class EventLog:
    """The last `LOG_LENGTH` events of a session, in order, and the newest of each type that comes again and again.

    Not thread-safe: the event loop's.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._events: deque[SessionEvent] = deque(maxlen=LOG_LENGTH)
        self._latest: dict[str, SessionEvent] = {}
        self._last_id = 0
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[SessionEvent], None]] = []
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self.closed = False

    @classmethod
    def ended(cls, events: Iterable[SessionEvent]) -> EventLog:
        """One that has these events and gets no more."""
        log = cls(clock=lambda: 0.0)
        log._events.extend(events)
        log.closed = True
        return log

    def emit(self, type_: str, **data: Any) -> SessionEvent:
        """Append an event and hand it to all readers."""
        event = self._create(type_, data)
        self._events.append(event)
        self._reached(type_, event.elapsed_ms)
        self._hand_out(event)
        return event

    def emit_latest(self, type_: str, **data: Any) -> SessionEvent:
        """Hand an event that comes again and again to all readers; only the newest of its type is kept for replay.

        It is no step of the timeline.
        """
        event = self._latest[type_] = self._create(type_, data)
        self._hand_out(event)
        return event

    def _create(self, type_: str, data: Mapping[str, Any]) -> SessionEvent:
        self._last_id += 1
        elapsed_ms = (self._clock() - self._started) * 1000
        return SessionEvent(id=self._last_id, type=type_, at=datetime.now(UTC), elapsed_ms=elapsed_ms, data=data)

    def _hand_out(self, event: SessionEvent) -> None:
        for subscription in tuple(self._subscriptions):
            subscription._put(event)
        for listener in tuple(self._listeners):  # one may unlisten
            listener(event)

    def mark(self, type_: str) -> None:
        """Note the time of a step that is no event of its own."""
        self._reached(type_, (self._clock() - self._started) * 1000)

    def _reached(self, step: str, elapsed_ms: float) -> None:
        self._first.setdefault(step, elapsed_ms)
        self._last[step] = elapsed_ms

    def listen(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call `listener` for each event from now on, on the event loop."""
        self._listeners.append(listener)

    def follow(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call `listener` for each event that is kept, and then as `listen` does."""
        for event in self.kept:
            listener(event)
        self.listen(listener)

    def unlisten(self, listener: Callable[[SessionEvent], None]) -> None:
        """Undo `listen`; a listener that is not there is ignored."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def subscribe(self, *, after_id: int = 0) -> Subscription:
        """Follow the log, beginning with what is kept of the events after `after_id`."""
        subscription = Subscription(self, [event for event in self.kept if event.id > after_id])
        if self.closed:
            subscription._end()
        else:
            self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """End all subscriptions once they have read what is there. Idempotent."""
        self.closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()
        self._listeners.clear()

    @property
    def kept(self) -> tuple[SessionEvent, ...]:
        """The events that can still be replayed, oldest first."""
        if not self._latest:
            return tuple(self._events)
        return tuple(sorted([*self._events, *self._latest.values()], key=lambda event: event.id))

    @property
    def subscribers(self) -> int:
        """How many follow the log."""
        return len(self._subscriptions)

    @property
    def timeline(self) -> dict[str, float]:
        """When each step was first reached, in ms since the offer."""
        return _rounded(self._first)

    @property
    def latest(self) -> dict[str, float]:
        """As `timeline`, when each step was last reached: a reloaded page checks and shakes hands again."""
        return _rounded(self._last)


def _rounded(steps: Mapping[str, float]) -> dict[str, float]:
    return {name: round(ms, 1) for name, ms in sorted(steps.items(), key=lambda item: item[1])}
