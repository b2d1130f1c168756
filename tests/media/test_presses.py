"""Presses as RFC 4733 packets: heard once each whatever is lost, and sent with the right timing. Without sockets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sdpserver._media_testing import PressDetector, PressSender

Heard = tuple[int, int]


@dataclass(frozen=True)
class Sent:
    """An event packet and when it arrives."""

    at_ms: float
    timestamp: int
    event: int
    duration: int
    end: bool = False


def press(
    event: int,
    start_ms: int,
    duration_ms: int = 100,
    *,
    rate: int = 8000,
    interval_ms: int = 20,
    ends: int = 3,
    first_timestamp: int = 0,
) -> list[Sent]:
    """A press of which packets come at `interval_ms`, cut into segments as RFC 4733 section 2.5.1.3 has it."""
    packets = []
    timestamp = (first_timestamp + start_ms * rate // 1000) % 2**32
    for elapsed_ms in [*range(interval_ms, duration_ms, interval_ms), *[duration_ms] * ends]:
        whole = elapsed_ms * rate // 1000
        segment = max(whole - 1, 0) // 0xFFFF * 0xFFFF
        packets.append(
            Sent(
                at_ms=start_ms + elapsed_ms,
                timestamp=(timestamp + segment) % 2**32,
                event=event,
                duration=whole - segment,
                end=elapsed_ms == duration_ms,
            )
        )
    for i in range(1, ends):
        packets[-i] = replace(packets[-i], at_ms=packets[-i].at_ms + (ends - i) * 20)
    return packets


def hear(packets: Iterable[Sent], *, rate: int = 8000, until_ms: float = 1e6) -> list[Heard]:
    """What a detector makes of packets in the order given, with its timer run as a worker runs it."""
    detector = PressDetector()
    presses: list[Heard | None] = []
    for sent in packets:
        if 0 < detector.due_ms <= sent.at_ms:
            presses.append(detector.expire(detector.due_ms))
        _, ended = detector.packet(sent.at_ms, sent.timestamp, sent.event, sent.duration, sent.end, rate)
        presses.append(ended)
    if detector.due_ms:
        assert detector.expire(detector.due_ms - 1) is None
        presses.append(detector.expire(until_ms))
    assert detector.due_ms == 0
    return [found for found in presses if found is not None]


@pytest.mark.parametrize("rate", [8000, 48000])
def test_a_press_is_heard_once_with_its_length(rate: int) -> None:
    assert hear(press(5, 0, 100, rate=rate), rate=rate) == [(5, 100)]


def test_it_is_heard_when_its_first_end_packet_comes() -> None:
    detector = PressDetector()
    heard = [detector.packet(p.at_ms, p.timestamp, p.event, p.duration, p.end) for p in press(7, 0, 60)]
    assert heard == [(True, None), (False, None), (False, (7, 60)), (False, None), (False, None)]


@pytest.mark.parametrize(
    "lost", list(itertools.chain.from_iterable(itertools.combinations(range(7), n) for n in range(7)))
)
def test_whatever_is_lost_of_a_press_it_is_heard_once(lost: tuple[int, ...]) -> None:
    kept = [packet for i, packet in enumerate(press(3, 40, 100)) if i not in lost]
    ((event, duration_ms),) = hear(kept)
    assert event == 3
    assert duration_ms == max(packet.duration for packet in kept) // 8


@pytest.mark.parametrize("seed", range(200))
def test_a_row_of_presses_through_loss_repetition_and_disorder(seed: int) -> None:
    """Digits of which at least one packet arrives, in time, are each heard once, in order; so are two equal ones."""
    rng = random.Random(seed)
    rate = rng.choice([8000, 48000])
    digits = [rng.randrange(16) for _ in range(12)]
    first = rng.randrange(2**32)
    arriving: list[Sent] = []
    for i, digit in enumerate(digits):
        packets = press(digit, i * 200, 100, rate=rate, first_timestamp=first)
        kept = [packet for packet in packets if rng.random() > 0.4] or [rng.choice(packets)]
        doubled = kept + [packet for packet in kept if rng.random() < 0.2]
        arriving += [replace(packet, at_ms=packet.at_ms + rng.uniform(0, 30)) for packet in doubled]
    arriving.sort(key=lambda packet: packet.at_ms)
    assert [event for event, _ in hear(arriving, rate=rate)] == digits


def test_without_end_packets_the_next_press_ends_it() -> None:
    first = [packet for packet in press(1, 0) if not packet.end]
    detector = PressDetector()
    for packet in first:
        assert detector.packet(packet.at_ms, packet.timestamp, 1, packet.duration)[1] is None
    assert detector.packet(190, 170 * 8, 2, 160) == (True, (1, 80))


def test_without_end_packets_and_a_next_press_time_ends_it() -> None:
    detector = PressDetector()
    detector.packet(1000, 0, 9, 160)
    assert detector.due_ms == 1200
    assert detector.expire(1199) is None
    assert detector.expire(1200) == (9, 20)
    assert detector.due_ms == 0
    # What was on its way still is no press of its own.
    assert detector.packet(1300, 0, 9, 320, end=True) == (False, None)
    assert detector.expire(5000) is None


def test_two_quick_presses_of_one_key_are_two() -> None:
    assert hear([*press(4, 0, 40), *press(4, 80, 40)]) == [(4, 40), (4, 40)]


@pytest.mark.parametrize("ends", [[], [0], [1], [2], [0, 1, 2]])
def test_presses_of_one_key_are_two_also_when_end_packets_are_lost(ends: list[int]) -> None:
    first, second = press(4, 0, 40), press(4, 80, 40)
    kept = [packet for i, packet in enumerate(first) if not packet.end or i - 1 not in ends]
    assert [event for event, _ in hear([*kept, *second])] == [4, 4]


@pytest.mark.parametrize("rate", [8000, 48000])
@pytest.mark.parametrize("duration_ms", [1365, 1366, 1500, 8191, 8192, 9000, 20_000])
def test_a_press_longer_than_16_bits_is_one(rate: int, duration_ms: int) -> None:
    ((event, heard_ms),) = hear(press(8, 0, duration_ms, rate=rate), rate=rate)
    assert event == 8
    assert heard_ms == duration_ms


def test_a_long_press_is_one_also_when_a_whole_segment_is_lost() -> None:
    packets = [p for p in press(8, 0, 6000, rate=48000, interval_ms=50) if not 65535 <= p.timestamp < 2 * 65535]
    # The hole is longer than a press waits, so it ends early; what follows is no second one.
    assert [event for event, _ in hear(packets, rate=48000)] == [8]


def test_a_duration_that_stays_at_its_largest_is_one_press() -> None:
    """Some senders know no segments."""
    packets = [Sent(20 * i, 1000, 6, min(160 * i, 0xFFFF)) for i in range(1, 600)]
    assert hear([*packets, Sent(12000, 1000, 6, 0xFFFF, end=True)]) == [(6, 8191)]


def test_a_sender_that_moves_the_timestamp_on_still_presses_once() -> None:
    packets = [Sent(20 * i, 160 * (i - 1), 2, 160 * i, end=i == 5) for i in range(1, 6)]
    assert len(hear(packets)) == 1


def test_timestamps_may_wrap_within_a_press_and_between_two() -> None:
    near = 2**32 - 3 * 160
    first = press(1, 0, 100, first_timestamp=near)
    assert hear([*first, *press(1, 200, 100, first_timestamp=near)]) == [(1, 100), (1, 100)]


def test_a_clock_that_begins_anew_is_no_late_packet() -> None:
    before, after = press(1, 0, first_timestamp=3_000_000_000), press(2, 500, first_timestamp=1_000_000)
    assert hear([*before, *after]) == [(1, 100), (2, 100)]
    assert hear([*after, *[replace(packet, at_ms=packet.at_ms + 5000) for packet in before]]) == [(2, 100), (1, 100)]


def test_a_late_packet_of_an_earlier_press_is_no_press() -> None:
    first, second = press(1, 0), press(2, 200)
    late = [replace(packet, at_ms=230) for packet in first[3:]]
    assert hear([*first[:3], *second[:2], *late, *second[2:]]) == [(1, 60), (2, 100)]


def test_a_new_stream_ends_what_was_open() -> None:
    detector = PressDetector()
    detector.packet(0, 1000, 1, 160)
    assert detector.restart() == (1, 20)
    assert detector.packet(20, 1000, 1, 160) == (True, None)
    assert detector.restart() == (1, 20)
    assert detector.restart() is None


# -- sending


def run(
    sender: PressSender, *, interval_ms: int = 20, from_ms: float = 1000.0, late_ms: float = 0.0
) -> list[tuple[float, Any]]:
    """Step at the due times, or so much later, until nothing is left; (when, what)."""
    done: list[tuple[float, Any]] = []
    now = from_ms
    for _ in range(10_000):
        if not sender.busy:
            return done
        now = max(now, sender.due_ms) + late_ms
        step = sender.step(now, interval_ms)
        if step[0] != "nothing":
            done.append((now, step))
    raise AssertionError("it never ends")


@pytest.mark.parametrize("interval_ms", [10, 20, 30, 40, 60])
def test_packets_come_at_the_interval_with_growing_duration_and_three_ends(interval_ms: int) -> None:
    sender = PressSender()
    assert sender.queue(11, 100, 70, 12)
    sent = run(sender, interval_ms=interval_ms)
    growing = list(range(interval_ms, 100, interval_ms))
    assert [when - 1000 for when, _ in sent] == [*growing, 100, 120, 140]
    assert [packet for _, packet in sent] == [
        ("packet", 11, 12, i == 0, elapsed == 100, elapsed, 1000) for i, elapsed in enumerate([*growing, 100, 100, 100])
    ]
    assert sender.take_ended() == 1


def test_a_press_shorter_than_the_interval_is_sent_three_times() -> None:
    sender = PressSender()
    sender.queue(1, 40, 40)
    sent = run(sender, interval_ms=60)
    assert [(when, packet[3:6]) for when, packet in sent] == [
        (1040, (True, True, 40)),
        (1060, (False, True, 40)),
        (1080, (False, True, 40)),
    ]


def test_presses_begin_after_the_pause_behind_the_last_one() -> None:
    sender = PressSender()
    for event, gap_ms in ((1, 70), (1, 40), (2, 100), (3, 70)):
        sender.queue(event, 100, gap_ms)
    starts = list(dict.fromkeys(packet[6] for _, packet in run(sender)))
    assert starts == [1000, 1170, 1310, 1510]
    sender.queue(4, 100, 70)
    assert sender.due_ms == 1680  # also for one that is queued when all others are over
    assert run(sender, from_ms=1660)[0][0] == 1700
    sender.queue(5, 100, 70)
    assert run(sender, from_ms=9000)[0][1][6] == 9000


def test_a_late_call_tells_how_long_the_press_has_lasted_and_leaves_out_what_it_missed() -> None:
    sender = PressSender()
    sender.queue(1, 100, 70)
    assert sender.step(1000, 20) == ("nothing",)
    assert sender.step(1065, 20)[3:6] == (True, False, 60)
    assert sender.due_ms == 1080
    assert sender.step(1300, 20)[3:6] == (False, True, 100)
    assert [step[3:6] for _, step in run(sender, from_ms=1300)] == [(False, True, 100)] * 2


def test_the_queue_has_a_bound_and_can_be_cleared() -> None:
    sender = PressSender()
    assert all(sender.queue(1) for _ in range(128))
    assert not sender.queue(1)
    sender.step(1000, 20)
    assert sender.queued == 128
    assert sender.queue(2)
    assert not sender.queue(2)
    sender.clear()
    assert (sender.queued, sender.busy) == (0, False)
    assert sender.take_ended() == 129
    assert sender.step(1020, 20) == ("over",)
    assert sender.queue(3)
    assert run(sender)[0][1][1] == 3


def test_what_is_sent_is_what_is_heard() -> None:
    """The two halves together, for every key and several lengths."""
    sender, detector = PressSender(), PressDetector()
    orders = [(event, duration_ms) for duration_ms in (40, 100, 1500) for event in range(16)]
    for event, duration_ms in orders:
        sender.queue(event, duration_ms, 40)
    heard = []
    for when, (_, event, _, _, end, elapsed_ms, start_ms) in run(sender):
        whole = elapsed_ms * 48
        segment = (whole - 1) // 0xFFFF * 0xFFFF
        _, ended = detector.packet(when, int(start_ms * 48) + segment, event, whole - segment, end, 48000)
        heard += [ended] if ended else []
    assert heard == orders
