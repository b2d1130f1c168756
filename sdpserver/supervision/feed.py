"""A bounded log of events that many read, each what concerns it.

An event is encoded once, when it is published, whoever reads it; per reader it costs a look at its filter and a place
in its queue. A reader that falls behind is cut off and comes back with the id of the last event that it has read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from sdpserver.models.supervision import CALL_EVENTS, UNASKED_TYPES, EventType
from sdpserver.timestamps import utc_text

LOG_LENGTH = 4096
QUEUE_LENGTH = 1024
CHUNK = 256 * 1024
"""Octets that are sent to a reader at once, when so much waits."""

IDS_PER_S = 100_000
"""More than are ever published, so that the ids of a server that was started again are higher than those before."""

_STILL_HERE = b": still here\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a reader may see, and wants to.

    :ivar owner: whose calls are its own.
    :ivar sees_all: it sees everybody's calls; `sees_dns`: those of DNs, and the DNs themselves.
    :ivar dns: empty: all that it may see.
    """

    owner: str
    sees_all: bool
    sees_dns: bool
    types: frozenset[EventType] = UNASKED_TYPES
    dns: frozenset[str] = frozenset()

    def sees_call(self, owner: str, dn: str | None) -> bool:
        if self.dns and dn not in self.dns:
            return False
        return self.sees_all or owner == self.owner or (self.sees_dns and dn is not None)

    def sees_dn(self, dn: str) -> bool:
        return (self.sees_all or self.sees_dns) and (not self.dns or dn in self.dns)

    def sees(self, event: FeedEvent) -> bool:
        if event.type not in self.types:
            return False
        if event.type in CALL_EVENTS:
            return self.sees_call(event.owner, event.dn)
        if event.dn is not None:
            return self.sees_dn(event.dn)
        return not self.dns


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent:
    """`frame`: as it is sent. `owner` of its call; `dn` of its call, or which it is about."""

    id: int
    type: EventType
    owner: str
    dn: str | None
    frame: bytes


def frame(id_: int, type_: EventType, data: Mapping[str, Any]) -> bytes:
    """An event in the form of server-sent events, without an `event:` line, like those of sessions."""
    body = {"id": id_, "type": type_, "at": utc_text(datetime.now(UTC)), "data": data}
    return b"id: %d\ndata: %b\n\n" % (id_, orjson.dumps(body))


class FeedSubscription:
    """One reader. Yields what is to be sent, several events at once if they wait."""

    exhausted = False

    def __init__(self, feed: Feed, view: View, replayed: Iterable[bytes] = ()) -> None:
        self._feed = feed
        self.view = view
        self._frames = deque(replayed)
        self._longest = len(self._frames) + QUEUE_LENGTH
        self._wake = asyncio.Event()
        self._ended = False
        self.overrun = False

    def put(self, event: bytes) -> None:
        if len(self._frames) >= self._longest:
            self.overrun = True
            self._frames.clear()  # it is not told half of them: it comes back for all that it has not read
            self.close()
            return
        self._frames.append(event)
        self._wake.set()

    def close(self) -> None:
        """Idempotent. What is queued is still read."""
        self._feed.drop(self)
        self._ended = True
        self._wake.set()

    def heartbeat(self) -> bytes:
        """What is sent when nothing is. It brings on the id that an EventSource comes back with: else what it does not
        want to see would, after a quiet hour, look like a gap."""
        return b"id: %d\n\n" % self._feed.last_id if not self._frames else _STILL_HERE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            chunk: list[bytes] = []
            size = 0
            while self._frames and size < CHUNK:
                chunk.append(self._frames.popleft())
                size += len(chunk[-1])
            if chunk:
                yield b"".join(chunk)
                continue
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class Feed:
    """Used on the event loop only."""

    def __init__(self, *, now_s: float) -> None:
        """:param now_s: wall-clock time."""
        self.last_id = int(now_s) * IDS_PER_S
        self._log: deque[FeedEvent] = deque(maxlen=LOG_LENGTH)
        self._first_kept = self.last_id + 1
        self._subscriptions: set[FeedSubscription] = set()

    def wants(self, type_: EventType) -> bool:
        """Whether anybody reads such events now."""
        return any(type_ in subscription.view.types for subscription in self._subscriptions)

    def publish(
        self, type_: EventType, data: Mapping[str, Any], *, owner: str = "", dn: str | None = None, keep: bool = True
    ) -> None:
        """:param keep: whether it can be replayed."""
        self.last_id += 1
        event = FeedEvent(id=self.last_id, type=type_, owner=owner, dn=dn, frame=frame(self.last_id, type_, data))
        if keep:
            if len(self._log) == LOG_LENGTH:
                self._first_kept = self._log[1].id
            self._log.append(event)
        for subscription in tuple(self._subscriptions):
            if subscription.view.sees(event):
                subscription.put(event.frame)

    def lacks(self, after_id: int) -> bool:
        """Whether events after this one are not kept any more, or it is none of ours."""
        return after_id + 1 < self._first_kept or after_id > self.last_id

    def subscribe(self, view: View, *, after_id: int | None = None) -> FeedSubscription:
        """Follow, from now on or beginning with what is kept after `after_id`."""
        missed = () if after_id is None else [it.frame for it in self._log if it.id > after_id and view.sees(it)]
        subscription = FeedSubscription(self, view, missed)
        self._subscriptions.add(subscription)
        return subscription

    def drop(self, subscription: FeedSubscription) -> None:
        self._subscriptions.discard(subscription)

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    def close(self) -> None:
        """End all readers once they have read what is there."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
