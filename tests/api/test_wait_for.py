"""Offers that wait for the far end: a PBX that never says a word, and clients that lose patience."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from peers.server import ServerProcess, running
from peers.waiting import wait_until

from .conftest import RawConnection

Offer = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def silent_pbx() -> Iterator[socket.socket]:
    """Takes datagrams, answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pbx:
        pbx.bind(("127.0.0.1", 0))
        pbx.settimeout(5)
        yield pbx


@pytest.fixture(scope="module")
def server(silent_pbx: socket.socket) -> Iterator[ServerProcess]:
    tables = {
        "trunks": [{"name": "pbx", "server": f"127.0.0.1:{silent_pbx.getsockname()[1]}"}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
        "session": {"max_sessions": 2},
    }
    with running(ServerProcess(tables)) as process:
        yield process


def receive_invite(pbx: socket.socket, number: str) -> None:
    while not pbx.recv(65536).startswith(b"INVITE sip:%b@" % number.encode()):
        pass


def sessions(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/webrtc/sessions").json()["sessions"]
    return found


def test_a_client_that_leaves_while_it_waits_ends_the_call(
    server: ServerProcess, silent_pbx: socket.socket, client: httpx.Client, offer: Offer
) -> None:
    body = orjson.dumps(offer(session_id="waiting", call={"to": "1001", "wait_for": "answer"}))
    connection = RawConnection(server.http_port)
    connection.send(
        b"POST /webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    connection.send(body)
    receive_invite(silent_pbx, "1001")
    assert [session["session_id"] for session in sessions(client)] == ["waiting"]
    connection.close()
    took_s = wait_until(lambda: not sessions(client), timeout_s=3, what="the session to be closed")
    assert took_s < 1
    assert client.get("/webrtc/sessions/waiting").json()["close_reason"] == "client_disconnected"


def test_ring_timeout_is_an_error_of_the_sip_side(client: httpx.Client, offer: Offer) -> None:
    waiting = offer(call={"to": "1002", "wait_for": "answer", "ring_timeout_s": 0.3})
    response = client.post("/webrtc/offer", json=waiting)
    assert response.status_code == 504, response.text
    assert response.json()["code"] == 504
    assert response.json()["session_id"]
    assert sessions(client) == []


def test_a_full_server_says_when_to_come_back(client: httpx.Client, offer: Offer) -> None:
    opened = [client.post("/webrtc/offer", json=offer()).json()["session_id"] for _ in range(2)]
    refused = client.post("/webrtc/offer", json=offer())
    assert (refused.status_code, refused.json()["reason"]) == (503, "full")
    assert int(refused.headers["retry-after"]) > 0
    for session_id in opened:
        client.post("/webrtc/close", json={"session_id": session_id})
    again = client.post("/webrtc/offer", json=offer())
    assert again.status_code == 200
    client.post("/webrtc/close", json={"session_id": again.json()["session_id"]})


def test_without_waiting_the_answer_comes_at_once(
    silent_pbx: socket.socket, client: httpx.Client, offer: Offer
) -> None:
    response = client.post("/webrtc/offer", json=offer(call={"to": "1003"}))
    assert response.status_code == 200
    assert response.elapsed.total_seconds() < 0.25
    receive_invite(silent_pbx, "1003")
    client.post("/webrtc/close", json={"session_id": response.json()["session_id"]})
    assert sessions(client) == []
