"""Chromium takes our answers: every kind of offer, and offers that follow one another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from peers.chromium import own_page
from playwright.async_api import Browser, Page

from sdpserver.sdp import audio_codecs
from sdpserver.webrtc.aiortc_private import Certificate
from sdpserver.webrtc.offer import parse_offer
from sdpserver.webrtc.offer_answer import LocalTransport, negotiate, write_answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = """
async () => {
  window.pc = new RTCPeerConnection();
  window.media = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  window.offer = async () => { await pc.setLocalDescription(); return pc.localDescription.sdp; };
  window.accept = async sdp => {
    await pc.setRemoteDescription({type: "answer", sdp});
    return {
      state: pc.signalingState,
      transceivers: pc.getTransceivers().map(each => [each.currentDirection, each.stopped]),
      sctp: pc.sctp && pc.sctp.maxMessageSize,
      sends: pc.getSenders().flatMap(each => each.getParameters().codecs.map(codec => codec.mimeType)),
      transports: new Set(pc.getTransceivers().map(each => each.sender.transport).filter(each => each)).size,
    };
  };
}
"""
AUDIO = "pc.addTrack(media.getAudioTracks()[0], media)"
VIDEO = "pc.addTrack(media.getVideoTracks()[0], media)"
DATA = "pc.createDataChannel('events')"


class Negotiation:
    """One page's peer connection, and the answers to it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.version = 0
        self.certificate = Certificate.generateCertificate()

    async def __call__(self, *steps: str) -> dict[str, Any]:
        for step in steps:
            await self.page.evaluate(f"() => {{ {step} }}")
        sdp = await self.page.evaluate("() => offer()")
        negotiated = negotiate(parse_offer(sdp), audio_codecs(["PCMU", "PCMA", "opus"]))
        self.version += 1
        ufrag = negotiated.transport.ufrag.encode().hex()  # new whenever the offer's is
        local = LocalTransport(
            session_id=1,
            ufrag=ufrag,
            pwd=ufrag * 4,
            fingerprint=self.certificate.sha256,
            setup="passive",
            addresses=("127.0.0.1",),
            port=9,
        )
        found: dict[str, Any] = await self.page.evaluate(
            "sdp => accept(sdp)", write_answer(negotiated, local, version=self.version)
        )
        assert found["state"] == "stable"
        return found


@pytest_asyncio.fixture(loop_scope="session")
async def negotiation(chromium: Browser) -> AsyncIterator[Negotiation]:
    async with own_page(chromium, SCRIPT) as page:
        yield Negotiation(page)
        await page.evaluate("() => pc.close()")


async def test_audio(negotiation: Negotiation) -> None:
    found = await negotiation(AUDIO)
    assert found["transceivers"] == [["sendrecv", False]]
    assert found["sends"][:3] == ["audio/PCMU", "audio/PCMA", "audio/opus"]


async def test_audio_with_video(negotiation: Negotiation) -> None:
    found = await negotiation(AUDIO, VIDEO)
    assert found["transceivers"][0] == ["sendrecv", False]
    assert found["transceivers"][1:] in ([], [["stopped", True]], [[None, True]])


async def test_video_before_audio(negotiation: Negotiation) -> None:
    found = await negotiation(VIDEO, AUDIO)
    assert found["transceivers"][-1] == ["sendrecv", False]


async def test_audio_with_data_on_one_transport(negotiation: Negotiation) -> None:
    found = await negotiation(AUDIO, DATA)
    assert (found["sctp"], found["transports"]) == (65536, 1)


async def test_data_alone(negotiation: Negotiation) -> None:
    assert (await negotiation(DATA))["sctp"] == 65536


async def test_listening_only(negotiation: Negotiation) -> None:
    found = await negotiation("pc.addTransceiver('audio', {direction: 'recvonly'})")
    assert found["transceivers"] == [["recvonly", False]]


async def test_two_audio_transceivers(negotiation: Negotiation) -> None:
    found = await negotiation(AUDIO, "pc.addTransceiver('audio')")
    assert found["transceivers"][0] == ["sendrecv", False]
    assert len([each for each in found["transceivers"] if not each[1]]) == 1


async def test_directions_change_and_change_back(negotiation: Negotiation) -> None:
    await negotiation(AUDIO)
    for direction in ("sendonly", "inactive", "recvonly", "sendrecv"):
        found = await negotiation(f"pc.getTransceivers()[0].direction = '{direction}'")
        assert found["transceivers"] == [[direction, False]]


async def test_ice_restart_after_data_was_added(negotiation: Negotiation) -> None:
    await negotiation(AUDIO)
    assert (await negotiation(DATA))["sctp"] == 65536
    assert (await negotiation("pc.restartIce()"))["transceivers"] == [["sendrecv", False]]


async def test_a_rejected_section_stays_rejected_and_is_used_again(negotiation: Negotiation) -> None:
    await negotiation(AUDIO, VIDEO)
    await negotiation("pc.restartIce()")
    found = await negotiation(DATA)
    assert (found["sctp"], found["transports"]) == (65536, 1)


async def test_bundle_policies_of_the_page(negotiation: Negotiation) -> None:
    for policy in ("max-bundle", "max-compat", "balanced"):
        await negotiation.page.evaluate(
            f"() => {{ pc.close(); window.pc = new RTCPeerConnection({{bundlePolicy: '{policy}'}}) }}"
        )
        found = await negotiation(AUDIO, VIDEO, DATA)
        assert found["sctp"] == 65536, policy


@pytest.mark.parametrize("policy", ["max-bundle", "max-compat", "balanced"])
@pytest.mark.parametrize("first", [VIDEO, DATA])
async def test_audio_comes_after_another_section(negotiation: Negotiation, first: str, policy: str) -> None:
    await negotiation.page.evaluate(
        f"() => {{ pc.close(); window.pc = new RTCPeerConnection({{bundlePolicy: '{policy}'}}) }}"
    )
    found = await negotiation(first, AUDIO)
    assert found["transceivers"][-1] == ["sendrecv", False]
    assert found["transports"] == 1
