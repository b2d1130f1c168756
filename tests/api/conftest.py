"""A server process for the tests of the HTTP routes, and clients that keep to HTTP or do not."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from peers.offers import make_offer, make_offer_sdp
from peers.server import ServerProcess, running

TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running(ServerProcess()) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as made:
        yield made


@dataclass(frozen=True)
class RawResponse:
    """`head` in lower case."""

    status: int
    head: str
    body: bytes


class RawConnection:
    """A TCP connection on which a test writes what it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self) -> RawResponse:
        """One response with a Content-Length."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        text = head.decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", text)
        while length and len(body) < int(length[1]):
            body += self._more()
        return RawResponse(int(text.split()[1]), text, body)

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection in the middle of a response")
        return data

    def is_closed(self) -> bool:
        """Whether the server ends the connection within the timeout."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()


Connect = Callable[[], RawConnection]


@pytest.fixture
def connect(server: ServerProcess) -> Iterator[Connect]:
    opened: list[RawConnection] = []

    def connect() -> RawConnection:
        opened.append(RawConnection(server.http_port))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def offer() -> Callable[..., dict[str, Any]]:
    return make_offer


@pytest.fixture
def offer_sdp() -> Callable[..., str]:
    return make_offer_sdp
