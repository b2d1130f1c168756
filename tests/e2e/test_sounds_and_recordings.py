"""Sounds played into whole calls, and whole calls recorded, by ear at every end."""

from __future__ import annotations

import os
import resource
import signal
import time
from asyncio import to_thread
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from peers import audio
from peers.aiortc_client import VOICE_DBFS, VOICE_HZ, Client, dial
from peers.asterisk import Asterisk
from peers.chromium import caller
from peers.server import ServerProcess, left_idle, running
from playwright.async_api import Browser

SOUND_HZ, FIRST_HZ, MUSIC_HZ = 700.0, 1500.0, 350.0
PBX_HZ = 440.0
"""What Asterisk's 601 plays."""
LEVEL_DBFS = 20 * float(np.log10(0.3))


def with_sounds(process: ServerProcess) -> ServerProcess:
    process.add_sound("hello.wav", audio.sine(SOUND_HZ, 1.0, 44100), 44100)
    first, rest = audio.sine(FIRST_HZ, 0.15, 44100), audio.sine(SOUND_HZ, 1.5, 44100)
    process.add_sound("greeting.wav", np.concatenate((first, rest)), 44100)
    process.add_sound("music.wav", audio.sine(MUSIC_HZ, 0.4, 16000), 16000)
    return process


@pytest.fixture(scope="module")
def shared_server(asterisk: Asterisk) -> Iterator[ServerProcess]:
    tables = {"media": {"hold_music": "music.wav"}, "session": {"linger_s": 5}}
    with running(with_sounds(ServerProcess.for_asterisk(asterisk, tables))) as process:
        yield process


@pytest.fixture
def server(shared_server: ServerProcess, asterisk: Asterisk) -> Iterator[ServerProcess]:
    with left_idle(shared_server, asterisk):
        yield shared_server


async def order(client: Client, route: str, **body: Any) -> dict[str, Any]:
    body = {"callId": client.answer["call"]["call_id"], **body}
    response = await client.http.post(f"/api/call/{route}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def unfinished(path: str) -> bool:
    return Path(path + ".part").exists()


# -- playing


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_playback_is_heard_from_its_first_moment_to_its_last_then_hangs_up(
    server: ServerProcess, codec: str
) -> None:
    async with Client(server.url, codec=codec, events=True) as client:
        await client.call("playback/greeting.wav")
        await client.wait_closed(8)
        pcm, rate = client.heard.pcm()
        first, rest = audio.spans(pcm, rate, min_duration_s=0.05)
        assert first.frequency_hz == pytest.approx(FIRST_HZ, rel=0.03)
        assert first.duration_s >= 0.1
        assert rest.frequency_hz == pytest.approx(SOUND_HZ, rel=0.02)
        assert rest.duration_s == pytest.approx(1.5, abs=0.1)
        heard = audio.check_tone(audio.cut(pcm, rate, 0.5, 1.5), rate, SOUND_HZ, min_duration_s=0.95, max_gap_ms=20)
        assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=1.5)
        assert (await client.describe())["close_reason"] == "normal_clearing"


@pytest.mark.asyncio(loop_scope="session")
async def test_chromium_hears_playback(server: ServerProcess, chromium: Browser) -> None:
    async with caller(chromium, server.url) as page:
        await page.call("playback/greeting.wav")
        await page.wait_tone(SOUND_HZ)
        await page.wait_state("closed.at > 0", timeout_s=8)
        pcm, rate = await page.heard()
        found = {round(span.frequency_hz, -2) for span in audio.spans(pcm, rate, min_duration_s=0.08)}
        assert {1500, 700} <= found, "also its first 150 ms"
        (rest,) = audio.spans(pcm, rate, min_duration_s=0.5)
        assert rest.duration_s == pytest.approx(1.5, abs=0.15)
        middle = audio.cut(pcm, rate, rest.start_s + 0.3, rest.start_s + 1.2)
        heard = audio.check_tone(middle, rate, SOUND_HZ, min_duration_s=0.8, max_gap_ms=20)
        assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=3)


