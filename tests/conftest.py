"""What all tests share: the peers that cost time to start, and the guard against what a test leaves behind.

asterisk      a real Asterisk, for the whole run          peers/asterisk.py
gateway       a real server with trunks to it, also for the whole run; every test leaves it idle
chromium      a real browser (tests that use it run on the session's loop)
own_server    makes servers with a configuration of their own
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from peers import chromium as chromium_peer
from peers.asterisk import Asterisk, running_asterisk
from peers.descriptors import open_files
from peers.server import ServerProcess, left_idle, running
from peers.waiting import until, wait_until
from playwright.async_api import Browser

_GRACE_S = 2.0

# How long an example takes, or is thought up, says more of the machine than of the code: 200 ms are soon gone by.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaks(why): the test may leave threads, files or tasks behind")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in Path(item.path).parts:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(90))  # a test's own comes before it
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function) and _has_own_loop(item):
            item.fixturenames.insert(0, "no_task_left_behind")


def _has_own_loop(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("asyncio")
    return marker is None or marker.kwargs.get("loop_scope", "function") == "function"


@pytest.fixture(autouse=True, scope="module")
def no_long_collections() -> None:
    """What a long run has piled up is not looked through again by the garbage collector: with a gigabyte of it, that
    would stop the tests' own senders and receivers for longer than the gaps that they look for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads and files of this process are after a test what they were before it."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    if request.node.get_closest_marker("leaks"):
        return

    def new_threads() -> list[str]:
        # A loop's default executor belongs to the loop, which pytest-asyncio closes later.
        return [
            thread.name
            for thread in threading.enumerate()
            if thread not in threads and not thread.name.startswith("asyncio_")
        ]

    def new_files() -> list[str]:
        return [target for fd, target in open_files().items() if files.get(fd) != target]

    if new_threads() or len(open_files()) > len(files):
        gc.collect()
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: not new_threads() and len(open_files()) <= len(files),
                timeout_s=_GRACE_S,
                what="the test's end",
            )
    assert not new_threads(), f"threads left behind: {new_threads()}"
    assert len(open_files()) <= len(files), f"files left open: {new_files()}"


@pytest_asyncio.fixture
async def no_task_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The tasks of a test's loop are done when it ends. Put first, so it is the last to be torn down."""
    yield
    if request.node.get_closest_marker("leaks"):
        return
    mine = asyncio.current_task()

    def left() -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task is not mine and not task.done()]

    with contextlib.suppress(TimeoutError):
        await until(lambda: not left(), timeout_s=_GRACE_S, what="the test's tasks")
    assert not left(), f"tasks left behind: {left()}"


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """One for all tests that leave it running, with a user held to each codec."""
    with running_asterisk() as peer:
        yield peer


@pytest.fixture(scope="session")
def shared_gateway(asterisk: Asterisk) -> Iterator[ServerProcess]:
    """Use `gateway`, which also looks at what a test leaves."""
    tables = {"session": {"setup_timeout_s": 10, "linger_s": 5}}
    with running(ServerProcess.for_asterisk(asterisk, tables)) as server:
        yield server


@pytest.fixture
def gateway(shared_gateway: ServerProcess, asterisk: Asterisk) -> Iterator[ServerProcess]:
    """The server that most tests call; a test that leaves a session or a channel behind fails."""
    with left_idle(shared_gateway, asterisk):
        yield shared_gateway


@pytest.fixture
def own_server() -> Iterator[Callable[..., ServerProcess]]:
    """`own_server(tables, asterisk=None)`: a running server of the test's own, stopped and judged at the end."""
    with contextlib.ExitStack() as stack:

        def start(tables: Mapping[str, Any] | None = None, *, asterisk: Asterisk | None = None) -> ServerProcess:
            server = ServerProcess(tables) if asterisk is None else ServerProcess.for_asterisk(asterisk, tables)
            return stack.enter_context(running(server))

        yield start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests; each opens pages of its own with `peers.chromium.caller`."""
    async with chromium_peer.browser() as process:
        yield process
