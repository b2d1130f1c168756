"""Sound files as they are decoded and played: by frequency, level and where they end, at both rates."""

from __future__ import annotations

import os
import struct
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from peers import audio
from peers.codecs import encode_g711

from sdpserver import _media
from sdpserver import _media_testing as testing
from sdpserver.tones import COUNTRIES

MEBIBYTE = 1 << 20
AMPLITUDE = 0.3
LEVEL_DBFS = 20 * np.log10(AMPLITUDE)


def decode(path: Path, max_octets: int = 64 * MEBIBYTE) -> _media.Sound:
    before = len(list(Path("/proc/self/fd").iterdir()))
    fd = os.open(path, os.O_RDONLY)
    try:
        return _media.decode_sound(fd, max_octets)
    finally:
        os.close(fd)  # ours still
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def wav(path: Path, pcm: audio.Pcm, rate: int, *, width: int = 2, channels: int = 1) -> Path:
    """PCM; `pcm` holds all channels in turn."""
    if width == 1:
        octets = (np.round(pcm * 127) + 128).astype(np.uint8).tobytes()
    else:
        full = np.round(pcm * (2 ** (8 * width - 1) - 1)).astype("<i8").view(np.uint8).reshape(-1, 8)
        octets = full[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(octets)
    return path


def wav_of_format(path: Path, octets: bytes, rate: int, tag: int, width: int) -> Path:
    """A mono WAV with another format tag than PCM's."""
    fmt = struct.pack("<HHIIHH", tag, 1, rate, rate * width, width, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(octets)) + octets
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def tone(rate: int, duration_s: float = 1.0, frequency_hz: float = 440.0) -> audio.Pcm:
    return audio.sine(frequency_hz, duration_s, rate, amplitude=AMPLITUDE)


def hear(sound: _media.Sound, rate: int, frequency_hz: float = 440.0) -> audio.Tone:
    return audio.check_tone(
        audio.from_int16(testing.sound_samples(sound, rate)),
        rate,
        frequency_hz,
        min_duration_s=0.98,
        max_gap_ms=0,
        tolerance=0.002,
        min_purity_db=30,
    )


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
def test_any_rate_keeps_frequency_level_and_length_at_both_of_ours(tmp_path: Path, rate: int) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(rate), rate))
    assert sound.duration_s == pytest.approx(1.0, abs=0.001)
    assert sound.octets == len(testing.sound_samples(sound, 8000)) + len(testing.sound_samples(sound, 16000))
    assert len(testing.sound_samples(sound, 16000)) == 2 * len(testing.sound_samples(sound, 8000))
    for ours in (8000, 16000):
        heard = hear(sound, ours)
        assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.1)
        assert heard.start_s == pytest.approx(0, abs=0.0025), "no delay from the filter"


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_any_sample_width_is_taken(tmp_path: Path, width: int) -> None:
    heard = hear(decode(wav(tmp_path / "a.wav", tone(8000), 8000, width=width)), 8000)
    assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.1)


def test_channels_are_mixed_to_one(tmp_path: Path) -> None:
    left, right = tone(48000), np.zeros(48000)
    stereo = np.stack((left, right), axis=1).reshape(-1)
    heard = hear(decode(wav(tmp_path / "a.wav", stereo, 48000, channels=2)), 16000)
    assert heard.level_dbfs == pytest.approx(LEVEL_DBFS - 6.02, abs=0.1)


def test_float_and_g711_files_and_flac_are_taken(tmp_path: Path) -> None:
    floats = wav_of_format(tmp_path / "f.wav", tone(16000).astype("<f4").tobytes(), 16000, 3, 4)
    assert hear(decode(floats), 16000).level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.1)

    ulaw = encode_g711("PCMU", tone(8000))
    assert hear(decode(wav_of_format(tmp_path / "u.wav", ulaw, 8000, 7, 1)), 8000).frequency_hz > 0

    with av.open(str(tmp_path / "a.flac"), "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=44100, layout="mono")
        samples = (tone(44100) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert hear(decode(tmp_path / "a.flac"), 8000).level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.1)


def test_what_is_above_half_of_our_rate_is_filtered_out_and_not_folded_back(tmp_path: Path) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(48000, frequency_hz=6000), 48000))
    middle = audio.cut(audio.from_int16(testing.sound_samples(sound, 8000)), 8000, 0.1, 0.9)
    assert audio.level_dbfs(middle) < LEVEL_DBFS - 60
    hear(sound, 16000, 6000)