@pytest.mark.parametrize(("codec", "trunk"), [("PCMU", "ulaw"), ("opus", "ulaw")])
async def test_a_sound_is_played_to_the_far_end_and_the_call_comes_back(
    server: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with Client(server.url, codec=codec, events=True) as client:
        channel = await dial(client, asterisk, "601", trunk=trunk)
        await client.wait_tone(PBX_HZ)
        recording = asterisk.record(channel)
        assert (await order(client, "play", file="hello.wav", leg="sip"))["status"] == "playing"
        ended = await client.wait_event("play_ended")
        assert {key: ended[key] for key in ("leg", "file", "reason")} == {
            "leg": "sip",
            "file": "hello.wav",
            "reason": "finished",
        }
        heard = await client.listen(1.2)
        pcm, rate = await to_thread(recording.stop)
        heard.check_tone(PBX_HZ)  # the browser goes on hearing the PBX
        spoken = audio.spans(pcm, rate, min_duration_s=0.3)
        assert [span.frequency_hz for span in spoken][-2:] == [
            pytest.approx(SOUND_HZ, rel=0.03),
            pytest.approx(VOICE_HZ, rel=0.03),
        ]
        assert spoken[-2].duration_s == pytest.approx(1.0, abs=0.1)
        assert audio.measure(pcm, rate).longest_gap_ms <= 60
        await client.hang_up()


async def test_a_loop_in_both_legs_is_stopped_by_order(server: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        channel = await dial(client, asterisk, "601", trunk="ulaw")
        await client.wait_tone(PBX_HZ)
        recording = asterisk.record(channel)
        await order(client, "play", file="music.wav", leg="both", loop=True)
        await client.wait_tone(MUSIC_HZ)
        heard = await client.listen(1.0)
        heard.check_tone(MUSIC_HZ, min_duration_s=0.9)
        await order(client, "play", leg="both", stop=True)
        await client.wait_tone(PBX_HZ)
        await client.listen(0.6)
        pcm, rate = await to_thread(recording.stop)
        assert [round(span.frequency_hz, -1) for span in audio.spans(pcm, rate, min_duration_s=0.5)][-2:] == [
            MUSIC_HZ,
            VOICE_HZ,
        ]
        reasons = [event["data"]["reason"] for _, event in client.events if event["type"] == "play_ended"]
        assert reasons == ["stopped", "stopped"]
        await client.hang_up()


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
async def test_the_far_end_hears_music_while_the_browser_holds(
    server: ServerProcess, asterisk: Asterisk, direction: str
) -> None:
    async with Client(server.url, codec="PCMU") as client:
        channel = await dial(client, asterisk, "601", trunk="ulaw")
        await client.wait_tone(PBX_HZ)
        await client.reoffer(direction)
        recording = asterisk.record(channel)
        await client.wait(1.2)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, MUSIC_HZ, min_duration_s=0.9, max_gap_ms=20)
        await client.reoffer("sendrecv")
        await client.wait_tone(PBX_HZ)
        recording = asterisk.record(channel)
        await client.listen(0.8)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, VOICE_HZ, min_duration_s=0.5)
        await client.hang_up()


# -- recording


@pytest.mark.parametrize(("codec", "trunk", "rate"), [("PCMU", "ulaw", 8000), ("opus", "ulaw", 16000)])
async def test_each_side_of_a_call_is_on_its_channel(
    server: ServerProcess, asterisk: Asterisk, codec: str, trunk: str, rate: int
) -> None:
    async with Client(server.url, codec=codec, events=True) as client:
        await dial(client, asterisk, "601", trunk=trunk, record=True)
        await client.wait_recording("started")
        await client.wait_tone(PBX_HZ)
        await client.listen(2.5)
        session = await client.describe()
        assert session["recording"]["state"] == "recording"
        conversion = "relay" if codec == "PCMU" else "transcode"
        assert session["webrtc"]["media"]["conversion"] == session["sip"]["media"]["conversion"] == conversion
        await order(client, "record", record=False)
        stopped = await client.wait_recording("stopped")
        assert stopped["dropped_frames"] == 0
        assert stopped["path"] == session["recording"]["path"]
        left, right, found_rate = audio.read_recording(stopped["path"])
        assert found_rate == rate
        assert len(left) / rate == pytest.approx(stopped["duration_s"], abs=0.05)
        for channel, frequency, level in ((left, VOICE_HZ, VOICE_DBFS), (right, PBX_HZ, None)):
            heard = audio.check_tone(
                audio.cut(channel, rate, 1.0, stopped["duration_s"] - 0.2), rate, frequency, max_gap_ms=60
            )
            if level is not None:
                assert heard.level_dbfs == pytest.approx(level, abs=1)
        # The PBX's level is what the browser hears of it.
        pcm, heard_rate = client.heard.pcm()
        last = audio.level_dbfs(audio.cut(pcm, heard_rate, len(pcm) / heard_rate - 1))
        assert audio.level_dbfs(audio.cut(right, rate, 1.5, 2.5)) == pytest.approx(last, abs=1)
        await client.hang_up()


