"""Whole calls without a browser: aiortc -> the gateway -> Asterisk, judged by what each end hears."""

from __future__ import annotations

import asyncio
from asyncio import to_thread

import pytest
from peers import audio
from peers.aiortc_client import VOICE_DBFS, VOICE_HZ, Client, dial
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import until

NAMES = {"ulaw": "PCMU", "alaw": "PCMA", "opus": "opus", "g722": "G722"}

every_pair = [
    pytest.param(codec, trunk, id=f"{codec}-{trunk}")
    for codec in ("PCMU", "opus", "G722")
    for trunk in ("ulaw", "alaw", "opus", "g722")
]


def conversion(codec: str, trunk: str) -> str:
    """What the media plane must do between these two: no work where none is needed."""
    if codec == NAMES[trunk]:
        return "relay"
    return "convert" if {codec, NAMES[trunk]} <= {"PCMU", "PCMA"} else "transcode"


# -- built-in far ends


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "opus"])
async def test_echo_sends_the_callers_voice_back(gateway: ServerProcess, codec: str) -> None:
    async with Client(gateway.url, codec=codec) as client:
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        heard = await client.listen(1.2)
        assert heard.codecs == {codec}
        tone = heard.check_tone(VOICE_HZ)
        assert tone.level_dbfs == pytest.approx(VOICE_DBFS, abs=3)
        await client.hang_up()


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "opus"])
async def test_tone_is_440_hz(gateway: ServerProcess, codec: str) -> None:
    async with Client(gateway.url, codec=codec) as client:
        await client.call("tone")
        await client.wait_tone(440)
        heard = await client.listen(1.2)
        heard.check_tone(440)
        await client.hang_up()


async def test_silence_is_packets_of_silence(gateway: ServerProcess) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("silence")
        await client.wait_audio(1)
        heard = await client.listen(1)
        pcm, rate = heard.pcm()
        assert len(pcm) > 0.8 * rate
        assert audio.level_dbfs(pcm) < audio.SILENCE_DBFS
        await client.hang_up()


async def test_echo_sends_keys_back(gateway: ServerProcess) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        await client.press("42#")
        await until(lambda: client.heard.digits() == "42#", timeout_s=2, what="the keys to come back")
        await client.hang_up()


async def test_data_channels_are_echoed_and_carry_events(gateway: ServerProcess) -> None:
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        chat = client.pc.createDataChannel("chat")
        came: asyncio.Queue[str | bytes] = asyncio.Queue()
        chat.on("message", came.put_nowait)
        await client.call("echo")
        await until(lambda: chat.readyState == "open", timeout_s=3, what="the channel to open")
        for message in ("grüezi", b"\0\xff" * 1000, "x" * 16000):
            chat.send(message)
            assert await asyncio.wait_for(came.get(), 3) == message
        await client.wait_event("dtls")
        assert [event["id"] for _, event in client.events] == list(range(1, len(client.events) + 1))
        await client.hang_up()
        await client.wait_closed(1)


async def test_a_session_may_be_of_data_alone(gateway: ServerProcess) -> None:
    async with Client(gateway.url, audio=False, events=True) as client:
        await client.call("echo")
        await client.wait_event("dtls")
        await client.hang_up()
        await client.wait_closed(1)


