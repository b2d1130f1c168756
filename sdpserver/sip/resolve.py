"""Where a trunk's server is. Names are looked up here, off the SIP thread: pjsip's own look-up blocks it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from .address import Server

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """`addresses`: all that the name has, the one in use first. `local_ip`: ours toward it."""

    server: Server
    addresses: tuple[str, ...]
    local_ip: str


async def resolve(server: Server, *, v6: bool, timeout_s: float = TIMEOUT_S) -> Resolved:
    """Look a server up in the hosts file and the DNS (A or AAAA; no SRV).

    :raises OSError: it has no address of that family, or the look-up took too long.
    """
    family = socket.AF_INET6 if v6 else socket.AF_INET
    loop = asyncio.get_running_loop()
    flags = socket.AI_NUMERICHOST if server.is_address else 0
    look_up = loop.getaddrinfo(server.host, server.port, family=family, type=socket.SOCK_DGRAM, flags=flags)
    infos = await asyncio.wait_for(look_up, timeout_s)
    addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
    return Resolved(server, addresses, _local_ip(family, addresses[0], server.port))


def _local_ip(family: socket.AddressFamily, ip: str, port: int) -> str:
    """The source address that the kernel takes toward it; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((ip, port))
        return str(probe.getsockname()[0])
