"""What every response goes through, without a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from sdpserver.api.application import create
from sdpserver.config import Config


@contextlib.asynccontextmanager
async def no_lifespan(_: Starlette) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("method", "path", "counted", "status"),
    [("GET", "/docs", "other", 200), ("GET", "/nope", "other", 404), ("POST", "/webrtc/close", "/webrtc/close", 400)],
)
async def test_who_has_a_response_finds_it_counted(method: str, path: str, counted: str, status: int) -> None:
    app = create(Config(), lifespan=no_lifespan)
    answered = app.state.http_statistics.answered
    at_the_end: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            at_the_end.append(answered[method, counted, str(status)])

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"2")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"", "app": app}
    await app(scope, receive, send)
    assert at_the_end == [1]
    assert sum(answered.values()) == 1
