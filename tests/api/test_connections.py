"""Connections on which something other than HTTP happens."""

from __future__ import annotations

import time

import httpx
import pytest
from peers.server import ServerProcess
from peers.waiting import wait_until

from .conftest import Connect

HOST = b"Host: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GARBAGE\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /he alth HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"bad header\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: \x00\r\n\r\n",
        b"POST /webrtc/offer HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
        b"POST /webrtc/offer HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_error_form_and_the_connection_ends(connect: Connect, head: bytes) -> None:
    connection = connect()
    connection.send(head)
    response = connection.response()
    assert 400 <= response.status < 600
    assert b'"reason":"' in response.body
    assert b'"request_id":"' in response.body
    assert connection.is_closed()


def test_a_bad_chunk_ends_the_connection_and_nothing_else(connect: Connect, client: httpx.Client) -> None:
    connection = connect()
    connection.send(
        b"POST /webrtc/offer HTTP/1.1\r\n"
        + HOST
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"zz\r\n"
    )
    assert connection.is_closed()
    assert client.get("/health").status_code == 200


def test_requests_in_one_packet_are_answered_in_order(connect: Connect) -> None:
    connection = connect()
    connection.send((b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n") * 3)
    received = b""
    while received.count(b'"status":"ok"') < 3:
        received += connection.socket.recv(65536)
    assert received.count(b"HTTP/1.1 200") == 3


def test_expect_100_continue_is_answered(connect: Connect) -> None:
    connection = connect()
    body = b'{"session_id":"none"}'
    connection.send(
        b"POST /webrtc/close HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert connection.socket.recv(1024).startswith(b"HTTP/1.1 100")
    connection.send(body)
    assert connection.response().status == 404


@pytest.mark.parametrize(
    ("path", "version"),
    [
        (path, version)
        for path in (b"/ws", b"/health", b"/webrtc/sessions/x/events")
        for version in (b"13", b"7", b"")
        if (path, version) != (b"/ws", b"13")  # the one that is right
    ],
)
def test_a_websocket_handshake_is_refused_in_the_error_form(connect: Connect, path: bytes, version: bytes) -> None:
    connection = connect()
    connection.send(
        b"GET %b HTTP/1.1\r\n" % path + HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %b\r\n\r\n" % version
    )
    response = connection.response()
    assert response.status in (400, 404)
    assert b'"request_id":"' in response.body
    assert connection.is_closed()


def test_an_upgrade_to_http_2_is_left_unheard(connect: Connect) -> None:
    connection = connect()
    connection.send(
        b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    assert connection.response().status == 200
    other = connect()
    other.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert other.response().status >= 400


def test_connections_that_come_and_go_leave_nothing(
    server: ServerProcess, connect: Connect, client: httpx.Client
) -> None:
    client.get("/health")
    before = server.usage().fds
    for part in (b"", b"GET /hea", b"POST /webrtc/offer HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{"):
        for _ in range(20):
            connection = connect()
            connection.send(part)
            connection.close()
    wait_until(lambda: server.usage().fds <= before, timeout_s=5, what="the connections to be closed")


def test_a_slow_reader_does_not_hold_up_others(connect: Connect, client: httpx.Client) -> None:
    connection = connect()
    request = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
    connection.socket.setblocking(False)
    try:
        while True:
            connection.socket.send(request * 100)
    except BlockingIOError:
        pass  # it waits for us to read
    started = time.perf_counter()
    assert client.get("/health").status_code == 200
    assert time.perf_counter() - started < 1
