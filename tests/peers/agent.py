"""An agent's client: JSON signalling over a WebSocket, and for each call aiortc as its browser."""

from __future__ import annotations

import asyncio
import itertools
from types import TracebackType
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .aiortc_client import Client
from .waiting import until

Message = dict[str, Any]
TOLD_S = 8.0
"""Who is refused hears why for 3 s before it is told that its call has ended."""


class Refused(Exception):
    """An `error` or `registrationFailed`; `payload` is its."""

    def __init__(self, message: Message) -> None:
        super().__init__(str(message["payload"]))
        self.payload: dict[str, Any] = message["payload"]
        self.code: int = self.payload["code"]
        self.reason: str = self.payload["details"].get("reason", "")


class AgentCall:
    """A call as the client has it: `client` is its browser, `messages` what came about it."""

    def __init__(self, agent: Agent, call_id: str, client: Client) -> None:
        self.agent, self.call_id, self.client = agent, call_id, client

    @property
    def messages(self) -> list[Message]:
        return [message for message in self.agent.received if message["payload"].get("callId") == self.call_id]

    async def wait(self, type_: str, *, timeout_s: float = TOLD_S, **expected: Any) -> dict[str, Any]:
        """The payload of the first message of this type about this call, with these members."""
        return await self.agent.wait(type_, timeout_s=timeout_s, callId=self.call_id, **expected)

    async def order(self, type_: str, **payload: Any) -> dict[str, Any]:
        """Send a request about this call; the reply's payload."""
        return await self.agent.request(type_, callId=self.call_id, **payload)

    async def hang_up(self) -> None:
        await self.order("hangup")
        await self.client.close()


