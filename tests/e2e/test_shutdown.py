"""SIGTERM with live calls and connected clients: everybody is told, nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable

import httpx
from peers.aiortc_client import VOICE_HZ, Client, dial
from peers.asterisk import Asterisk
from peers.server import ServerProcess


@contextlib.asynccontextmanager
async def event_stream(
    server: ServerProcess, session_id: str
) -> AsyncIterator[tuple[asyncio.Task[str], asyncio.Event]]:
    """A follower of a session's events; its task ends with the stream, and its result is all that came."""
    began = asyncio.Event()

    async def follow() -> str:
        text = ""
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as http,
            http.stream("GET", f"{server.url}/webrtc/sessions/{session_id}/events") as response,
        ):
            assert response.status_code == 200
            async for part in response.aiter_text():
                text += part
                began.set()
        return text

    task = asyncio.create_task(follow())
    try:
        yield task, began
    finally:
        task.cancel()
        await asyncio.wait([task])


def is_bound(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


async def test_sigterm_ends_calls_streams_and_the_process_in_time(
    own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server(asterisk=asterisk)
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Client(server.url, events=True)) for _ in range(4)]
        channels = [await dial(caller, asterisk, "601", trunk="any") for caller in callers[:3]]
        await callers[3].call("echo")
        for caller, frequency_hz in zip(callers, (440, 440, 440, VOICE_HZ), strict=True):
            await caller.wait_tone(frequency_hz)
        ringing = await stack.enter_async_context(Client(server.url))
        channels.append(await dial(ringing, asterisk, "603", trunk="any"))
        stream, began = await stack.enter_async_context(event_stream(server, callers[0].session_id))
        await asyncio.wait_for(began.wait(), 5)
        # Sockets that say nothing must not hold it either.
        _, idle = await asyncio.open_connection("127.0.0.1", server.http_port)
        half = await asyncio.open_connection("127.0.0.1", server.http_port)
        half[1].write(b"POST /webrtc/offer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        used = server.usage().udp

        asked_s = time.monotonic()
        await to_thread(server.terminate)  # judges the status, the time and the log

        for caller in (*callers, ringing):
            assert await caller.wait_closed(1) - asked_s < 2
        for channel in channels:
            hangup = await to_thread(asterisk.wait_hangup, channel)
            assert hangup.at_s - asked_s < 2
        text = await asyncio.wait_for(stream, 2)
        assert "server_shutdown" in text
        for port in used:
            assert not is_bound(port, socket.SOCK_DGRAM), port
        assert not is_bound(server.http_port, socket.SOCK_STREAM)
        idle.close()
        half[1].close()


async def test_sigterm_without_anybody_is_quick(own_server: Callable[..., ServerProcess]) -> None:
    server = own_server()
    assert await to_thread(server.terminate) < 2


async def test_sigterm_during_set_up_is_clean(own_server: Callable[..., ServerProcess], asterisk: Asterisk) -> None:
    server = own_server(asterisk=asterisk)
    mark = asterisk.ami.mark()
    async with Client(server.url) as half_open, Client(server.url) as waiting:
        # One has its answer and never connects; the other waits for a far end that only rings.
        half_open.answer = (await half_open.post_offer(to="echo")).json()
        offer = asyncio.create_task(waiting.post_offer(to="603", trunk="any", wait_for="answer"))
        channel = await to_thread(asterisk.wait_channel, since=mark)
        await to_thread(server.terminate)
        await to_thread(asterisk.wait_hangup, channel, timeout_s=2)
        (result,) = await asyncio.gather(offer, return_exceptions=True)
        if isinstance(result, httpx.Response):
            assert result.status_code in (409, 503), result.text
        else:
            assert isinstance(result, httpx.TransportError), result
