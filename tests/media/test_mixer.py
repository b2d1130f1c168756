"""The mixer of rooms, frame by frame: who hears whom, how loud, and what a change sounds like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from peers import audio

from sdpserver._media_testing import Limiter, Mixer

RATE = 16000
FRAME = RATE // 50
Voice = Callable[[int], audio.Pcm]
"""Tick to frame."""


def tone(frequency_hz: float, *, amplitude: float = 0.1, rate: int = RATE) -> Voice:
    def frame(tick: int) -> audio.Pcm:
        size = rate // 50
        time_s = (tick * size + np.arange(size)) / rate
        wave: audio.Pcm = amplitude * np.sin(2 * np.pi * frequency_hz * time_s)
        return wave

    return frame


def noise(seed: int, *, amplitude: float) -> Voice:
    random = np.random.default_rng(seed)

    def frame(_tick: int) -> audio.Pcm:
        samples: audio.Pcm = random.uniform(-amplitude, amplitude, FRAME)
        return samples

    return frame


def octets(frame: audio.Pcm) -> bytes:
    return (np.clip(frame, -1, 1) * 32767).astype(np.int16).tobytes()


class Room:
    """A mixer, the voices of its members and all that each has heard."""

    def __init__(self, rate: int = RATE) -> None:
        self.mixer = Mixer(rate)
        self.rate = rate
        self.voices: dict[int, Voice] = {}
        self.heard: dict[int, list[bytes]] = {}
        self.all: list[bytes] = []
        self.tick = 0

    def join(self, voice: Voice | None, *, says: int = 1, hears: int = 1) -> int:
        slot = self.mixer.add(says, hears)
        assert slot is not None
        self.heard[slot] = []
        self.speak(slot, voice)
        return slot

    def speak(self, slot: int, voice: Voice | None) -> None:
        self.voices.pop(slot, None)
        if voice is not None:
            self.voices[slot] = voice

    def leave(self, slot: int) -> None:
        self.mixer.remove(slot)
        self.voices.pop(slot, None)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            for slot, voice in self.voices.items():
                self.mixer.put(slot, octets(voice(self.tick)))
            self.mixer.mix()
            for slot, frames in self.heard.items():
                frames.append(self.mixer.heard_by(slot))
            self.all.append(self.mixer.heard_by_all())
            self.tick += 1

    def pcm(self, slot: int, start_s: float = 0.0) -> audio.Pcm:
        return audio.cut(audio.from_int16(b"".join(self.heard[slot])), self.rate, start_s)


def power_at(pcm: audio.Pcm, frequency_hz: float, rate: int = RATE) -> float:
    """Of a sine of this frequency in whole periods of it, in dBFS."""
    time_s = np.arange(len(pcm)) / rate
    found = 2 * abs(np.mean(pcm * np.exp(-2j * np.pi * frequency_hz * time_s)))
    return 20 * float(np.log10(max(found, 1e-6)))


def largest_step(pcm: audio.Pcm) -> float:
    """Between neighbouring samples: a click is a step that no tone makes."""
    return float(np.abs(np.diff(pcm)).max())


@pytest.mark.parametrize("rate", [8000, 16000])
def test_each_member_hears_the_others_at_their_level_and_not_himself(rate: int) -> None:
    room = Room(rate)
    frequencies = [500.0, 800.0, 1300.0]
    slots = [room.join(tone(frequency, rate=rate)) for frequency in frequencies]
    room.run(1.2)
    for slot, own in zip(slots, frequencies, strict=True):
        pcm = room.pcm(slot, 0.2)
        assert len(pcm) == rate
        for frequency in frequencies:
            level = power_at(pcm, frequency, rate)
            if frequency == own:
                assert level < -75
            else:
                assert level == pytest.approx(-20.0, abs=0.05)


def test_nothing_of_a_voice_comes_back_to_its_speaker() -> None:
    room = Room()
    speaker = room.join(noise(1, amplitude=0.3))
    room.join(noise(2, amplitude=0.1))
    said: list[audio.Pcm] = []
    voice = room.voices[speaker]

    def keep(tick: int) -> audio.Pcm:
        said.append(voice(tick))
        return said[-1]

    room.speak(speaker, keep)
    room.run(2)
    own, heard = np.concatenate(said), room.pcm(speaker)
    for delay in range(0, RATE // 5, 16):
        size = len(own) - delay
        assert abs(np.corrcoef(own[:size], heard[delay:])[0, 1]) < 0.03


def test_a_lone_member_hears_silence() -> None:
    room = Room()
    alone = room.join(tone(440))
    room.run(0.5)
    assert not room.pcm(alone).any()


def test_the_tap_hears_everybody() -> None:
    room = Room()
    room.join(tone(500))
    room.join(tone(800))
    room.run(1.2)
    pcm = audio.cut(audio.from_int16(b"".join(room.all)), RATE, 0.2)
    assert power_at(pcm, 500) == pytest.approx(-20, abs=0.05)
    assert power_at(pcm, 800) == pytest.approx(-20, abs=0.05)


def test_of_many_speakers_the_loudest_three_are_heard() -> None:
    room = Room()
    for i in range(10):
        room.join(tone(300 + 100 * i, amplitude=0.02 * (i + 1) if i < 9 else 0.01))
    listener = room.join(None)
    room.run(1.5)
    pcm = room.pcm(listener, 0.5)
    loudest = {900, 1000, 1100}
    for i in range(10):
        frequency = 300 + 100 * i
        assert (power_at(pcm, frequency) > -25) == (frequency in loudest), frequency


def test_a_fourth_who_is_about_as_loud_does_not_chop_the_others() -> None:
    room = Room()
    for i in range(3):
        room.join(tone(400 + 200 * i))
    listener = room.join(None)
    room.run(0.5)
    room.join(tone(1500, amplitude=0.15))  # 3.5 dB louder
    room.run(1)
    pcm = room.pcm(listener, 0.5)
    assert power_at(pcm, 1500) < -60
    for i in range(3):
        assert power_at(pcm, 400 + 200 * i) == pytest.approx(-20, abs=0.1)


def test_a_fourth_who_is_much_louder_is_heard_within_two_frames() -> None:
    room = Room()
    for i in range(3):
        room.join(tone(400 + 200 * i, amplitude=0.02))
    listener = room.join(None)
    room.run(0.5)
    room.join(tone(1500, amplitude=0.3))
    room.run(0.5)
    pcm = room.pcm(listener, 0.54)
    assert power_at(audio.cut(pcm, RATE, 0, 0.2), 1500) == pytest.approx(20 * np.log10(0.3), abs=0.5)


def test_a_pause_between_words_does_not_cost_the_floor_and_the_next_word_is_whole() -> None:
    room = Room()
    slots = [room.join(tone(400 + 200 * i)) for i in range(3)]
    listener = room.join(None)
    fourth = room.join(tone(1500, amplitude=0.07))
    room.run(0.5)
    room.speak(slots[0], tone(400, amplitude=0.0005))  # a breath
    room.run(0.2)
    room.speak(slots[0], tone(400))
    room.run(0.5)
    assert room.mixer.chosen(slots[0])
    assert not room.mixer.chosen(fourth)
    word = audio.cut(room.pcm(listener), RATE, 0.7, 0.75)  # its very beginning
    assert power_at(word, 400) == pytest.approx(-20, abs=0.2)


def test_a_quiet_room_passes_the_floor_on_at_the_first_syllable() -> None:
    room = Room()
    for seed in range(6):
        room.join(noise(seed, amplitude=0.001))
    newcomer = room.join(None)
    listener = room.join(None)
    room.run(1)
    room.speak(newcomer, tone(500))
    room.run(0.1)
    first = audio.cut(room.pcm(listener), RATE, 1.0, 1.02)
    assert audio.level_dbfs(audio.cut(first, RATE, 0.01)) == pytest.approx(-20, abs=0.5)


def test_who_is_muted_is_not_heard_and_comes_back() -> None:
    room = Room()
    speaker, listener = room.join(tone(500)), room.join(None)
    room.run(0.5)
    room.mixer.set_rules(speaker, muted=True)
    room.run(0.5)
    room.mixer.set_rules(speaker)
    room.run(0.5)
    pcm = room.pcm(listener)
    assert audio.level_dbfs(audio.cut(pcm, RATE, 0.1, 0.5)) == pytest.approx(-20, abs=0.1)
    assert not audio.cut(pcm, RATE, 0.52, 1.0).any()
    assert audio.level_dbfs(audio.cut(pcm, RATE, 1.02)) == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("change", ["mute", "leave", "silence", "rules"])
def test_nothing_clicks_when_a_voice_comes_or_goes(change: str) -> None:
    room = Room()
    listener = room.join(None)
    room.run(0.1)
    speaker = room.join(tone(313, amplitude=0.5))  # its frames end anywhere in the wave
    room.run(0.5)
    match change:
        case "mute":
            room.mixer.set_rules(speaker, muted=True)
        case "leave":
            room.leave(speaker)
        case "silence":
            room.speak(speaker, None)
        case "rules":
            room.mixer.set_rules(speaker, says=2)
    room.run(0.2)
    pcm = room.pcm(listener)
    assert audio.level_dbfs(audio.cut(pcm, RATE, 0.2, 0.5)) == pytest.approx(-6, abs=0.2)
    assert not audio.cut(pcm, RATE, 0.65).any()
    fade = 0.5 / (RATE // 100)
    assert largest_step(pcm) < 2 * np.pi * 313 / RATE * 0.5 + fade + 1e-3


def test_a_newcomer_is_faded_into_what_is_being_said() -> None:
    room = Room()
    room.join(tone(313, amplitude=0.5))
    room.run(0.31)
    newcomer = room.join(None)
    room.run(0.1)
    pcm = room.pcm(newcomer)
    assert abs(pcm[0]) < 0.01
    assert audio.level_dbfs(audio.cut(pcm, RATE, 0.01)) == pytest.approx(-6, abs=0.5)


def test_a_slot_that_is_used_again_has_nothing_of_its_last_owner() -> None:
    room = Room()
    listener = room.join(None)
    first = room.join(tone(500))
    room.run(0.2)
    room.leave(first)
    room.run(0.04)
    second = room.join(None)
    assert second == first
    start_s = len(room.pcm(listener)) / RATE
    room.run(0.2)
    assert not room.pcm(listener, start_s).any()
    assert not room.mixer.talking(second)


def test_a_whisper_reaches_one_side_only() -> None:
    agent_hears, whisper = 1 | 2, 2
    room = Room()
    agent = room.join(tone(500), hears=agent_hears)
    customer = room.join(tone(800))
    supervisor = room.join(tone(1300), says=whisper)
    room.run(1.2)
    levels = {
        slot: [round(power_at(room.pcm(slot, 0.2), frequency)) for frequency in (500, 800, 1300)]
        for slot in (agent, customer, supervisor)
    }
    nothing = pytest.approx(-100, abs=25)
    assert levels[agent] == [nothing, -20, -20]
    assert levels[customer] == [-20, nothing, nothing]
    assert levels[supervisor] == [-20, -20, nothing]


def test_who_listens_only_takes_no_place_among_the_loudest() -> None:
    room = Room()
    listener = room.join(noise(1, amplitude=0.9), says=0)
    speakers = [room.join(tone(400 + 200 * i)) for i in range(3)]
    room.run(1.2)
    assert not room.mixer.chosen(listener)
    assert all(room.mixer.chosen(slot) for slot in speakers)
    pcm = room.pcm(speakers[0], 0.2)
    assert power_at(pcm, 600) == pytest.approx(-20, abs=0.1)
    assert audio.level_dbfs(pcm) == pytest.approx(-17, abs=0.1)


def test_a_room_holds_64_and_no_more() -> None:
    mixer = Mixer(8000)
    assert [mixer.add() for _ in range(65)] == [*range(64), None]
    mixer.remove(10)
    assert mixer.add() is None  # it still fades out
    mixer.mix()
    assert mixer.add() == 10


def test_levels_are_those_of_rfc_6464() -> None:
    mixer = Mixer(RATE)
    slot = mixer.add()
    assert slot is not None
    mixer.mix()
    assert mixer.level_dbov(slot) == -127
    mixer.put(slot, octets(tone(500, amplitude=1.0)(0)))
    mixer.mix()
    assert mixer.level_dbov(slot) == pytest.approx(-3.01, abs=0.05)


def test_talking_begins_after_60_ms_of_speech_and_ends_after_half_a_second_of_silence() -> None:
    room = Room()
    slot = room.join(noise(1, amplitude=0.0005))
    quiet, speech = room.voices[slot], tone(500)
    states: list[bool] = []
    for tick in range(75):
        room.speak(slot, speech if 5 <= tick < 6 or 10 <= tick < 40 else quiet)
        room.run(0.02)
        states.append(room.mixer.talking(slot))
    assert states.index(True) == 12  # not for the click at 5
    assert states[12:64] == [True] * 52
    assert states[64:] == [False] * 11


# -- the limiter


def limited(pcm: NDArray[np.float64]) -> tuple[audio.Pcm, Limiter]:
    """Full scale at 1.0, and beyond."""
    limiter = Limiter(RATE)
    whole = (pcm * 32768).astype(np.int32)[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return audio.from_int16(b"".join(limiter.process(frame.tobytes()) for frame in whole)), limiter


def test_what_fits_is_left_as_it_is() -> None:
    pcm = audio.sine(440, 1, RATE, amplitude=0.85)
    out, limiter = limited(pcm)
    assert limiter.gain == 1.0
    assert np.abs(out - pcm).max() <= 1.1 / 32768


@pytest.mark.parametrize("frequency_hz", [100.0, 440.0, 1000.0, 3100.0])
def test_too_loud_a_tone_is_turned_down_without_distortion(frequency_hz: float) -> None:
    out, _ = limited(audio.sine(frequency_hz, 2, RATE, amplitude=2.7))
    heard = audio.cut(out, RATE, 0.5)
    assert np.abs(heard).max() <= 0.8915
    fundamental = power_at(heard, frequency_hz)
    assert fundamental == pytest.approx(-1.0, abs=0.3)
    rest = heard - 2 * np.real(
        np.mean(heard * np.exp(-2j * np.pi * frequency_hz * np.arange(len(heard)) / RATE))
        * np.exp(2j * np.pi * frequency_hz * np.arange(len(heard)) / RATE)
    )
    assert audio.level_dbfs(rest) - fundamental < -40  # less than 1 % of distortion


def test_three_loud_voices_together_stay_in_range_and_clean() -> None:
    frequencies = (350.0, 440.0, 1209.0)
    out, _ = limited(sum((audio.sine(f, 3, RATE, amplitude=0.7) for f in frequencies), np.zeros(3 * RATE)))
    heard = audio.cut(out, RATE, 1.0)
    time_s = np.arange(len(heard)) / RATE
    basis = np.stack([wave(2 * np.pi * f * time_s) for f in frequencies for wave in (np.sin, np.cos)], axis=1)
    rest = heard - basis @ np.linalg.lstsq(basis, heard, rcond=None)[0]
    assert np.abs(heard).max() < 1.0
    assert audio.level_dbfs(rest) - audio.level_dbfs(heard) < -38


def test_a_sudden_peak_does_not_wrap_around() -> None:
    pcm = np.concatenate((np.zeros(FRAME), 2.9 * np.sign(audio.sine(250, 0.2, RATE)), np.zeros(FRAME)))
    out, _ = limited(pcm)
    assert np.all(out * pcm[: len(out)] >= 0)
    assert np.abs(out).max() <= 1.0


def test_after_a_peak_the_level_comes_back_slowly() -> None:
    quiet = audio.sine(440, 2, RATE, amplitude=0.3)
    out, limiter = limited(np.concatenate((audio.sine(440, 0.5, RATE, amplitude=1.8), quiet)))
    after = audio.cut(out, RATE, 0.5)
    assert limiter.gain == 1.0
    levels = [
        audio.level_dbfs(after[start : start + RATE // 10]) for start in range(0, len(after) - RATE // 10, RATE // 10)
    ]
    steps = np.diff(levels)
    assert levels[0] == pytest.approx(levels[-1] - 6.1, abs=0.7)
    assert steps.min() > -0.1
    assert steps.max() < 2.3  # 20 dB a second


def test_a_loud_room_is_not_clipped() -> None:
    room = Room()
    for frequency in (350, 440, 1209):
        room.join(tone(frequency, amplitude=0.8))
    listener = room.join(None)
    room.run(2)
    pcm = room.pcm(listener, 1.0)
    assert np.abs(pcm).max() < 0.95
    for frequency in (350, 440, 1209):
        assert power_at(pcm, frequency) == pytest.approx(power_at(pcm, 350), abs=0.3)
