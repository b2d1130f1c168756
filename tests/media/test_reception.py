"""What is measured on received RTP, with seeded networks and a clock of the test's own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from sdpserver._media_testing import Reception

PTIME_S = 0.02
START_S = 1000.0
WINDOW = 32
GMIN = 16


def receive_all(received: Iterable[bool], *, first: int = 1000, reception: Reception | None = None) -> Reception:
    """A stream of 20 ms packets, in step, of which some come."""
    reception = reception or Reception()
    for i, came in enumerate(received):
        if came:
            reception.receive((first + i) & 0xFFFF, 160 * i, START_S + PTIME_S * i)
    return reception


def bursts_by_definition(received: Sequence[bool]) -> tuple[int, int, int]:
    """(bursts, their packets, those lost in them), found by looking at all of it (RFC 3611 section 4.7.2)."""
    groups: list[list[int]] = []
    for i, came in enumerate(received):
        if came:
            continue
        if groups and i - groups[-1][-1] - 1 < GMIN:
            groups[-1].append(i)
        else:
            groups.append([i])
    bursts = [group for group in groups if len(group) > 1]
    return len(bursts), sum(group[-1] - group[0] + 1 for group in bursts), sum(map(len, bursts))


def runs(received: Sequence[bool]) -> int:
    return sum(not came and before for before, came in zip([True, *received], received, strict=False))


def lossy(seed: int, count: int, to_bad: float, to_good: float) -> list[bool]:
    """Gilbert's two states; the first and the last 50 packets come."""
    rng, bad, received = random.Random(seed), False, []
    for _ in range(count):
        bad = rng.random() < (1 - to_good if bad else to_bad)
        received.append(not bad)
    return [True] * 50 + received + [True] * 50


@pytest.mark.parametrize("first", [0, 1, 65530, 65535])
def test_a_clean_stream_has_no_loss_also_over_wraps(first: int) -> None:
    figures = receive_all([True] * 140_000, first=first).figures
    assert (figures["packets_lost"], figures["loss_runs"], figures["packets_unseen"]) == (0, 0, 0)
    assert figures["packets_received"] == 140_000


@pytest.mark.parametrize("first", [0, 65530])
@pytest.mark.parametrize("span", [2, 8, WINDOW])
def test_reordering_is_no_loss(first: int, span: int) -> None:
    """Whole groups of packets come backwards, the very first group too."""
    reception = Reception()
    order = [group + offset for group in range(0, 3200, span) for offset in reversed(range(span))]
    for at, i in enumerate(order):
        reception.receive((first + i) & 0xFFFF, 160 * i, START_S + PTIME_S * at)
    figures = reception.figures
    assert (figures["packets_lost"], figures["loss_runs"]) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("to_bad", "to_good"), [(0.01, 1.0), (0.05, 1.0), (0.02, 0.3), (0.01, 0.05), (0.3, 0.3)])
def test_loss_and_bursts_are_those_that_were_made(seed: int, to_bad: float, to_good: float) -> None:
    received = lossy(seed, 5000, to_bad, to_good)
    figures = receive_all(received, first=64_000).figures
    assert figures["packets_lost"] == received.count(False)
    assert figures["loss_runs"] == runs(received)
    assert figures["loss_runs_lost"] == received.count(False)
    found = (figures["bursts"], figures["burst_packets"], figures["burst_packets_lost"])
    assert found == bursts_by_definition(received)


@pytest.mark.parametrize(
    ("between", "burst"),
    [(GMIN - 1, (1, GMIN + 1, 2)), (GMIN, (0, 0, 0))],
    ids=["fewer than Gmin received between", "Gmin received between"],
)
def test_two_losses_are_a_burst_if_fewer_than_gmin_came_between(between: int, burst: tuple[int, int, int]) -> None:
    figures = receive_all([True] * 40 + [False] + [True] * between + [False] + [True] * 80).figures
    assert (figures["bursts"], figures["burst_packets"], figures["burst_packets_lost"]) == burst
    assert figures["loss_runs"] == 2


def test_a_long_gap_in_the_numbers_is_one_run_of_loss() -> None:
    figures = receive_all([True] * 10 + [False] * 2500 + [True] * 100).figures
    assert (figures["packets_lost"], figures["loss_runs"], figures["bursts"]) == (2500, 1, 1)


