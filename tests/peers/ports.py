"""Ports that no one else on this machine has, also while several test runs share it.

Blocks of ports below the kernel's ephemeral range are claimed by file locks, which end with the process.
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
_locks: list[IO[bytes]] = []


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
    """`BLOCK` ports that nothing is bound to, this process's until it ends."""
    folder = Path(tempfile.gettempdir()) / "sdpserver-test-ports"
    folder.mkdir(exist_ok=True)
    count = (_LAST - _FIRST) // BLOCK
    for step in range(count):
        first = _FIRST + (os.getpid() * 7 + step) % count * BLOCK
        lock = (folder / str(first)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if all(_is_free(port) for port in range(first, first + BLOCK)):
            _locks.append(lock)
            return range(first, first + BLOCK)
        lock.close()
    raise RuntimeError("no block of free ports is left for the tests")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One loopback port that was free a moment ago, for a test of its own."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