async def test_a_pause_is_silence_and_the_end_of_the_call_ends_the_recording(
    server: ServerProcess, asterisk: Asterisk
) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        await dial(client, asterisk, "601", trunk="ulaw")
        await client.wait_tone(PBX_HZ)
        first = await order(client, "record", record=True, tone=True)
        await client.wait_tone(1400)
        await client.wait_recording("started")
        await client.wait_tone(PBX_HZ)
        asked_s = time.monotonic()
        await order(client, "record", record=True, pause=True)
        await client.wait_recording("paused")
        paused_s = time.monotonic()
        await client.wait(0.6)
        shortest_ms = (time.monotonic() - paused_s) * 1000
        await order(client, "record", record=True, pause=False)
        await client.wait_recording("resumed")
        longest_ms = (time.monotonic() - asked_s) * 1000
        await client.listen(0.5)
        await client.hang_up()
        final = (await client.describe())["recording"]
        assert (final["state"], final["path"]) == ("stopped", first["path"])
        left, right, rate = audio.read_recording(final["path"])
        for channel, frequency in ((left, VOICE_HZ), (right, PBX_HZ)):
            heard = audio.measure(channel, rate)
            assert heard.frequency_hz == pytest.approx(frequency, rel=0.02)
            assert shortest_ms - 100 < heard.longest_gap_ms < longest_ms + 100


async def test_a_full_disk_is_an_event_and_the_call_goes_on(asterisk: Asterisk) -> None:
    with running(with_sounds(ServerProcess.for_asterisk(asterisk))) as server:
        assert server.process is not None
        async with Client(server.url, codec="PCMU", events=True) as client:
            await dial(client, asterisk, "601", trunk="ulaw")
            await client.wait_tone(PBX_HZ)
            # No file of the process may get larger: as good as a full disk. Its log has room for this test.
            limit = (server.folder / "log").stat().st_size + 60_000
            psutil.Process(server.process.pid).rlimit(resource.RLIMIT_FSIZE, (limit, limit))
            await order(client, "record", record=True)
            failed = await client.wait_recording("failed", timeout_s=15)  # it has room for as long as the log is
            assert failed["error"] == os.strerror(27)
            heard = await client.listen(1.0)
            heard.check_tone(PBX_HZ, min_duration_s=0.9)
            left, _, rate = audio.read_recording(failed["path"])
            audio.check_tone(left, rate, VOICE_HZ, min_duration_s=0.3)
            await client.hang_up()
        await to_thread(asterisk.wait_no_channels)


async def test_a_recording_of_a_killed_server_is_whole_after_its_next_start(asterisk: Asterisk) -> None:
    with running(ServerProcess.for_asterisk(asterisk)) as server:
        assert server.process is not None
        async with Client(server.url, codec="PCMU", events=True) as client:
            await dial(client, asterisk, "601", trunk="ulaw", record=True)
            path = (await client.wait_recording("started"))["path"]
            await client.wait_tone(PBX_HZ)
            await client.listen(1.5)
            server.process.send_signal(signal.SIGKILL)
            await to_thread(server.process.wait)
            server.process = None
        for channel in asterisk.channels():
            asterisk.hangup(channel)
        assert unfinished(path)
        await to_thread(server.start)
        assert not unfinished(path)
        left, right, rate = audio.read_recording(path)
        for channel_pcm, frequency in ((left, VOICE_HZ), (right, PBX_HZ)):
            audio.check_tone(audio.cut(channel_pcm, rate, 0.8), rate, frequency, min_duration_s=0.5)
        await to_thread(asterisk.wait_no_channels)
