"""RFC 4733 presses from leg to leg, at 8000 and 48000 Hz."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import pytest
from aiortc.rtp import RtpPacket

from .plane import EVENT_8000, EVENT_48000, OPUS, PCMU, Plane, RtpPeer, rtp, wait_for

if TYPE_CHECKING:
    from sdpserver._media import CodecEntry

END = 0x80


def event_packet(
    sequence: int, timestamp: int, event: int, duration: int, payload_type: int, *, end: bool = False, marker: int = 0
) -> RtpPacket:
    payload = bytes([event, (END if end else 0) | 10]) + duration.to_bytes(2, "big")
    return rtp(sequence, timestamp, payload=payload, payload_type=payload_type, marker=marker)


def press(sequence: int, timestamp: int, event: int, payload_type: int, clock_rate_hz: int) -> list[RtpPacket]:
    """100 ms: five packets 20 ms apart, of which the end is sent three times."""
    step = clock_rate_hz // 50
    durations = [step, 2 * step, 3 * step, 4 * step, 5 * step, 5 * step, 5 * step]
    return [
        event_packet(sequence + i, timestamp, event, duration, payload_type, end=i >= 4, marker=int(i == 0))
        for i, duration in enumerate(durations)
    ]


SIDES: dict[int, tuple[list[CodecEntry], int]] = {
    8000: ([PCMU, EVENT_8000], 101),
    48000: ([OPUS, PCMU, EVENT_48000], 110),
}


def pair(plane: Plane, from_hz: int, to_hz: int) -> tuple[RtpPeer, RtpPeer]:
    a, b = plane.rtp_leg(SIDES[from_hz][0]), plane.rtp_leg(SIDES[to_hz][0])
    plane.bridge(a, b)
    return a, b


@pytest.mark.parametrize("from_hz", [8000, 48000])
@pytest.mark.parametrize("to_hz", [8000, 48000])
def test_presses_arrive_with_their_length_on_one_timestamp(plane: Plane, from_hz: int, to_hz: int) -> None:
    a, b = pair(plane, from_hz, to_hz)
    sequence = 100
    for digit in (5, 5, 11):
        packets = press(sequence, 1000 * sequence, digit, SIDES[from_hz][1], from_hz)
        sequence += len(packets)
        for packet in packets:
            a.send(packet)
        received = [b.receive() for _ in packets]
        assert {packet.payload_type for packet in received} == {SIDES[to_hz][1]}
        assert len({packet.timestamp for packet in received}) == 1
        assert [packet.payload[0] for packet in received] == [digit] * 7
        assert [int.from_bytes(packet.payload[2:], "big") for packet in received] == [
            to_hz // 50 * i for i in (1, 2, 3, 4, 5, 5, 5)
        ]
        assert [packet.payload[1] for packet in received] == [10] * 4 + [END | 10] * 3
        assert [packet.marker for packet in received] == [1, 0, 0, 0, 0, 0, 0]
        steps = [later.sequence_number - earlier.sequence_number for earlier, later in itertools.pairwise(received)]
        assert {step % 65536 for step in steps} == {1}
    assert plane.stats(a.leg)["telephone_events_received"] == 3
    wait_for(lambda: plane.stats(b.leg)["telephone_events_sent"] == 3, "three presses")


def test_presses_between_audio_keep_its_time(plane: Plane) -> None:
    """Opus at 48000 Hz with events at 48000 toward PCMU with events at 8000."""
    a, b = plane.rtp_leg([PCMU, EVENT_8000]), plane.rtp_leg([PCMU, EVENT_8000])
    plane.bridge(a, b)
    a.send(rtp(1, 1600))
    for i in range(3):
        a.send(event_packet(2 + i, 1760, 1, 160 * (i + 1), 101, end=i == 2))
    a.send(rtp(5, 1760 + 480))
    received = [b.receive() for _ in range(5)]
    first = received[0].timestamp
    assert [(packet.timestamp - first) % 2**32 for packet in received] == [0, 160, 160, 160, 640]
    assert [packet.sequence_number - received[0].sequence_number for packet in received] == [0, 1, 2, 3, 4]


def test_a_press_longer_than_16_bits_at_48000_hz_is_cut_into_segments(plane: Plane) -> None:
    """RFC 4733 section 2.5.1.3: 2 s at 8000 Hz are 96,000 units at 48000 Hz, a segment of 65,535 and the rest."""
    a, b = pair(plane, 8000, 48000)
    durations = list(range(800, 16001, 800))
    for i, duration in enumerate(durations):
        a.send(event_packet(1 + i, 8000, 7, duration, 101, end=duration == 16000, marker=int(i == 0)))
    received = [b.receive() for _ in durations]
    first = received[0].timestamp
    offsets = [(packet.timestamp - first) % 2**32 for packet in received]
    assert sorted(set(offsets)) == [0, 65535]
    lengths = [
        offset + int.from_bytes(packet.payload[2:], "big") for offset, packet in zip(offsets, received, strict=True)
    ]
    assert lengths == [6 * duration for duration in durations]
    assert plane.stats(b.leg)["telephone_events_sent"] == 1


def test_segments_of_a_long_press_at_48000_hz_become_one_press_at_8000_hz(plane: Plane) -> None:
    a, b = pair(plane, 48000, 8000)
    sent = [(0, 48000), (0, 65535), (65535, 20000), (65535, 65535), (131070, 12930)]
    for i, (offset, duration) in enumerate(sent):
        a.send(event_packet(1 + i, 5000 + offset, 7, duration, 110, end=i == 4, marker=int(i == 0)))
    received = [b.receive() for _ in sent]
    assert len({packet.timestamp for packet in received}) == 1
    assert [int.from_bytes(packet.payload[2:], "big") for packet in received] == [
        (offset + duration) // 6 for offset, duration in sent
    ]
    assert plane.stats(a.leg)["telephone_events_received"] == 1
    assert plane.stats(b.leg)["telephone_events_sent"] == 1


def test_the_event_format_goes_by_the_clock_of_the_audio_sent(plane: Plane) -> None:
    """A browser that has both gets 48000 Hz beside Opus and 8000 Hz beside PCMU."""
    phone = plane.rtp_leg([PCMU, EVENT_8000])
    opus_first = plane.rtp_leg([OPUS, PCMU, EVENT_48000, EVENT_8000])
    pcmu_only = plane.rtp_leg([PCMU, EVENT_48000, EVENT_8000])
    plane.engine.set_source_leg(opus_first.leg, phone.leg)
    plane.engine.set_source_leg(pcmu_only.leg, phone.leg)
    plane.settle()
    phone.send(rtp(1, 160))
    phone.send(event_packet(2, 320, 3, 160, 101))
    assert [opus_first.receive().payload_type for _ in range(2)] == [0, 101]  # PCMU is relayed to it
    assert [pcmu_only.receive().payload_type for _ in range(2)] == [0, 101]
    phone.send(event_packet(3, 320, 3, 320, 101))
    assert opus_first.receive().payload[2:] == (320).to_bytes(2, "big")


def test_presses_toward_a_leg_without_events_are_dropped_and_counted(plane: Plane) -> None:
    a, b = plane.rtp_leg([PCMU, EVENT_8000]), plane.rtp_leg([PCMU])
    plane.bridge(a, b)
    a.send(rtp(1, 160))
    for packet in press(2, 320, 1, 101, 8000):
        a.send(packet)
    a.send(rtp(9, 1280))
    first, second = b.receive(), b.receive()
    assert second.sequence_number == first.sequence_number + 1
    assert plane.stats(b.leg)["dropped_conversion"] == 7


def test_a_new_sender_with_lower_timestamps_is_counted_anew(plane: Plane) -> None:
    a, b = pair(plane, 8000, 8000)
    for ssrc, timestamp in ((1, 3_000_000_000), (2, 1000)):
        for packet in press(1, timestamp, 4, 101, 8000):
            packet.ssrc = ssrc
            a.send(packet)
            b.receive()
    assert plane.stats(a.leg)["telephone_events_received"] == 2
    assert plane.stats(b.leg)["telephone_events_sent"] == 2


def test_a_late_packet_of_an_earlier_press_is_no_new_press(plane: Plane) -> None:
    a, b = pair(plane, 8000, 8000)
    packets = [
        event_packet(1, 1000, 1, 160, 101, marker=1),
        event_packet(3, 2000, 2, 160, 101, marker=1),
        event_packet(2, 1000, 1, 320, 101, end=True),
        event_packet(4, 2000, 2, 320, 101, end=True),
    ]
    for packet in packets:
        a.send(packet)
    received = [b.receive() for _ in packets]
    assert received[2].timestamp == received[0].timestamp
    assert received[3].timestamp == received[1].timestamp
    assert plane.stats(a.leg)["telephone_events_received"] == 2
    wait_for(lambda: plane.stats(b.leg)["telephone_events_sent"] == 2, "two presses")


def test_a_cut_event_is_dropped(plane: Plane) -> None:
    a, b = pair(plane, 8000, 8000)
    a.send(rtp(1, payload_type=101, payload=b"\1\2\3"))
    wait_for(lambda: plane.stats(b.leg)["dropped_conversion"] == 1, "the refusal")


def test_a_press_toward_a_leg_that_gets_transcoded_audio_is_not_interrupted_by_audio(plane: Plane) -> None:
    phone, browser = plane.rtp_leg([PCMU, EVENT_8000]), plane.rtp_leg([OPUS, EVENT_48000])
    plane.bridge(phone, browser)
    for i in range(10):
        phone.send(rtp(100 + i, 160 * i, payload=b"\x55" * 160))
        browser.receive()
    kinds: list[int] = []
    for packet in press(110, 1600, 5, 101, 8000):
        phone.send(packet)
        # The jitter buffer goes on for as long as an event lasts; what it makes up must not be heard in between.
        due = time.monotonic() + 0.02
        while (left_s := due - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                kinds.append(browser.receive(left_s).payload_type)
    assert kinds[kinds.index(110) :] == [110] * 7
