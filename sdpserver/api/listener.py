"""The HTTP/1.1 listener: Hypercorn's connection and protocol under a life cycle of our own.

Why not `hypercorn.asyncio.serve`: its own refusals have no body, a client that neither reads nor goes away keeps a
connection and the process's exit waiting, and sessions have to be closed while requests are still answered. What is
taken from Hypercorn beside its documented API is in this module alone: `TCPServer`, `H11Protocol`, `WorkerContext`.
HTTP/2 is off: nothing here needs it, and its upgrade from cleartext would be a second way past these checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
import structlog
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState, Framework
from hypercorn.utils import parse_socket_addr, wrap_app

from sdpserver.errors import Unavailable

from . import failures
from .gate import new_request_id

log = structlog.get_logger(__name__)

BACKLOG = 1024
MAX_CONNECTIONS = 8192
"""More are closed at once: each may hold a body of 256 KiB, and a file that a call needs more."""

IDLE_S = 15.0
"""How long a connection may be without a request, and a request's head may take."""

STALLED_S = 20.0
"""How long a client may leave what was sent to it unread."""

MAX_HEAD = 16 * 1024
MAX_WEBSOCKET_MESSAGE = 64 * 1024
"""An SDP of 32 KiB and metadata of 16 KiB, with what JSON escapes in them. More is closed with 1009 (RFC 6455)."""

READ_BUFFER = 64 * 1024
CLOSE_S = 0.5
RETRY_AFTER_S = 5


class _Protocol(H11Protocol):
    """Hypercorn's, with a body in the refusals that never reach the application."""

    _refused = False

    async def _check_protocol(self, event: h11.Request) -> None:
        """No upgrade to HTTP/2: the `Upgrade` header is left unheard (RFC 9110 section 7.8)."""

    async def _send_error_response(self, status_code: int) -> None:
        request_id = new_request_id()
        body = failures.protocol_error(status_code, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        log.info("malformed request", status=status_code, client=(self.client or ("",))[0], request_id=request_id)
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 400 and (b"content-length", b"0") in event.headers:
            # Hypercorn's own refusal of a request, such as a WebSocket handshake without a key.
            request_id = new_request_id()
            status = event.status_code
            if status == HTTPStatus.INTERNAL_SERVER_ERROR:
                # The application answers whatever goes wrong in it: it was cut off, by the end of the process.
                cut_off = Unavailable("the server is shutting down", reason="draining", retry_after_s=RETRY_AFTER_S)
                status, body = cut_off.status, failures.body_of(cut_off, request_id)
                headers = failures.headers_of(cut_off, body)
            else:
                body = failures.protocol_error(status, request_id)
                headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            kept = [header for header in event.headers if header[0] != b"content-length"]
            headers = [*kept, *headers, (b"x-request-id", request_id.encode())]
            await super().stream_send(Response(stream_id=event.stream_id, status_code=status, headers=headers))
            await super().stream_send(Body(stream_id=event.stream_id, data=body))
            self._refused = True
        else:
            await super().stream_send(event)
            if self._refused and isinstance(event, EndBody):
                await self.send(Closed())  # after a bad WebSocket handshake nobody else would


class _Connection(TCPServer):
    """One client's connection."""

    _ended = False

    async def run(self) -> None:
        try:
            connection = self.writer.get_extra_info("socket")
            client = parse_socket_addr(connection.family, connection.getpeername())
            server = parse_socket_addr(connection.family, connection.getsockname())
            is_tls = self.writer.get_extra_info("ssl_object") is not None
            async with TaskGroup(self.loop) as tasks:
                self._task_group = tasks
                self.protocol = _Protocol(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    tasks,
                    ConnectionState(self.state),
                    is_tls,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.protocol.initiate()
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                # Nothing more will come: do not wait for it, as the idle timer would.
                self._ended = True
                await self.idle_task.stop()
        except OSError:
            pass  # the client is gone, which is its right
        except Exception:
            # h11 raises when the two sides disagree on where they are; the connection is of no more use.
            log.warning("connection failed", exc_info=True)
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            if not (self._ended and isinstance(event, Updated)):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                self.writer.write(event.data)
                async with asyncio.timeout(STALLED_S):
                    await self.writer.drain()
                return
            except TimeoutError:
                self.writer.transport.abort()
            except (ConnectionError, RuntimeError):
                pass  # closed under us
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        with contextlib.suppress(NotImplementedError, OSError, RuntimeError):
            self.writer.write_eof()
        self.writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.writer.wait_closed()
        except TimeoutError:
            self.writer.transport.abort()  # it does not read what is left for it
        except (OSError, RuntimeError):
            pass  # closed already
        finally:
            await self.idle_task.stop()


class Listener:
    """Accepts connections for an ASGI application."""

    def __init__(self, app: Any, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._app = wrap_app(app_as_framework(app), 0, "asgi")
        self._config = HypercornConfig()
        self._config.h11_max_incomplete_size = MAX_HEAD
        self._config.keep_alive_timeout = IDLE_S
        self._config.include_server_header = False
        self._config.websocket_max_message_size = MAX_WEBSOCKET_MESSAGE
        self._config.errorlog = logging.getLogger("hypercorn.error")
        self._context = WorkerContext(None)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, bind: socket.socket) -> None:
        """Accept on a bound socket, which is ours from here on."""
        self._server = await asyncio.start_server(
            self._serve, sock=bind, backlog=BACKLOG, ssl=self._tls, limit=READ_BUFFER
        )

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None  # stream callbacks run in one
        self._connections.add(task)
        try:
            await _Connection(self._app, asyncio.get_running_loop(), self._config, self._context, {}, reader, writer)
        except asyncio.CancelledError:
            pass  # by `stop`, which waits for us; the stream's own callback cannot take a cancelled task
        finally:
            self._connections.discard(task)

    async def stop(self, timeout_s: float) -> None:
        """Accept no more, let running requests end within `timeout_s`, then cut them off. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        await self._context.terminated.set()  # ends idle connections, and the others after their request
        if self._connections:
            await asyncio.wait(tuple(self._connections), timeout=timeout_s)
        for task in tuple(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(tuple(self._connections), timeout=CLOSE_S * 2)


def app_as_framework(app: Any) -> Framework:
    """Starlette's and Hypercorn's ASGI types differ in name only."""
    framework: Callable[..., Any] = app
    return framework


def bind(host: str, port: int) -> socket.socket:
    """A listening socket's address, taken.

    :raises OSError: it is in use, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and later, HTTP/1.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(cert, key)
    return context
