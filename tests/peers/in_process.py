"""The server inside the test's own process: no start-up time, and every task, thread and file of it can be seen."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from .aiortc_client import Client
from .ports import claim_block, release_block
from .server import loopback
from .toml import dumps
from .waiting import until


class InProcess:
    """`client()` makes callers whose requests go to the application without a socket; media is UDP as ever."""

    def __init__(self, app: Starlette, url: str) -> None:
        self.app, self.url = app, url

    def client(self, **options: Any) -> Client:
        caller = Client(self.url, **options)
        caller.http = httpx.AsyncClient(base_url=self.url, transport=httpx.ASGITransport(self.app))
        return caller


@contextlib.asynccontextmanager
async def in_process(tables: Mapping[str, Any] | None = None) -> AsyncIterator[InProcess]:
    """Runs the application's lifespan on the test's loop; without trunks, since a process can have SIP only once."""
    from sdpserver.app import build
    from sdpserver.config_loader import load

    ports = claim_block()
    with tempfile.TemporaryDirectory(prefix="sdpserver-") as folder:
        records = {"records": {"url": f"sqlite:///{folder}/sdpserver.db"}}
        config = loopback(ports, records | dict(tables or {}))
        file = Path(folder) / "config.toml"
        file.write_text(dumps(config))
        app = build(load(file, {}))
        async with app.router.lifespan_context(app):
            # Else a test would see its database being opened meanwhile.
            await until(lambda: app.state.records.state == "ok", timeout_s=10, what="the call records")
            yield InProcess(app, f"http://127.0.0.1:{config['http']['port']}")
    release_block(ports)
