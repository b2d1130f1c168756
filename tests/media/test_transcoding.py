"""PCMU, PCMA and Opus into each other, judged by what is heard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from peers import audio
from peers.codecs import decode, encode_g711, encode_opus, tone_packets
from peers.stalls import Stalls

from .plane import COMFORT_NOISE, OPUS, PCMA, PCMU, Plane, RtpPeer, WebRtcPeer, rtp, wait_for

if TYPE_CHECKING:
    from sdpserver._media import CodecEntry

TONE_HZ = 1000.0
AMPLITUDE = 0.3  # -10.5 dBFS


class Received(list[Any]):
    """Packets, and what the machine held up while they came: a jitter buffer plays on by the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.stalls = Stalls()


def relay(
    a: RtpPeer | WebRtcPeer, b: RtpPeer | WebRtcPeer, payloads: list[bytes], payload_type: int, step: int
) -> Received:
    received = Received()
    for i, payload in enumerate(payloads):
        a.send(rtp(100 + i, 5000 + i * step, payload=payload, payload_type=payload_type))
        received.append(b.receive())
        received.stalls.look()
    return received


def check(codec: str, received: Received) -> None:
    """A tone without a gap, but for what the machine held up."""
    heard, rate = decode(codec, [packet.payload for packet in received])
    max_gap_ms = 5 + 1000 * received.stalls.total_s
    tone = audio.check_tone(heard, rate, TONE_HZ, min_duration_s=0.9, max_gap_ms=max_gap_ms, min_purity_db=15)
    assert tone.level_dbfs == pytest.approx(audio.level_dbfs(audio.sine(TONE_HZ, 1, rate, amplitude=AMPLITUDE)), abs=3)


def even_steps(packets: list[Any], step: int) -> None:
    first = packets[0]
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets] == [
        i * step for i in range(len(packets))
    ]
    assert [(packet.sequence_number - first.sequence_number) % 65536 for packet in packets] == list(range(len(packets)))


@pytest.mark.parametrize(("source", "target"), [(PCMU, PCMA), (PCMA, PCMU)])
def test_one_law_becomes_the_other_within_a_quantisation_step(
    plane: Plane, source: CodecEntry, target: CodecEntry
) -> None:
    a, b = plane.rtp_leg([source]), plane.rtp_leg([target])
    plane.bridge(a, b)
    a.send(rtp(payload=bytes(range(256)), payload_type=source[2]))
    packet = b.receive()
    assert packet.payload_type == target[2]
    (was, _), (became, _) = decode(source[0], [bytes(range(256))]), decode(target[0], [packet.payload])
    # Half of the wider step; the steps are at most 1/16 of the value, and 1/2048 of full scale near zero.
    assert np.all(np.abs(was - became) <= np.maximum(np.abs(was) / 24, 1 / 2048))
    assert plane.stats(b.leg)["conversion"] == "convert"


@pytest.mark.parametrize("source", [PCMU, PCMA])
def test_a_tone_survives_the_law_change(plane: Plane, source: CodecEntry) -> None:
    target = PCMA if source is PCMU else PCMU
    a, b = plane.rtp_leg([source]), plane.rtp_leg([target])
    plane.bridge(a, b)
    received = relay(a, b, tone_packets(source[0], TONE_HZ, 1, amplitude=AMPLITUDE), source[2], 160)
    even_steps(received, 160)
    check(target[0], received)


@pytest.mark.parametrize("target", [PCMU, PCMA])
@pytest.mark.parametrize(("rate", "layout"), [(48000, "mono"), (48000, "stereo"), (8000, "mono")])
def test_opus_becomes_g711(plane: Plane, target: CodecEntry, rate: int, layout: str) -> None:
    browser, phone = plane.webrtc_leg([OPUS]), plane.rtp_leg([target])
    plane.bridge(browser, phone)
    payloads = encode_opus(audio.sine(TONE_HZ, 1.1, rate, amplitude=AMPLITUDE), rate, layout=layout)
    received = relay(browser, phone, payloads, 111, 960)
    assert {len(packet.payload) for packet in received} == {160}
    even_steps(received, 160)
    check(target[0], received)
    assert plane.stats(phone.leg)["conversion"] == "transcode"
    assert plane.stats(phone.leg)["codec_sent"] == target[0]


@pytest.mark.parametrize("source", [PCMU, PCMA])
def test_g711_becomes_opus(plane: Plane, source: CodecEntry) -> None:
    browser, phone = plane.webrtc_leg([OPUS]), plane.rtp_leg([source])
    plane.bridge(browser, phone)
    received = relay(phone, browser, tone_packets(source[0], TONE_HZ, 1.1, amplitude=AMPLITUDE), source[2], 160)
    assert {packet.payload_type for packet in received} == {111}
    even_steps(received, 960)
    check("opus", received)
    assert plane.stats(browser.leg)["conversion"] == "transcode"