def test_what_comes_after_its_turn_counts_as_received_but_was_a_loss_to_whoever_played_it() -> None:
    reception = receive_all([True] * 50 + [False] + [True] * 50)
    reception.receive(1050, 160 * 50, START_S + 3)
    assert reception.figures["packets_lost"] == 0
    assert reception.figures["loss_runs_lost"] == 1


def test_the_tail_that_never_came_is_known_from_the_senders_count() -> None:
    reception = receive_all([True] * 250)
    reception.sender_report(250, START_S + 5)
    assert reception.figures["packets_unseen"] == 0
    reception.sender_report(500, START_S + 10)
    assert reception.figures["packets_unseen"] == 250
    reception.sender_report(600, START_S + 12)
    assert reception.figures["packets_unseen"] == 350
    report = reception.report(START_S + 12)
    assert report is not None
    assert report[1] == 0, "a report block tells of sequence numbers alone (RFC 3550 section 6.4.1)"
    # The stream goes on: now the numbers show what is missing.
    receive_all([True] * 50, first=1000 + 600, reception=reception)
    assert (reception.figures["packets_lost"], reception.figures["packets_unseen"]) == (350, 0)
    reception.sender_report(650, START_S + 13)
    assert reception.figures["packets_unseen"] == 0
    # And what was lost at the very end stays lost when the stream is over.
    reception.sender_report(700, START_S + 20)
    reception.reset()
    assert (reception.figures["packets_lost"], reception.figures["packets_unseen"]) == (400, 0)


def test_reports_that_are_overtaken_or_lie_make_no_tail() -> None:
    reception = Reception()
    rng = random.Random(7)
    for i in range(3000):
        reception.receive(i, 160 * i, START_S + PTIME_S * i)
        if i % 50 == 49:  # up to 5 packets are before or behind the report
            reception.sender_report(i + rng.randint(-5, 5), START_S + PTIME_S * i)
            assert reception.figures["packets_unseen"] == 0
    reception.sender_report(4_000_000_000, START_S + 61)
    assert reception.figures["packets_unseen"] == 0


def test_a_new_ssrc_begins_anew_and_keeps_what_was_lost_before() -> None:
    reception = receive_all([True] * 100 + [False] * 3 + [True] * 5)
    assert reception.receive(7, 0, START_S + 10, ssrc=2)
    assert not reception.receive(9, 320, START_S + 10.04, ssrc=2)
    assert reception.figures["packets_lost"] == 4
    report = reception.report(START_S + 11)
    assert report is not None
    assert report[1] == 1, "the report is on the new one alone"
    # The burst of the old one ended with it, also in its last packets, which no later ones have settled.
    assert (reception.figures["bursts"], reception.figures["burst_packets_lost"]) == (1, 3)


def test_a_stray_packet_changes_nothing_and_two_in_a_row_are_a_restart() -> None:
    reception = receive_all([True] * 100)
    reception.receive(40_000, 0, START_S + 2)
    receive_all([True] * 10, first=1100, reception=reception)
    assert reception.figures["packets_lost"] == 0
    reception.receive(40_000, 0, START_S + 3)
    assert reception.receive(40_001, 160, START_S + 3.02)
    reception.receive(40_003, 480, START_S + 3.06)
    assert reception.figures["packets_lost"] == 1


# -- jitter


def jitter_by_the_rfc(transits_s: Sequence[float]) -> float:
    """In ms (RFC 3550 section 6.4.1)."""
    jitter = 0.0
    for before, now in itertools.pairwise(transits_s):
        jitter += (abs(now - before) - jitter) / 16
    return jitter * 1000