class Agent:
    """`async with Agent(url) as agent: await agent.register("5001", "secret")`."""

    def __init__(self, url: str, *, query: str = "", **handshake: Any) -> None:
        """:param query: the API key, as `?token=`."""
        self.url = url
        self._query = f"?token={query}" if query else ""
        self.received: list[Message] = []
        """All messages, in order."""
        self.resume_token = ""
        self.clients: list[Client] = []
        self.close_code: int | None = None
        self._handshake = handshake
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Message]] = {}

    async def __aenter__(self) -> Agent:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Open a socket, a new one after `drop`."""
        uri = self.url.replace("http", "ws", 1) + "/ws" + self._query
        self._socket = await connect(uri, proxy=None, ping_interval=None, **self._handshake)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def drop(self) -> None:
        """Lose the socket without a word to the server."""
        assert self._socket is not None
        self._socket.transport.abort()
        assert self._reader is not None
        await self._reader

    async def close(self) -> None:
        """Unregister, after which the DN is free of this connection, and close the socket. Idempotent."""
        for client in self.clients:
            await client.close()
        if self._socket is not None:
            if self.resume_token:
                await self._unregister()
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def _unregister(self) -> None:
        """Until the server has answered, or the socket is gone."""
        assert self._reader is not None
        try:
            reply = await self.send_message("unregister")
        except ConnectionClosed:
            return
        ends: set[asyncio.Future[Any]] = {reply, self._reader}
        await asyncio.wait(ends, timeout=5, return_when=asyncio.FIRST_COMPLETED)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                message = orjson.loads(text)
                self.received.append(message)
                reply = self._replies.pop(message["id"], None) if isinstance(message["id"], int) else None
                if reply is not None and not reply.done():
                    reply.set_result(message)
        except Exception as exc:
            if type(exc).__name__ not in ("ConnectionClosedError", "ConnectionClosedOK"):
                raise
        self.close_code = socket.close_code

    # -- messages

    async def send(self, data: str | bytes) -> None:
        """As it is."""
        assert self._socket is not None
        await self._socket.send(data)

    async def send_message(self, type_: str, **payload: Any) -> asyncio.Future[Message]:
        """Send a request, and do not wait for its reply."""
        id_ = next(self._ids)
        reply = self._replies[id_] = asyncio.get_running_loop().create_future()
        await self.send(orjson.dumps({"type": type_, "payload": payload, "id": id_}).decode())
        return reply

    async def exchange(self, type_: str, **payload: Any) -> Message:
        """Send a request; the reply, whatever it is."""
        return await asyncio.wait_for(await self.send_message(type_, **payload), 10)

    async def exchange_all(self, *messages: tuple[str, dict[str, Any]]) -> list[Message]:
        """Send all of them at once; their replies."""
        replies = [await self.send_message(type_, **payload) for type_, payload in messages]
        return await asyncio.wait_for(asyncio.gather(*replies), 10)

    async def next(self, number: int, *, timeout_s: float = 5.0) -> Message:
        """The message after `number` others."""
        await until(lambda: len(self.received) > number, timeout_s=timeout_s, what=f"message {number}")
        return self.received[number]

    async def wait_closed(self, timeout_s: float = 5.0) -> tuple[int, str]:
        """Until the server has closed the socket: with which code, and why."""
        assert self._socket is not None
        await asyncio.wait_for(self._socket.wait_closed(), timeout_s)
        return self._socket.close_code or 0, self._socket.close_reason or ""

    async def request(self, type_: str, **payload: Any) -> dict[str, Any]:
        """Send a request; the reply's payload.

        :raises Refused: it is an error.
        """
        message = await self.exchange(type_, **payload)
        if message["type"] in ("error", "registrationFailed"):
            raise Refused(message)
        found: dict[str, Any] = message["payload"]
        return found

    async def wait(self, type_: str, *, timeout_s: float = TOLD_S, **expected: Any) -> dict[str, Any]:
        """The payload of the first message of this type with these members, which may have come already."""

        def found() -> list[dict[str, Any]]:
            return [
                message["payload"]
                for message in self.received
                if message["type"] == type_ and expected.items() <= message["payload"].items()
            ]

        await until(lambda: bool(found()), timeout_s=timeout_s, what=f"the message {type_} with {expected}")
        return found()[0]

    # -- what agents do

    async def register(self, dn: str, password: str, **more: Any) -> dict[str, Any]:
        reply = await self.request("register", dn=dn, password=password, **more)
        self.resume_token = reply["resumeToken"]
        return reply

    async def resume(self) -> dict[str, Any]:
        """After `drop` and `connect`."""
        return await self.request("register", resumeToken=self.resume_token)

    def client(self, **options: Any) -> Client:
        self.clients.append(Client(self.url, **options))
        return self.clients[-1]

    async def call(self, to: str, *, frequency_hz: float = 1000, codec: str | None = None, **more: Any) -> AgentCall:
        """Call; returns when the browser's leg is connected."""
        client = self.client(frequency_hz=frequency_hz, codec=codec)
        reply = await self.request("call", to=to, sdp=await client.offer(), **more)
        await client.accept({"sdp": {"sdp": reply["sdp"]}})
        await client.wait_connected()
        return AgentCall(self, reply["callId"], client)

    async def incoming(self, *, timeout_s: float = 5.0, number: int = 0) -> dict[str, Any]:
        """The payload of an `incomingCall`, of the first one unless told otherwise."""

        def calls() -> list[dict[str, Any]]:
            return [message["payload"] for message in self.received if message["type"] == "incomingCall"]

        await until(lambda: len(calls()) > number, timeout_s=timeout_s, what="an incoming call")
        return calls()[number]

    async def answer(
        self, incoming: dict[str, Any], *, frequency_hz: float = 1000, codec: str | None = None
    ) -> AgentCall:
        """Answer; returns when the browser's leg is connected."""
        client = self.client(frequency_hz=frequency_hz, codec=codec)
        sdp = await client.answer_to(incoming["sdp"])
        await self.request("answer", callId=incoming["callId"], sdp=sdp)
        await client.wait_connected()
        return AgentCall(self, incoming["callId"], client)