def repacketised(
    a: RtpPeer | WebRtcPeer, b: RtpPeer | WebRtcPeer, payloads: list[bytes], payload_type: int, in_ms: int, out_ms: int
) -> Received:
    """What `b` gets of what `a` sends in packets of `in_ms`, as many at a time as are whole packets there."""
    step = math.lcm(in_ms, out_ms)
    received = Received()
    for i, payload in enumerate(payloads):
        clock_khz = 48 if payload_type == OPUS[2] else 8
        a.send(rtp(100 + i, 5000 + i * in_ms * clock_khz, payload=payload, payload_type=payload_type))
        if (i + 1) * in_ms % step == 0:
            received += [b.receive() for _ in range(step // out_ms)]
        received.stalls.look()
    return received


@pytest.mark.parametrize(("in_ms", "out_ms"), [(10, 20), (20, 10), (20, 30), (30, 20), (20, 40), (60, 30), (40, 60)])
def test_g711_becomes_opus_packets_of_the_length_that_was_agreed_on(plane: Plane, in_ms: int, out_ms: int) -> None:
    browser, phone = plane.webrtc_leg([OPUS]), plane.rtp_leg([PCMU])
    plane.engine.set_codecs(browser.leg, [OPUS], out_ms)
    plane.bridge(browser, phone)
    octets = encode_g711("PCMU", audio.sine(TONE_HZ, 1.2, 8000, amplitude=AMPLITUDE))
    size = 8 * in_ms
    payloads = [octets[i : i + size] for i in range(0, 9600 - size + 1, size)]
    received = repacketised(phone, browser, payloads, 0, in_ms, out_ms)
    even_steps(received, 48 * out_ms)
    heard, _ = decode("opus", [packet.payload for packet in received])
    assert len(heard) == len(received) * 48 * out_ms
    check("opus", received)


@pytest.mark.parametrize(("in_ms", "out_ms"), [(10, 20), (20, 10), (20, 30), (40, 20), (60, 40), (20, 60)])
def test_opus_becomes_g711_packets_of_the_length_that_was_agreed_on(plane: Plane, in_ms: int, out_ms: int) -> None:
    browser, phone = plane.webrtc_leg([OPUS]), plane.rtp_leg([PCMA])
    plane.engine.set_codecs(phone.leg, [PCMA], out_ms)
    plane.bridge(browser, phone)
    payloads = encode_opus(audio.sine(TONE_HZ, 1.2, 48000, amplitude=AMPLITUDE), 48000, frame_ms=in_ms)
    received = repacketised(browser, phone, payloads, 111, in_ms, out_ms)
    assert {len(packet.payload) for packet in received} == {8 * out_ms}
    even_steps(received, 8 * out_ms)
    check("PCMA", received)


@pytest.mark.parametrize(("in_ms", "out_ms"), [(10, 20), (20, 30), (60, 20)])
def test_g711_of_one_length_becomes_g711_of_the_other_sample_by_sample(plane: Plane, in_ms: int, out_ms: int) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.engine.set_codecs(b.leg, [PCMU], out_ms)
    plane.bridge(a, b)
    octets = encode_g711("PCMU", audio.sine(TONE_HZ, 1.2, 8000, amplitude=AMPLITUDE))
    size = 8 * in_ms
    received = repacketised(a, b, [octets[i : i + size] for i in range(0, 9600 - size + 1, size)], 0, in_ms, out_ms)
    assert {len(packet.payload) for packet in received} == {8 * out_ms}
    even_steps(received, 8 * out_ms)
    check("PCMU", received)


def test_broken_opus_is_dropped_and_the_next_packet_decoded(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg([OPUS]), plane.rtp_leg([PCMU])
    plane.bridge(browser, phone)
    good = tone_packets("opus", TONE_HZ, 0.1)
    browser.send(rtp(1, payload=b"\xff\xff\xff\xff", payload_type=111))
    browser.send(rtp(2, payload=good[0], payload_type=111))
    assert len(phone.receive().payload) == 160


def test_what_the_other_leg_speaks_is_relayed_and_the_rest_converted_to_its_first(plane: Plane) -> None:
    a, b = plane.rtp_leg([PCMU, PCMA, OPUS]), plane.rtp_leg([PCMA, OPUS, COMFORT_NOISE])
    plane.bridge(a, b)
    opus = tone_packets("opus", TONE_HZ, 0.1)[0]
    a.send(rtp(1, payload=b"\xd5" * 160, payload_type=8))
    assert b.receive().payload == b"\xd5" * 160
    assert plane.stats(b.leg)["conversion"] == "relay"
    a.send(rtp(2, payload_type=0))
    assert b.receive().payload_type == 8
    assert plane.stats(b.leg)["conversion"] == "convert"
    a.send(rtp(3, payload=opus, payload_type=111))
    packet = b.receive()
    assert (packet.payload_type, packet.payload) == (111, opus)


def test_what_nobody_can_convert_is_dropped_and_counted(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg([COMFORT_NOISE])
    plane.bridge(a, b)
    a.send(rtp(1))
    wait_for(lambda: plane.stats(b.leg)["dropped_conversion"] == 1, "the refusal")


def test_echo_of_opus_is_relayed_untouched(plane: Plane) -> None:
    browser = plane.webrtc_leg([PCMU, OPUS])
    plane.engine.set_source_leg(browser.leg, browser.leg)
    plane.settle()
    browser.send(rtp(1, payload=b"\xfc\xff\xfe", payload_type=111))
    assert browser.receive().payload == b"\xfc\xff\xfe"
