"""The ears of the tests are themselves tested: a deaf ear would pass everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from peers import audio, codecs

RATES = (8000, 44100, 48000)


def silence(duration_s: float, rate: int) -> audio.Pcm:
    return np.zeros(round(duration_s * rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("frequency_hz", [425.0, 440.0, 620.0, 1000.0, 1234.5])
def test_a_tone_is_measured_to_a_fifth_of_a_percent(rate: int, frequency_hz: float) -> None:
    pcm = np.concatenate((silence(0.3, rate), audio.sine(frequency_hz, 2, rate), silence(0.4, rate)))
    heard = audio.check_tone(pcm, rate, frequency_hz, tolerance=0.002, max_gap_ms=0, min_duration_s=1.98)
    assert heard.start_s == pytest.approx(0.3, abs=0.005)
    assert heard.level_dbfs == pytest.approx(20 * np.log10(0.3), abs=0.1)
    assert heard.purity_db > 40


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gap_ms", [20, 61, 65, 100, 500])
def test_a_gap_is_measured_to_5_ms(rate: int, gap_ms: int) -> None:
    tone = audio.sine(1000, 3, rate)
    tone[rate : rate + rate * gap_ms // 1000] = 0
    heard = audio.measure(tone, rate)
    assert heard.longest_gap_ms == pytest.approx(gap_ms, abs=5)
    assert heard.gap_at_s == pytest.approx(1.0, abs=0.005)


def test_a_gap_filled_with_comfort_noise_is_a_gap() -> None:
    tone = audio.sine(1000, 3, 8000)
    tone[8000:9000] = np.random.default_rng(1).normal(0, 0.01, 1000)
    assert audio.measure(tone, 8000).longest_gap_ms == pytest.approx(125, abs=5)


def test_two_gaps_are_not_added_up() -> None:
    tone = audio.sine(1000, 3, 8000)
    tone[8000:8240] = 0
    tone[12000:12320] = 0
    assert audio.measure(tone, 8000).longest_gap_ms == pytest.approx(40, abs=5)


@pytest.mark.parametrize(
    ("pcm", "says"),
    [
        (audio.sine(1030, 2, 8000), "heard 1030"),
        (audio.sine(1000, 0.5, 8000), "heard for 0.50 s"),
        (np.concatenate((audio.sine(1000, 1, 8000), silence(0.07, 8000), audio.sine(1000, 1, 8000))), "a gap of 70"),
        (audio.sine(1000, 2, 8000, amplitude=0.005), "dBFS"),
        (audio.sine(1000, 2, 8000) + np.random.default_rng(2).normal(0, 0.2, 16000), "mangled"),
        (silence(2, 8000), "heard 0.0 Hz"),
        (silence(0, 8000), "heard 0.0 Hz"),
        (audio.decode_alaw(bytes(range(256)) * 60), "instead of 1000"),
    ],
    ids=["wrong tone", "too short", "broken off", "too quiet", "noise", "silence", "nothing", "garbage"],
)
def test_what_is_not_the_tone_is_refused(pcm: audio.Pcm, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        audio.check_tone(pcm, 8000, 1000)


def ffmpeg_g711(name: str, pcm: audio.Pcm) -> bytes:
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.format, encoder.layout, encoder.sample_rate = "s16", "mono", 8000
    frame = av.AudioFrame.from_ndarray((pcm[None] * 32767).astype(np.int16), layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


def test_ulaw_taken_for_alaw_is_not_a_clean_tone() -> None:
    octets = ffmpeg_g711("pcm_mulaw", audio.sine(1000, 2, 8000))
    audio.check_tone(audio.decode_ulaw(octets), 8000, 1000, min_purity_db=30)
    with pytest.raises(AssertionError, match="mangled"):
        audio.check_tone(audio.decode_alaw(octets), 8000, 1000)


@pytest.mark.parametrize(("name", "decode"), [("pcm_mulaw", audio.decode_ulaw), ("pcm_alaw", audio.decode_alaw)])
def test_g711_decodes_as_ffmpeg_does(name: str, decode: object) -> None:
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout, decoder.format = 8000, "mono", "s16"
    octets = bytes(range(256))
    frames = decoder.decode(av.Packet(octets))
    expected = frames[0].to_ndarray()[0] / 32768
    assert callable(decode)
    np.testing.assert_allclose(decode(octets), expected, atol=0.02)


@pytest.mark.parametrize(("name", "codec"), [("pcm_mulaw", "PCMU"), ("pcm_alaw", "PCMA")])
def test_g711_is_encoded_to_within_a_step_of_what_ffmpeg_makes_of_it(name: str, codec: str) -> None:
    pcm = np.random.default_rng(1).uniform(-0.98, 0.98, 8000) ** 3  # quiet and loud
    ours, rate = codecs.decode(codec, [codecs.encode_g711(codec, pcm)])
    theirs, _ = codecs.decode(codec, [ffmpeg_g711(name, pcm)])
    assert rate == 8000
    step = (np.abs(pcm) + 0.01) / 15  # 1/16 of the value at the most, and even steps near zero
    assert np.all(np.abs(ours - theirs) <= step)
    assert np.all(np.abs(ours - pcm) <= step / 2)


def test_tones_that_follow_each_other_are_told_apart() -> None:
    rate = 48000
    parts = (audio.sine(620, 1, rate), silence(0.2, rate), audio.sine(440, 0.8, rate), audio.sine(1000, 0.05, rate))
    found = audio.spans(np.concatenate(parts), rate)
    assert [round(span.frequency_hz, -1) for span in found] == [620, 440]
    assert [span.duration_s for span in found] == pytest.approx([1.0, 0.8], abs=0.08)


@pytest.mark.parametrize("phase", [0.5, 1.5, 3.0, 4.5])
def test_a_tone_whose_phase_jumps_is_one_tone(phase: float) -> None:
    pcm = np.concatenate((audio.sine(620, 1.3, 8000), audio.sine(620, 1, 8000, phase=phase), audio.sine(440, 1, 8000)))
    found = audio.spans(pcm, 8000)
    assert [round(span.frequency_hz, -1) for span in found] == [620, 440]
    assert [span.duration_s for span in found] == pytest.approx([2.3, 1.0], abs=0.08)


def test_a_cadence_is_seen() -> None:
    pcm = np.concatenate([part for _ in range(4) for part in (audio.sine(425, 0.5, 8000), silence(0.5, 8000))])
    found = audio.spans(pcm, 8000)
    assert [span.duration_s for span in found] == pytest.approx([0.5] * 4, abs=0.08)
    assert [span.start_s for span in found] == pytest.approx([0, 1, 2, 3], abs=0.06)


def test_a_wav_file_survives(tmp_path: Path) -> None:
    tone = audio.sine(700, 1, 16000)
    audio.write_wav(tmp_path / "tone.wav", tone, 16000)
    pcm, rate = audio.read_wav(tmp_path / "tone.wav")
    assert rate == 16000
    np.testing.assert_allclose(pcm, tone, atol=1e-4)