def test_numbers_that_are_none_become_silence(tmp_path: Path) -> None:
    pcm = np.array([np.nan, np.inf, -np.inf, 9.0, -9.0, 0.0] * 100, "<f4")
    sound = decode(wav_of_format(tmp_path / "a.wav", pcm.tobytes(), 8000, 3, 4))
    samples = np.frombuffer(testing.sound_samples(sound, 8000), "<i2")
    assert list(samples[:6]) == [0, 0, 0, 32767, -32768, 0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a sound file"),
        (b"hello, this is a text\n" * 10, "not a sound file"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a sound file|damaged"),
        (b".snd" + struct.pack(">5I", 24, 8, 1, 8000, 1) + bytes(8), "neither WAV nor FLAC nor Ogg"),
    ],
)
def test_a_file_that_cannot_be_played_says_why(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(RuntimeError, match=why):
        decode(tmp_path / "a.wav")


def test_an_empty_a_strange_and_a_too_long_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no sound"):
        decode(wav(tmp_path / "empty.wav", np.zeros(0), 8000))
    with pytest.raises(RuntimeError, match="4 to 384 kHz"):
        decode(wav(tmp_path / "slow.wav", np.zeros(100), 100))
    with pytest.raises(RuntimeError, match="16 channels"):
        decode(wav(tmp_path / "wide.wav", np.zeros(1700), 8000, channels=17))
    ten = wav(tmp_path / "ten.wav", tone(8000, 10), 8000)
    assert decode(ten, 480_000).duration_s == pytest.approx(10, abs=0.01)
    with pytest.raises(RuntimeError, match="longer than 9 s"):
        decode(ten, 9 * 48_000)


def test_a_header_that_promises_more_than_there_is_gives_what_there_is(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tone(8000), 8000)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)
    assert decode(path).duration_s == pytest.approx(1.0, abs=0.01)


def played(
    player: testing.AudioSource, rate: int, frames: int, *, frame_ms: int = 20
) -> tuple[NDArray[Any], list[bool]]:
    pcm, more = zip(*(player.generate(rate // 1000 * frame_ms, rate) for _ in range(frames)), strict=True)
    return np.frombuffer(b"".join(pcm), "<i2"), list(more)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_sound_is_played_once_to_its_last_sample_then_it_is_over(tmp_path: Path, rate: int) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(8000, 0.105), 8000))  # 5 frames and a quarter
    heard, more = played(testing.SoundPlayer(sound), rate, 7)
    wanted = np.frombuffer(testing.sound_samples(sound, rate), "<i2")
    assert np.array_equal(heard[: len(wanted)], wanted)
    assert not heard[len(wanted) :].any()
    assert more == [True] * 5 + [False] * 2


def test_a_sound_of_whole_frames_ends_with_the_last_of_them(tmp_path: Path) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(8000, 0.1), 8000))
    assert played(testing.SoundPlayer(sound), 8000, 5)[1] == [True] * 4 + [False]


def test_a_loop_has_no_seam_and_no_end(tmp_path: Path) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(8000, 0.25), 8000))  # 110 periods
    heard, more = played(testing.SoundPlayer(sound, loop=True), 8000, 200)
    assert np.array_equal(heard, np.resize(np.frombuffer(testing.sound_samples(sound, 8000), "<i2"), len(heard)))
    assert all(more)


def test_a_change_of_rate_goes_on_where_the_other_was(tmp_path: Path) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(16000, 1), 16000))
    player = testing.SoundPlayer(sound)
    played(player, 8000, 10)
    heard, _ = played(player, 16000, 10)
    assert np.array_equal(heard, np.frombuffer(testing.sound_samples(sound, 16000), "<i2")[3200:6400])


@pytest.mark.parametrize("gain_db", [-12.0, -3.0, 6.0])
def test_gain_changes_the_level_by_so_much(tmp_path: Path, gain_db: float) -> None:
    sound = decode(wav(tmp_path / "a.wav", tone(8000), 8000))
    heard, _ = played(testing.SoundPlayer(sound, gain_db=gain_db), 8000, 50)
    assert audio.level_dbfs(heard / 32768) == pytest.approx(LEVEL_DBFS + gain_db, abs=0.1)


