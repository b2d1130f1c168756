"""Presses as tones: every key is found at any level that ITU-T Q.24 asks for, and none in speech."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from peers.audio import Pcm
from peers.voices import espeak_ng

from sdpserver._media_testing import InbandDtmfDetector, PressSender

ROWS = (697.0, 770.0, 852.0, 941.0)
COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD = "123A456B789C*0#D"
EVENTS = "0123456789*#ABCD"
FULL_SCALE_DBM0 = 3.14  # a sine at full scale (ITU-T G.711)


def tones(
    key: str, duration_ms: float, rate: int = 8000, *, low_dbm0: float = -10, high_dbm0: float = -10, off: float = 0.0
) -> Pcm:
    """A key's two tones; `off`: how far from their frequencies, as a part of them."""
    row, column = divmod(KEYPAD.index(key), 4)
    time_s = np.arange(round(duration_ms * rate / 1000)) / rate
    pcm: Pcm = np.zeros(len(time_s))
    for frequency, level in ((ROWS[row], low_dbm0), (COLUMNS[column], high_dbm0)):
        pcm += 10 ** ((level - FULL_SCALE_DBM0) / 20) * np.sin(2 * np.pi * frequency * (1 + off) * time_s)
    return pcm


def silence(duration_ms: float, rate: int = 8000) -> Pcm:
    return np.zeros(round(duration_ms * rate / 1000))


def as_bytes(pcm: Pcm) -> bytes:
    return np.clip(np.round(pcm * 32767), -32768, 32767).astype("<i2").tobytes()


def listen(pcm: Pcm, rate: int = 8000) -> list[tuple[str, int]]:
    """The keys and how long each was, in ms."""
    ear = InbandDtmfDetector()
    ear.listen(as_bytes(np.concatenate((pcm, silence(60, rate)))), rate)
    return [(EVENTS[event], duration_ms) for event, duration_ms, _ in ear.presses]


def keys(pcm: Pcm, rate: int = 8000) -> str:
    return "".join(key for key, _ in listen(pcm, rate))


def dialled(row: str, *, press_ms: float = 60, gap_ms: float = 60, rate: int = 8000, **levels: float) -> Pcm:
    return np.concatenate(
        [np.concatenate((tones(key, press_ms, rate, **levels), silence(gap_ms, rate))) for key in row]
    )


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("level_dbm0", [0, -3, -6, -10, -15, -20, -25])
def test_all_keys_are_found_at_every_level(level_dbm0: float, rate: int) -> None:
    assert keys(dialled(EVENTS, rate=rate, low_dbm0=level_dbm0, high_dbm0=level_dbm0), rate) == EVENTS


@pytest.mark.parametrize(("low_dbm0", "high_dbm0"), [(-10, -6), (-25, -21), (-6, -14), (-17, -25)])
def test_all_keys_are_found_with_twist(low_dbm0: float, high_dbm0: float) -> None:
    """One tone louder than the other: up to 4 dB for the column, 8 dB for the row (the limits of most networks)."""
    assert keys(dialled(EVENTS, low_dbm0=low_dbm0, high_dbm0=high_dbm0)) == EVENTS


@pytest.mark.parametrize("off", [-0.013, 0.013])
def test_all_keys_are_found_when_their_tones_are_a_little_off(off: float) -> None:
    assert keys(dialled(EVENTS, off=off)) == EVENTS


def test_all_keys_are_found_in_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 10 ** ((-10 - 15 - FULL_SCALE_DBM0) / 20) / np.sqrt(2), 8000 * 4)
    pcm = dialled(EVENTS)
    assert keys(pcm + noise[: len(pcm)]) == EVENTS


@pytest.mark.parametrize("duration_ms", [50, 80, 100, 160, 250, 1000])
def test_the_length_is_measured_to_a_block_and_a_half(duration_ms: int) -> None:
    """The receiver decides every 12.75 ms."""
    for shift_ms in range(0, 13, 2):
        ((_, measured_ms),) = listen(np.concatenate((silence(100 + shift_ms), tones("5", duration_ms))))
        assert measured_ms == pytest.approx(duration_ms, abs=20)


