"""Ports that no one else on this machine has, also while several test runs share it.

Blocks of ports below the kernel's ephemeral range are claimed by file locks, which end with the process or when whoever
has the ports gives them back. The search goes on where the last one ended, so that late packets find nobody.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

BLOCK = 500
_FIRST, _LAST = 10_000, 32_500
_locks: dict[int, IO[bytes]] = {}
_next = os.getpid() * 7


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


def claim_block() -> range:
    """`BLOCK` ports that nothing is bound to, this process's until `release_block` or its end."""
    global _next
    folder = Path(tempfile.gettempdir()) / "sdpserver-test-ports"
    folder.mkdir(exist_ok=True)
    count = (_LAST - _FIRST) // BLOCK
    for _ in range(count):
        _next += 1
        first = _FIRST + _next % count * BLOCK
        lock = (folder / str(first)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if all(_is_free(port) for port in range(first, first + BLOCK)):
            _locks[first] = lock
            return range(first, first + BLOCK)
        lock.close()
    raise RuntimeError("no block of free ports is left for the tests")


def release_block(ports: range) -> None:
    """Nothing is bound to them any more. Idempotent."""
    if (lock := _locks.pop(ports.start, None)) is not None:
        lock.close()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One loopback port that was free a moment ago, for a test of its own."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
