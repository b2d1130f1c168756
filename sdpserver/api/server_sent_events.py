"""Events as a stream that a browser's `EventSource` reads (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Protocol

import orjson
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sdpserver.errors import BadRequest
from sdpserver.events import SessionEvent, Subscription

from .operations import Parameter

HEARTBEAT_S = 15.0
RETRY_MS = 2000
MAX_ID_DIGITS = 16
LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    type=Annotated[int, Meta(ge=0)],
    description="Only the events after this one.",
    where="header",
)


def last_event_id(request: Request) -> int | None:
    """The `Last-Event-ID` of a client that comes back, else None.

    :raises BadRequest: it is no id of ours.
    """
    text = request.headers.get("last-event-id", "") or request.query_params.get("last_event_id", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS):
        raise BadRequest("Last-Event-ID must be the id of an event", reason="invalid_field")
    return int(text)


def encode(event: SessionEvent) -> bytes:
    """No `event:` line: all of them then reach `onmessage`, and none can be taken for EventSource's own `error`."""
    return b"id: %d\ndata: %b\n\n" % (event.id, orjson.dumps(event.as_json()))


class Frames(Protocol):
    """What is sent, in the form of an event stream."""

    @property
    def exhausted(self) -> bool:
        """There is nothing, and there will be nothing more."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def heartbeat(self) -> bytes:
        """What is sent when nothing else is."""
        ...

    def close(self) -> None:
        """Nobody reads it any more. Idempotent."""
        ...


class SessionFrames:
    """Those of one session."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def exhausted(self) -> bool:
        return self._subscription.exhausted

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for event in self._subscription:
            yield encode(event)

    def heartbeat(self) -> bytes:
        return b": still here\n\n"

    def close(self) -> None:
        self._subscription.close()


class EventStream(Response):
    """Sends events until there will be no more, the reader falls behind, or it disconnects."""

    def __init__(self, frames: Frames, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        super().__init__(media_type="text/event-stream")
        self._frames = frames
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._frames.exhausted:
                # 204 tells an EventSource not to come back: there will be nothing more.
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"retry: %d\n\n" % RETRY_MS, "more_body": True})
            if await self._follow(receive, send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._frames.close()

    async def _follow(self, receive: Receive, send: Send) -> bool:
        """Whether the events ended before the client went."""
        tasks = {
            asyncio.create_task(self._pump(send), name="events"),
            asyncio.create_task(self._beat(send), name="heartbeat"),
            asyncio.create_task(_gone(receive), name="disconnect"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return any(task.get_name() == "events" for task in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, send: Send) -> None:
        async for frame in self._frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    async def _beat(self, send: Send) -> None:
        # Keeps proxies from ending a quiet stream, and finds out that a client is gone without having said so.
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await send({"type": "http.response.body", "body": self._frames.heartbeat(), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
