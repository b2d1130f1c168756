"""Two DTLS ends in one process, with a wire between them that can lose datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sdpserver.webrtc.aiortc_private import Certificate, DtlsTransport, Wire


class End:
    """One side: its association, its keys, and what it has put on the wire."""

    def __init__(self, role: str) -> None:
        self.certificate = Certificate.generateCertificate()
        self.wire = Wire(self._send)
        self.keys: tuple[Any, ...] = ()
        self.dtls = DtlsTransport(self.wire, self.certificate, role, self._on_keys)
        self.other: End | None = None
        self.sent: list[tuple[float, bytes]] = []
        self.loses: Callable[[int], bool] = lambda number: False
        """Whether the datagram of this number, from 0, is lost."""

    @property
    def fingerprints(self) -> frozenset[tuple[str, str]]:
        return frozenset({("sha-256", self.certificate.sha256)})

    def _on_keys(self, *keys: Any) -> None:
        self.keys = keys

    def _send(self, datagram: bytes) -> None:
        number = len(self.sent)
        self.sent.append((asyncio.get_running_loop().time(), datagram))
        if self.other is not None and not self.loses(number):
            asyncio.get_running_loop().call_soon(self.other.wire.deliver, datagram)


def pair() -> tuple[End, End]:
    """(client, server)"""
    client, server = End("client"), End("server")
    client.other, server.other = server, client
    return client, server


async def connect(client: End, server: End) -> tuple[bool, bool]:
    async with asyncio.timeout(5):
        one, two = await asyncio.gather(
            client.dtls.connect(server.fingerprints), server.dtls.connect(client.fingerprints)
        )
    return one, two
