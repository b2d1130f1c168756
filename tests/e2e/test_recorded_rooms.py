"""Recordings of whole rooms, by what is in the files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from peers import audio
from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk
from peers.in_process import in_process
from peers.rooms import VOICE_LEVEL_DBFS, call_id, heard_of, hears, level_of, members, post, room
from peers.server import ServerProcess
from peers.waiting import until


def is_whole(path: str) -> bool:
    return Path(path).exists()


def read_mix(path: str) -> tuple[audio.Pcm, int]:
    """One channel of the file, which has the same on both."""
    left, right, rate = audio.read_recording(path)
    assert np.array_equal(left, right)
    return left, rate


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_a_room_is_recorded_with_all_of_its_voices(workers: int, rate_hz: int, tmp_path: Path) -> None:
    voices = {500.0: "PCMU", 900.0: "opus", 1700.0: "PCMA"}
    tables = {"media": {"workers": workers, "recordings_dir": str(tmp_path)}, "conference": {"rate_hz": rate_hz}}
    async with in_process(tables) as server, members(server, "team", voices, events=True) as clients:
        first, second, third = clients
        await hears(first, [900, 1700], of=list(voices))
        answer = await post(first, "/api/rooms/team/record", {"record": True})
        assert (answer["room"], Path(answer["path"]).parent) == ("team", tmp_path)
        started = await third.wait_recording("started")
        assert (started["room"], started["path"]) == ("team", answer["path"])
        assert (await room(second, "team"))["recording"]["state"] == "recording"
        await asyncio.sleep(1.5)
        assert (await post(second, "/api/rooms/team/record", {"record": False}))["status"] == "stopping"
        stopped = await first.wait_recording("stopped")
        assert stopped["dropped_frames"] == 0
        pcm, rate = read_mix(answer["path"])
        assert rate == rate_hz
        assert len(pcm) / rate == pytest.approx(stopped["duration_s"], abs=0.05)
        middle = audio.cut(pcm, rate, 0.3, stopped["duration_s"] - 0.2)
        for frequency in voices:
            assert level_of(middle, rate, frequency) == pytest.approx(VOICE_LEVEL_DBFS, abs=1.5)
        await hears(first, [900, 1700], of=list(voices))


async def test_a_paused_recording_of_a_room_is_silent_and_all_members_hear_its_beep(tmp_path: Path) -> None:
    voices = {500.0: "PCMU", 900.0: "PCMU"}
    tables = {"media": {"recordings_dir": str(tmp_path)}}
    async with in_process(tables) as server, members(server, "team", voices, events=True) as (first, second):
        await hears(first, [900], of=list(voices))
        body = {"record": True, "tone": True}
        path = (await post(first, "/api/rooms/team/record", body))["path"]
        await asyncio.gather(first.wait_tone(1400), second.wait_tone(1400))
        await second.wait_recording("started")
        await hears(second, [500], of=list(voices))
        asked_s = time.monotonic()
        await post(first, "/api/rooms/team/record", {"record": True, "pause": True})
        await second.wait_recording("paused")
        paused_s = time.monotonic()
        await asyncio.sleep(0.6)
        shortest_ms = (time.monotonic() - paused_s) * 1000
        await post(first, "/api/rooms/team/record", {"record": True, "pause": False})
        await second.wait_recording("resumed")
        longest_ms = (time.monotonic() - asked_s) * 1000
        await asyncio.sleep(0.6)
        await post(first, "/api/rooms/team/record", {"record": False})
        await second.wait_recording("stopped")
        pcm, rate = read_mix(path)
        assert heard_of(pcm, rate, list(voices)) == list(voices)
        assert shortest_ms - 100 < audio.measure(pcm, rate).longest_gap_ms < longest_ms + 100


async def test_the_recording_of_a_room_ends_with_it_and_is_whole(tmp_path: Path) -> None:
    voices = {500.0: "PCMU", 900.0: "PCMU"}
    tables = {"media": {"recordings_dir": str(tmp_path)}}
    async with in_process(tables) as server, members(server, "team", voices, events=True) as (first, second):
        await hears(first, [900], of=list(voices))
        path = (await post(first, "/api/rooms/team/record", {"record": True}))["path"]
        await first.wait_recording("started")
        await asyncio.sleep(1)
        await first.hang_up()
        await asyncio.sleep(1)
        assert not is_whole(path), "there is still somebody in the room"
        await second.hang_up()
        await until(lambda: is_whole(path), timeout_s=3, what="the recording to be whole")
        pcm, rate = read_mix(path)
        both, alone = audio.cut(pcm, rate, 0.2, 0.9), audio.cut(pcm, rate, len(pcm) / rate - 0.8)
        assert heard_of(both, rate, list(voices)) == list(voices)
        assert heard_of(alone, rate, list(voices)) == [900]


async def test_the_end_of_the_server_ends_the_recording_of_a_room(tmp_path: Path) -> None:
    tables = {"media": {"recordings_dir": str(tmp_path)}}
    async with contextlib.AsyncExitStack() as stack:
        async with in_process(tables) as server:
            client = await stack.enter_async_context(server.client(codec="PCMU", frequency_hz=500, events=True))
            await client.call("conference/team")
            path = (await post(client, "/api/rooms/team/record", {"record": True}))["path"]
            await client.wait_recording("started")
            await asyncio.sleep(1)
        pcm, rate = read_mix(path)
        assert heard_of(audio.cut(pcm, rate, 0.3), rate, [500.0]) == [500]


async def test_a_room_whose_folder_cannot_be_made_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tables = {"media": {"recordings_dir": str(tmp_path / "file" / "folder")}}
    async with in_process(tables) as server, server.client(codec="PCMU") as client:
        await client.call("conference/team")
        answer = await post(client, "/api/rooms/team/record", {"record": True}, status=503)
        assert answer["reason"] == "recording_failed"
        assert (await room(client, "team"))["recording"] is None


async def test_a_call_that_leaves_its_recorded_room_is_told_that_the_file_is_whole(
    gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with Client(gateway.url, codec="PCMU", frequency_hz=1000, events=True) as client:
        await dial(client, asterisk, "601", trunk="ulaw")
        await client.wait_tone(440)
        await post(client, "/api/call/conference", {"callIds": [call_id(client)], "room": "alone"})
        answer = await post(client, "/api/rooms/alone/record", {"record": True})
        await client.wait_recording("started")
        await asyncio.sleep(1.2)
        await post(client, "/api/rooms/alone/kick", {"member": f"{call_id(client)}-webrtc"})
        stopped = await client.wait_recording("stopped")
        assert (stopped["room"], stopped["path"]) == ("alone", answer["path"])
        pcm, rate = read_mix(stopped["path"])
        assert heard_of(audio.cut(pcm, rate, 0.3), rate, [440.0, 1000.0]) == [440, 1000], "the PBX and the caller"
        await client.wait_tone(440)
        await client.hang_up()
