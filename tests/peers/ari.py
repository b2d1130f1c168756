"""Asterisk's REST interface: an application "test" that the dialplan's extension 630 hands its channels to."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import httpx
import orjson
from websockets.sync.client import connect

from .asterisk import Asterisk

_AUTH = ("test", "test")


class Ari:
    """Connected from `__enter__` on."""

    def __init__(self, asterisk: Asterisk) -> None:
        authority = f"127.0.0.1:{asterisk.http_port}"
        self._connecting = connect(f"ws://{authority}/ari/events?app=test&api_key=test:test", proxy=None)
        self._http = httpx.Client(base_url=f"http://{authority}/ari/", auth=_AUTH, trust_env=False, timeout=5)

    def __enter__(self) -> Self:
        self._events = self._connecting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._connecting.__exit__(kind, error, trace)

    def wait_channel(self, *, timeout_s: float = 5.0) -> str:
        """The id of the next channel that the application gets."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            event = orjson.loads(self._events.recv(timeout=max(0.0, deadline_s - time.monotonic())))
            if event["type"] == "StasisStart":
                return str(event["channel"]["id"])

    def post(self, path: str) -> None:
        self._http.post(path).raise_for_status()

    def delete(self, path: str) -> None:
        self._http.delete(path).raise_for_status()
