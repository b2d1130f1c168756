"""What clients are told of a call's quality: in the session's JSON, every 5 s as an event, and at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from asyncio import to_thread
from typing import Any

import pytest
from peers import audio
from peers.aiortc_client import VOICE_HZ, Client, dial
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ, caller
from peers.in_process import in_process
from peers.server import ServerProcess
from peers.waiting import until
from playwright.async_api import Browser

BEST = pytest.approx(4.37, abs=0.05)


def lose(client: Client, fraction: float, seed: int) -> dict[str, int]:
    """Of what the client sends from now on, drop so much; what became of it is counted in what is returned."""
    transport, rng, counted = client._dtls, random.Random(seed), {"sent": 0, "lost": 0}
    send = transport._send_rtp

    async def lossy(data: bytes) -> None:
        if not 64 <= data[1] & 0x7F <= 95:
            counted["sent"] += 1
            if rng.random() < fraction:
                counted["lost"] += 1
                return
        await send(data)

    transport._send_rtp = lossy
    return counted


async def test_a_call_that_is_good_says_so_every_5_s_and_at_its_end(gateway: ServerProcess) -> None:
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        await client.call("echo")
        connected = await client.wait_event("dtls")
        await client.wait_tone(VOICE_HZ)
        first = await client.wait_event("quality", timeout_s=8)
        assert first.pop("came_s") - connected["came_s"] == pytest.approx(5, abs=0.5)
        assert first.keys() == {"webrtc", "sip"}
        assert first["sip"] is None
        received, sent = first["webrtc"]["received"], first["webrtc"]["sent"]
        assert (received["codec"], received["lost"], received["loss_fraction"], received["mos"]) == ("PCMU", 0, 0, BEST)
        assert received["interval_loss_fraction"] == 0
        assert received["packets"] == pytest.approx(250, abs=25)
        assert sent["packets"] == pytest.approx(250, abs=25)
        described = (await client.describe())["webrtc"]["quality"]
        assert described["received"].keys() == received.keys() - {"interval_loss_fraction"}
        assert described["received"]["packets"] >= received["packets"]
        await client.hang_up()
        closed = await client.wait_event("closed")
        assert closed["quality"]["webrtc"]["received"]["mos"] == BEST
        final = await client.describe()
        # Read a moment later: a busy loop lets some packets more come in.
        last, told = final["webrtc"]["quality"]["received"], closed["quality"]["webrtc"]["received"]
        assert 0 <= last["packets"] - told["packets"] < 50
        assert (last["lost"], last["mos"]) == (0, BEST)
        assert "quality" not in final["timeline"]


async def test_loss_is_told_while_it_lasts_and_in_the_end(gateway: ServerProcess) -> None:
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        counted = lose(client, 0.2, seed=1)
        event = await client.wait_event("quality", timeout_s=8)
        received = event["webrtc"]["received"]
        assert received["loss_fraction"] == pytest.approx(0.2, abs=0.05)
        assert received["interval_loss_fraction"] == received["loss_fraction"], "it is the first interval"
        assert received["mos"] < 3
        await client.wait_tone(VOICE_HZ)  # and at least one packet has come since
        await client.hang_up()
        closed = (await client.wait_event("closed"))["quality"]["webrtc"]["received"]
        assert closed["lost"] == pytest.approx(counted["lost"], abs=2)
        assert closed["mos"] < 3


async def test_a_session_that_is_not_connected_reports_nothing() -> None:
    """The first report stops the moment that the page is gone, also if its session waits for it to come back."""
    async with in_process({"session": {"resume_s": 7}}) as server, server.client() as client:
        await client.call("echo")
        events: asyncio.Queue[str] = asyncio.Queue()
        reports = server.app.state.sessions._quality_reports
        # The two ends of DTLS are not through with it at one moment.
        await until(lambda: (reports.reporting, reports.running) == (1, True), timeout_s=5, what="reports to be due")
        session = server.app.state.sessions._open[client.session_id]
        session.events.listen(lambda event: events.put_nowait(event.type))
        await client.pc.close()
        await until(lambda: session.state == "connecting", timeout_s=2, what="the page to be gone")
        assert (reports.reporting, reports.running) == (0, False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(6):  # the report would be due
                while await events.get() != "quality":
                    pass
                pytest.fail("a report of a session that nobody is in")


async def test_asterisk_and_we_agree_on_what_went_between_us(gateway: ServerProcess, asterisk: Asterisk) -> None:
    """Both legs in the event, and Asterisk's own figures of its side."""
    async with Client(gateway.url, codec="PCMU", events=True) as client:
        channel = await dial(client, asterisk, "600", trunk="ulaw")
        await client.wait_tone(VOICE_HZ)
        event = await client.wait_event("quality", timeout_s=8)
        sip = event["sip"]
        assert (sip["received"]["lost"], sip["received"]["mos"]) == (0, BEST)

        # Asterisk reports every 5 s: then its word on what we send is there too.
        async def reported() -> bool:
            found = (await client.describe())["sip"]["quality"]["sent"]
            return found["mos"] is not None

        await until(reported, timeout_s=8, what="Asterisk's report")
        quality = (await client.describe())["sip"]["quality"]
        assert (quality["sent"]["lost"], quality["sent"]["mos"]) == (0, BEST)
        assert 0 <= quality["round_trip_ms"] < 100
        shown = await to_thread(asterisk.rx, "pjsip show channelstats")
        (line,) = [line for line in shown.splitlines() if channel.partition("/")[2][:12] in line]
        numbers = re.findall(r"\d+(?:\.\d+)?", line.rpartition("ulaw")[2])
        receive_count, receive_lost, _, _, transmit_count, transmit_lost = map(float, numbers[:6])
        assert (receive_lost, transmit_lost) == (0, 0)
        assert receive_count == pytest.approx(quality["sent"]["packets"], abs=60)
        assert transmit_count == pytest.approx(quality["received"]["packets"], abs=60)
        await client.hang_up()


