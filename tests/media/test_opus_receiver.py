"""Opus that is encoded here keeps to what the peer's a=fmtp says (RFC 7587 section 6.1)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from .plane import OPUS, Plane, RtpPeer, rtp

G722 = ("G722", 8000, 9, 9)
NARROWBAND = {*range(4), *range(16, 20)}
"""Configurations in the first octet of a packet (RFC 6716 section 3.1, table 2)."""


@pytest.fixture
def leg() -> Iterator[tuple[Plane, RtpPeer]]:
    with Plane() as plane:
        yield plane, plane.rtp_leg([OPUS])


Leg = tuple[Plane, RtpPeer]


def payloads(plane: Plane, peer: RtpPeer, count: int, frequencies_hz: list[float]) -> list[bytes]:
    """What follows the encoder's start, of a tone; what was sent before and not read yet is left out."""
    plane.engine.set_source_tone(peer.leg, frequencies_hz)
    plane.settle()
    while not peer.rtp.silent(0):
        peer.receive()
    return [peer.receive().payload for _ in range(count + 10)][10:]


@pytest.mark.parametrize(("rate_hz", "narrow"), [(8000, True), (12000, True), (16000, False), (48000, False)])
def test_the_playback_rate_bounds_the_band(leg: Leg, rate_hz: int, narrow: bool) -> None:
    plane, peer = leg
    plane.engine.set_opus_receiver(peer.leg, max_playback_rate_hz=rate_hz)
    source = plane.rtp_leg([G722])
    plane.engine.set_source_leg(peer.leg, source.leg)
    noise = random.Random(1)
    configurations = set()
    next_s = time.monotonic()
    for sequence in range(40):
        source.send(rtp(sequence, 160 * sequence, payload=noise.randbytes(160), payload_type=9))
        next_s += 0.02
        while (left_s := next_s - time.monotonic()) > 0:
            if not peer.rtp.silent(left_s):
                configurations.add(peer.receive().payload[0] >> 3)
    assert configurations
    assert (configurations <= NARROWBAND) is narrow, configurations


def test_the_bit_rate_stays_below_what_the_peer_takes(leg: Leg) -> None:
    plane, peer = leg
    before = payloads(plane, peer, 25, [440.0, 1000.0])
    plane.engine.set_opus_receiver(peer.leg, max_average_bitrate_bps=8000)
    after = payloads(plane, peer, 25, [440.0, 1000.0])
    assert sum(map(len, after)) * 8 / (25 * 0.02) < 8000 * 1.2
    assert sum(map(len, after)) < 0.8 * sum(map(len, before))


def test_pauses_are_left_out_only_for_a_peer_that_asked_for_it(leg: Leg) -> None:
    plane, peer = leg

    def sent_in_s(duration_s: float) -> int:
        plane.engine.set_source_tone(peer.leg, [])
        plane.settle()
        count, ends_s = plane.stats(peer.leg)["packets_sent"], time.monotonic() + duration_s
        while time.monotonic() < ends_s:
            if not peer.rtp.silent(0.02):
                peer.receive()
        return plane.stats(peer.leg)["packets_sent"] - count

    assert sent_in_s(1.0) > 40
    plane.engine.set_opus_receiver(peer.leg, use_dtx=True)
    sent_in_s(0.5)  # it takes the encoder a moment to be sure
    assert sent_in_s(1.0) < 15


def test_wrong_values_are_refused(leg: Leg) -> None:
    plane, peer = leg
    with pytest.raises(ValueError, match="Hz"):
        plane.engine.set_opus_receiver(peer.leg, max_playback_rate_hz=1)
    with pytest.raises(ValueError, match="bits"):
        plane.engine.set_opus_receiver(peer.leg, max_average_bitrate_bps=1)
    with pytest.raises(KeyError):
        plane.engine.set_opus_receiver(99)
