"""What must not end a call: silence that the direction allows, a mute button, a reloaded page."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import Callable, Iterator

import pytest
from peers import audio
from peers.aiortc_client import VOICE_HZ, Client, dial
from peers.asterisk import Asterisk, running_asterisk
from peers.server import ServerProcess, running

MEDIA_TIMEOUT_S = 1.5
RESUME_S = 5


@pytest.fixture(scope="module")
def shared_impatient(asterisk: Asterisk) -> Iterator[ServerProcess]:
    """A server that takes a silent SIP peer for dead after 1.5 s, and lets a page take 5 s to reload."""
    tables = {"session": {"media_timeout_s": MEDIA_TIMEOUT_S, "resume_s": RESUME_S}}
    with running(ServerProcess.for_asterisk(asterisk, tables)) as server:
        yield server


@pytest.fixture
def impatient(shared_impatient: ServerProcess, asterisk: Asterisk) -> Iterator[ServerProcess]:
    """That server; a test that failed in the middle of a call does not fail the next one too."""
    yield shared_impatient
    asterisk.wait_no_channels(timeout_s=RESUME_S + 2)


async def test_a_caller_that_only_listens_lives_on(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU", frequency_hz=None) as client:
        await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        heard = await client.listen(2 * MEDIA_TIMEOUT_S)
        heard.check_tone(440, min_duration_s=2.5)
        assert (await client.describe())["state"] == "connected"
        await client.hang_up()


async def test_a_caller_on_hold_lives_on_and_comes_back(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU") as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        await client.reoffer("inactive")
        recording = asterisk.record(channel)
        on_hold = await client.wait(2 * MEDIA_TIMEOUT_S)
        pcm, _ = await to_thread(recording.stop)
        assert audio.level_dbfs(pcm) < audio.SILENCE_DBFS
        assert len(on_hold.audio_packets) <= 5  # what was on its way
        assert (await client.describe())["state"] == "connected"
        await client.reoffer("sendrecv")
        await client.wait_tone(440)
        recording = asterisk.record(channel)
        await client.listen(1.2)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, VOICE_HZ)
        assert asterisk.channels() == [channel]
        await client.hang_up()


async def test_a_muted_caller_lives_on(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU") as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        assert client.track is not None
        client.track.frequency_hz = 0.0
        recording = asterisk.record(channel)
        heard = await client.listen(2 * MEDIA_TIMEOUT_S)
        pcm, rate = await to_thread(recording.stop)
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.3)) < audio.SILENCE_DBFS
        heard.check_tone(440, min_duration_s=2.5)
        await client.hang_up()


async def test_a_call_that_rings_outlives_the_media_timeout(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU") as client:
        await dial(client, asterisk, "603", trunk="any")
        await client.listen(2 * MEDIA_TIMEOUT_S)
        assert (await client.describe())["state"] == "ringing"
        await client.hang_up()


async def test_a_reloaded_page_keeps_its_call(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="opus") as before:
        channel = await dial(before, asterisk, "601", trunk="any")
        await before.wait_tone(440)
        await before.pc.close()
        answer = before.answer
    async with Client(impatient.url, codec="opus") as after:
        tokens = {key: answer[key] for key in ("session_id", "resume_token")}
        await after.call(body=tokens)
        await after.wait_tone(440)
        recording = asterisk.record(channel)
        heard = await after.listen(1.2)
        pcm, rate = await to_thread(recording.stop)
        heard.check_tone(440)
        audio.check_tone(pcm, rate, VOICE_HZ)
        assert asterisk.channels() == [channel]
        await after.hang_up()


async def test_a_page_that_takes_over_closes_the_earlier_one(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU") as before, Client(impatient.url, codec="PCMU") as after:
        channel = await dial(before, asterisk, "601", trunk="any")
        await before.wait_tone(440)
        tokens = {key: before.answer[key] for key in ("session_id", "resume_token")}
        await after.call(body=tokens)
        await before.wait_closed(1)
        await after.wait_tone(440)
        assert asterisk.channels() == [channel]
        await after.hang_up()


async def test_a_page_without_the_token_is_refused_and_hurts_nobody(
    impatient: ServerProcess, asterisk: Asterisk
) -> None:
    async with Client(impatient.url, codec="PCMU") as owner, Client(impatient.url, codec="PCMU") as stranger:
        await dial(owner, asterisk, "601", trunk="any")
        await owner.wait_tone(440)
        for tokens in ({}, {"resume_token": "x" * 32}):
            response = await stranger.post_offer({"session_id": owner.session_id, **tokens})
            assert (response.status_code, response.json()["reason"]) == (409, "session_exists")
        (await owner.listen(1.2)).check_tone(440)
        await owner.hang_up()


async def test_a_caller_changes_direction_both_ways(impatient: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(impatient.url, codec="PCMU") as client:
        channel = await dial(client, asterisk, "601", trunk="any")
        await client.wait_tone(440)
        await client.reoffer("sendonly")
        recording = asterisk.record(channel)
        heard = await client.wait(1.2)
        pcm, rate = await to_thread(recording.stop)
        assert len(heard.audio_packets) <= 5
        audio.check_tone(pcm, rate, VOICE_HZ)
        await client.reoffer("recvonly")
        await client.wait_tone(440)
        recording = asterisk.record(channel)
        (await client.listen(1.2)).check_tone(440)
        pcm, rate = await to_thread(recording.stop)
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.2)) < audio.SILENCE_DBFS
        await client.hang_up()


# -- and what must


async def test_a_pbx_that_freezes_ends_the_call_with_media_timeout(
    own_server: Callable[..., ServerProcess],
) -> None:
    with running_asterisk() as pbx:
        server = own_server({"session": {"media_timeout_s": MEDIA_TIMEOUT_S}}, asterisk=pbx)
        async with Client(server.url, codec="PCMU", events=True) as client:
            await dial(client, pbx, "601", trunk="any")
            await client.wait_tone(440)
            loop = asyncio.get_running_loop()
            frozen_s = loop.time()
            pbx.freeze()
            ended = await client.wait_event("ended", timeout_s=MEDIA_TIMEOUT_S + 2)
            assert ended["reason"] == "media_timeout"
            assert MEDIA_TIMEOUT_S - 0.1 < ended["came_s"] - frozen_s < MEDIA_TIMEOUT_S + 1
            await client.wait_closed(1)
            pbx.thaw()
            await to_thread(pbx.wait_no_channels)


async def test_calls_work_again_after_the_pbx_died_and_came_back(own_server: Callable[..., ServerProcess]) -> None:
    with running_asterisk() as pbx:
        server = own_server({"session": {"media_timeout_s": MEDIA_TIMEOUT_S}}, asterisk=pbx)
        async with Client(server.url, codec="PCMU") as one, Client(server.url, codec="opus") as two:
            for client in (one, two):
                await dial(client, pbx, "601", trunk="any")
                await client.wait_tone(440)
            await to_thread(pbx.kill)
            for client in (one, two):
                await client.wait_closed(MEDIA_TIMEOUT_S + 2)
                assert (await client.describe())["close_reason"] == "media_timeout"
        await to_thread(pbx.start)
        async with Client(server.url, codec="PCMU") as client:
            await dial(client, pbx, "600", trunk="any")
            await client.wait_tone(VOICE_HZ)
            (await client.listen(1.2)).check_tone(VOICE_HZ)
            await client.hang_up()