async def remote_inbound(page: Any) -> dict[str, Any]:
    """Chromium's own account of what our report blocks say, and of what it has received."""
    found: dict[str, Any] = await page.page.evaluate(
        """async () => {
            const stats = [...(await pc.getStats()).values()];
            const of = (type) => stats.find((entry) => entry.type === type) || {};
            return {remote: of('remote-inbound-rtp'), inbound: of('inbound-rtp'), outbound: of('outbound-rtp')};
        }"""
    )
    return found


@pytest.mark.asyncio(loop_scope="session")
async def test_chromium_and_we_agree(chromium: Browser, gateway: ServerProcess) -> None:
    """What our reports tell it is what we tell our client, and its reports are what we say of our sending."""
    async with caller(chromium, gateway.url) as page:
        answer = await page.call("echo", codec="opus")
        await page.wait_tone(MICROPHONE_HZ)
        await page.wait_state("events.some(({type}) => type === 'quality')", timeout_s=8)
        stats: dict[str, Any] = {}
        quality: dict[str, Any] = {}

        async def told() -> bool:
            """Each has a report of the other's that came after one of its own."""
            stats.update(await remote_inbound(page))
            session = await page.page.evaluate(
                "id => fetch(`/webrtc/sessions/${id}`).then(response => response.json())", answer["session_id"]
            )
            quality.update(session["webrtc"]["quality"])
            return "roundTripTime" in stats["remote"] and quality["round_trip_ms"] is not None

        await until(told, timeout_s=20, what="reports both ways")
        assert stats["remote"]["packetsLost"] == quality["received"]["lost"] == 0
        assert stats["remote"]["fractionLost"] == 0
        assert stats["remote"]["jitter"] * 1000 == pytest.approx(quality["received"]["jitter_ms"], abs=3)
        assert stats["outbound"]["packetsSent"] == pytest.approx(quality["received"]["packets"], abs=60)
        assert stats["inbound"]["packetsLost"] == quality["sent"]["lost"] == 0
        assert stats["inbound"]["packetsReceived"] == pytest.approx(quality["sent"]["packets"], abs=60)
        assert stats["inbound"]["jitter"] * 1000 == pytest.approx(quality["sent"]["jitter_ms"], abs=3)
        assert stats["remote"]["roundTripTime"] * 1000 == pytest.approx(quality["round_trip_ms"], abs=20)
        assert quality["received"]["mos"] == quality["sent"]["mos"] == pytest.approx(4.33, abs=0.1)
        pcm, rate = await page.listen(0.5)
        audio.check_tone(pcm, rate, MICROPHONE_HZ, min_duration_s=0.4)
        await page.hang_up()
