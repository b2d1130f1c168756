"""Sounds played into legs of a live call, and the call recorded, as packets at the peers."""

from __future__ import annotations

import itertools
import os
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from peers import audio
from peers.codecs import decode, tone_packets
from peers.stalls import Stalls

from sdpserver import _media

from .plane import OPUS, PCMA, PCMU, Plane, RtpPeer, WebRtcPeer, rtp

LEVEL_DBFS = 20 * float(np.log10(0.3))


def sound(tmp_path: Path, frequency_hz: float = 700, duration_s: float = 0.3) -> _media.Sound:
    path = tmp_path / f"{frequency_hz}.wav"
    audio.write_wav(path, audio.sine(frequency_hz, duration_s, 16000), 16000)
    fd = os.open(path, os.O_RDONLY)
    try:
        return _media.decode_sound(fd, 1 << 20)
    finally:
        os.close(fd)


def test_a_sound_is_heard_whole_and_its_end_is_told(plane: Plane, tmp_path: Path) -> None:
    phone = plane.rtp_leg()
    plane.engine.play_sound(phone.leg, sound(tmp_path), tag="greeting")
    pcm = audio.decode_ulaw(b"".join(phone.receive().payload for _ in range(15)))
    heard = audio.check_tone(pcm, 8000, 700, min_duration_s=0.297, max_gap_ms=0)
    assert heard.start_s == 0
    assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.5)
    assert plane.wait(_media.PLAY_ENDED, phone.leg)[3] == b"greeting"
    assert phone.rtp.silent(0.1)


def test_opus_gets_the_wideband_that_is_in_the_file(plane: Plane, tmp_path: Path) -> None:
    phone = plane.rtp_leg([OPUS])
    plane.engine.play_sound(phone.leg, sound(tmp_path, 6000, 1.0))
    pcm, rate = decode("opus", [phone.receive().payload for _ in range(50)])
    assert audio.dominant_frequency(audio.cut(pcm, rate, 0.2), rate) == pytest.approx(6000, abs=20)


def test_a_sound_waits_for_the_keys_of_a_browser(plane: Plane, tmp_path: Path) -> None:
    browser = plane.webrtc_leg([PCMU], profile=None)
    plane.engine.play_sound(browser.leg, sound(tmp_path))
    browser.check()
    plane.settle()
    time.sleep(0.1)  # the time in which it must not begin
    plane.set_keys(browser, "AES_CM_128_HMAC_SHA1_80")
    pcm = audio.decode_ulaw(b"".join(browser.receive().payload for _ in range(15)))
    assert audio.check_tone(pcm, 8000, 700, min_duration_s=0.297, max_gap_ms=0).start_s == 0
    plane.wait(_media.PLAY_ENDED, browser.leg)


def test_a_sound_takes_the_place_of_the_bridge_and_gives_it_back_without_a_gap(plane: Plane, tmp_path: Path) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    speech = tone_packets("PCMU", 440, 1.5)
    plane.engine.play_sound(phone.leg, sound(tmp_path, duration_s=0.4), tag="a")
    packets = []
    started = time.monotonic()
    for i, payload in enumerate(speech):  # at the pace of a browser
        while time.monotonic() < started + 0.02 * i:
            time.sleep(0.001)
        browser.send(rtp(i, 160 * i, payload=payload))
        while not phone.rtp.silent(0):
            packets.append(phone.receive())
    while not phone.rtp.silent():
        packets.append(phone.receive())
    assert len({packet.ssrc for packet in packets}) == 1
    numbers = [packet.sequence_number for packet in packets]
    assert numbers == [(numbers[0] + i) % 65536 for i in range(len(numbers))], "nothing that looks like loss"
    steps = [(b.timestamp - a.timestamp) % 2**32 / 8 for a, b in itertools.pairwise(packets)]
    assert max(steps) <= 60, "ms of media time between two packets"
    assert [packet.payload for packet in packets[-50:]] == speech[-50:], "the browser's own, untouched"
    pcm = audio.decode_ulaw(b"".join(packet.payload for packet in packets))
    assert [round(span.frequency_hz, -1) for span in audio.spans(pcm, 8000)] == [700, 440]
    assert plane.wait(_media.PLAY_ENDED, phone.leg)[3] == b"a"


def test_stopping_and_replacing_end_it_at_once(plane: Plane, tmp_path: Path) -> None:
    phone = plane.rtp_leg()
    looped = sound(tmp_path)
    plane.engine.play_sound(phone.leg, looped, loop=True, tag="1")
    pcm = audio.decode_ulaw(b"".join(phone.receive().payload for _ in range(40)))
    assert audio.measure(pcm, 8000).longest_gap_ms == 0, "0.3 s of sound go round without a seam"
    plane.engine.play_tone(phone.leg, [1400.0], [200, 0], rounds=1, tag="2")
    assert plane.wait(_media.PLAY_ENDED, phone.leg)[3] == b"1"
    assert plane.wait(_media.PLAY_ENDED, phone.leg)[3] == b"2"
    plane.engine.play_sound(phone.leg, looped, loop=True, tag="3")
    phone.receive()
    plane.engine.stop_playing(phone.leg)
    assert plane.wait(_media.PLAY_ENDED, phone.leg)[3] == b"3"
    plane.engine.stop_playing(phone.leg)
    plane.settle()
    assert plane.count(_media.PLAY_ENDED, phone.leg) == 0


