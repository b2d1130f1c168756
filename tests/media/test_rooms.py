"""Rooms of the media plane with real legs: changes while it mixes, across workers, recorded, and what it costs."""

from __future__ import annotations

import logging
import os
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from peers import audio
from peers.codecs import decode, encode_opus, tone_packets

from sdpserver import _media

from .plane import OPUS, PCMA, PCMU, Plane, RtpPeer, rtp

FRAME_S = 0.02
HEARD_DBFS, UNHEARD_DBFS = -25.0, -50.0


class Speaker:
    """A leg, what its peer says, and what the peer hears."""

    def __init__(self, plane: Plane, frequency_hz: float, codec: _media.CodecEntry, *, worker: int = 0) -> None:
        self.codec = codec
        self.peer: RtpPeer = plane.rtp_leg((codec,), worker=worker)
        self.leg = self.peer.leg
        self.heard: list[bytes] = []
        self.payloads = tone_packets(codec[0], frequency_hz, 1, amplitude=0.2)
        self._sent = 0

    def send(self) -> None:
        step = 960 if self.codec is OPUS else 160
        payload = self.payloads[self._sent % len(self.payloads)]
        self.peer.send(rtp(self._sent, self._sent * step, payload=payload, payload_type=self.codec[2]))
        self._sent += 1

    def receive(self) -> None:
        while not self.peer.rtp.silent(0):
            self.heard.append(self.peer.receive().payload)

    def levels(self, frequencies: list[float], last_s: float) -> dict[float, float]:
        """In the last so many seconds of what was heard."""
        pcm, rate = decode(self.codec[0], self.heard[-round(last_s / FRAME_S) :])
        window = np.hanning(len(pcm))
        time_s = np.arange(len(pcm)) / rate
        found = {}
        for frequency in frequencies:
            level = 2 * abs(np.sum(pcm * window * np.exp(-2j * np.pi * frequency * time_s))) / window.sum()
            found[frequency] = 20 * float(np.log10(max(level, 1e-6)))
        return found

    def hears(self, frequencies: list[float], last_s: float = 0.5) -> list[float]:
        levels = self.levels(frequencies, last_s)
        assert all(not UNHEARD_DBFS < level < HEARD_DBFS for level in levels.values()), levels
        return [frequency for frequency, level in levels.items() if level >= HEARD_DBFS]


def run(speakers: list[Speaker], seconds: float) -> None:
    """Everybody says and hears something, in real time."""
    start = time.monotonic()
    for tick in range(round(seconds / FRAME_S)):
        time.sleep(max(0.0, start + tick * FRAME_S - time.monotonic()))
        for speaker in speakers:
            speaker.send()
            speaker.receive()


def room_of(plane: Plane, speakers: list[Speaker], *, rate_hz: int = 16000, worker: int = 0) -> int:
    room = plane.engine.create_room(worker, rate_hz)
    for speaker in speakers:
        plane.engine.join_room(room, speaker.leg)
    return room


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("workers", [1, 2])
def test_everybody_hears_the_others_whatever_their_worker_and_codec(workers: int, rate_hz: int) -> None:
    with Plane(workers=workers) as plane:
        voices = {500.0: PCMU, 900.0: OPUS, 1700.0: PCMA}
        speakers = [
            Speaker(plane, frequency, codec, worker=i % workers) for i, (frequency, codec) in enumerate(voices.items())
        ]
        room_of(plane, speakers, rate_hz=rate_hz)
        run(speakers, 1.5)
        for speaker, own in zip(speakers, voices, strict=True):
            assert speaker.hears(list(voices)) == [frequency for frequency in voices if frequency != own]


def test_a_leg_that_is_removed_or_leaves_is_not_missed(plane: Plane) -> None:
    speakers = [Speaker(plane, frequency, PCMU) for frequency in (500, 900, 1700)]
    first, second, third = speakers
    room = room_of(plane, speakers)
    run(speakers, 0.6)
    plane.engine.remove_leg(second.leg)
    run([first, third], 0.8)
    assert first.hears([500, 900, 1700]) == [1700]
    plane.engine.leave_room(room, third.leg)
    plane.engine.leave_room(room, third.leg)
    plane.settle()
    before = len(third.heard)
    run(speakers[:1], 0.6)
    third.receive()
    assert len(third.heard) - before <= 2
    assert [leg for leg, _ in plane.engine.room_levels(room)] == [first.leg]


def test_a_closed_room_leaves_its_legs_to_others(plane: Plane) -> None:
    first, second = (Speaker(plane, frequency, PCMU) for frequency in (500, 900))
    room = room_of(plane, [first, second])
    run([first, second], 0.4)
    plane.engine.close_room(room)
    plane.engine.close_room(room)
    plane.engine.set_source_leg(first.leg, second.leg)
    run([first, second], 0.8)
    assert first.hears([500, 900]) == [900]
    assert plane.stats(first.leg)["conversion"] == "relay"
    with pytest.raises(KeyError):
        plane.engine.join_room(room, first.leg)
    with pytest.raises(KeyError):
        plane.engine.room_levels(room)


def test_a_leg_is_in_one_room_at_a_time(plane: Plane) -> None:
    first, second, third = speakers = [Speaker(plane, frequency, PCMU) for frequency in (500, 900, 1700)]
    old = room_of(plane, [first, second])
    new = room_of(plane, [third])
    plane.engine.join_room(new, first.leg)
    run(speakers, 1)
    assert first.hears([900, 1700]) == [1700]
    assert third.hears([500, 900]) == [500]
    assert second.hears([500, 1700]) == []
    assert [leg for leg, _ in plane.engine.room_levels(old)] == [second.leg]


