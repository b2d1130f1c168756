"""A leg that offers, over the real media plane, with aiortc's RTCPeerConnection for the client that answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiortc import RTCSessionDescription
from peers.aiortc_client import Client, formats_of
from peers.waiting import until

from sdpserver.errors import BadRequest, Conflict
from sdpserver.sdp import Direction, audio_codecs
from sdpserver.webrtc import WebRtcEvent, parse_offer

from .conftest import OFFER, Gateway

ANSWER = OFFER.replace("a=setup:actpass", "a=setup:active")


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with Client("http://127.0.0.1", codec="PCMU") as found:  # only its peer connection is used
        yield found


async def answer(client: Client, offer: str, *, setup: str = "active") -> str:
    """The client's answer, which it acts on at once: it checks, and as DTLS client sends its ClientHello."""
    client.heard.formats = formats_of(offer)
    await client.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    mine = await client.pc.createAnswer()
    assert "a=setup:active" in mine.sdp
    mine.sdp = mine.sdp.replace("a=setup:active", f"a=setup:{setup}")
    await client.pc.setLocalDescription(mine)
    client._tap()
    return client.pc.localDescription.sdp


async def call(client: Client, gateway: Gateway, *, setup: str = "active") -> None:
    gateway.leg_with_offer()
    gateway.leg.accept_answer(await answer(client, gateway.leg.offer, setup=setup))
    await client.wait_connected()
    await gateway.wait(WebRtcEvent.CONNECTED)


@pytest.mark.parametrize(("setup", "role"), [("active", "server"), ("passive", "client")])
async def test_audio_is_heard_both_ways_whoever_is_the_dtls_server(
    client: Client, gateway: Gateway, setup: str, role: str
) -> None:
    await call(client, gateway, setup=setup)
    await client.wait_tone(1000)  # its own, echoed
    state = gateway.leg.state_json()
    assert state["dtls"]["role"] == role
    assert (state["ice"]["state"], state["dtls"]["state"]) == ("connected", "connected")
    assert state["direction"] == "sendrecv"
    await gateway.wait(WebRtcEvent.FIRST_RTP_RECEIVED)
    await gateway.wait(WebRtcEvent.FIRST_RTP_SENT)


async def test_opus_is_echoed_too(gateway: Gateway) -> None:
    async with Client("http://127.0.0.1", codec="opus") as client:
        await call(client, gateway)
        await client.wait_audio(20)
        assert gateway.leg.codecs[0].name == "opus"


