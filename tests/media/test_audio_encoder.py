"""Linear frames into payloads; Opus and G.722 are judged by FFmpeg's decoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import audio
from peers.codecs import decode

from sdpserver import _media_testing

from .playing import encoded, speech, tone

TONE_HZ = 1000.0


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 50, 60])
def test_every_ptime_of_opus_is_one_packet_of_that_length(ptime_ms: int, rate: int) -> None:
    packets = encoded(tone(TONE_HZ, 2, rate), "opus", ptime_ms, rate)
    assert {duration_ms for _, duration_ms, _ in packets} == {ptime_ms}
    heard, _ = decode("opus", [payload for payload, _, _ in packets])
    assert len(heard) == len(packets) * 48 * ptime_ms
    audio.check_tone(heard[12_000:], 48000, TONE_HZ, min_level_dbfs=-14, min_purity_db=15, max_gap_ms=5)


@pytest.mark.parametrize(("codec", "octets"), [("PCMU", 8), ("PCMA", 8), ("G722", 8)])
@pytest.mark.parametrize("ptime_ms", [10, 30, 60])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_g711_and_g722_have_eight_octets_for_a_millisecond(codec: str, octets: int, ptime_ms: int, rate: int) -> None:
    packets = encoded(tone(TONE_HZ, 1, rate), codec, ptime_ms, rate)
    assert {(len(payload), duration_ms) for payload, duration_ms, _ in packets} == {(octets * ptime_ms, ptime_ms)}
    assert len(packets) == 1000 // ptime_ms


@pytest.mark.parametrize("rate", [8000, 16000])
def test_g711_of_wideband_is_the_same_tone(rate: int) -> None:
    payloads = b"".join(payload for payload, _, _ in encoded(tone(TONE_HZ, 1, rate), "PCMU", rate=rate))
    audio.check_tone(
        audio.decode_ulaw(payloads)[200:], 8000, TONE_HZ, min_duration_s=0.9, min_level_dbfs=-12, max_gap_ms=0
    )


def test_wideband_above_4_khz_is_not_folded_into_g711() -> None:
    payloads = b"".join(payload for payload, _, _ in encoded(tone(6000, 1, 16000), "PCMU", rate=16000))
    assert audio.level_dbfs(audio.decode_ulaw(payloads)[400:]) < -45


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_a_codec_of_wideband_keeps_6_khz(codec: str) -> None:
    packets = encoded(tone(6000, 2, 16000), codec, rate=16000, bitrate_bps=32_000)
    heard, rate = decode(codec, [payload for payload, _, _ in packets])
    audio.check_tone(heard[rate // 2 :], rate, 6000, min_level_dbfs=-16, max_gap_ms=5)


def test_copies_are_added_while_the_receiver_reports_loss(tmp_path: Path) -> None:
    encoder = _media_testing.AudioEncoder()
    encoder.set_format("opus", 20)
    samples = np.tile(speech(tmp_path, 8000), 2)  # of silence there is nothing to copy
    position = 0

    def share_with_copies(expected_loss: float) -> float:
        nonlocal position
        encoder.set_expected_loss(expected_loss)
        found = 0
        for _ in range(100):
            encoder.put(samples[position : position + 160].tobytes())
            position += 160
            payload = encoder.take()
            assert payload is not None
            found += _media_testing.has_opus_redundancy(payload[0])
        return found / 100

    assert share_with_copies(0.0) == 0
    assert share_with_copies(0.009) == 0
    assert share_with_copies(0.02) > 0.6
    assert share_with_copies(0.008) > 0.6  # not off before half a per cent
    assert share_with_copies(0.004) < 0.05
    assert share_with_copies(0.25) > 0.6


def test_silence_is_left_out_only_if_wanted_and_only_after_it_was_said() -> None:
    noise = np.random.default_rng(3).normal(0, 20, 8000 * 4)
    loud = tone(TONE_HZ, 4).astype(float)
    loud[8000:] = 0
    samples = (loud + noise).astype(np.int16)
    assert not any(left_out for _, _, left_out in encoded(samples, "opus"))
    packets = encoded(samples, "opus", dtx=True)
    first = next(i for i, packet in enumerate(packets) if packet[2])
    assert first > 50
    assert len(packets[first - 1][0]) <= 2  # the one that says so
    assert not packets[first - 1][2]
    assert sum(left_out for _, _, left_out in packets) > 80


@pytest.mark.parametrize("bitrate_bps", [16_000, 24_000, 32_000])
def test_opus_keeps_to_the_bit_rate(bitrate_bps: int) -> None:
    noise = np.random.default_rng(4).normal(0, 4000, 8000 * 5).astype(np.int16)
    octets = sum(len(payload) for payload, _, _ in encoded(noise, "opus", bitrate_bps=bitrate_bps))
    assert octets * 8 / 5 == pytest.approx(bitrate_bps, rel=0.2)


def test_the_rate_and_the_codec_may_change_at_any_frame() -> None:
    encoder = _media_testing.AudioEncoder()
    narrow, wide = tone(TONE_HZ, 3), tone(TONE_HZ, 3, 16000)
    heard: dict[str, list[bytes]] = {"PCMU": [], "opus": []}
    for i in range(150):
        codec = "PCMU" if i // 50 == 1 else "opus"
        encoder.set_format(codec, 20)
        rate, samples = (16000, wide) if i % 10 < 5 else (8000, narrow)
        size = rate // 50
        encoder.put(samples[i * size : (i + 1) * size].tobytes(), rate)
        while (payload := encoder.take()) is not None:
            heard[codec].append(payload[0])
    assert len(heard["PCMU"]) == pytest.approx(50, abs=1)
    assert len(heard["opus"]) == pytest.approx(100, abs=1)
    tone_of = audio.measure(audio.decode_ulaw(b"".join(heard["PCMU"]))[400:], 8000)
    assert tone_of.frequency_hz == pytest.approx(TONE_HZ, rel=0.01)
