"""Tones and silence that a leg makes itself, by ear and by clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from peers import audio
from peers.codecs import decode

from .plane import OPUS, PCMA, PCMU, Plane, rtp

if TYPE_CHECKING:
    from sdpserver._media import CodecEntry


def record(plane: Plane, codec: CodecEntry, seconds: float, *, ptime_ms: int = 20) -> list[tuple[float, RtpPacket]]:
    """(arrival, packet) of as many packets as make `seconds`."""
    phone = plane.rtp_leg([codec])
    plane.engine.set_codecs(phone.leg, [codec], ptime_ms)
    plane.engine.set_source_tone(phone.leg, [440.0])
    return [(phone.receive(), time.monotonic())[::-1] for _ in range(round(seconds * 1000 / ptime_ms))]


@pytest.mark.parametrize("codec", [PCMU, PCMA, OPUS], ids=lambda codec: str(codec[0]))
def test_a_tone_has_its_frequency_and_its_level(plane: Plane, codec: CodecEntry) -> None:
    pcm, rate = decode(codec[0], [packet.payload for _, packet in record(plane, codec, 0.5)])
    heard = audio.check_tone(pcm, rate, 440, min_duration_s=0.45, max_gap_ms=5, tolerance=0.005)
    # -13 dBm0, where a full-scale sine is +3.17 (ITU-T G.711).
    assert heard.level_dbfs == pytest.approx(-16.2, abs=1.0)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_packets_come_every_ptime_without_drift(plane: Plane, ptime_ms: int) -> None:
    packets = record(plane, PCMU, 0.6, ptime_ms=ptime_ms)
    assert {len(packet.payload) for _, packet in packets} == {8 * ptime_ms}
    first_at, first = packets[0]
    for i, (_, packet) in enumerate(packets):
        assert (packet.sequence_number - first.sequence_number) % 65536 == i
        assert (packet.timestamp - first.timestamp) % 2**32 == 8 * ptime_ms * i
    late_ms = [(at - first_at) * 1000 - ptime_ms * i for i, (at, _) in enumerate(packets)]
    assert np.median(late_ms[len(late_ms) // 2 :]) == pytest.approx(0, abs=5), "by the clock, not by the last packet"
    assert [packet.marker for _, packet in packets] == [1] + [0] * (len(packets) - 1)


def test_two_tones_at_once(plane: Plane) -> None:
    phone = plane.rtp_leg([PCMU])
    plane.engine.set_source_tone(phone.leg, [350.0, 440.0])
    pcm = audio.decode_ulaw(b"".join(phone.receive().payload for _ in range(25)))
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    strongest = sorted(np.argsort(spectrum)[-6:] * 8000 / len(pcm))
    assert strongest[0] == pytest.approx(350, abs=5)
    assert strongest[-1] == pytest.approx(440, abs=5)


def test_a_cadence_is_heard_as_given_and_repeated(plane: Plane) -> None:
    phone = plane.rtp_leg([PCMA])
    plane.engine.set_source_tone(phone.leg, [425.0], [100, 60, 40, 100])
    pcm = audio.decode_alaw(b"".join(phone.receive().payload for _ in range(45)))  # three rounds
    loud = audio.envelope(pcm, 8000) > 0.01  # blocks of 2.5 ms
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(int))) * 2.5
    beeps = list(zip(edges[::2], edges[1::2], strict=True))
    assert [(start, end - start) for start, end in beeps] == [
        pytest.approx((300 * i + at, length), abs=5) for i in range(3) for at, length in ((0, 100), (160, 40))
    ]


def test_silence_is_sent_as_packets(plane: Plane) -> None:
    phone = plane.rtp_leg([PCMU])
    plane.engine.set_source_tone(phone.leg, [])
    assert {bytes(phone.receive().payload) for _ in range(5)} == {b"\xff" * 160}


def test_a_tone_goes_to_a_browser_once_it_has_keys(plane: Plane) -> None:
    browser = plane.webrtc_leg([PCMU], profile=None)
    plane.engine.set_source_tone(browser.leg, [440.0])
    browser.check()
    plane.settle()
    plane.set_keys(browser, "AES_CM_128_HMAC_SHA1_80")
    packets = [browser.receive() for _ in range(10)]
    assert audio.dominant_frequency(audio.decode_ulaw(b"".join(p.payload for p in packets)), 8000) == pytest.approx(
        440, abs=5
    )


def test_a_tone_gives_way_to_a_leg_and_comes_back_in_the_same_stream(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.engine.set_source_tone(b.leg, [440.0])
    tone = b.receive()
    plane.engine.set_source_leg(b.leg, a.leg)
    plane.settle()
    while not b.rtp.silent():
        tone = b.receive()
    a.send(rtp(9, payload=b"voice"))
    voice = b.receive()
    assert (voice.payload, voice.marker) == (b"voice", 1)
    assert voice.ssrc == tone.ssrc
    assert voice.sequence_number == (tone.sequence_number + 1) % 65536
    gap_ms = (voice.timestamp - tone.timestamp) % 2**32 / 8
    assert 20 <= gap_ms < 2000
    plane.engine.set_source_tone(b.leg, [440.0])
    again = b.receive()
    assert (again.sequence_number, again.marker) == ((voice.sequence_number + 1) % 65536, 1)
    plane.engine.set_source_none(b.leg)
    plane.settle()
    while not b.rtp.silent(0.1):
        b.receive()


def test_many_tones_are_spread_over_the_frame() -> None:
    """A thousand waiting callers must not be served in one burst."""
    with Plane(pairs=20) as plane:
        phones = [plane.rtp_leg() for _ in range(20)]
        for phone in phones:
            plane.engine.set_source_tone(phone.leg, [])
        phases = []
        for phone in phones:
            for _ in range(3):
                phone.receive()
        started = time.monotonic()
        for phone in phones:
            phone.rtp.socket.setblocking(False)
        waiting = set(range(20))
        while waiting and time.monotonic() < started + 1:
            for i in list(waiting):
                if not phones[i].rtp.silent(0):
                    phones[i].rtp.socket.recv(2048)
                    phases.append((time.monotonic() - started) % 0.02)
                    waiting.discard(i)
        assert np.ptp(phases) > 0.008


@pytest.mark.parametrize(
    ("frequencies", "cadence", "level"),
    [
        ([1.0] * 5, [], -13.0),
        ([0.0], [], -13.0),
        ([4000.0], [], -13.0),
        ([float("nan")], [], -13.0),
        ([440.0], [100], -13.0),
        ([440.0], [0, 0], -13.0),
        ([440.0], [], 4.0),
        ([440.0], [], float("nan")),
        ([440.0], [4_000_000, 10], -13.0),
    ],
)
def test_a_tone_that_cannot_be_is_refused(
    plane: Plane, frequencies: list[float], cadence: list[int], level: float
) -> None:
    phone = plane.rtp_leg()
    with pytest.raises(ValueError, match=r"\w"):
        plane.engine.set_source_tone(phone.leg, frequencies, cadence, level)