async def test_what_the_leg_sends_may_be_chosen_before_the_answer(client: Client, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    gateway.leg.media.send_tone([440.0])
    gateway.leg.accept_answer(await answer(client, gateway.leg.offer))
    await client.wait_tone(440)


@pytest.mark.parametrize(("setup", "role"), [("active", "server"), ("passive", "client")])
async def test_checks_and_a_client_hello_may_come_before_the_answer(
    client: Client, gateway: Gateway, setup: str, role: str
) -> None:
    gateway.leg_with_offer()
    sdp = await answer(client, gateway.leg.offer, setup=setup)
    await gateway.wait(WebRtcEvent.ICE_CONNECTED)
    if setup == "active":
        await until(lambda: bool(gateway.leg._wire._inbound), timeout_s=5, what="the ClientHello")
    state = gateway.leg.state_json()
    assert (state["ice"]["state"], state["dtls"]["state"], state["dtls"]["role"]) == ("connected", "new", "auto")
    gateway.leg.accept_answer(sdp)
    await gateway.wait(WebRtcEvent.CONNECTED)
    assert gateway.leg.state_json()["dtls"]["role"] == role
    await client.wait_tone(1000)


async def test_an_answer_long_after_the_client_hello_was_sent_again(client: Client, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    sdp = await answer(client, gateway.leg.offer)
    await until(lambda: len(gateway.leg._wire._inbound) > 1, timeout_s=10, what="another ClientHello")
    gateway.leg.accept_answer(sdp)
    await gateway.wait(WebRtcEvent.CONNECTED)
    await client.wait_tone(1000)


async def test_before_the_answer_there_is_nothing_to_tell(gateway: Gateway) -> None:
    leg = gateway.leg_with_offer()
    assert (leg.answer, leg.codecs, leg.takes_events, leg.direction) == ("", [], False, Direction.INACTIVE)
    state = leg.state_json()
    assert (state["ice"]["state"], state["dtls"]["state"], state["codecs"]) == ("new", "new", [])
    (candidate,) = leg.candidates
    assert f"a={candidate.candidate}\r\n" in leg.offer
    assert (candidate.sdpMid, candidate.sdpMLineIndex) == ("0", 0)
    with pytest.raises(Conflict) as refused:
        leg.press("1", duration_ms=100)
    assert refused.value.reason == "webrtc_not_connected"
    assert not leg.can_renegotiate(parse_offer(OFFER))
    with pytest.raises(Conflict) as refused:
        leg.renegotiate(parse_offer(OFFER))
    assert refused.value.reason == "not_answered"
    leg.add_remote_candidate("candidate:1 1 udp 2122252543 192.0.2.1 42212 typ host", "0", 0)


async def test_the_answer_says_what_is_agreed(gateway: Gateway) -> None:
    leg = gateway.leg_with_offer(direction=Direction.SENDONLY)
    text = ANSWER.replace("SAVPF 0", "SAVPF 77 78 0") + (
        "a=rtpmap:77 opus/48000/2\r\na=rtpmap:78 telephone-event/48000\r\na=recvonly\r\na=ptime:40\r\n"
    )
    leg.accept_answer(text)
    found = [(codec.name, codec.payload_type, codec.send_payload_type) for codec in leg.codecs]
    assert found == [("opus", 111, 77), ("PCMU", 0, 0), ("telephone-event", 110, 78)]
    assert leg.takes_events
    assert leg.direction is Direction.SENDONLY
    assert leg.state_json()["codecs"] == ["111 opus/48000/2", "0 PCMU/8000", "110 telephone-event/48000"]
    assert leg.candidates


async def test_a_bad_answer_changes_nothing_and_another_may_come(client: Client, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    before = gateway.leg.state_json()
    for bad, reason in (
        ("nonsense", "invalid_sdp"),
        (ANSWER.replace("m=audio 9 ", "m=audio 0 "), "rejected"),
        (ANSWER.replace("SAVPF 0", "SAVPF 18"), "no_common_codec"),
        (OFFER, "invalid_sdp"),  # a=setup:actpass
    ):
        with pytest.raises(BadRequest) as refused:
            gateway.leg.accept_answer(bad)
        assert refused.value.reason == reason
    assert gateway.leg.state_json() == before
    gateway.leg.accept_answer(await answer(client, gateway.leg.offer))
    await client.wait_tone(1000)


async def test_only_one_answer_is_taken(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    with pytest.raises(Conflict) as refused:
        gateway.leg.accept_answer(ANSWER)
    assert refused.value.reason == "already_answered"
    gateway.answer(OFFER)
    assert gateway.leg.offer == ""
    with pytest.raises(Conflict) as refused:
        gateway.leg.accept_answer(ANSWER)
    assert refused.value.reason == "already_answered"


async def test_a_wrong_fingerprint_fails_at_once(client: Client, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    sdp = await answer(client, gateway.leg.offer)
    gateway.leg.accept_answer(re.sub(r"(a=fingerprint:\S+) \S+", rf"\1 {':'.join(['AB'] * 32)}", sdp))
    assert "fingerprint mismatch" in await gateway.wait(WebRtcEvent.FAILED, timeout_s=2)


@pytest.mark.parametrize("checked", [False, True])
async def test_an_offer_that_is_never_answered_leaves_nothing(client: Client, gateway: Gateway, checked: bool) -> None:
    leg = gateway.leg_with_offer()
    if checked:
        sdp = await answer(client, leg.offer)
        await until(lambda: bool(leg._wire._inbound), timeout_s=5, what="the ClientHello")
    await leg.close()
    async with asyncio.timeout(1):
        await gateway.task
    assert gateway.media.legs == 0
    assert leg.state_json()["dtls"]["state"] == "closed"
    with pytest.raises(Conflict) as refused:
        leg.accept_answer(sdp if checked else ANSWER)
    assert refused.value.reason == "leg_closed"


async def test_a_client_that_vanishes_before_its_answer_is_gone(client: Client, gateway: Gateway) -> None:
    gateway.leg_with_offer()
    gateway.leg.media.set_timeouts(ice_timeout_s=0.3)
    await answer(client, gateway.leg.offer)
    await gateway.wait(WebRtcEvent.ICE_CONNECTED)
    await client.vanish()
    await gateway.wait(WebRtcEvent.GONE, timeout_s=3)


async def test_a_client_that_answered_may_offer_later(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    await client.wait_tone(1000)
    assert client.transceiver is not None
    for direction in (Direction.INACTIVE, Direction.SENDRECV):
        client.transceiver.direction = direction.value
        offer = parse_offer(await client.offer())
        assert gateway.leg.can_renegotiate(offer)
        text = gateway.leg.renegotiate(offer)
        await client.accept({"sdp": {"sdp": text}})
        assert gateway.leg.direction is direction
        assert gateway.leg.answer == text
    await client.wait_tone(1000)
    assert gateway.count(WebRtcEvent.CONNECTED) == 1
    sessions = [
        re.findall(r"^o=- (\d+) (\d+)", sdp, re.MULTILINE)[0] for sdp in (gateway.leg.offer, gateway.leg.answer)
    ]
    assert sessions == [(sessions[0][0], "1"), (sessions[0][0], "3")]


async def test_leaving_is_known_at_once(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    await client.pc.close()
    await gateway.wait(WebRtcEvent.CLOSED, timeout_s=1)


async def test_codecs_without_audio_are_a_mistake_of_ours(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="audio codec"):
        gateway.plane.create_offer(codecs=audio_codecs(["nothing"]))
    assert gateway.media.legs == 0
