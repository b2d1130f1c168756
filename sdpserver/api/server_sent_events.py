"""A session's events as a stream that a browser's `EventSource` reads (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
from typing import Annotated

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
LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    type=Annotated[int, Meta(ge=0)],
    description="Only the events after this one.",
    where="header",
)


def last_event_id(request: Request) -> int:
    """The `Last-Event-ID` of a client that comes back, else 0.

    :raises BadRequest: it is no id of ours.
    """
    text = request.headers.get("last-event-id", "") or request.query_params.get("last_event_id", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise BadRequest("Last-Event-ID must be the id of an event", reason="invalid_field")
    return int(text)


def encode(event: SessionEvent) -> bytes:
    """No `event:` line: all of them then reach `onmessage`, and none can be taken for EventSource's own `error`."""
    return b"id: %d\ndata: %b\n\n" % (event.id, orjson.dumps(event.as_json()))


class EventStream(Response):
    """Sends events until the session's log is closed, the reader falls behind, or it disconnects."""

    def __init__(self, subscription: Subscription, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        super().__init__(media_type="text/event-stream")
        self._subscription = subscription
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._subscription.exhausted:
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
            self._subscription.close()

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
        async for event in self._subscription:
            await send({"type": "http.response.body", "body": encode(event), "more_body": True})

    async def _beat(self, send: Send) -> None:
        # Keeps proxies from ending a quiet stream, and finds out that a client is gone without having said so.
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