# -- Asterisk


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_both_ends_hear_the_voice_when_the_pbx_echoes(
    gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with Client(gateway.url, codec=codec) as client:
        channel = await dial(client, asterisk, "600", trunk=trunk)
        await client.wait_tone(VOICE_HZ)
        recording = asterisk.record(channel)
        heard = await client.listen(1.5)
        pcm, rate = await to_thread(recording.stop)
        assert heard.codecs == {codec}
        back = heard.check_tone(VOICE_HZ, min_duration_s=1.3)
        there = audio.check_tone(pcm, rate, VOICE_HZ, min_duration_s=1.2)
        assert there.level_dbfs == pytest.approx(VOICE_DBFS, abs=3)
        assert back.level_dbfs == pytest.approx(VOICE_DBFS, abs=3)
        session = await client.describe()
        assert session["state"] == "connected"
        assert session["webrtc"]["media"]["conversion"] == conversion(codec, trunk)
        assert session["sip"]["media"]["codec_received"] == NAMES[trunk]
        await client.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_the_pbx_tone_is_heard_while_the_pbx_hears_the_voice(
    gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with Client(gateway.url, codec=codec) as client:
        channel = await dial(client, asterisk, "601", trunk=trunk)
        await client.wait_tone(440)
        recording = asterisk.record(channel)
        heard = await client.listen(1.5)
        pcm, rate = await to_thread(recording.stop)
        heard.check_tone(440, min_duration_s=1.3)
        audio.check_tone(pcm, rate, VOICE_HZ, min_duration_s=1.2)
        await client.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_early_media_is_heard_before_the_answer(
    gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with Client(gateway.url, codec=codec, events=True) as client:
        await dial(client, asterisk, "604", trunk=trunk)
        await client.wait_tone(620, timeout_s=2)
        assert (await client.describe())["call"]["state"] == "early"
        await client.wait_tone(440, timeout_s=5)
        await client.wait_step("answered")  # audio comes by the media plane, the 200 by the SIP thread
        assert (await client.describe())["call"]["state"] == "answered"
        await client.listen(1.2)
        if pauses := client.heard.sender_pauses():
            await client.hang_up()
            pytest.skip(f"Asterisk itself fell silent: {pauses}")  # as it does when its machine stalls
        pcm, rate = client.heard.pcm()
        found = audio.spans(pcm, rate, min_duration_s=0.5)
        assert len(found) == 2, (found, client.heard.breaks())
        first, second = found
        for span, frequency_hz, min_duration_s in ((first, 620, 2.0), (second, 440, 1.0)):
            end_s = span.start_s + span.duration_s
            # The window that saw the change is left out.
            part = audio.cut(pcm, rate, span.start_s + 0.05, end_s - 0.05)
            audio.check_tone(part, rate, frequency_hz, min_duration_s=min_duration_s)
        early, answered = await client.wait_event("early"), await client.wait_event("answered")
        assert 2.5 < answered["came_s"] - early["came_s"] < 3.5
        await client.hang_up()


@pytest.mark.parametrize(("codec", "trunk"), every_pair)
async def test_keys_reach_the_pbx_and_come_back(
    gateway: ServerProcess, asterisk: Asterisk, codec: str, trunk: str
) -> None:
    async with Client(gateway.url, codec=codec) as client:
        mark = asterisk.ami.mark()
        channel = await dial(client, asterisk, "605", trunk=trunk)
        await to_thread(asterisk.wait_answered, channel)
        await client.wait_step("sip_first_rtp_out")  # Asterisk itself says nothing while it reads keys
        await client.press("1590")
        assert await to_thread(asterisk.wait_digits, since=mark) == "1590"
        assert asterisk.database("test", "dtmf") == "1590"
        await until(lambda: client.heard.digits() == "1590", timeout_s=4, what="Asterisk to send the digits back")
        await client.hang_up()


async def test_a_busy_far_end_is_heard_and_told(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        await dial(client, asterisk, "602", trunk="any")
        ended = await client.wait_event("ended")
        assert (ended["reason"], ended["sip_status"]) == ("busy", 486)
        assert (await client.describe())["state"] == "ending"
        await client.wait_tone(425)
        await client.wait_closed(5)
        pcm, rate = client.heard.pcm()
        tones = audio.spans(pcm, rate, min_duration_s=0.2)
        assert [tone.frequency_hz for tone in tones] == pytest.approx([425.0] * len(tones), rel=0.02)
        assert len(tones) >= 2
        # E.180: half a second on, half a second off.
        assert tones[0].duration_s == pytest.approx(0.5, abs=0.1)
        assert tones[1].start_s - tones[0].start_s == pytest.approx(1.0, abs=0.1)
        session = await client.describe()
        assert (session["state"], session["close_reason"]) == ("closed", "busy")


async def test_ringback_is_made_while_the_far_end_only_rings(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        channel = await dial(client, asterisk, "603", trunk="any")
        await client.wait_event("ringing")
        await client.wait_tone(425)
        assert (await client.describe())["state"] == "ringing"
        # E.180: a second on, four seconds off.
        await client.listen(1.5)
        pcm, rate = client.heard.pcm()
        (ring,) = audio.spans(pcm, rate, min_duration_s=0.2)
        assert ring.duration_s == pytest.approx(1.0, abs=0.15)
        await client.hang_up()
        await to_thread(asterisk.wait_hangup, channel, timeout_s=1)  # the CANCEL


# -- wait_for: the reply is the call's outcome


@pytest.mark.parametrize(
    ("to", "status", "reason", "sip_status"),
    [("602", 502, "busy", 486), ("610", 502, "number_not_found", 404), ("611", 502, None, 403)],
)
async def test_a_refusal_is_the_http_error_of_an_offer_that_waits(
    gateway: ServerProcess, to: str, status: int, reason: str | None, sip_status: int
) -> None:
    async with Client(gateway.url) as client:
        response = await client.post_offer(to=to, trunk="any", wait_for="answer")
        body = response.json()
        assert response.status_code == status, body
        assert body["sip_status"] == sip_status
        assert body["code"] == status
        assert reason is None or body["reason"] == reason


async def test_no_answer_in_time_is_a_504(gateway: ServerProcess, asterisk: Asterisk) -> None:
    mark = asterisk.ami.mark()
    async with Client(gateway.url) as client:
        response = await client.post_offer(to="603", trunk="any", wait_for="answer", ring_timeout_s=1)
        assert response.status_code == 504, response.text
        assert response.json()["reason"] == "no_answer"
        channel = await to_thread(asterisk.wait_channel, since=mark)
        await to_thread(asterisk.wait_hangup, channel, timeout_s=1)


@pytest.mark.parametrize(("wait_for", "state"), [("early", "early"), ("answer", "answered")])
async def test_an_offer_that_waits_is_answered_when_the_call_is(
    gateway: ServerProcess, wait_for: str, state: str
) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("604", trunk="any", wait_for=wait_for)
        assert client.answer["call"]["state"] == state
        await client.wait_tone(620 if state == "early" else 440)
        await client.hang_up()


async def test_a_client_that_goes_away_while_it_waits_cancels_the_call(
    gateway: ServerProcess, asterisk: Asterisk
) -> None:
    mark = asterisk.ami.mark()
    async with Client(gateway.url) as client:
        waiting = asyncio.ensure_future(client.post_offer(to="603", trunk="any", wait_for="answer"))
        channel = await to_thread(asterisk.wait_channel, since=mark)
        waiting.cancel()
        await asyncio.wait([waiting])
        await to_thread(asterisk.wait_hangup, channel, timeout_s=1)
