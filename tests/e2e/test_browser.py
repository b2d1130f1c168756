"""Whole calls with Chromium: its fake microphone says 1 kHz, and what it plays is judged frame by frame."""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest
from peers import audio
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ, Caller, caller, hear_each_other
from peers.server import ServerProcess, running
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")
KNOWN_S = 1.0

every_pair = [
    pytest.param(codec, trunk, id=f"{codec}-{trunk}")
    for codec in ("PCMU", "opus")
    for trunk in ("ulaw", "alaw", "opus")
]


async def dial(page: Caller, asterisk: Asterisk, to: str, **call: Any) -> str:
    """Call, and the name of Asterisk's channel."""
    mark = asterisk.ami.mark()
    await page.call(to, **call)
    return await to_thread(asterisk.wait_channel, since=mark)


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_browser_hears_its_voice_from_echo(chromium: Browser, gateway: ServerProcess, codec: str) -> None:
    async with caller(chromium, gateway.url) as page:
        await page.call("echo", codec=codec)
        await page.wait_tone(MICROPHONE_HZ)
        pcm, rate = await page.listen(1.5)
        audio.check_tone(pcm, rate, MICROPHONE_HZ, min_duration_s=1.4)
        state = await page.state()
        assert (state["codec"], state["packets_lost"]) == (f"audio/{codec}", 0)
        await page.hang_up()
        await page.wait_state("closed.at > 0")


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_browser_and_pbx_hear_the_voice_when_the_pbx_echoes(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "600", codec=codec, trunk=trunk)
        await hear_each_other(page, asterisk, channel)
        assert (await page.state())["codec"] == f"audio/{codec}"
        await page.hang_up()


async def test_redundant_audio_of_the_browser_reaches_the_pbx(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "600", codec="red opus", trunk="ulaw")
        await hear_each_other(page, asterisk, channel)
        assert (await page.state())["codec"] == "audio/opus"
        media = gateway.session(page.answer["session_id"])["webrtc"]["media"]
        assert (media["codec_received"], media["dropped_malformed"], media["dropped_payload_type"]) == ("red", 0, 0)
        await page.hang_up()


