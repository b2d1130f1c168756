"""RED (RFC 2198) from a peer: whoever is behind the leg gets the packets that were in it, lost ones too."""

from __future__ import annotations

import contextlib
import itertools
import random
import time

import pytest
from aiortc.rtp import RtpPacket
from peers import audio, codecs

from .plane import OPUS, PCMU, Plane, RtpPeer, WebRtcPeer, rtp, wait_for

RED = ("red", 48000, 63, 63)
TONE_HZ = 1000.0


def redundant(payloads: list[bytes], at: int, copies: int) -> bytes:
    """Packet `at` with copies of those before it, 20 ms apart (RFC 2198 section 3)."""
    earlier = [(back, payloads[at - back]) for back in range(copies, 0, -1) if at >= back]
    headers = [bytes([0x80 | OPUS[2]]) + (back * 960 << 10 | len(copy)).to_bytes(3) for back, copy in earlier]
    return b"".join([*headers, bytes([OPUS[2]]), *(copy for _, copy in earlier), payloads[at]])


def send(peer: RtpPeer | WebRtcPeer, payloads: list[bytes], at: int, copies: int = 2, *, start: int = 100) -> None:
    packet = redundant(payloads, at, copies)
    peer.send(rtp(start + at, 5000 + 960 * at, payload=packet, payload_type=RED[2]))


