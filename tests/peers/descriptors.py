"""What this process has open."""

from __future__ import annotations

import contextlib
from pathlib import Path


def open_files() -> dict[int, str]:
    """Each descriptor and what it is of. Claimed ports keep their lock files until the process ends, so that no other
    run takes the ports: those are not told, nor is the folder that this is read from."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(link.name)] = str(link.readlink())
    return {
        fd: target
        for fd, target in found.items()
        if not target.startswith("/proc/") and "/sdpserver-test-ports/" not in target
    }
