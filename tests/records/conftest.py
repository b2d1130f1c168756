"""The databases that call records are written to: a file of SQLite, and a real PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import PostgreSql, running_postgresql
from peers.server import ServerProcess, running

from .caller import Caller

Start = Callable[..., tuple[ServerProcess, Caller]]


@pytest.fixture(scope="session")
def shared_postgresql() -> Iterator[PostgreSql]:
    with running_postgresql() as peer:
        yield peer


@pytest.fixture
def postgresql() -> Iterator[PostgreSql]:
    """One that the test may stop."""
    with running_postgresql() as peer:
        yield peer


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    url: str = request.getfixturevalue("shared_postgresql").create_database()
    return url


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(url, **records)`: a server that writes there, and who calls it."""
    with contextlib.ExitStack() as stack:

        def start(url: str, tables: Mapping[str, Any] | None = None, **records: Any) -> tuple[ServerProcess, Caller]:
            config = {"records": {"url": url, **records}, "log": {"level": "info"}, **(tables or {})}
            server = stack.enter_context(running(ServerProcess(config)))
            caller = Caller(server.url)
            stack.callback(caller.http.close)
            return server, caller

        yield start
