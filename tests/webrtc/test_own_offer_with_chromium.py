"""Chromium answers a leg's offer over the real media plane; what is heard on either side is judged."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from peers.chromium import MICROPHONE_HZ, SCRIPT, Caller, own_page
from peers.waiting import until
from playwright.async_api import Browser

from sdpserver.sdp import COMFORT_NOISE, Direction, audio_codecs
from sdpserver.webrtc import WebRtcEvent, parse_offer

from .conftest import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = """
async ({offer, setup, codec}) => {
  await connect(codec);
  await pc.setRemoteDescription({type: 'offer', sdp: offer});
  const {sdp} = await pc.createAnswer();
  await pc.setLocalDescription({type: 'answer', sdp: sdp.replace('a=setup:active', `a=setup:${setup}`)});
  return pc.localDescription.sdp;
}
"""
OFFER = "async () => { await pc.setLocalDescription(); return pc.localDescription.sdp; }"
ACCEPT = "sdp => pc.setRemoteDescription({type: 'answer', sdp})"
CONNECTED = "() => pc.connectionState === 'connected'"


@pytest_asyncio.fixture(loop_scope="session")
async def caller(chromium: Browser) -> AsyncIterator[Caller]:
    async with own_page(chromium, "document.body.innerHTML = '<audio autoplay muted></audio>'") as page:
        await page.add_script_tag(content=SCRIPT.read_text())
        yield Caller(page, "")


async def answer(caller: Caller, gateway: Gateway, setup: str = "active", codec: str | None = None) -> str:
    """`codec`: what the page prefers, as for `Caller.call`."""
    options = {"offer": gateway.leg.offer, "setup": setup, "codec": codec}
    found: str = await caller.page.evaluate(ANSWER, options)
    assert f"a=setup:{setup}\r\n" in found
    return found


async def connect(caller: Caller, gateway: Gateway, setup: str = "active") -> None:
    gateway.leg.accept_answer(await answer(caller, gateway, setup))
    await gateway.wait(WebRtcEvent.CONNECTED)
    await caller.wait_state(CONNECTED)


async def reoffer(caller: Caller, gateway: Gateway) -> None:
    offer = parse_offer(await caller.page.evaluate(OFFER))
    assert gateway.leg.can_renegotiate(offer)
    await caller.page.evaluate(ACCEPT, gateway.leg.renegotiate(offer))


@pytest.mark.parametrize(("setup", "role"), [("active", "server"), ("passive", "client")])
async def test_a_tone_is_heard(
    caller: Caller, gateway_for_chromium: Gateway, setup: str, role: str, slow_resending: None
) -> None:
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer()
    leg.media.send_tone([440.0])
    await connect(caller, gateway, setup)
    await caller.wait_tone(440)
    dtls = leg.state_json()["dtls"]
    assert (dtls["role"], dtls["flights_resent"]) == (role, 0)
    assert (await caller.state())["codec"] == "audio/PCMU"
    leg.media.send_from(leg.media)
    await caller.wait_tone(MICROPHONE_HZ)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
async def test_each_codec_is_echoed(caller: Caller, gateway_for_chromium: Gateway, codec: str) -> None:
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer(audio_codecs([codec]))
    await connect(caller, gateway)
    await caller.wait_tone(MICROPHONE_HZ)
    assert leg.codecs[0].name == codec
    assert (await caller.state())["codec"] == f"audio/{codec}"


async def test_all_that_is_offered_is_taken_with_our_payload_types(
    caller: Caller, gateway_for_chromium: Gateway
) -> None:
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer([*audio_codecs(["opus", "PCMU", "G722"]), COMFORT_NOISE])
    leg.accept_answer(await answer(caller, gateway))
    found = [(codec.name, codec.clock_rate_hz, codec.payload_type, codec.send_payload_type) for codec in leg.codecs]
    assert found == [
        ("opus", 48000, 111, 111),
        ("red", 48000, 63, 63),
        ("PCMU", 8000, 0, 0),
        ("G722", 8000, 9, 9),
        ("telephone-event", 48000, 110, 110),
        ("telephone-event", 8000, 101, 101),
        ("CN", 8000, 13, 13),
    ]


async def test_a_page_that_prefers_redundant_audio_gets_opus_and_is_heard(
    caller: Caller, gateway_for_chromium: Gateway
) -> None:
    """It sends what our offer has first, which its answer has not."""
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer(audio_codecs(["PCMU", "opus"]))
    leg.accept_answer(await answer(caller, gateway, codec="red opus"))
    await gateway.wait(WebRtcEvent.CONNECTED)
    assert [codec.name for codec in leg.codecs] == ["red", "opus", "telephone-event"]
    await caller.wait_tone(MICROPHONE_HZ)
    assert (leg.media.stats["codec_received"], leg.media.stats["codec_sent"]) == ("PCMU", "opus")


async def test_the_answer_may_come_late(caller: Caller, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer()
    sdp = await answer(caller, gateway)
    await gateway.wait(WebRtcEvent.ICE_CONNECTED)
    # Chromium's ClientHello is two datagrams; here it has been sent again.
    await until(lambda: len(leg._wire._inbound) > 2, timeout_s=5, what="the ClientHello, twice")
    leg.accept_answer(sdp)
    await gateway.wait(WebRtcEvent.CONNECTED)
    await caller.wait_tone(MICROPHONE_HZ)


async def test_keys_go_both_ways(caller: Caller, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await gateway_ready(caller, gateway)
    await caller.press("5")
    assert (await gateway.wait(WebRtcEvent.DTMF)).startswith("5 ")
    assert gateway.leg.takes_events
    gateway.leg.press("7", duration_ms=100)
    await until(lambda: gateway.leg.media.stats["telephone_events_sent"] == 1, timeout_s=3, what="the press")


async def gateway_ready(caller: Caller, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    await connect(caller, gateway)
    await caller.wait_tone(MICROPHONE_HZ)


async def test_hold_by_the_clients_offer_and_back(caller: Caller, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await gateway_ready(caller, gateway)
    for direction in (Direction.SENDONLY, Direction.INACTIVE, Direction.SENDRECV):
        await caller.page.evaluate("direction => { transceiver.direction = direction }", direction.value)
        await reoffer(caller, gateway)
        assert gateway.leg.direction is direction.reversed
    await caller.wait_tone(MICROPHONE_HZ)
    assert gateway.count(WebRtcEvent.CONNECTED) == 1


async def test_an_ice_restart_keeps_the_call(caller: Caller, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    await gateway_ready(caller, gateway)
    before = gateway.leg.state_json()["ice"]["remote_address"]
    await caller.page.evaluate("pc.restartIce()")
    await reoffer(caller, gateway)
    await until(
        lambda: gateway.leg.state_json()["ice"]["remote_address"] != before, timeout_s=5, what="the client to move"
    )
    await caller.wait_tone(MICROPHONE_HZ)
    assert gateway.count(WebRtcEvent.CONNECTED) == 1


async def test_a_data_channel_is_added_by_the_clients_offer(caller: Caller, gateway_for_chromium: Gateway) -> None:
    """The page has made one before its answer; our offer has no m-section for it."""
    gateway = gateway_for_chromium
    await gateway_ready(caller, gateway)
    await reoffer(caller, gateway)
    await until(lambda: bool(gateway.channels), timeout_s=5, what="the channel")
    assert gateway.channels[0].label == "events"


async def test_an_offer_that_only_sends(caller: Caller, gateway_for_chromium: Gateway) -> None:
    gateway = gateway_for_chromium
    leg = gateway.leg_with_offer(direction=Direction.SENDONLY)
    leg.media.send_tone([440.0])
    await connect(caller, gateway)
    await caller.wait_tone(440)
    assert leg.direction is Direction.SENDONLY


@pytest.mark.parametrize("leave", ["pc.close()", "location.reload()"])
async def test_leaving_is_known_at_once(caller: Caller, gateway_for_chromium: Gateway, leave: str) -> None:
    gateway = gateway_for_chromium
    await gateway_ready(caller, gateway)
    await caller.page.evaluate(f"() => {{ {leave} }}")
    await gateway.wait(WebRtcEvent.CLOSED)  # or it is GONE, half a minute later
