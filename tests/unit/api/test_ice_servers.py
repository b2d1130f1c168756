"""ICE servers from an outside service, with a service on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
import structlog

from sdpserver.api import ice_servers
from sdpserver.api.ice_servers import IceServers, turn_credentials
from sdpserver.config import Config, IceServer, IceService

STUN = IceServer(urls=["stun:own.example"])
ANSWER = b'[{"urls":"stun:s.example"},{"urls":["turn:t.example"],"username":"u","credential":"c","credentialType":"x"}]'


@dataclass
class Service:
    """A few lines of HTTP: what it was asked, and what it answers next."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    status: int = 200
    body: bytes = ANSWER
    hangs: bool = False
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().split(" ")[1])
        if self.hangs:
            await reader.read()
        else:
            length = len(self.body)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (self.status, length))
            writer.write(self.body)
        writer.close()
        await writer.wait_closed()


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/iceservers"
    async with server:
        yield made
        async with asyncio.timeout(5):  # its clients have gone, which it may not have heard of yet
            await asyncio.gather(*made.serving)


def of(service: Service) -> IceServers:
    return IceServers(Config(ice_servers=[STUN], ice_service=IceService(url=service.url, token="t&k")))


async def urls(servers: IceServers) -> list[list[str]]:
    return [server.urls for server in await servers.list_for("me")]


async def test_the_services_list_is_given_and_kept(service: Service) -> None:
    servers = of(service)
    answers = await asyncio.gather(*(servers.list_for("me") for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert [(server.urls, server.username, server.credential) for server in answers[0]] == [
        (["stun:s.example"], "", ""),
        (["turn:t.example"], "u", "c"),
    ]
    (asked,) = service.asked
    assert parse_qs(urlsplit(asked).query) == {"token": ["t&k"]}


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"oops"), (200, b"{}"), (200, b"\xff"), (200, b'[{"urls":1}]'), (200, b" " * 70_000), (302, b"")],
)
async def test_a_service_that_fails_leaves_the_configured_list(service: Service, status: int, body: bytes) -> None:
    service.status, service.body = status, body
    servers = of(service)
    with structlog.testing.capture_logs() as logs:
        assert await urls(servers) == [STUN.urls]
        assert await urls(servers) == [STUN.urls]
    assert len(service.asked) == 1  # it is not asked again at once
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "t&k" not in str(logs)
    assert "t%26k" not in str(logs)


async def test_a_service_that_hangs_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_servers, "SERVICE_TIMEOUT_S", 0.1)
    service.hangs = True
    assert await urls(of(service)) == [STUN.urls]


async def test_a_service_that_is_not_there_leaves_the_configured_list() -> None:
    assert await urls(of(Service(url="http://127.0.0.1:1/x"))) == [STUN.urls]


def test_turn_credentials_are_what_coturn_checks() -> None:
    # openssl: printf 1700000000:web | openssl dgst -sha1 -hmac north -binary | base64
    assert turn_credentials("north", "web", expires_at=1700000000) == ("1700000000:web", EXPECTED)


EXPECTED = "riCS6rIfprrT2p5AR3rh1O2+FnU="
