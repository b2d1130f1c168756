"""GET /ws: the socket that JSON signalling goes over. What is said there is `sdpserver.agents`'s."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Mapping
from time import monotonic
from typing import Any, cast

import orjson
import structlog
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sdpserver.agents import Agents, Signalling
from sdpserver.agents.connection import MessageId
from sdpserver.session import Sessions

from .credentials import Credentials
from .gate import WEBSOCKET_PATH

log = structlog.get_logger(__name__)

SUBPROTOCOL = "sdpserver.v1"
BACKLOG = 256
"""Messages that a client has not read; one that leaves more is disconnected."""

CLOSE_S = 1.0

RATE_PER_S, BURST = 50.0, 100.0
"""Messages a client may send. Candidates come in bunches of about 20."""

GOING_AWAY, POLICY_VIOLATION = 1001, 1008
"""RFC 6455 section 7.4.1. 1009, too big, is the listener's."""


class ClientSocket:
    """One client's socket: a bounded queue before it, and what ends it.

    :param idle_s: how long the client may say nothing.
    """

    def __init__(self, websocket: WebSocket, *, idle_s: float) -> None:
        self._websocket = websocket
        self._idle_s = idle_s
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG + 1)
        self._ids = itertools.count(1)
        self._closing: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def send(self, type_: str, payload: Mapping[str, Any], id_: MessageId = None) -> None:
        """A reply to `id_`, or an event, which has an id of its own."""
        id_ = f"s{next(self._ids)}" if id_ is None else id_
        self.send_raw({"type": type_, "payload": payload, "id": id_})

    def send_raw(self, message: Mapping[str, Any]) -> None:
        """A message that is not in that form."""
        if self._closing.done():
            return
        if self._queue.qsize() >= BACKLOG:
            self.close(POLICY_VIOLATION, "the client does not read")
            return
        self._queue.put_nowait(orjson.dumps(message))

    def close(self, code: int, reason: str) -> None:
        """After what has been sent. Idempotent: the first reason counts."""
        if not self._closing.done():
            if reason:  # else the client has gone by itself
                log.info("socket closed", code=code, reason=reason)
            self._closing.set_result((code, reason))
            self._queue.put_nowait(None)  # the place that `send` leaves

    async def run(self, signalling: Signalling) -> None:
        """Until either side closes it."""
        reading = asyncio.create_task(self._read(signalling), name="ws reader")
        writing = asyncio.create_task(self._write(), name="ws writer")
        ends: set[asyncio.Future[Any]] = {reading, writing, self._closing}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            signalling.closed()
            reading.cancel()
            self.close(GOING_AWAY, "")
            await asyncio.wait({writing}, timeout=CLOSE_S)  # one that does not read is not waited for
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            await self._discard()

    async def _discard(self) -> None:
        """What still comes, until the client has closed too, or had its time. Last of all: Hypercorn waits for room in
        the queue of messages even when nobody reads them any more, and would keep the connection for ever."""
        if self._websocket.client_state is not WebSocketState.DISCONNECTED:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    while (await self._websocket.receive())["type"] != "websocket.disconnect":
                        pass

    async def _read(self, signalling: Signalling) -> None:
        allowance, last_s = BURST, monotonic()
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    data = _data(await self._websocket.receive())
                now_s = monotonic()
                allowance = min(BURST, allowance + (now_s - last_s) * RATE_PER_S) - 1
                last_s = now_s
                if allowance < 0:
                    self.close(POLICY_VIOLATION, f"more than {RATE_PER_S:.0f} messages a second")
                    return
                await signalling.receive(data)
        except TimeoutError:
            self.close(GOING_AWAY, f"nothing was heard for {self._idle_s:g} s")
        except WebSocketDisconnect:
            pass

    async def _write(self) -> None:
        try:
            while (message := await self._queue.get()) is not None:
                await self._websocket.send({"type": "websocket.send", "text": message.decode()})
            await self._websocket.close(*self._closing.result())
        except (OSError, RuntimeError):
            pass  # the client has gone, which `_read` learns too


def _data(message: Message) -> str | bytes:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    data: str | bytes | None = message.get("text")
    return message["bytes"] if data is None else data


async def signal(websocket: WebSocket) -> None:
    """GET /ws. Without an API key only `register` gives rights, once `[auth]` asks for keys."""
    credentials = cast(Credentials, websocket.app.state.credentials)
    principal = credentials.principal_of_websocket(websocket.scope["headers_by_name"], websocket.query_params)
    agents, sessions = cast(Agents, websocket.app.state.agents), cast(Sessions, websocket.app.state.sessions)
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    socket = ClientSocket(websocket, idle_s=agents.idle_s)
    client = websocket.client.host if websocket.client else ""
    owner = principal.name if principal is not None and "call" in principal.scopes else None
    await socket.run(Signalling(agents, sessions, socket, owner=owner, client=client))


ROUTES: list[BaseRoute] = [WebSocketRoute(WEBSOCKET_PATH, signal)]