def test_music_as_a_source_goes_round_until_there_is_another(plane: Plane, tmp_path: Path) -> None:
    phone = plane.rtp_leg([PCMA])
    plane.engine.set_source_sound(phone.leg, sound(tmp_path), True, -6.0)
    pcm = audio.decode_alaw(b"".join(phone.receive().payload for _ in range(40)))
    heard = audio.check_tone(pcm, 8000, 700, min_duration_s=0.79, max_gap_ms=0)
    assert heard.level_dbfs == pytest.approx(LEVEL_DBFS - 6, abs=0.5)
    plane.engine.set_source_none(phone.leg)


# -- recordings


def record(plane: Plane, path: Path, left: int, right: int, rate_hz: int = 8000) -> int:
    recording = plane.engine.start_recording(str(path), rate_hz)
    plane.engine.set_recorded_leg(recording, 0, left)
    plane.engine.set_recorded_leg(recording, 1, right)
    plane.wait(_media.RECORDING_STARTED, recording)
    plane.settle()
    return recording


def stop(plane: Plane, recording: int, path: Path) -> tuple[audio.Pcm, audio.Pcm]:
    plane.engine.stop_recording(recording)
    data = plane.wait(_media.RECORDING_STOPPED, recording)[3]
    assert data.split()[1] == b"0", "frames lost"
    with wave.open(str(path)) as file:
        both = audio.from_int16(file.readframes(file.getnframes()))
    return both[0::2], both[1::2]


def talk(
    browser: WebRtcPeer, phone: RtpPeer, frames: int, first: int = 0, *, stalls: Stalls | None = None
) -> tuple[list[float], list[bytes], list[bytes]]:
    """Both speak for so many frames of 20 ms; (ms on the way to the phone, payloads that came, and those said)."""
    said = tuple(tone_packets("PCMU", hz, frames * 0.02) for hz in (440, 1000))
    delays_ms, got = [], []
    started = time.monotonic()
    for i in range(frames):
        while time.monotonic() < started + 0.02 * i:
            time.sleep(0.0005)
        at = time.monotonic()
        browser.send(rtp(first + i, 160 * (first + i), payload=said[0][i]))
        got.append(phone.receive().payload)
        delays_ms.append((time.monotonic() - at) * 1000)
        phone.send(rtp(first + i, 160 * (first + i), payload=said[1][i], ssrc=7))
        browser.receive()
        if stalls is not None:
            stalls.look()
    return delays_ms, got, said[0]


def test_a_relayed_call_is_recorded_and_its_packets_are_left_as_they_are(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    plain_ms, got, said = talk(browser, phone, 50)
    assert got == said
    recording = record(plane, path, browser.leg, phone.leg)
    stalls = Stalls()
    recorded_ms, got, said = talk(browser, phone, 100, first=50, stalls=stalls)
    assert got == said, "octet for octet"
    assert plane.stats(phone.leg)["conversion"] == plane.stats(browser.leg)["conversion"] == "relay"
    # Both in one run, so that a busy machine is busy for both.
    assert np.median(recorded_ms) < np.median(plain_ms) + 1.0
    left, right = stop(plane, recording, path)
    for channel, frequency in ((left, 440), (right, 1000)):
        # What came late was moved on the time line, so that the tone jumps there.
        limits = {"max_gap_ms": 1000 * stalls.total_s, "min_purity_db": 15 if stalls.total_s else 25}
        heard = audio.check_tone(channel, 8000, frequency, min_duration_s=1.9, **limits)
        assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.5)
    plane.settle()
    talk(browser, phone, 5, first=150)  # nobody listens any more


def test_a_removed_leg_leaves_silence_and_another_takes_its_channel(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    browser, phone, other = plane.webrtc_leg(), plane.rtp_leg(), plane.webrtc_leg()
    plane.bridge(browser, phone)
    recording = record(plane, path, browser.leg, phone.leg)
    talk(browser, phone, 25)
    plane.engine.remove_leg(browser.leg)
    plane.bridge(other, phone)
    plane.engine.set_recorded_leg(recording, 0, other.leg)
    plane.engine.set_recorded_leg(recording, 1, 0)
    plane.settle()
    talk(other, phone, 25, first=25)
    left, right = stop(plane, recording, path)
    spoken = audio.spans(left, 8000)
    assert {round(span.frequency_hz, -1) for span in spoken} == {440}
    assert sum(span.duration_s for span in spoken) == pytest.approx(1.0, abs=0.2)
    assert audio.measure(right, 8000).duration_s == pytest.approx(0.5, abs=0.1)


def test_orders_for_recordings_that_are_not_there_or_cannot_be_are_refused(plane: Plane, tmp_path: Path) -> None:
    phone = plane.rtp_leg()
    recording = plane.engine.start_recording(str(tmp_path / "a.wav"), 8000)
    with pytest.raises(ValueError, match="channel"):
        plane.engine.set_recorded_leg(recording, 2, phone.leg)
    with pytest.raises(KeyError):
        plane.engine.set_recorded_leg(recording, 0, 12345)
    plane.engine.stop_recording(recording)
    for order in (plane.engine.stop_recording, lambda id: plane.engine.pause_recording(id, True)):
        with pytest.raises(KeyError):
            order(recording)
    with pytest.raises(ValueError, match="rate"):
        plane.engine.start_recording(str(tmp_path / "b.wav"), 44100)
    with pytest.raises(ValueError, match="path"):
        plane.engine.start_recording("", 8000)


def test_an_engine_that_closes_finishes_its_recordings(tmp_path: Path) -> None:
    with Plane() as plane:
        phone = plane.rtp_leg()
        record(plane, tmp_path / "a.wav", phone.leg, 0)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnchannels() == 2
