"""A trunk over TLS: its certificate is checked, or nothing is said to it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from peers.certificates import Authority

from sdpserver.errors import SipTimeout
from sdpserver.sip import RegistrationState

from .conftest import running_caller


@dataclass
class BusyServer:
    """Says 486 to each INVITE, and yes to each REGISTER."""

    port: int = 0
    invites: int = 0
    registers: list[str] = field(default_factory=list)

    def _response(self, head: str, status: str, *repeated: str) -> bytes:
        names = ("Via", "From", "Call-ID", "CSeq", *repeated)
        kept = [line for line in head.split("\r\n") if line.startswith(names)]
        to = next(line for line in head.split("\r\n") if line.startswith("To:")) + ";tag=t"
        return "\r\n".join([f"SIP/2.0 {status}", *kept, to, "Content-Length: 0", "", ""]).encode()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")
                )
                await reader.readexactly(length)
                if head.startswith("INVITE "):
                    self.invites += 1
                    writer.write(self._response(head, "486 Busy Here"))
                elif head.startswith("REGISTER "):
                    self.registers.append(head)
                    writer.write(self._response(head, "200 OK", "Expires"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the caller is gone, which is how each connection ends
        finally:
            writer.close()


@pytest.fixture
async def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[BusyServer]:
    """Its certificate is for localhost."""
    busy = BusyServer()
    context = authority.server_context(x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2")))
    listener = await asyncio.start_server(busy.talk, "127.0.0.1", 0, ssl=context)
    busy.port = listener.sockets[0].getsockname()[1]
    yield busy
    listener.close()
    await listener.wait_closed()


async def test_a_trunk_with_a_good_certificate(server: BusyServer, authority: Authority) -> None:
    sip = {"transports": ["tls"], "tls_ca": str(authority.ca)}
    async with running_caller(f"localhost:{server.port}", transport="tls", sip=sip) as caller:
        _, events = await caller.call()
        assert (await events.ended()).reason == "busy"
    assert server.invites == 1


@pytest.mark.parametrize("what", ["authority", "name"])
async def test_a_trunk_with_a_wrong_certificate_is_told_nothing(
    server: BusyServer, authority: Authority, tmp_path: Path, what: str
) -> None:
    ca = Authority(tmp_path, "other").ca if what == "authority" else authority.ca
    host = "localhost" if what == "authority" else "127.0.0.1"
    sip = {"transports": ["udp", "tls"], "tls_ca": str(ca)}
    async with running_caller(f"{host}:{server.port}", transport="tls", sip=sip) as caller:
        _, events = await caller.call()
        assert (await events.ended()).reason == "trunk_unreachable"
    assert server.invites == 0


async def test_a_dn_is_registered_over_tls(server: BusyServer, authority: Authority) -> None:
    sip = {"transports": ["tls"], "tls_ca": str(authority.ca)}
    async with running_caller(f"localhost:{server.port}", transport="tls", sip=sip) as caller:
        registration = await caller.endpoint.register("1002", "pw", trunk=caller.trunk, on_change=lambda _: None)
        assert registration.state is RegistrationState.REGISTERED
        port = caller.endpoint.ports["tls"]
        assert f"Contact: <sip:1002@127.0.0.1:{port};transport=tls>\r\n" in server.registers[0]
    assert "Expires: 0\r\n" in server.registers[-1]


async def test_a_registrar_with_a_wrong_certificate_is_told_nothing(server: BusyServer, authority: Authority) -> None:
    sip = {"transports": ["tls"], "tls_ca": str(authority.ca)}
    async with running_caller(f"127.0.0.1:{server.port}", transport="tls", sip=sip) as caller:
        with pytest.raises(SipTimeout) as caught:
            await caller.endpoint.register("1002", "pw", trunk=caller.trunk, on_change=lambda _: None)
        assert caught.value.reason == "trunk_unreachable"
    assert not server.registers