async def test_the_browsers_comfort_noise_is_heard_as_noise(chromium: Browser) -> None:
    """Chromium sends PCMU with RFC 3389 when it is answered so; here it is echoed, so that it hears its own."""
    with running(ServerProcess({"media": {"comfort_noise": True}})) as server:
        async with caller(chromium, server.url) as page:
            await page.call("echo", codec="PCMU CN")
            await page.wait_tone(MICROPHONE_HZ)
            await page.mute(True)
            await page.listen(0.5)
            before = server.session(page.answer["session_id"])["webrtc"]["media"]
            pcm, rate = await page.listen(1.0)
            after = server.session(page.answer["session_id"])["webrtc"]["media"]
            assert after["packets_received"] - before["packets_received"] < 25  # of 50 a second
            assert after["dropped_payload_type"] == 0
            assert audio.level_dbfs(pcm) < -40
            await page.mute(False)
            await page.wait_tone(MICROPHONE_HZ)
            pcm, rate = await page.listen(1.0)
            audio.check_tone(pcm, rate, MICROPHONE_HZ, min_duration_s=0.9)
            await page.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_the_browser_hears_440_hz_while_the_pbx_hears_the_voice(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", codec=codec, trunk=trunk)
        await hear_each_other(page, asterisk, channel, 440)
        await page.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_the_browser_hears_early_media_then_the_answer(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with caller(chromium, gateway.url) as page:
        await dial(page, asterisk, "604", codec=codec, trunk=trunk)
        await page.wait_tone(620, timeout_s=2)
        started_s = await page.position_s() - 0.2
        await page.wait_tone(440)
        await page.listen(1.2)
        pcm, rate = await page.heard(started_s)
        first, second = audio.spans(pcm, rate, min_duration_s=0.5)
        for span, frequency_hz, min_duration_s in ((first, 620, 1.8), (second, 440, 1.0)):
            part = audio.cut(pcm, rate, span.start_s + 0.05, span.start_s + span.duration_s - 0.05)
            audio.check_tone(part, rate, frequency_hz, min_duration_s=min_duration_s)
        kinds = [event["type"] for event in (await page.state())["events"]]
        assert kinds.index("early") < kinds.index("answered")
        await page.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_keys_pressed_in_the_browser_reach_the_pbx(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with caller(chromium, gateway.url) as page:
        mark = asterisk.ami.mark()
        channel = await dial(page, asterisk, "605", codec=codec, trunk=trunk)
        await to_thread(asterisk.wait_answered, channel)
        await page.wait_state("events.some(({type}) => type === 'first_rtp_in')")
        await page.press("2580")
        assert await to_thread(asterisk.wait_digits, since=mark) == "2580"
        assert asterisk.database("test", "dtmf") == "2580"
        await page.hang_up()


async def test_the_browser_hears_busy_and_is_told(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with caller(chromium, gateway.url) as page:
        await dial(page, asterisk, "602", trunk="any")
        await page.wait_state("events.some(({type, data}) => type === 'ended' && data.reason === 'busy')")
        await page.wait_tone(425)
        await page.wait_state("closed.at > 0")
        pcm, rate = await page.heard()
        tones = audio.spans(pcm, rate, min_duration_s=0.3)
        assert len(tones) >= 2
        assert [tone.frequency_hz for tone in tones] == pytest.approx([425.0] * len(tones), rel=0.02)


# -- the end, from either side


async def test_the_browser_knows_of_a_hangup_by_the_pbx(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        asked_ms = await page.page.evaluate("performance.now()")
        await to_thread(asterisk.hangup, channel)
        # The event and the end of DTLS come by two ways through the browser.
        await page.wait_state("closed.at > 0 && events.some(({type}) => type === 'ended')", timeout_s=2)
        state = await page.state()
        ended = next(event for event in state["events"] if event["type"] == "ended")
        assert ended["data"]["reason"] == "normal_clearing"
        assert ended["came"] - asked_ms < KNOWN_S * 1000
        assert state["closed_at"] - asked_ms < KNOWN_S * 1000


@pytest.mark.parametrize("how", ["hangUp()", "pc.close()"])
async def test_the_pbx_knows_of_a_hangup_in_the_browser(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk, how: str
) -> None:
    """A page that closes its connection may come back for `[session] resume_s`, which is most of the second."""
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        asked_s = time.monotonic()
        await page.page.evaluate(f"{{ {how} }}")
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - asked_s < KNOWN_S


async def test_the_pbx_knows_of_a_closed_tab(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        asked_s = time.monotonic()
        await page.page.goto("about:blank")
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - asked_s < KNOWN_S + 0.5  # the page's own end takes its time


# -- re-offers


async def test_a_reloaded_page_keeps_its_call(
    chromium: Browser, own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server({"session": {"resume_s": 5}}, asterisk=asterisk)  # a browser's start may take that long
    async with caller(chromium, server.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        answer = page.answer
        await page.page.reload()
        await page.resume(answer)
        await page.wait_tone(440)
        recording = asterisk.record(channel)
        pcm, rate = await page.listen(1.2)
        there = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, 440)
        audio.check_tone(*there, MICROPHONE_HZ)
        assert asterisk.channels() == [channel]
        await page.hang_up()


async def test_an_ice_restart_is_not_heard(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        recording = asterisk.record(channel)
        start_s = await page.position_s()
        await page.reoffer(ice_restart=True)
        await page.listen(1.5)
        pcm, rate = await page.heard(start_s)
        there = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, 440, min_duration_s=1.5)
        audio.check_tone(*there, MICROPHONE_HZ, min_duration_s=1.4)
        assert asterisk.channels() == [channel]
        await page.hang_up()


async def test_the_browser_holds_and_resumes(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with caller(chromium, gateway.url) as page:
        channel = await dial(page, asterisk, "601", trunk="any")
        await page.wait_tone(440)
        await page.reoffer(direction="inactive")
        recording = asterisk.record(channel)
        before = (await page.state())["packets_received"]
        await page.page.wait_for_timeout(1000)
        pcm, rate = await to_thread(recording.stop)
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.2)) < audio.SILENCE_DBFS
        assert (await page.state())["packets_received"] - before <= 5
        await page.reoffer(direction="sendrecv")
        await page.wait_tone(440)
        recording = asterisk.record(channel)
        pcm, rate = await page.listen(1.2)
        there = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, 440)
        audio.check_tone(*there, MICROPHONE_HZ)
        await page.hang_up()
