"""A leg over the real media plane, with aiortc's RTCPeerConnection for a client."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from peers.aiortc_client import Client
from peers.waiting import until

from sdpserver.errors import BadRequest, Conflict
from sdpserver.media import LegEvent
from sdpserver.sdp import Direction, audio_codecs
from sdpserver.webrtc import WebRtcEvent, parse_offer
from sdpserver.webrtc.data_channel import MAX_BUFFERED_OCTETS
from sdpserver.webrtc.leg import MAX_CHANNELS
from sdpserver.webrtc.sdpfrag import parse_fragment

from .conftest import OFFER, Gateway


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with Client("http://127.0.0.1") as found:  # only its peer connection is used
        yield found


async def call(client: Client, gateway: Gateway, *, setup: str = "actpass") -> None:
    offer = (await client.offer()).replace("a=setup:actpass", f"a=setup:{setup}")
    await accept(client, gateway.answer(offer))
    await client.wait_connected()
    await gateway.wait(WebRtcEvent.CONNECTED)


async def accept(client: Client, answer: str) -> None:
    await client.accept({"sdp": {"sdp": answer}})


async def reoffer(client: Client, gateway: Gateway) -> str:
    offer = parse_offer(await client.offer())
    assert gateway.leg.can_renegotiate(offer)
    answer = gateway.leg.renegotiate(offer)
    await accept(client, answer)
    return answer


@pytest.mark.parametrize(("setup", "role"), [("actpass", "server"), ("passive", "client")])
async def test_audio_is_heard_whoever_is_the_dtls_server(
    client: Client, gateway: Gateway, setup: str, role: str
) -> None:
    await call(client, gateway, setup=setup)
    await client.wait_tone(1000)
    state = gateway.leg.state_json()
    assert state["dtls"]["role"] == role
    assert (state["ice"]["state"], state["dtls"]["state"]) == ("connected", "connected")
    assert re.fullmatch(r"127\.0\.0\.1 \d+", state["ice"]["remote_address"])
    assert [event for event, _ in gateway.events[:2]] == [WebRtcEvent.ICE_CONNECTED, WebRtcEvent.CONNECTED]
    await gateway.wait(WebRtcEvent.FIRST_RTP_RECEIVED)
    await gateway.wait(WebRtcEvent.FIRST_RTP_SENT)


async def test_the_cheapest_srtp_profile_that_both_have(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    assert gateway.leg.state_json()["dtls"]["srtp_profile"] == "AEAD_AES_128_GCM"
    assert await gateway.wait(WebRtcEvent.CONNECTED) == "AEAD_AES_128_GCM"


async def test_opus_is_echoed_too(gateway: Gateway) -> None:
    async with Client("http://127.0.0.1", codec="opus") as client:
        await accept(client, gateway.answer(await client.offer(), audio_codecs(["opus"])))
        await client.wait_connected()
        await client.wait_audio(20)
        assert gateway.leg.codecs[0].name == "opus"


async def test_data_channels_are_echoed(gateway: Gateway) -> None:
    async with Client("http://127.0.0.1", audio=False) as client:
        channel = client.pc.createDataChannel("chat", protocol="x")
        heard: list[str | bytes] = []
        channel.on("message", heard.append)
        await accept(client, gateway.answer(await client.offer()))
        await until(lambda: channel.readyState == "open", timeout_s=5, what="the channel")
        sent: list[str | bytes] = ["hello", b"\1\2", "ä" * 20000]
        for message in sent:
            channel.send(message)
        await until(lambda: len(heard) == len(sent), timeout_s=5, what="the echo")
        assert heard == sent
        (found,) = gateway.channels
        assert (found.label, found.protocol, found.ordered, found.closed) == ("chat", "x", True, False)
        channel.close()
        await until(lambda: found.closed, timeout_s=5, what="the channel to close")
        found.send("nobody listens")


async def test_a_channel_whose_reader_is_too_slow_is_closed(client: Client, gateway: Gateway) -> None:
    client.pc.createDataChannel("slow")
    await call(client, gateway)
    await until(lambda: bool(gateway.channels), timeout_s=5, what="the channel")
    gateway.leg._wire._send_datagram = lambda datagram: None
    (channel,) = gateway.channels
    for _ in range(MAX_BUFFERED_OCTETS // 50000 + 3):
        channel.send(b"x" * 50000)
    assert channel.closed


async def test_a_message_longer_than_the_client_takes_is_dropped(client: Client, gateway: Gateway) -> None:
    mine = client.pc.createDataChannel("short")
    heard: list[str] = []
    mine.on("message", heard.append)
    offer = re.sub(r"a=max-message-size:\d+", "a=max-message-size:1000", await client.offer())
    await accept(client, gateway.answer(offer))
    await until(lambda: bool(gateway.channels), timeout_s=5, what="the channel")
    gateway.channels[0].send("x" * 1001)
    gateway.channels[0].send("y" * 1000)
    await until(lambda: bool(heard), timeout_s=5, what="the message")
    assert heard == ["y" * 1000]


async def test_a_client_cannot_open_channels_without_end(client: Client, gateway: Gateway) -> None:
    opened = [client.pc.createDataChannel(str(number)) for number in range(MAX_CHANNELS + 8)]
    await call(client, gateway)
    await until(
        lambda: sum(channel.readyState == "closed" for channel in opened) == 8,
        timeout_s=5,
        what="channels to be closed",
    )
    assert len(gateway.channels) == MAX_CHANNELS


async def test_nothing_of_dtls_is_sent_before_a_check(client: Client, gateway: Gateway) -> None:
    sent: list[bytes] = []
    answer = gateway.answer((await client.offer()).replace("a=setup:actpass", "a=setup:passive"))
    send = gateway.leg._wire._send_datagram

    def look(datagram: bytes) -> None:
        assert gateway.count(WebRtcEvent.ICE_CONNECTED) == 1
        sent.append(datagram)
        send(datagram)

    gateway.leg._wire._send_datagram = look
    await asyncio.sleep(0)
    assert gateway.leg.state_json()["dtls"]["state"] == "new"
    assert not sent
    await accept(client, answer)
    await gateway.wait(WebRtcEvent.CONNECTED)
    assert (sent[0][0], sent[0][13]) == (22, 1)  # a handshake record with a ClientHello


async def test_a_data_channel_added_later_uses_the_same_association(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    await client.wait_tone(1000)
    channel = client.pc.createDataChannel("late")
    heard: list[str] = []
    channel.on("message", heard.append)
    await reoffer(client, gateway)
    await until(lambda: channel.readyState == "open", timeout_s=5, what="the channel")
    channel.send("hello")
    await until(lambda: heard == ["hello"], timeout_s=5, what="the echo")
    assert gateway.count(WebRtcEvent.CONNECTED) == 1
    await client.wait_tone(1000)


async def test_directions_change_without_a_new_association(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    first = gateway.leg.answer
    await client.wait_tone(1000)
    assert client.transceiver is not None
    client.transceiver.direction = "inactive"
    answer = await reoffer(client, gateway)
    assert gateway.leg.direction == Direction.INACTIVE
    assert re.findall(r"a=(?:ice-\S+|setup:\S+)", answer) == re.findall(r"a=(?:ice-\S+|setup:\S+)", first)
    versions = [int(re.findall(r"^o=- \d+ (\d+)", sdp, re.MULTILINE)[0]) for sdp in (first, answer)]
    assert versions == [1, 2]
    client.transceiver.direction = "sendrecv"
    await reoffer(client, gateway)
    assert Direction(gateway.leg.direction) is Direction.SENDRECV
    await client.wait_tone(1000)
    assert gateway.count(WebRtcEvent.CONNECTED) == 1


async def test_a_bad_reoffer_changes_nothing(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    before = gateway.leg.answer, gateway.leg.codecs, gateway.leg.state_json()
    bad = re.sub(r"a=rtpmap:\S+ \S+", "a=rtpmap:77 x/1", await client.offer()).replace(" 0 8", " 77")
    with pytest.raises(BadRequest):
        gateway.leg.renegotiate(parse_offer(bad))
    assert (gateway.leg.answer, gateway.leg.codecs, gateway.leg.state_json()) == before
    await client.wait_tone(1000)


async def test_another_peer_connection_needs_a_leg_of_its_own(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    async with Client("http://127.0.0.1") as other:
        assert not gateway.leg.can_renegotiate(parse_offer(await other.offer()))
    # The same certificate, kept over a reload, is another association too: all else of the offer is new.
    offer = await client.offer()
    assert gateway.leg.can_renegotiate(parse_offer(offer))
    reloaded = re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:another", offer).replace("o=- ", "o=- 9")
    assert not gateway.leg.can_renegotiate(parse_offer(reloaded))
    flipped = offer.replace("a=setup:actpass", "a=setup:passive")
    assert not gateway.leg.can_renegotiate(parse_offer(flipped))


async def test_a_clients_close_is_known_at_once(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    await client.pc.close()
    await gateway.wait(WebRtcEvent.CLOSED, timeout_s=1)
    async with asyncio.timeout(1):
        await gateway.task
    # Until it is closed here too, others may name its media leg.
    gateway.leg.media.send_from(None)
    assert not gateway.leg.can_renegotiate(parse_offer(OFFER))
    await gateway.leg.close()
    assert gateway.leg.media.closed


async def test_our_close_is_known_to_the_client_at_once(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    await gateway.leg.close()
    await client.wait_closed(1)
    async with asyncio.timeout(1):
        await gateway.task
    assert gateway.leg.media.closed
    assert gateway.count(WebRtcEvent.CLOSED) == 0
    await gateway.leg.close()


async def test_a_wrong_fingerprint_fails_at_once(client: Client, gateway: Gateway) -> None:
    offer = re.sub(r"(a=fingerprint:\S+ )..", r"\g<1>00", await client.offer())
    offer = re.sub(r"(a=fingerprint:\S+ 00:)..", r"\g<1>00", offer)
    await accept(client, gateway.answer(offer))
    assert "fingerprint mismatch" in await gateway.wait(WebRtcEvent.FAILED, timeout_s=2)
    await client.wait_closed(2)  # told so, by close_notify
    async with asyncio.timeout(1):
        await gateway.task
    assert gateway.count(WebRtcEvent.CONNECTED) == 0
    assert gateway.leg.state_json()["dtls"]["state"] == "failed"


async def test_a_failure_of_the_media_plane_ends_the_leg_once(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    assert gateway.leg.media.on_event is not None
    gateway.leg.media.on_event(LegEvent.FAILED, b"no memory")
    assert gateway.events[-1][0] is WebRtcEvent.FAILED
    assert "no memory" in gateway.events[-1][1]
    async with asyncio.timeout(1):
        await gateway.task
    await gateway.leg.close()
    assert gateway.count(WebRtcEvent.FAILED) == 1
    assert gateway.count(WebRtcEvent.CLOSED) == 0


async def test_closing_before_the_first_check(client: Client, gateway: Gateway) -> None:
    gateway.answer(await client.offer())
    await gateway.leg.close()
    async with asyncio.timeout(1):
        await gateway.task


async def test_cancelling_says_close_notify_too(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    gateway.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gateway.task
    await client.wait_closed(1)
    await gateway.leg.close()
    gateway.forget()


async def test_a_closed_leg_leaves_nothing_for_the_garbage_collector(client: Client, gateway: Gateway) -> None:
    client.pc.createDataChannel("chat")
    await call(client, gateway)
    await until(lambda: bool(gateway.channels), timeout_s=5, what="the channel")
    gc.collect()
    gc.disable()
    try:
        await gateway.leg.close()
        await gateway.task
        await asyncio.sleep(0)
        left = [weakref.ref(kept) for kept in (gateway.leg, gateway.leg._dtls, gateway.leg._dtls._ssl)]
        gateway.forget()
        await client.wait_closed(1)
        assert [reference() for reference in left] == [None, None, None]
    finally:
        gc.enable()


async def test_closing_while_the_handshake_runs(client: Client, gateway: Gateway) -> None:
    answer = gateway.answer(await client.offer())
    gateway.leg._wire._send_datagram = lambda datagram: None  # the client never hears of our DTLS
    await accept(client, answer)
    await gateway.wait(WebRtcEvent.ICE_CONNECTED)
    await until(lambda: gateway.leg._wire.resent > 0, timeout_s=2, what="a flight sent again")
    await gateway.leg.close()
    async with asyncio.timeout(1):
        await gateway.task
    assert gateway.count(WebRtcEvent.FAILED) == 0


@pytest.mark.parametrize("setup", ["actpass", "passive"])
async def test_a_lost_flight_is_sent_again_after_100_ms(client: Client, gateway: Gateway, setup: str) -> None:
    answer = gateway.answer((await client.offer()).replace("a=setup:actpass", f"a=setup:{setup}"))
    send, sent = gateway.leg._wire._send_datagram, list[tuple[float, bytes]]()

    def lose_the_first(datagram: bytes) -> None:
        sent.append((asyncio.get_running_loop().time(), datagram))
        if len(sent) > 1:
            send(datagram)

    gateway.leg._wire._send_datagram = lose_the_first
    await accept(client, answer)
    await gateway.wait(WebRtcEvent.CONNECTED, timeout_s=2)
    (lost_at, lost), (again_at, again) = sent[:2]
    assert lost == again
    assert 0.09 < again_at - lost_at < 0.95  # OpenSSL would do it after 1 s
    await client.wait_tone(1000)


async def test_a_client_that_vanished_is_gone(client: Client, gateway: Gateway) -> None:
    await call(client, gateway)
    gateway.leg.media.set_timeouts(ice_timeout_s=0.3)
    await client.vanish()
    await gateway.wait(WebRtcEvent.GONE, timeout_s=3)
    assert gateway.leg.state_json()["ice"]["state"] == "disconnected"


async def test_trickled_candidates_are_checked_and_counted(client: Client, gateway: Gateway) -> None:
    gateway.answer(await client.offer())
    gateway.leg.add_remote_candidate("candidate:1 1 udp 2122252543 192.0.2.1 42212 typ host", "0", 0)
    gateway.leg.add_remote_candidate("", "0", 0)
    with pytest.raises(BadRequest):
        gateway.leg.add_remote_candidate("nonsense", None, None)
    assert gateway.leg.state_json()["ice"]["remote_candidates"] == 1
    gateway.leg.add_remote_candidate("candidate:1 1 udp 2122252543 192.0.2.1 42212 typ host", "0", 0)
    assert gateway.leg.state_json()["ice"]["remote_candidates"] == 1  # it was told again


async def test_ice_is_restarted_without_an_offer_and_audio_goes_on(client: Client, gateway: Gateway) -> None:
    """The client does not follow, so that its old ICE session must stay good."""
    await call(client, gateway)
    await client.wait_tone(1000)
    leg, before = gateway.leg, gateway.leg.ice_tag
    first = leg.remote_ice
    leg.restart_ice("abcd", "p" * 22)
    ours = parse_fragment(leg.ice_fragment)
    assert (ours.ufrag, leg.remote_ice) == (leg.ice_tag, ("abcd", "p" * 22))
    assert leg.ice_tag != before
    assert ours.mids == ("0",)
    (await client.listen(1.2)).check_tone(1000)
    with pytest.raises(Conflict, match="over"):
        leg.restart_ice(*first)
    assert leg.ice_tag == ours.ufrag
    await leg.close()
    with pytest.raises(Conflict, match="closed"):
        leg.restart_ice("abcde", "p" * 22)


async def test_there_is_no_ice_to_restart_before_the_answer_to_our_offer(gateway: Gateway) -> None:
    leg = gateway.leg_with_offer()
    with pytest.raises(Conflict, match="not answered"):
        leg.restart_ice("abcd", "p" * 22)


async def test_the_candidates_repeat_those_of_the_answer(client: Client, gateway: Gateway) -> None:
    answer = gateway.answer(await client.offer())
    (found,) = gateway.leg.candidates
    assert f"a={found.candidate}\r\n" in answer
    assert (found.sdpMid, found.sdpMLineIndex) == ("0", 0)
    assert f" 127.0.0.1 {gateway.leg.media.port} typ host" in found.candidate
