"""Chromium connects to a leg over the real media plane, and stays connected through what only a browser does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from peers.chromium import own_page
from peers.waiting import until
from playwright.async_api import Browser, Page

from sdpserver.webrtc import WebRtcEvent, parse_offer

from .conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = """
async () => {
  window.pc = new RTCPeerConnection();
  window.media = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  window.offer = async () => { await pc.setLocalDescription(); return pc.localDescription.sdp; };
  window.accept = sdp => pc.setRemoteDescription({type: "answer", sdp});
  window.received = async () => {
    for (const report of (await pc.getStats()).values())
      if (report.type === "inbound-rtp" && report.kind === "audio") return report.packetsReceived;
    return 0;
  };
}
"""
AUDIO = "pc.addTrack(media.getAudioTracks()[0], media)"
VIDEO = "pc.addTrack(media.getVideoTracks()[0], media)"
CONNECTED = "() => pc.connectionState === 'connected'"


class Browserside:
    def __init__(self, page: Page) -> None:
        self.page = page

    async def do(self, step: str) -> Any:
        return await self.page.evaluate(f"() => {{ {step} }}")

    async def connect(self, gateway: Gateway, *steps: str) -> None:
        for step in steps:
            await self.do(step)
        answer = gateway.answer(await self.page.evaluate("() => offer()"))
        await self.page.evaluate("sdp => accept(sdp)", answer)
        await self.page.wait_for_function(CONNECTED, polling=10, timeout=5000)
        await gateway.wait(WebRtcEvent.CONNECTED)

    async def reoffer(self, gateway: Gateway, *steps: str) -> None:
        for step in steps:
            await self.do(step)
        offer = parse_offer(await self.page.evaluate("() => offer()"))
        assert gateway.leg.can_renegotiate(offer)
        await self.page.evaluate("sdp => accept(sdp)", gateway.leg.renegotiate(offer))

    async def hears(self, packets: int = 10) -> None:
        """`packets` more of the echo."""
        before = await self.page.evaluate("() => received()")
        await self.page.wait_for_function(f"async () => await received() >= {before + packets}", timeout=5000)


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browserside]:
    async with own_page(chromium, SCRIPT) as page:
        yield Browserside(page)


async def test_audio(browser: Browserside, gateway_for_chromium: Gateway, slow_resending: None) -> None:
    await browser.connect(gateway_for_chromium, AUDIO)
    await browser.hears()
    dtls = gateway_for_chromium.leg.state_json()["dtls"]
    assert (dtls["role"], dtls["srtp_profile"], dtls["flights_resent"]) == ("server", "AEAD_AES_128_GCM", 0)


@pytest.mark.parametrize("policy", ["balanced", "max-compat"])
async def test_audio_behind_a_rejected_video_section(
    browser: Browserside, gateway_for_chromium: Gateway, policy: str
) -> None:
    await browser.do(f"pc.close(); window.pc = new RTCPeerConnection({{bundlePolicy: '{policy}'}})")
    await browser.connect(gateway_for_chromium, VIDEO, AUDIO)
    await browser.hears()


async def test_video_tried_again_does_not_disturb_the_audio(
    browser: Browserside, gateway_for_chromium: Gateway
) -> None:
    await browser.connect(gateway_for_chromium, VIDEO, AUDIO)
    await browser.reoffer(gateway_for_chromium, "pc.addTransceiver('video')")
    await browser.hears(50)


async def test_ice_restart_keeps_dtls_and_audio(browser: Browserside, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await browser.connect(gateway, AUDIO)
    await browser.hears()
    before = gateway.leg.state_json()["ice"]["remote_address"]
    await browser.reoffer(gateway, "pc.restartIce()")
    # The browser has new ports; the leg follows once the new one has answered a check of ours.
    await until(
        lambda: gateway.leg.state_json()["ice"]["remote_address"] != before, timeout_s=5, what="the client to move"
    )
    await browser.hears(50)
    assert gateway.count(WebRtcEvent.CONNECTED) == 1
    assert await browser.page.evaluate(CONNECTED)


async def test_hold_and_back(browser: Browserside, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await browser.connect(gateway, AUDIO)
    await browser.hears()
    await browser.reoffer(gateway, "pc.getTransceivers()[0].direction = 'inactive'")
    assert gateway.leg.direction.value == "inactive"
    await browser.reoffer(gateway, "pc.getTransceivers()[0].direction = 'sendrecv'")
    await browser.hears()


async def test_data_channel(browser: Browserside, gateway_for_chromium: Gateway) -> None:
    await browser.connect(
        gateway_for_chromium,
        "window.channel = pc.createDataChannel('chat'); window.heard = [];"
        "channel.onmessage = event => heard.push(event.data); channel.onopen = () => channel.send('hello')",
    )
    await browser.page.wait_for_function("() => heard[0] === 'hello'", polling=10, timeout=5000)


async def test_data_channel_added_to_a_call(browser: Browserside, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await browser.connect(gateway, AUDIO)
    await browser.reoffer(
        gateway,
        "window.channel = pc.createDataChannel('late'); window.heard = [];"
        "channel.onmessage = event => heard.push(event.data); channel.onopen = () => channel.send('hello')",
    )
    await browser.page.wait_for_function("() => heard[0] === 'hello'", polling=10, timeout=5000)
    assert [channel.label for channel in gateway.channels] == ["late"]
    await browser.hears()


@pytest.mark.parametrize("leave", ["pc.close()", "location.reload()"])
async def test_leaving_is_known_at_once(browser: Browserside, gateway_for_chromium: Gateway, leave: str) -> None:
    gateway = gateway_for_chromium
    await browser.connect(gateway, AUDIO)
    await browser.do(leave)
    await gateway.wait(WebRtcEvent.CLOSED)  # or it is GONE, half a minute later


async def test_our_close_is_known_to_the_page(browser: Browserside, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await browser.connect(gateway, AUDIO)
    await browser.do("window.transport = pc.getSenders()[0].transport")
    async with asyncio.timeout(1):
        await gateway.leg.close()
    await browser.page.wait_for_function("() => transport.state === 'closed'", polling=10, timeout=5000)
    await until(gateway.task.done, timeout_s=1, what="the leg's task")
