"""Presses through legs and sockets: sent in place of what a leg sends otherwise, reported when a peer makes them."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from peers import audio
from peers.codecs import encode_g711

from sdpserver import _media
from sdpserver._media_testing import InbandDtmfDetector

from .plane import EVENT_8000, EVENT_48000, OPUS, PCMU, Plane, RtpPeer, rtp, wait_for
from .test_telephone_events import event_packet, press

END = 0x80


class Talker:
    """Sends PCMU every 20 ms, the timestamp in its samples' value, until it is stopped."""

    def __init__(self, peer: RtpPeer) -> None:
        self._peer = peer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        next_s = time.monotonic()
        for i in itertools.count():
            self._peer.send(rtp(i, 160 * i, payload=(i % 2**16).to_bytes(2, "big") * 80))
            next_s += 0.02
            if self._over.wait(max(next_s - time.monotonic(), 0)):
                return

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def receive_until_after_presses(
    peer: RtpPeer, presses: int, *, event_type: int = 101, audio_after: int = 5
) -> list[RtpPacket]:
    """Everything that comes until `audio_after` packets of audio have followed the last end packet."""
    packets: list[RtpPacket] = []
    ends: set[int] = set()
    left = audio_after
    while left > 0:
        packet = peer.receive()
        packets.append(packet)
        if packet.payload_type == event_type:
            left = audio_after
            if packet.payload[1] & END:
                ends.add(packet.timestamp)
        elif len(ends) == presses:
            left -= 1
    return packets


def events_of(packets: list[RtpPacket], payload_type: int = 101) -> list[list[RtpPacket]]:
    """The event packets by press."""
    events = [packet for packet in packets if packet.payload_type == payload_type]
    return [list(group) for _, group in itertools.groupby(events, key=lambda packet: packet.timestamp)]


def assert_numbered_without_gap(packets: list[RtpPacket]) -> None:
    numbers = [packet.sequence_number for packet in packets]
    assert [(b - a) % 65536 for a, b in itertools.pairwise(numbers)] == [1] * (len(numbers) - 1)


@pytest.fixture
def bridged(plane: Plane) -> tuple[RtpPeer, RtpPeer]:
    a, b = plane.rtp_leg([PCMU, EVENT_8000]), plane.rtp_leg([PCMU, EVENT_8000])
    plane.bridge(a, b)
    return a, b


def test_presses_take_the_place_of_relayed_audio_which_goes_on_in_its_own_time(
    plane: Plane, bridged: tuple[RtpPeer, RtpPeer]
) -> None:
    talking, peer = bridged
    talker = Talker(talking)
    try:
        before = [peer.receive() for _ in range(10)]
        plane.engine.send_presses(peer.leg, [5, 5, 11], 100, 70)
        packets = before + receive_until_after_presses(peer, 3)
    finally:
        talker.stop()
    assert_numbered_without_gap(packets)
    assert len({packet.ssrc for packet in packets}) == 1
    presses = events_of(packets)
    assert [group[0].payload[0] for group in presses] == [5, 5, 11]
    for group in presses:
        assert [packet.marker for packet in group] == [1] + [0] * 6
        assert [int.from_bytes(packet.payload[2:], "big") for packet in group] == [160, 320, 480, 640, 800, 800, 800]
        assert [packet.payload[1] for packet in group] == [10] * 4 + [END | 10] * 3
    starts = [group[0].timestamp for group in presses]
    assert [(b - a) % 2**32 for a, b in itertools.pairwise(starts)] == [pytest.approx(170 * 8, abs=5 * 8)] * 2
    # No audio between them, and after them each packet has the timestamp that it would have had without them.
    first = next(i for i, packet in enumerate(packets) if packet.payload_type == 101)
    last = max(i for i, packet in enumerate(packets) if packet.payload_type == 101)
    assert all(packet.payload_type == 101 for packet in packets[first : last + 1])
    offsets = {
        (packet.timestamp - 160 * int.from_bytes(packet.payload[:2], "big")) % 2**32
        for packet in packets
        if packet.payload_type == 0
    }
    assert len(offsets) == 1
    audio_after = packets[last + 1]
    assert 0 < (audio_after.timestamp - (starts[-1] + 800)) % 2**32 < 100 * 8
    assert 0 <= (starts[0] - packets[first - 1].timestamp) % 2**32 <= 60 * 8
    assert plane.stats(peer.leg)["telephone_events_sent"] == 3


