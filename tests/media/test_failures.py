"""What the engine does when the system refuses it something."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from .plane import PCMU, Plane, rtp


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Those that are open stay; none can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_leg_that_no_descriptor_is_left_for_is_refused_and_costs_nothing(plane: Plane) -> None:
    pbx = plane.rtp_leg([PCMU])
    plane.engine.set_source_leg(pbx.leg, pbx.leg)
    plane.settle()
    open_before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with no_more_descriptors():
        for _ in range(20):  # more often than there are pairs
            with pytest.raises(OSError, match="Too many open files"):
                plane.engine.create_rtp_leg(0)
        pbx.send(rtp(1))
        assert pbx.receive().payload == rtp(1).payload, "calls go on"
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == open_before
    assert plane.engine.create_rtp_leg(0)[1] % 2 == 0, "no pair is lost"


# A worker whose epoll cannot watch a leg's socket, since it has become a file behind its back: what a command does on
# a worker fails seldom, and cannot be made to from outside. In a process of its own, whose descriptors it may break.
BROKEN_SOCKET = """
    import os, socket
    from pathlib import Path
    from sdpserver import _media
    from tests.media.plane import PCMU, Plane, rtp

    with Plane(workers=2, io="epoll") as plane:
        broken, sound = plane.rtp_leg([PCMU]), plane.rtp_leg([PCMU], worker=1)
        plane.engine.set_source_leg(sound.leg, broken.leg)
        plane.settle(0)
        for name in os.listdir("/proc/self/fd"):
            try:
                found = socket.socket(fileno=os.dup(int(name)))
            except OSError:
                continue
            with found:
                ours = found.type == socket.SOCK_DGRAM and found.getsockname()[1] == broken.leg_port
            if ours:
                file = os.open("/etc/hostname", os.O_RDONLY)
                os.dup2(file, int(name))
                os.close(file)
        plane.engine.move_rtp_leg(broken.leg, 1)
        kind, leg, _, why = plane.wait(_media.FAILED, broken.leg)
        print(why.decode())

        # It is that leg's end, and no other's.
        plane.engine.set_source_leg(sound.leg, sound.leg)
        plane.settle(1)
        sound.send(rtp(1))
        assert sound.receive().payload == rtp(1).payload
        plane.engine.set_direction(broken.leg, True, True)
        plane.engine.remove_leg(broken.leg)
        plane.settle(1)
        assert plane.engine.counters(0)["legs"] == 0
        assert plane.count(_media.FAILED, sound.leg) == 0
"""


def test_a_command_that_fails_on_its_worker_ends_the_leg_with_an_event() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BROKEN_SOCKET)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), "tests", "."])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not permitted" in done.stdout, "why"
