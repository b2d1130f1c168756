"""CPU time and memory of a running process, from /proc, and what the machine is."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path


def thread_cpu_seconds(pid: int) -> dict[int, float]:
    """User and system time by thread id, to the ns where the kernel tells (schedstat), else to the tick (stat).

    A thread that ends takes its time along; the servers here keep theirs. Raises FileNotFoundError if there is no such
    process.
    """
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found[int(task.name)] = _task_cpu_seconds(task)
    return found


def _task_cpu_seconds(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads together."""
    return sum(thread_cpu_seconds(pid).values())


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB (10^6 octets): proc(5), smaps_rollup."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)[1]) for name in ("Rss", "Pss")}  # type: ignore[index]
    return kib["Rss"] * 1024 / 1e6, kib["Pss"] * 1024 / 1e6


def machine() -> str:
    """One line: processor, cores, kernel, Python."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    mhz = re.search(r"^cpu MHz\s*:\s*(\d+)", cpuinfo, re.MULTILINE)
    name = model[1] if model else platform.machine()
    speed = f" at {mhz[1]} MHz" if mhz else ""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"{name}{speed}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def load_average() -> float:
    """Of the last minute: over 0.5 before the run, and the figures are not to be trusted."""
    return os.getloadavg()[0]