def test_a_key_held_is_one_press_and_a_key_pressed_twice_is_two() -> None:
    assert keys(tones("7", 3000)) == "7"
    assert keys(dialled("77777")) == "77777"
    assert keys(dialled("77777", press_ms=40, gap_ms=40)) == "77777"


def test_what_is_shorter_than_a_press_is_none() -> None:
    assert keys(dialled("123", press_ms=20, gap_ms=100)) == ""


def test_a_lost_packet_in_the_middle_does_not_break_a_press() -> None:
    ear = InbandDtmfDetector()
    ear.listen(as_bytes(tones("9", 100)))
    ear.listen(as_bytes(silence(40)), concealed=True)
    ear.listen(as_bytes(np.concatenate((tones("9", 100), silence(100)))))
    ((event, duration_ms, _),) = ear.presses
    assert EVENTS[event] == "9"
    assert duration_ms == pytest.approx(240, abs=20)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("volume", [0, 10, 22])
def test_the_tones_we_make_are_those_that_we_find(rate: int, volume: int) -> None:
    sender = PressSender()
    for event in range(16):
        sender.queue(event, 100, 70, volume, in_band=True)
    frames = []
    while sender.busy:
        kind, *made = sender.step(sender.due_ms, 20, rate)
        assert kind == "audio"
        frames.append(made[0])
    pcm = np.frombuffer(b"".join(frames), "<i2") / 32767
    heard = listen(pcm, rate)
    assert "".join(key for key, _ in heard) == EVENTS
    assert all(duration_ms == pytest.approx(100, abs=20) for _, duration_ms in heard)
    power_dbm0 = 10 * np.log10(2 * np.mean(pcm[: rate // 10] ** 2)) + FULL_SCALE_DBM0
    assert power_dbm0 == pytest.approx(-volume, abs=0.3)


TEXT = """The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the
depth of a well. These days a chicken leg is a rare dish. Rice is often served in round bowls. The juice of lemons makes
fine punch. The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage. Four hours of steady
work faced us. A large size in stockings is hard to sell. Eleven, twelve, thirteen, nine five seven two, oh oh seven."""


def speech(tmp_path: Path, voice: str, pitch: int, speed: int) -> Pcm:
    """Spoken by espeak-ng, at 8 kHz and -16 dBm0 or so, as loud as a caller may be."""
    wav = tmp_path / f"{voice}-{pitch}-{speed}.wav"
    espeak_ng("-v", voice, "-p", str(pitch), "-s", str(speed), "-w", str(wav), TEXT)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
    with av.open(str(wav)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(float)
    return np.asarray(pcm / np.sqrt(np.mean(pcm**2)) * 10 ** ((-16 - FULL_SCALE_DBM0) / 20) / np.sqrt(2))


def test_ten_minutes_of_speech_hold_no_press(tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    length_s, heard = 0.0, ""
    for voice in ("en-us", "en-us+f3", "en-gb", "de+m5", "fr+f2", "es+f4"):
        for pitch, speed in ((30, 140), (50, 160), (70, 180), (99, 150)):
            pcm = speech(tmp_path, voice, pitch, speed)
            length_s += len(pcm) / 8000
            heard += keys(pcm)
    assert length_s > 600
    assert heard == ""


def test_two_minutes_of_music_like_sweeps_and_noise_hold_no_press() -> None:
    rng = np.random.default_rng(7)
    time_s = np.arange(8000 * 60) / 8000
    chord = sum(
        0.1 * np.sin(2 * np.pi * note * np.cumsum(1 + 0.3 * np.sin(2 * np.pi * 0.05 * (k + 1) * time_s)) / 8000)
        for k, note in enumerate((220.0, 277.2, 329.6, 440.0, 554.4, 659.3, 880.0, 1108.7, 1318.5))
    )
    assert keys(np.asarray(chord)) == ""
    assert keys(rng.normal(0, 0.1, len(time_s))) == ""
