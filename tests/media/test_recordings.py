"""Recordings by themselves: two streams on one time line, and the file that they become, whatever the disk does."""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from peers import audio

from sdpserver import _media
from sdpserver import _media_testing as testing

from .plane import wait_for

MS = 1_000_000
SECOND = 1000 * MS
LEFT, RIGHT = 0, 1


def tone(frequency_hz: float, duration_s: float, rate: int = 8000) -> bytes:
    return pcm_of(audio.sine(frequency_hz, duration_s, rate))


def pcm_of(samples: audio.Pcm) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def frames(pcm: bytes, rate: int = 8000, frame_ms: int = 20) -> list[bytes]:
    octets = rate // 1000 * frame_ms * 2
    return [pcm[at : at + octets] for at in range(0, len(pcm), octets)]


def channels(octets: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    both = np.frombuffer(octets, "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


# -- the time line


@pytest.mark.parametrize("rate", [8000, 16000])
def test_frames_lie_where_their_time_puts_them(rate: int) -> None:
    track = testing.StereoTrack(rate, 5 * SECOND)
    for i, frame in enumerate(frames(tone(400, 1, rate), rate)):
        track.put(LEFT, frame, rate, 5 * SECOND + (100 + 20 * i) * MS)
    track.advance(7 * SECOND)
    left, right = channels(track.take())
    assert len(left) == len(right) == 2 * rate
    assert not right.any()
    start = rate // 10
    assert np.array_equal(left[start : start + rate], np.frombuffer(tone(400, 1, rate), "<i2"))
    assert not left[:start].any()
    assert not left[start + rate :].any()


def test_frames_that_come_by_chance_late_leave_no_gap() -> None:
    """A busy worker hands frames over up to 30 ms after their time; the sound stays in one piece."""
    track, chance = testing.StereoTrack(8000, 0), random.Random(7)
    pcm = tone(440, 20)
    for i, frame in enumerate(frames(pcm)):
        track.put(LEFT, frame, 8000, (20 * i + chance.choice([0, 0, 0, 5, 12, 30])) * MS)
    track.advance(20 * SECOND)
    heard = channels(track.take())[LEFT] / 32768
    audio.check_tone(heard, 8000, 440, min_duration_s=19.9, max_gap_ms=0, min_purity_db=40)


def test_a_gap_becomes_silence_of_its_length_and_the_other_channel_goes_on() -> None:
    track = testing.StereoTrack(8000, 0)
    for i, frame in enumerate(frames(tone(440, 4))):
        if not 50 <= i < 125:  # nothing for 1.5 s, as with a peer that sends none in a pause
            track.put(LEFT, frame, 8000, 20 * i * MS)
        track.put(RIGHT, frame, 8000, 20 * i * MS)
    track.advance(4 * SECOND)
    left, right = channels(track.take())
    wanted = np.frombuffer(tone(440, 4), "<i2")
    assert np.array_equal(right, wanted)
    assert np.array_equal(left[:8000], wanted[:8000])
    assert not left[8000:20000].any()
    assert np.array_equal(left[20000:], wanted[20000:])


def clicks_at(samples: NDArray[Any], rate: int) -> list[float]:
    return [float(at) / rate for at in np.flatnonzero(samples > 20000)]


@pytest.mark.parametrize(("slow_ppm", "late_ms"), [(0, 15), (200, 0), (-200, 0)], ids=["jitter", "slow", "fast"])
def test_both_channels_stay_in_step_for_an_hour(slow_ppm: int, late_ms: int) -> None:
    """A click a minute on both. The right channel's frames are exact; the left one's come late by chance, or are 20 ms
    that last longer or shorter than 20 ms of the clock, which adds up to 0.72 s."""
    track, chance = testing.StereoTrack(8000, 0), random.Random(1)
    silence, click = bytes(320), pcm_of(np.r_[1.0, np.zeros(159)])
    said: tuple[list[float], list[float]] = ([], [])
    heard: tuple[list[float], list[float]] = ([], [])
    base_s = 0.0

    def listen() -> None:
        nonlocal base_s
        taken = channels(track.take())
        for channel in (LEFT, RIGHT):
            heard[channel].extend(base_s + at for at in clicks_at(taken[channel], 8000))
        base_s += len(taken[0]) / 8000

    sent = [0, 0]
    for at_ms in range(0, 3_600_000, 20):
        for channel, frame_ms in ((LEFT, 20 * (1 + slow_ppm / 1e6)), (RIGHT, 20.0)):
            while (due_ms := sent[channel] * frame_ms) < at_ms + 20:
                sent[channel] += 1
                pcm = silence
                if due_ms >= 30_000 + 60_000 * len(said[channel]):
                    pcm = click
                    said[channel].append(due_ms / 1000)
                late_by_ms = chance.uniform(0, late_ms) if channel == LEFT else 0
                track.put(channel, pcm, 8000, round((due_ms + late_by_ms) * MS))
        if at_ms % 60_000 == 0:
            listen()
    listen()
    off_ms = [1000 * (np.array(heard[channel]) - np.array(said[channel])) for channel in (LEFT, RIGHT)]
    assert len(off_ms[LEFT]) == len(off_ms[RIGHT]) == 60
    assert np.abs(off_ms[RIGHT]).max() < 0.2
    assert np.abs(off_ms[LEFT] - off_ms[RIGHT]).max() <= 20


@pytest.mark.parametrize(("rate_in", "rate"), [(8000, 16000), (16000, 8000)])
def test_frames_of_the_other_rate_are_resampled_and_stay_where_they_were(rate_in: int, rate: int) -> None:
    track = testing.StereoTrack(rate, 0)
    for i, frame in enumerate(frames(tone(1000, 2, rate_in), rate_in)):
        track.put(LEFT, frame, rate_in, 20 * i * MS)
    track.advance(3 * SECOND)
    left = channels(track.take())[LEFT] / 32768
    heard = audio.check_tone(left, rate, 1000, min_duration_s=1.98, max_gap_ms=0, tolerance=0.002, min_purity_db=35)
    assert heard.start_s == pytest.approx(0, abs=0.005)
    assert heard.level_dbfs == pytest.approx(20 * np.log10(0.3), abs=0.1)


def test_a_rate_that_changes_in_the_middle_is_followed() -> None:
    track = testing.StereoTrack(16000, 0)
    for i in range(100):
        rate = 8000 if i % 50 < 25 else 16000
        pcm = pcm_of(audio.sine(500, 2, rate)[i * rate // 50 : (i + 1) * rate // 50])
        track.put(LEFT, pcm, rate, 20 * i * MS)
    track.advance(2 * SECOND)
    left = channels(track.take())[LEFT] / 32768
    assert audio.dominant_frequency(left, 16000) == pytest.approx(500, abs=3)
    assert audio.measure(left, 16000).longest_gap_ms <= 10


def test_what_comes_after_its_time_was_written_is_left_out() -> None:
    track = testing.StereoTrack(8000, 0)
    track.advance(SECOND)
    assert len(track.take()) == 4 * 8000
    track.put(LEFT, tone(400, 0.02), 8000, 100 * MS)
    track.put(LEFT, tone(400, 0.02), 8000, 990 * MS)  # half of it
    track.advance(2 * SECOND)
    left, _ = channels(track.take())
    assert len(left) == 8000
    assert np.array_equal(left[:80], np.frombuffer(tone(400, 0.02), "<i2")[80:])
    assert not left[80:].any()


# -- the file


@pytest.fixture
def recordings() -> Iterator[testing.Recordings]:
    made = testing.Recordings()
    yield made
    made.close()


class Events:
    def __init__(self, recordings: testing.Recordings) -> None:
        self._recordings = recordings
        self.seen: list[tuple[int, int, str]] = []

    def wait(self, kind: int, id: int = 1) -> str:
        def came() -> bool:
            self.seen += self._recordings.drain()
            return any(event[:2] == (kind, id) for event in self.seen)

        wait_for(came, f"event {kind} of {id}, but {self.seen}")
        return next(event[2] for event in self.seen if event[:2] == (kind, id))


def speak(listener: testing.AudioSink, pcm: bytes, rate: int = 8000, *, since: int | None = None) -> None:
    """All at once, with the times that it would have had until now."""
    parts = frames(pcm, rate)
    start = time.monotonic_ns() - 20 * MS * len(parts) if since is None else since
    for i, part in enumerate(parts):
        listener.take(part, rate, start + 20 * MS * i)


def test_a_recording_is_a_stereo_wav_of_its_owner_alone_under_its_name_once_it_is_whole(
    tmp_path: Path, recordings: testing.Recordings
) -> None:
    path, events = tmp_path / "call.wav", Events(recordings)
    recordings.start(1, str(path), 8000)
    left, right = recordings.listener(1, LEFT), recordings.listener(1, RIGHT)
    assert left.wanted_rate_hz == 8000
    assert events.wait(_media.RECORDING_STARTED) == str(path)
    unfinished = tmp_path / "call.wav.part"
    assert unfinished.stat().st_mode & 0o777 == 0o600
    start = time.monotonic_ns()
    speak(left, tone(440, 0.5), since=start)
    speak(right, tone(1000, 0.5), since=start)
    wait_for(lambda: time.monotonic_ns() > start + 520 * MS, "the time that was spoken of")
    assert not path.exists()
    recordings.stop(1)
    duration_ms, dropped = map(int, events.wait(_media.RECORDING_STOPPED).split())
    assert not unfinished.exists()
    assert path.stat().st_mode & 0o777 == 0o600
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        assert file.getnframes() == pytest.approx(duration_ms * 8, abs=8 * 20)
        heard_left, heard_right = channels(file.readframes(file.getnframes()))
    assert dropped == 0
    for samples, frequency in ((heard_left, 440), (heard_right, 1000)):
        audio.check_tone(samples / 32768, 8000, frequency, min_duration_s=0.49, max_gap_ms=0, min_purity_db=40)


def test_while_paused_nothing_is_kept_but_the_time(tmp_path: Path, recordings: testing.Recordings) -> None:
    path, events = tmp_path / "call.wav", Events(recordings)
    recordings.start(1, str(path), 8000)
    left = recordings.listener(1, LEFT)
    events.wait(_media.RECORDING_STARTED)
    start = time.monotonic_ns()
    speak(left, tone(440, 0.2), since=start)
    recordings.pause(1, True)
    speak(left, tone(2000, 0.2), since=start + 200 * MS)
    recordings.pause(1, False)
    speak(left, tone(440, 0.2), since=start + 400 * MS)
    wait_for(lambda: time.monotonic_ns() > start + 620 * MS, "the time that was spoken of")
    recordings.stop(1)
    events.wait(_media.RECORDING_STOPPED)
    with wave.open(str(path)) as file:
        heard = channels(file.readframes(file.getnframes()))[LEFT] / 32768
    spoken = audio.spans(heard, 8000)
    assert [round(span.frequency_hz, -1) for span in spoken] == [440, 440]
    assert spoken[1].start_s - spoken[0].start_s == pytest.approx(0.4, abs=0.03)
    assert audio.measure(heard, 8000).longest_gap_ms == pytest.approx(200, abs=5)


def test_a_new_leg_goes_on_where_the_old_one_was(tmp_path: Path, recordings: testing.Recordings) -> None:
    """A page that reloads gets a new leg, and a listener of its own."""
    path, events = tmp_path / "call.wav", Events(recordings)
    recordings.start(1, str(path), 8000)
    first = recordings.listener(1, LEFT)
    start = time.monotonic_ns()
    speak(first, tone(440, 0.2), since=start)
    del first
    speak(recordings.listener(1, LEFT), tone(700, 0.2), since=start + 200 * MS)
    wait_for(lambda: time.monotonic_ns() > start + 420 * MS, "the time that was spoken of")
    recordings.stop(1)
    events.wait(_media.RECORDING_STOPPED)
    with wave.open(str(path)) as file:
        heard = channels(file.readframes(file.getnframes()))[LEFT] / 32768
    assert [round(span.frequency_hz, -1) for span in audio.spans(heard, 8000)] == [440, 700]


def test_closing_finishes_what_is_open(tmp_path: Path) -> None:
    recordings = testing.Recordings()
    for id in range(5):
        recordings.start(id, str(tmp_path / f"{id}.wav"), 16000)
        speak(recordings.listener(id, RIGHT), tone(440, 0.1, 16000), 16000)
    recordings.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{id}.wav" for id in range(5)]
    with wave.open(str(tmp_path / "0.wav")) as file:
        assert file.getframerate() == 16000


# -- what can go wrong


def test_a_folder_that_is_not_there_is_a_failure_that_says_so(tmp_path: Path, recordings: testing.Recordings) -> None:
    recordings.start(1, str(tmp_path / "none" / "call.wav"), 8000)
    assert Events(recordings).wait(_media.RECORDING_FAILED) == os.strerror(errno.ENOENT)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, recordings: testing.Recordings) -> None:
    (tmp_path / "call.wav.part").write_text("mine")
    recordings.start(1, str(tmp_path / "call.wav"), 8000)
    assert Events(recordings).wait(_media.RECORDING_FAILED) == os.strerror(errno.EEXIST)
    assert (tmp_path / "call.wav.part").read_text() == "mine"


def test_a_full_disk_ends_the_recording_with_its_reason_and_leaves_what_was_written(
    tmp_path: Path, recordings: testing.Recordings
) -> None:
    """The limit of the process's file size stands for a full disk: write(2) comes back short, then fails."""
    path, events = tmp_path / "call.wav", Events(recordings)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    recordings.start(1, str(path), 8000)
    left = recordings.listener(1, LEFT)
    events.wait(_media.RECORDING_STARTED)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, hard))
        start = time.monotonic_ns()
        speak(left, tone(440, 1), since=start)
        assert events.wait(_media.RECORDING_FAILED) == os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    speak(left, tone(440, 1))  # goes nowhere, and does no harm
    with wave.open(str(path)) as file:
        assert 0 < file.getnframes() * 4 <= 10_001 - 44
        heard = channels(file.readframes(file.getnframes()))[LEFT] / 32768
    assert audio.dominant_frequency(heard, 8000) == pytest.approx(440, abs=5)


def test_a_disk_that_hangs_loses_frames_which_are_counted_and_holds_nobody_up(recordings: testing.Recordings) -> None:
    """A pipe that nobody reads from stands for the disk."""
    reader, writer = os.pipe()
    recordings.start(1, "nowhere", 16000, writer)
    left, right, events = recordings.listener(1, LEFT), recordings.listener(1, RIGHT), Events(recordings)
    try:
        start = time.monotonic_ns()
        frame = tone(440, 0.02, 16000)
        # The pipe holds 64 KiB, which is 1 s; then the writer hangs, and the ring fills up.
        worst_ns, i = 0, 0
        deadline = time.monotonic() + 3
        while i < 600 and time.monotonic() < deadline:
            before = time.monotonic_ns()
            left.take(frame, 16000, start + 20 * MS * i)
            right.take(frame, 16000, start + 20 * MS * i)
            worst_ns = max(worst_ns, time.monotonic_ns() - before)
            i += 1
            if i % 40 == 0:
                select.select([], [], [], 0.03)  # the writer looks every 200 ms
        assert worst_ns < 50 * MS
        # A ring has room for 99 frames, which go into a pipe of 51 until they stop it.
        assert i == 600
        assert 600 <= recordings.dropped(1) <= 1000
        recordings.stop(1)
        while select.select([reader], [], [], 0.5)[0] and os.read(reader, 1 << 16):
            pass
        # A pipe has no beginning to write sizes into.
        assert events.wait(_media.RECORDING_FAILED) == os.strerror(errno.ESPIPE)
    finally:
        os.close(reader)


# -- after a crash

KILLED = """
import sys, time
from sdpserver import _media_testing as testing
recordings = testing.Recordings()
recordings.start(1, sys.argv[1], 8000)
left = recordings.listener(1, 0)
frame = {frame!r}
start = time.monotonic_ns()
for i in range(100_000):
    left.take(frame, 8000, start + 20_000_000 * i)
    while time.monotonic_ns() < start + 20_000_000 * (i + 1):
        time.sleep(0.002)
"""


def test_a_recording_of_a_killed_process_can_be_read_after_it_was_recovered(tmp_path: Path) -> None:
    path, unfinished = tmp_path / "call.wav", tmp_path / "call.wav.part"
    script = KILLED.format(frame=tone(1000, 0.02))  # 20 periods: no seam
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as process:
        try:
            wait_for(lambda: unfinished.exists() and unfinished.stat().st_size > 44 + 32_000, "a second of sound", 20)
            assert not _media.recover_recording(str(unfinished)), "it is still being written"
        finally:
            process.send_signal(signal.SIGKILL)
    with unfinished.open("ab") as file:
        file.write(b"\x01\x02\x03")  # a write that was cut short
    assert _media.recover_recording(str(unfinished))
    assert not unfinished.exists()
    with wave.open(str(path)) as file:
        assert file.getnframes() == (path.stat().st_size - 44) // 4 >= 8000
        heard = channels(file.readframes(file.getnframes()))[LEFT] / 32768
    audio.check_tone(heard, 8000, 1000, min_duration_s=0.6, max_gap_ms=0)


def test_an_unfinished_file_without_a_sample_is_removed_and_strange_ones_are_left_alone(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.wav.part", tmp_path / "text.wav.part"
    empty.touch()
    assert _media.recover_recording(str(empty))
    assert not list(tmp_path.iterdir())
    text.write_text("no recording at all " * 10)
    with pytest.raises(RuntimeError, match="not a recording"):
        _media.recover_recording(str(text))
    assert text.read_text() == "no recording at all " * 10
    link = tmp_path / "link.wav.part"
    link.symlink_to(text)
    with pytest.raises(OSError, match="link"):
        _media.recover_recording(str(link))