def test_a_leg_that_moves_to_another_worker_stays_in_its_room() -> None:
    with Plane(workers=2) as plane:
        first, second = speakers = [Speaker(plane, frequency, PCMU) for frequency in (500, 900)]
        room_of(plane, speakers)
        run(speakers, 0.5)
        plane.engine.move_rtp_leg(second.leg, 1)
        run(speakers, 1)
        assert first.hears([500, 900]) == [900]
        assert second.hears([500, 900]) == [500]


def test_until_the_room_is_heard_a_leg_goes_on_sending_what_it_sent(plane: Plane) -> None:
    """From a relayed call to a room: no packet is missing in between."""
    first, second = speakers = [Speaker(plane, frequency, PCMU) for frequency in (500, 900)]
    plane.bridge(first.peer, second.peer)
    run(speakers, 0.5)
    room_of(plane, speakers)
    run(speakers, 0.7)
    assert len(first.heard) >= round(1.2 / FRAME_S) - 3
    silent = audio.decode_ulaw(b"".join(first.heard))
    audio.check_tone(silent, 8000, 900, min_duration_s=1.1, max_gap_ms=20, min_purity_db=6)


def test_a_room_of_56_is_full() -> None:
    with Plane(pairs=60) as plane:
        room = plane.engine.create_room(0, 8000)
        legs = [plane.engine.create_rtp_leg(0)[0] for _ in range(57)]
        for leg in legs[:56]:
            plane.engine.join_room(room, leg)
        with pytest.raises(ValueError, match="full"):
            plane.engine.join_room(room, legs[56])
        plane.engine.leave_room(room, legs[0])
        plane.engine.join_room(room, legs[56])


@pytest.mark.parametrize("rate_hz", [0, 44100])
def test_a_room_has_a_rate_of_ours(plane: Plane, rate_hz: int) -> None:
    with pytest.raises(ValueError, match="8000 or 16000"):
        plane.engine.create_room(0, rate_hz)


def test_who_begins_and_ceases_to_talk_is_told(plane: Plane) -> None:
    speaker = Speaker(plane, 500, PCMU)
    room = room_of(plane, [speaker])
    run([speaker], 0.4)
    assert plane.wait(_media.TALKING, room)[3] == f"{speaker.leg} 1".encode()
    ((_, level),) = plane.engine.room_levels(room)
    assert level == pytest.approx(-17, abs=1)
    assert plane.wait(_media.TALKING, room)[3] == f"{speaker.leg} 0".encode()  # nothing is sent any more


def test_the_mix_of_a_room_is_recorded(plane: Plane, tmp_path: Path) -> None:
    speakers = [Speaker(plane, frequency, PCMU) for frequency in (500, 900)]
    room = room_of(plane, speakers)
    run(speakers, 0.3)
    recording = plane.engine.start_recording(str(tmp_path / "mix.wav"), 16000)
    plane.engine.set_recorded_room(recording, room)
    run(speakers, 1.2)
    plane.engine.stop_recording(recording)
    plane.wait(_media.RECORDING_STOPPED, recording)
    with wave.open(str(tmp_path / "mix.wav"), "rb") as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16000)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768
    assert len(frames) > 1.0 * 16000
    for channel in frames.T:
        part = audio.cut(channel, 16000, 0.2, 1.0)
        for frequency in (500, 900):
            time_s = np.arange(len(part)) / 16000
            level = 2 * abs(np.mean(part * np.exp(-2j * np.pi * frequency * time_s)))
            assert 20 * np.log10(level) == pytest.approx(-14, abs=1)
    run(speakers, 0.1)  # and goes on


def media_cpu_s() -> float:
    """What the threads called `media` of this process have used."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")
        if fields[0].endswith("(media"):
            ticks += sum(map(int, fields[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("talkers", [5, 50])
def test_50_members_with_opus_at_16_khz_fit_one_core(talkers: int) -> None:
    random = np.random.default_rng(1)
    seconds = 4.0
    with Plane(pairs=52) as plane:
        speakers = []
        noise = random.normal(0, 1, 48000)
        swell = np.clip(np.sin(2 * np.pi * 3 * np.arange(48000) / 48000), 0.05, 1)  # syllables
        talking = encode_opus(np.clip(0.08 * swell * np.convolve(noise, np.ones(24) / 5, "same"), -1, 1), 48000)
        breathing = encode_opus(0.0005 * noise, 48000)
        for i in range(50):
            speaker = Speaker(plane, 300, OPUS)
            speaker.payloads = talking if i < talkers else breathing
            speakers.append(speaker)
        room_of(plane, speakers)
        run(speakers, 0.5)
        for speaker in speakers:
            speaker.heard.clear()
        used = media_cpu_s()
        run(speakers, seconds)
        used = media_cpu_s() - used
        # Of what was mixed: a machine that has no time for the test itself mixes less.
        mixed_s = float(np.median([len(speaker.heard) for speaker in speakers])) * FRAME_S
        share = used / mixed_s
        logging.getLogger(__name__).info("50 members, %d talk: %.2f of a core", talkers, share)
        assert mixed_s > seconds / 2
        assert share < 0.9 or plane.engine.build["sanitizer"]
        pcm, _ = decode("opus", speakers[-1].heard)
        assert audio.level_dbfs(pcm) > -40  # the talkers, to one who only breathes
