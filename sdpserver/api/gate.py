"""What every request passes: its id, the checks of Host and Origin, CORS, the error form and one line of log.

One plain ASGI callable around the routes, since it is on the path of every offer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import cast

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdpserver.config import Config
from sdpserver.errors import SdpServerError, Unavailable
from sdpserver.statistics import HttpStatistics

from . import failures, origins
from .failures import ClientDisconnected, Headers

log = structlog.get_logger(__name__)

WEBSOCKET_PATH = "/ws"
RETRY_AFTER_S = 5
LINGER_S = 1.0
LINGER_OCTETS = 4 * 1024 * 1024
"""How much of a refused body is still read and thrown away, so that the refusal reaches a client that is still sending:
closing a socket with unread data resets the connection (RFC 9112 section 9.6)."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}")
_ALWAYS: Headers = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
_QUIET_PATHS = frozenset({"/health", "/api/health", "/ready"})


def new_request_id() -> str:
    return secrets.token_hex(8)


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._origins = origins.Origins(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(self._app, self._origins, scope, receive, send).run()
        elif scope["type"] == "websocket":
            await self._check_websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _check_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a handshake for `/ws` pass; another gets the error form."""
        headers = scope["headers_by_name"] = dict(scope["headers"])
        host, origin = _text(headers, b"host"), _text(headers, b"origin")
        try:
            if not self._origins.knows_host(host):
                raise failures.forbidden_host(host)
            if origin and not self._origins.allows(origin, host):
                raise failures.forbidden_origin(origin)
            if scope["path"] != WEBSOCKET_PATH:
                raise HTTPException(404)
            if scope["app"].state.draining:
                raise Unavailable("the server is shutting down", reason="draining", retry_after_s=RETRY_AFTER_S)
            await self._app(scope, receive, send)
        except (SdpServerError, HTTPException) as exc:  # raised before the handshake is answered, by nobody after it
            await self._refuse_websocket(failures.translate(exc, path=scope["path"], method="WebSocket"), scope, send)

    async def _refuse_websocket(self, exc: SdpServerError, scope: Scope, send: Send) -> None:
        headers = scope["headers_by_name"]
        request_id = _request_id(headers)
        body = failures.body_of(exc, request_id)
        head = [*failures.headers_of(exc, body), (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        await send({"type": "websocket.http.response.start", "status": exc.status, "headers": head})
        await send({"type": "websocket.http.response.body", "body": body})


class _Exchange:
    """One request and its response."""

    def __init__(self, app: ASGIApp, rules: origins.Origins, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._rules = rules
        self._scope = scope
        self._receive = receive
        self._send = send
        # Of a header that is there twice the last one counts; HTTP/1.1 parsers refuse a second Host.
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._request_id = _request_id(self._headers)
        self._host = _text(self._headers, b"host")
        self._origin = _text(self._headers, b"origin")
        self._status = 0
        self._is_counted = False
        has_body = self._headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self._headers
        self._unread = has_body
        self._disconnected = False
        scope["headers_by_name"] = self._headers
        scope["request_id"] = self._request_id

    async def run(self) -> None:
        started = time.perf_counter()
        try:
            self._check()
            if self._is_preflight():
                await self._answer_preflight()
            else:
                await self._app(self._scope, self.receive, self.send)
        except ClientDisconnected:
            self._status = self._status or 499
        except Exception as exc:
            await self._fail(exc)
        finally:
            self._count()
            self._log(time.perf_counter() - started)

    def _check(self) -> None:
        if not self._rules.knows_host(self._host):
            raise failures.forbidden_host(self._host)
        if origins.is_open(self._scope["path"]):
            return
        if self._origin:
            if not self._rules.allows(self._origin, self._host):
                raise failures.forbidden_origin(self._origin)
        elif origins.is_foreign(self._headers):
            raise failures.forbidden_origin("other sites")

    def _is_preflight(self) -> bool:
        return bool(
            self._scope["method"] == "OPTIONS" and self._origin and b"access-control-request-method" in self._headers
        )

    async def _answer_preflight(self) -> None:
        headers: Headers = [
            (b"access-control-allow-methods", origins.ALLOWED_METHODS.encode()),
            (b"access-control-allow-headers", origins.ALLOWED_HEADERS.encode()),
            (b"access-control-max-age", b"%d" % origins.PREFLIGHT_MAX_AGE_S),
        ]
        if self._headers.get(b"access-control-request-private-network") == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        if self._scope["path"].startswith("/whip/"):
            headers.append((b"accept-post", b"application/sdp"))  # of any OPTIONS (RFC 9725 section 4.2)
        await self._respond(204, headers, b"")

    async def _fail(self, exc: Exception) -> None:
        method, path = self._scope["method"], self._scope["path"]
        if isinstance(exc, HTTPException) and exc.status_code == 405 and method == "OPTIONS":
            allow = (exc.headers or {}).get("Allow", "")
            await self._respond(204, [(b"allow", f"{allow}, OPTIONS".encode())], b"")
            return
        error = failures.translate(exc, path=path, method=method)
        if error.status >= 500 and error is not exc:
            log.error("request failed", request_id=self._request_id, method=method, path=path, exc_info=exc)
        if self._status:
            return  # the response is under way; ending it short tells the client that it is broken
        body = failures.body_of(error, self._request_id)
        await self._respond(error.status, failures.headers_of(error, body), body)

    async def _respond(self, status: int, headers: Headers, body: bytes) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected = True
        elif not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            await self._send({**message, "headers": [*message.get("headers", ()), *self._own_headers()]})
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._count()  # before its last octet: who has the response finds it among the figures
            if self._unread and not self._disconnected:
                await self._finish_unread(message)
            else:
                await self._send(message)
        else:
            await self._send(message)

    def _own_headers(self) -> Headers:
        headers: Headers = [*_ALWAYS, (b"x-request-id", self._request_id.encode())]
        if self._origin:
            headers.append((b"vary", b"origin"))
            if self._rules.lists(self._origin):
                headers.append((b"access-control-allow-origin", self._origin.encode("latin-1")))
                headers.append((b"access-control-expose-headers", origins.EXPOSED_HEADERS))
        if self._unread:
            headers.append((b"connection", b"close"))
        return headers

    async def _finish_unread(self, message: Message) -> None:
        """End a response that came before the end of the request.

        The server hands bodies over through a bounded queue, and hands over the disconnect the same way before it
        closes: unless somebody goes on reading, it waits for room forever, and the connection stays open.
        """
        await self._send({**message, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_S):
                await self._discard(LINGER_OCTETS)
        except TimeoutError:
            pass  # it had its time; the connection is closed on it
        async with asyncio.TaskGroup() as tasks:
            rest = tasks.create_task(self._discard(None))
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            rest.cancel()

    async def _discard(self, limit: int | None) -> None:
        """Read on and throw away until the end of the request, the disconnect, or `limit` octets."""
        size = 0
        while not self._disconnected and (self._unread or limit is None) and (limit is None or size < limit):
            size += len((await self.receive()).get("body", b""))

    def _count(self) -> None:
        """Idempotent."""
        if not self._is_counted:
            self._is_counted = True
            statistics = cast(HttpStatistics, self._scope["app"].state.http_statistics)
            statistics.count(self._scope["method"], self._scope.get("endpoint"), self._status)

    def _log(self, seconds: float) -> None:
        path = self._scope["path"]
        quiet = path in _QUIET_PATHS or self._status < 400
        (log.debug if quiet else log.info)(
            "request",
            method=self._scope["method"],
            path=path,
            status=self._status,
            duration_ms=round(seconds * 1000, 2),
            client=(self._scope.get("client") or ("",))[0],
            request_id=self._request_id,
        )


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else new_request_id()
