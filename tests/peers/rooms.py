"""Clients in rooms: who hears whom, by the frequencies in what each one hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from . import audio
from .aiortc_client import Client
from .in_process import InProcess

HEARD_DBFS, UNHEARD_DBFS = -25.0, -45.0
VOICE_LEVEL_DBFS = -10.5
"""A tone that is mixed keeps its level; one that is not heard is at least 20 dB below.

The voices are 500, 900 and 1700 Hz, because a codec that distorts two tones adds their sum, their difference and so on:
none of these products may fall on the third voice.
"""


def level_of(pcm: audio.Pcm, rate: int, frequency_hz: float) -> float:
    """Of this frequency in a recording, in dBFS: the median of windows of 100 ms."""
    window = rate // 10
    frames = pcm[: len(pcm) // window * window].reshape(-1, window) * np.hanning(window)
    wave = np.exp(-2j * np.pi * frequency_hz * np.arange(window) / rate)
    levels = np.abs(frames @ wave) / np.hanning(window).sum() * 2
    return 20 * float(np.log10(max(float(np.median(levels)), 1e-6)))


def heard_of(pcm: audio.Pcm, rate: int, frequencies: list[float]) -> list[float]:
    """Which of these are in a recording. What is neither clearly there nor clearly absent is an error."""
    levels = {frequency: level_of(pcm, rate, frequency) for frequency in frequencies}
    assert all(not UNHEARD_DBFS < level < HEARD_DBFS for level in levels.values()), levels
    return [frequency for frequency, level in levels.items() if level >= HEARD_DBFS]


async def hears(client: Client, frequencies: list[float], *, of: list[float], timeout_s: float = 4.0) -> None:
    """Until the last second of what a client hears has these of the frequencies `of`, and no others."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        pcm, rate = (await client.listen(0.6)).pcm()
        levels = {frequency: round(level_of(pcm, rate, frequency), 1) for frequency in of}
        found = [frequency for frequency in of if levels[frequency] >= HEARD_DBFS]
        clear = all(not UNHEARD_DBFS < level < HEARD_DBFS for level in levels.values())
        if clear and found == frequencies:
            return
        assert loop.time() < deadline, f"heard {levels} instead of {frequencies}"


def call_id(client: Client) -> str:
    found: str = client.answer["call"]["call_id"]
    return found


async def post(client: Client, path: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    response = await client.http.post(path, json=body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def room(client: Client, name: str) -> dict[str, Any]:
    response = await client.http.get(f"/api/rooms/{name}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@contextlib.asynccontextmanager
async def members(
    server: InProcess, name: str, voices: dict[float, str], **options: Any
) -> AsyncIterator[list[Client]]:
    """Clients in a room, with their codecs by their frequencies."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for frequency, codec in voices.items():
            client = await stack.enter_async_context(server.client(codec=codec, frequency_hz=frequency, **options))
            await client.call(f"conference/{name}")
            clients.append(client)
        yield clients