def heard_until(peer: RtpPeer, deadline: float) -> list[RtpPacket]:
    heard = []
    while (left_s := deadline - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            heard.append(peer.receive(left_s))
    return heard


@pytest.fixture
def numbered() -> list[bytes]:
    """Payloads that are told apart; the first octet is Opus' for 20 ms of narrowband."""
    return [b"\x08" + bytes([i]) * 20 for i in range(60)]


def test_a_leg_that_speaks_opus_gets_each_packet_once_and_the_lost_ones(plane: Plane, numbered: list[bytes]) -> None:
    browser, other = plane.webrtc_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    lost = {7, 8, 20, 33}
    for at in range(len(numbered)):
        if at not in lost:
            send(browser, numbered, at)
    heard = [other.receive() for _ in numbered]
    assert [packet.payload for packet in heard] == numbered
    assert {packet.payload_type for packet in heard} == {OPUS[2]}
    first = heard[0]
    for i, packet in enumerate(heard):
        assert (packet.sequence_number - first.sequence_number) % 65536 == i
        assert (packet.timestamp - first.timestamp) % 2**32 == 960 * i
    stats = plane.stats(browser.leg)
    assert (stats["packets_recovered"], stats["codec_received"]) == (len(lost), "red")
    assert plane.stats(other.leg)["conversion"] == "relay"


def test_what_is_lost_with_all_its_copies_stays_a_gap(plane: Plane, numbered: list[bytes]) -> None:
    browser, other = plane.webrtc_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    sent = [at for at in range(20) if at not in (5, 6, 7)]
    for at in sent:
        send(browser, numbered, at, copies=1)
    heard = [other.receive() for _ in range(18)]
    assert [packet.payload[1] for packet in heard] == [*range(5), *range(7, 20)]
    assert (heard[5].sequence_number - heard[4].sequence_number) % 65536 == 3


def test_packets_in_another_order_and_twice_come_once(plane: Plane, numbered: list[bytes]) -> None:
    browser, other = plane.rtp_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    order = list(range(40))
    chance = random.Random(3)
    for i in range(0, 40, 4):
        order[i : i + 4] = chance.sample(order[i : i + 4], 4)
    for at in [0, *itertools.chain.from_iterable((at, at) for at in order)]:
        send(browser, numbered, at)
    heard = [other.receive().payload for _ in range(40)]
    assert sorted(heard) == numbered[:40]
    assert other.socket.silent()


def test_a_sender_that_starts_anew_is_heard(plane: Plane, numbered: list[bytes]) -> None:
    browser, other = plane.rtp_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    for at in range(5):
        send(browser, numbered, at, start=100)
    for at in range(5):
        send(browser, numbered, at, copies=0, start=40_000)
    heard = [other.receive().payload[1] for _ in range(9)]  # the first after a jump is on probation (RFC 3550 A.1)
    assert heard == [0, 1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "lie",
    [b"", b"\xef", b"\xef\x0f\x00\x20\x6f", b"\x6f", b"\xef\x0f\x03\xff\x6fshort", b"\xef\x0f\x00\x00" * 9 + b"\x6fx"],
)
def test_lies_are_counted_and_the_call_goes_on(plane: Plane, numbered: list[bytes], lie: bytes) -> None:
    browser, other = plane.rtp_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    send(browser, numbered, 0)
    browser.send(rtp(101, 5960, payload=lie, payload_type=RED[2]))
    send(browser, numbered, 2, copies=0)
    assert [other.receive().payload[1] for _ in range(2)] == [0, 2]
    assert plane.stats(browser.leg)["dropped_malformed"] == 1


@pytest.mark.parametrize("payload_type", [PCMU[2], RED[2], 99])
def test_a_block_of_what_was_not_agreed_is_dropped(plane: Plane, numbered: list[bytes], payload_type: int) -> None:
    browser, other = plane.rtp_leg([RED, OPUS]), plane.webrtc_leg([OPUS])
    plane.bridge(browser, other)
    browser.send(rtp(1, payload=bytes([payload_type]) + numbered[0], payload_type=RED[2]))
    send(browser, numbered, 1, copies=0, start=1)
    assert other.receive().payload == numbered[1]
    assert plane.stats(browser.leg)["dropped_payload_type"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_half_the_packets_lost_and_the_tone_is_whole(workers: int) -> None:
    """Toward a leg that must be transcoded, on the same worker or another."""
    with Plane(workers=workers) as plane:
        browser, phone = plane.webrtc_leg([RED, OPUS]), plane.rtp_leg([PCMU], worker=workers - 1)
        plane.bridge(browser, phone)
        payloads = codecs.tone_packets("opus", TONE_HZ, 2.5)
        heard = []
        late_s = 0.0
        start = time.monotonic()
        for at in range(len(payloads)):
            if at % 2 == 0:
                late_s = max(late_s, time.monotonic() - start - 0.02 * at)
                send(browser, payloads, at, copies=1)
            heard += heard_until(phone, start + 0.02 * (at + 1))
        if late_s > 0.02:
            pytest.skip(f"the machine stalled for {late_s * 1000:.0f} ms, so packets were late that were not lost")
        pcm = audio.decode_ulaw(b"".join(packet.payload for packet in heard))
        tone = audio.check_tone(pcm[1600:], 8000, TONE_HZ, min_duration_s=1.8, max_gap_ms=20, min_purity_db=12)
        assert tone.level_dbfs == pytest.approx(-10.5, abs=2)
        stats = plane.stats(browser.leg)
        assert stats["packets_recovered"] >= len(payloads) // 2 - 1
        if workers == 1:  # else it is decoded elsewhere
            assert stats["playout_delay_ms"] >= 40  # a frame, and the 20 ms by which a copy is later
            assert stats["concealed_ms"] < 100


def test_an_echo_of_redundant_audio_is_plain_opus(plane: Plane) -> None:
    browser = plane.webrtc_leg([RED, OPUS])
    plane.engine.set_source_leg(browser.leg, browser.leg)
    payloads = codecs.tone_packets("opus", TONE_HZ, 0.5)
    for at in range(len(payloads)):
        send(browser, payloads, at)
    heard = [browser.receive() for _ in payloads]
    audio.check_tone(*codecs.decode("opus", [packet.payload for packet in heard]), TONE_HZ, min_duration_s=0.4)
    wait_for(lambda: plane.stats(browser.leg)["packets_sent"] == len(payloads), "all of it")
