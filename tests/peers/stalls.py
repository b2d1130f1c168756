"""How long a test and the media plane in its process had no core, which no packet says: the kernel counts it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

BEARABLE_S = 0.01
"""Between two looks, a frame apart: what is not heard of."""


class Stalls:
    """Of the calling thread and of those called `media`. Look once a frame; with a core for each, all stays 0."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        """What was added between two looks at most, if more than is bearable."""
        self.total_s = 0.0
        """All that was more than is bearable."""
        tasks = Path("/proc/self/task")
        media = [task for task in tasks.iterdir() if (task / "comm").read_text() == "media\n"]
        self._files = [task / "schedstat" for task in (tasks / str(threading.get_native_id()), *media)]
        self._waited_s = self._read()

    def look(self) -> None:
        before_s, self._waited_s = self._waited_s, self._read()
        added_s = self._waited_s - before_s
        if added_s > BEARABLE_S:
            self.longest_s = max(self.longest_s, added_s)
            self.total_s += added_s

    def _read(self) -> float:
        """Ready to run, and not running: the second figure of each file, in ns. A kernel without it has no stalls."""
        waited_ns = 0
        for file in self._files:
            with contextlib.suppress(OSError):
                waited_ns += int(file.read_text().split()[1])
        return waited_ns / 1e9