@pytest.mark.parametrize("source", ["tone", "nothing"])
def test_presses_go_out_without_a_source_and_in_place_of_a_tone(plane: Plane, source: str) -> None:
    peer = plane.rtp_leg([PCMU, EVENT_8000])
    packets = []
    if source == "tone":
        plane.engine.set_source_tone(peer.leg, [440.0])
        packets = [peer.receive() for _ in range(5)]
    plane.engine.send_presses(peer.leg, [1, 2], 60, 50)
    if source == "tone":
        packets += receive_until_after_presses(peer, 2)
    else:
        packets += [peer.receive() for _ in range(2 * 5)]
    assert_numbered_without_gap(packets)
    assert [[packet.payload[0] for packet in group] for group in events_of(packets)] == [[1] * 5, [2] * 5]
    if source == "tone":
        stamps = [packet.timestamp for packet in packets if packet.payload_type == 0]
        steps = {(b - a) % 2**32 % 160 for a, b in itertools.pairwise(stamps)}
        assert steps == {0}  # the tone's own time goes on


def test_toward_opus_presses_have_its_clock_and_audio_goes_on(plane: Plane) -> None:
    talking, peer = plane.rtp_leg([PCMU]), plane.rtp_leg([OPUS, EVENT_48000])
    plane.bridge(talking, peer)
    talker = Talker(talking)
    try:
        packets = [peer.receive() for _ in range(10)]
        plane.engine.send_presses(peer.leg, [9], 1500, 70)
        packets += receive_until_after_presses(peer, 1, event_type=110)
    finally:
        talker.stop()
    assert_numbered_without_gap(packets)
    segments = events_of(packets, 110)
    assert (segments[1][0].timestamp - segments[0][0].timestamp) % 2**32 == 0xFFFF
    assert int.from_bytes(segments[1][-1].payload[2:], "big") == 1500 * 48 - 0xFFFF
    assert not any(packet.payload[1] & END for packet in segments[0])
    assert plane.stats(peer.leg)["telephone_events_sent"] == 1
    stamps = [packet.timestamp for packet in packets if packet.payload_type == 111]
    assert {(b - a) % 2**32 % 960 for a, b in itertools.pairwise(stamps)} == {0}


def test_presses_in_band_are_tones_in_the_audio(plane: Plane) -> None:
    talking, peer = plane.rtp_leg([PCMU]), plane.rtp_leg([PCMU])
    plane.bridge(talking, peer)
    talker = Talker(talking)
    try:
        packets = [peer.receive() for _ in range(5)]
        plane.engine.send_presses(peer.leg, list(range(16)), 80, 60, 10, True)
        packets += [peer.receive() for _ in range(16 * 7 + 8)]
    finally:
        talker.stop()
    assert_numbered_without_gap(packets)
    pcm = audio.decode_ulaw(b"".join(packet.payload for packet in packets[5:]))
    ear = InbandDtmfDetector()
    ear.listen((np.asarray(pcm) * 32767).astype("<i2").tobytes())
    assert [event for event, _, _ in ear.presses] == list(range(16))
    assert [duration_ms for _, duration_ms, _ in ear.presses] == [pytest.approx(80, abs=20)] * 16


def test_a_press_of_ours_waits_for_one_that_is_relayed(plane: Plane, bridged: tuple[RtpPeer, RtpPeer]) -> None:
    pressing, peer = bridged
    pressing.send(rtp(1, 160))
    peer.receive()
    packets = press(2, 320, 7, 101, 8000)
    pressing.send(packets[0])
    received = [peer.receive()]
    plane.engine.send_presses(peer.leg, [3], 40, 40)
    plane.settle()
    for packet in packets[1:]:
        pressing.send(packet)
    while len(received) < 7 + 4:
        received.append(peer.receive())
    assert [packet.payload[0] for packet in received] == [7] * 7 + [3] * 4
    assert_numbered_without_gap(received)


def test_on_hold_what_waits_is_dropped_and_the_place_is_free_again(plane: Plane) -> None:
    peer = plane.rtp_leg([PCMU, EVENT_8000])
    plane.engine.send_presses(peer.leg, [1] * 128, 6000, 70)
    with pytest.raises(OverflowError):
        plane.engine.send_presses(peer.leg, [2], 100, 70)
    peer.receive()
    plane.engine.set_direction(peer.leg, False, True)
    plane.engine.set_direction(peer.leg, True, True)
    plane.settle()
    plane.engine.send_presses(peer.leg, [2], 100, 70)
    while (packet := peer.receive()).payload[0] == 1:
        pass
    assert (packet.payload[0], packet.marker) == (2, 1)


@pytest.mark.parametrize(
    ("events", "duration_ms", "gap_ms", "volume"),
    [([16], 100, 70, 10), ([1], 39, 70, 10), ([1], 100, 39, 10), ([1], 10_001, 70, 10), ([1], 100, 70, 64)],
)
def test_a_press_that_cannot_be_is_refused(
    plane: Plane, events: list[int], duration_ms: int, gap_ms: int, volume: int
) -> None:
    peer = plane.rtp_leg([PCMU, EVENT_8000])
    with pytest.raises(ValueError, match=r"^a (key|volume|press) "):
        plane.engine.send_presses(peer.leg, events, duration_ms, gap_ms, volume)
    with pytest.raises(KeyError):
        plane.engine.send_presses(999, [1], 100, 70)