def test_too_much_gain_clips_and_does_not_wrap(tmp_path: Path) -> None:
    heard, _ = played(testing.SoundPlayer(decode(wav(tmp_path / "a.wav", tone(8000), 8000)), gain_db=20.0), 8000, 10)
    assert (heard.max(), heard.min()) == (32767, -32768)
    wanted = tone(8000, 0.2) > 0
    assert np.array_equal(heard[np.abs(heard.astype(int)) > 20000] > 0, wanted[np.abs(heard.astype(int)) > 20000])
    with pytest.raises(ValueError, match="gain"):
        testing.SoundPlayer(decode(tmp_path / "a.wav"), gain_db=21.0)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_sound_that_is_stopped_fades_within_a_frame(tmp_path: Path, rate: int) -> None:
    player = testing.SoundPlayer(decode(wav(tmp_path / "a.wav", tone(16000), 16000)), loop=True)
    before, _ = played(player, rate, 5)
    assert player.fade_out()
    last, more = played(player, rate, 1)
    assert more == [False]
    assert not last[rate // 100 :].any()
    steps = np.abs(np.diff(np.concatenate((before, last)).astype(int)))
    assert steps[-len(last) - 1 :].max() <= steps[: len(before) - 1].max(), "no step that the tone itself has not"
    assert not testing.Tone([440.0]).fade_out()


# -- tones as sources


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_tone_is_the_same_at_both_rates(rate: int) -> None:
    heard, more = played(testing.Tone([440.0]), rate, 50)
    found = audio.check_tone(heard / 32768, rate, 440, min_duration_s=0.99, max_gap_ms=0, tolerance=0.001)
    assert found.level_dbfs == pytest.approx(-16.2, abs=0.1)
    assert all(more)


def test_a_tone_of_one_round_ends_after_it(tmp_path: Path) -> None:
    for cadence, frames in (([200, 0], 10), ([200, 100], 15), ([205, 0], 11)):
        heard, more = played(testing.Tone([1400.0], cadence, rounds=1), 8000, frames + 2)
        assert more == [True] * (frames - 1) + [False] * 3, cadence
        assert not heard[cadence[0] * 8 :].any()
        assert audio.dominant_frequency(heard[: cadence[0] * 8] / 32768, 8000) == pytest.approx(1400, abs=5)


def test_a_modulated_tone_swells_and_fades_as_often_as_it_should() -> None:
    """400 x 16, which is how Japan rings: sidebands 16 Hz beside the carrier, 85 % deep."""
    heard, _ = played(testing.Tone([400.0], modulation_hz=16.0), 8000, 100)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    hertz = 8000 / len(heard)
    levels = {f: spectrum[round(f / hertz)] for f in (384, 400, 416, 392)}
    assert levels[384] / levels[400] == pytest.approx(0.425, abs=0.01)
    assert levels[416] / levels[400] == pytest.approx(0.425, abs=0.01)
    assert levels[392] / levels[400] < 0.01


@pytest.mark.parametrize("country", COUNTRIES)
def test_a_countrys_tones_are_heard_by_frequency_and_cadence(country: str) -> None:
    tones = COUNTRIES[country]
    for tone in (tones.ringback, tones.busy, tones.congestion):
        source = testing.Tone(tone.frequencies_hz, tone.cadence_ms, modulation_hz=tone.modulation_hz)
        frames = sum(tone.cadence_ms) * 2 // 20 + 1  # two rounds
        heard = played(source, 8000, frames)[0] / 32768
        # Whole periods of the slowest beat are short against an interval; what is quiet within one is not its end.
        block = 8 * max(10, round(1500 / tone.modulation_hz) if tone.modulation_hz else 0)
        loud = np.convolve(np.abs(heard), np.ones(block) / block, "same") > 0.01
        edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(int))) / 8
        lengths = np.diff(edges[: len(tone.cadence_ms) + 1])
        assert lengths == pytest.approx(np.array(tone.cadence_ms), abs=2 * block / 8), country
        first = heard[: tone.cadence_ms[0] * 8]
        spectrum = np.abs(np.fft.rfft(first * np.hanning(len(first)), 1 << 16))
        found = {round(int(at) * 8000 / (1 << 16)) for at in np.flatnonzero(spectrum > 0.5 * spectrum.max())}
        for frequency in tone.frequencies_hz:
            assert any(abs(frequency - at) <= 3 for at in found), (country, frequency)
        assert all(any(abs(f - at) <= 15 for f in tone.frequencies_hz) for at in found), (country, found)