@pytest.mark.parametrize("clock_rate_hz", [8000, 48000])
@pytest.mark.parametrize("spread_ms", [0, 5, 40])
def test_jitter_is_what_was_injected(clock_rate_hz: int, spread_ms: float) -> None:
    rng = random.Random(3)
    delays = [rng.uniform(0, spread_ms / 1000) for _ in range(400)]
    reception = Reception()
    arrivals = sorted((PTIME_S * i + delay, i, delay) for i, delay in enumerate(delays))
    for at, i, _ in arrivals:
        reception.receive(i, clock_rate_hz // 50 * i, START_S + at, clock_rate_hz)
    expected = jitter_by_the_rfc([delay for _, _, delay in arrivals])
    assert reception.figures["jitter_ms"] == pytest.approx(expected, rel=0.02, abs=0.15)  # whole timestamp units
    assert reception.figures["packet_ms"] == 20


def steady(reception: Reception, start: int, count: int, **options: Any) -> None:
    """Packets in step with the clock; `start` counts them from the stream's first."""
    rate = options.get("clock_rate_hz", 8000)
    for i in range(start, start + count):
        reception.receive(i, rate // 50 * i, START_S + PTIME_S * i, **options)


def test_a_pause_of_the_talker_is_no_jitter() -> None:
    """DTX: the numbers go on by one, the timestamps by the pause; the next talkspurt begins when it likes."""
    reception = Reception()
    steady(reception, 0, 50)
    reception.receive(50, 160 * 200, START_S + PTIME_S * 200)
    assert reception.figures["jitter_ms"] == 0
    reception.receive(51, 160 * 400, START_S + PTIME_S * 400 + 0.3, marker=True)
    assert reception.figures["jitter_ms"] == 0
    assert reception.figures["packet_ms"] == 20


@pytest.mark.parametrize("jump", [1_342_000_000, 3_000_000_000, 8000 * 3, -8000])
def test_timestamps_that_jump_are_no_jitter(jump: int) -> None:
    """As after a transfer in a PBX, with or without the marker bit."""
    reception = Reception()
    for i in range(200):
        timestamp = 160 * i + (jump if i >= 100 else 0)
        reception.receive(i, timestamp & 0xFFFFFFFF, START_S + PTIME_S * i + 0.01 * (i % 2))
    assert reception.figures["jitter_ms"] == pytest.approx(10, rel=0.05)
    assert reception.figures["packet_ms"] == 20
    assert reception.figures["packets_lost"] == 0


def test_a_network_that_stalls_is_jitter() -> None:
    """What was held up comes at once; no timestamp has jumped."""
    reception = Reception()
    arrivals = [(i, max(PTIME_S * i, 8.0 if i >= 250 else 0.0)) for i in range(300)]
    for i, at in arrivals:
        reception.receive(i, 160 * i, START_S + at)
    expected = jitter_by_the_rfc([at - PTIME_S * i for i, at in arrivals])
    assert reception.figures["jitter_ms"] == pytest.approx(expected, rel=0.02, abs=0.15)


def test_a_sender_that_marks_every_packet_cannot_hide_its_jitter() -> None:
    reception = Reception()
    for i in range(100):
        reception.receive(i, 160 * i, START_S + PTIME_S * i + 0.01 * (i % 2), marker=True)
    assert reception.figures["jitter_ms"] == pytest.approx(10, rel=0.02)


def test_a_key_press_is_no_jitter() -> None:
    reception = Reception()
    steady(reception, 0, 50)
    for i in range(50, 60):  # one timestamp for all of it
        reception.receive(i, 160 * 50, START_S + PTIME_S * i, clock_rate_hz=0)
    steady(reception, 60, 50)
    assert reception.figures["jitter_ms"] == 0
    assert reception.figures["packets_lost"] == 0
    assert reception.figures["packet_ms"] == 20


def test_jitter_goes_on_over_a_change_of_the_clock_rate() -> None:
    reception = Reception()
    for i in range(200):
        reception.receive(i, 160 * i, START_S + PTIME_S * i + 0.01 * (i % 2))
    before = reception.figures["jitter_ms"]
    reception.receive(200, 7_777_777, START_S + PTIME_S * 200, clock_rate_hz=48000)
    assert reception.figures["jitter_ms"] == pytest.approx(before)
    for i in range(1, 100):
        at = START_S + PTIME_S * (200 + i) + 0.01 * (i % 2)
        reception.receive(200 + i, 7_777_777 + 960 * i, at, clock_rate_hz=48000)
    assert reception.figures["jitter_ms"] == pytest.approx(before, rel=0.05)


def test_the_fraction_lost_is_that_of_the_interval() -> None:
    reception = receive_all([True] * 90 + [False] * 10 + [True] * 100)
    report = reception.report(START_S + 5)
    assert report is not None
    assert report[:3] == (10 * 256 // 200, 10, 1199)
    receive_all([False] * 50 + [True] * 50, first=1200, reception=reception)
    report = reception.report(START_S + 10)
    assert report is not None
    assert report[:3] == (128, 60, 1299)
