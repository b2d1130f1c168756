"""HTTP/1.1 with keep-alive, as cheap as Python allows: what is measured is the server, not the client.

h11 parses; connections are kept, and one more is opened when all are busy.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple, TypeAlias

import h11
import msgspec

IDLE_S = 2.0  # servers close idle connections after 5 s or more, and a POST may not be sent twice
_Connection: TypeAlias = tuple[h11.Connection, asyncio.StreamReader, asyncio.StreamWriter]


class Reply(NamedTuple):
    status: int
    body: Any
    sent_ns: int  # time.monotonic_ns() when the request went out
    took_ns: int  # until the whole reply was there


class HttpClient:
    """Toward one host. Raises OSError."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[tuple[float, _Connection]] = []

    async def post(self, path: str, body: object) -> Reply:
        return await self.request("POST", path, msgspec.json.encode(body))

    async def _take(self) -> _Connection:
        """The connection that was used last, unless the server closed it or is about to."""
        while self._idle:
            since_s, taken = self._idle.pop()
            if time.monotonic() - since_s < IDLE_S and not taken[1].at_eof():
                return taken
            taken[2].close()
        reader, writer = await asyncio.open_connection(self._host, self._port)
        return h11.Connection(h11.CLIENT), reader, writer

    async def request(self, method: str, path: str, content: bytes = b"") -> Reply:
        """One request; the body of the reply is JSON."""
        connection, reader, writer = await self._take()
        headers = [("Host", f"{self._host}:{self._port}"), ("Content-Length", str(len(content)))]
        if content:
            headers.append(("Content-Type", "application/json"))
        done = False
        try:
            request = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
            body = connection.send(h11.Data(data=content)) or b""
            end = connection.send(h11.EndOfMessage()) or b""
            sent_ns = time.monotonic_ns()
            writer.write(request + body + end)
            status, parts = 0, []
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed):
                    raise ConnectionResetError(f"{method} {path}: the server closed the connection")
            took_ns = time.monotonic_ns() - sent_ns
            if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
                connection.start_next_cycle()
                self._idle.append((time.monotonic(), (connection, reader, writer)))
                done = True
            text = b"".join(parts)
            return Reply(status, msgspec.json.decode(text) if text else None, sent_ns, took_ns)
        except h11.RemoteProtocolError as exc:
            raise ConnectionResetError(f"{method} {path}: {exc}") from exc
        finally:
            if not done:
                writer.close()

    def close(self) -> None:
        for _, (_, _, writer) in self._idle:
            writer.close()
        self._idle.clear()