# -- heard


def pressed(plane: Plane, leg: int) -> bytes:
    return plane.wait(_media.DTMF, leg)[3]


def test_a_press_is_reported_once_with_its_length(plane: Plane, bridged: tuple[RtpPeer, RtpPeer]) -> None:
    a, _ = bridged
    for digit, sequence in ((5, 1), (5, 101), (11, 201)):
        for packet in press(sequence, sequence * 1000, digit, 101, 8000):
            a.send(packet)
    assert [pressed(plane, a.leg) for _ in range(3)] == [b"5 100 rfc4733", b"5 100 rfc4733", b"11 100 rfc4733"]
    plane.settle()
    assert plane.count(_media.DTMF, a.leg) == 0


def test_a_press_whose_ends_are_lost_is_reported_by_time(plane: Plane) -> None:
    a = plane.rtp_leg([PCMU, EVENT_8000])
    sent_at = time.monotonic()
    for packet in press(1, 1000, 3, 101, 8000)[:3]:
        a.send(packet)
    assert pressed(plane, a.leg) == b"3 60 rfc4733"
    assert 0.19 < time.monotonic() - sent_at < 1.0


def test_a_new_sender_ends_the_press_of_the_old_one(plane: Plane) -> None:
    a = plane.rtp_leg([PCMU, EVENT_8000])
    a.send(event_packet(1, 1000, 3, 160, 101))
    other = rtp(1, 160)
    other.ssrc = 99
    a.send(other)
    assert pressed(plane, a.leg) == b"3 20 rfc4733"


def test_a_flood_of_presses_does_not_become_a_flood_of_events(plane: Plane) -> None:
    a = plane.rtp_leg([PCMU, EVENT_8000])

    def wait_read(packets: int) -> None:
        wait_for(lambda: plane.stats(a.leg)["packets_received"] == packets, "the flood to be read")

    for i in range(400):
        a.send(event_packet(i, 2000 * i, i % 16, 800, 101, end=True))
        if i % 50 == 49:  # no more than the socket's buffer holds
            wait_read(i + 1)
    a.send(rtp(400, 2000 * 400))
    wait_read(401)  # which also ends the last press
    reported = plane.count(_media.DTMF, a.leg)
    assert 32 <= reported <= 32 + 25 * 3
    assert plane.stats(a.leg)["telephone_events_received"] == 400


def send_tones(peer: RtpPeer, digits: str, *, sequence: int = 1, press_ms: int = 100, gap_ms: int = 60) -> int:
    """PCMU in real time; the next sequence number."""
    rows, columns, keypad = (697, 770, 852, 941), (1209, 1336, 1477, 1633), "123A456B789C*0#D"
    parts = []
    for digit in digits:
        row, column = divmod(keypad.index(digit), 4)
        parts += [
            audio.sine(rows[row], press_ms / 1000, 8000, amplitude=0.2)
            + audio.sine(columns[column], press_ms / 1000, 8000, amplitude=0.2),
            np.zeros(8 * gap_ms),
        ]
    payload = encode_g711("PCMU", np.concatenate([*parts, np.zeros(8 * 200)]))
    next_s = time.monotonic()
    for at in range(0, len(payload) - 159, 160):
        peer.send(rtp(sequence, 160 * sequence, payload=payload[at : at + 160]))
        sequence += 1
        next_s += 0.02
        time.sleep(max(next_s - time.monotonic(), 0))  # the time that the audio takes
    return sequence


def test_tones_are_presses_once_that_is_asked_for(plane: Plane) -> None:
    a = plane.rtp_leg([PCMU, EVENT_8000])
    plane.engine.detect_inband_presses(a.leg, True)
    sequence = send_tones(a, "14*")
    heard = [pressed(plane, a.leg).split() for _ in range(3)]
    assert [(event, method) for event, _, method in heard] == [(b"1", b"inband"), (b"4", b"inband"), (b"10", b"inband")]
    assert [int(duration_ms) for _, duration_ms, _ in heard] == [pytest.approx(100, abs=20)] * 3
    plane.engine.detect_inband_presses(a.leg, False)
    plane.settle()
    send_tones(a, "14*", sequence=sequence)
    assert plane.count(_media.DTMF, a.leg) == 0


def test_a_press_that_comes_both_ways_is_one(plane: Plane) -> None:
    a = plane.rtp_leg([PCMU, EVENT_8000])
    plane.engine.detect_inband_presses(a.leg, True)
    for i, packet in enumerate(press(60000, 1_000_000, 8, 101, 8000)):
        packet.sequence_number = (60000 + i) % 65536
        a.send(packet)
    assert pressed(plane, a.leg) == b"8 100 rfc4733"
    send_tones(a, "82", sequence=60100 % 65536)
    assert pressed(plane, a.leg).startswith(b"2 ")
    assert plane.count(_media.DTMF, a.leg) == 0
