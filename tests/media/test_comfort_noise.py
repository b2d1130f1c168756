"""What is encoded for a peer that takes comfort noise (RFC 3389): pauses of the source as their level, and no more."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from peers import audio

from .plane import COMFORT_NOISE, OPUS, PCMA, PCMU, Plane, RtpPeer, rtp
from .playing import encoded, tone

if TYPE_CHECKING:
    from sdpserver._media import CodecEntry

G722: CodecEntry = ("G722", 8000, 9, 9)
TALK_S, PAUSE_S = 0.6, 1.6
TONE_HZ = 1000.0
BACKGROUND_DBFS = -55.0


def talk_pause_talk(
    plane: Plane, target: CodecEntry, ptime_ms: int, *, comfort_noise: bool = True
) -> tuple[list[RtpPacket], float]:
    """What a peer hears of a browser whose Opus has DTX (a tone, the background alone, a tone), and for how long
    there were packets of it."""
    browser = plane.webrtc_leg([OPUS])
    phone = plane.rtp_leg([target, COMFORT_NOISE] if comfort_noise else [target])
    plane.engine.set_codecs(phone.leg, [target, *([COMFORT_NOISE] if comfort_noise else [])], ptime_ms)
    plane.bridge(browser, phone)
    voice = tone(TONE_HZ, TALK_S)
    pause = np.zeros(int(8000 * PAUSE_S), np.int16)
    noise = np.random.default_rng(1).normal(0, 32768 * 10 ** (BACKGROUND_DBFS / 20), 2 * len(voice) + len(pause))
    packets = encoded((np.concatenate([voice, pause, voice]) + noise).astype(np.int16), "opus", dtx=True)
    assert sum(left_out for _, _, left_out in packets) > 30
    heard: list[RtpPacket] = []
    start, sequence = time.monotonic(), 0
    for i, (payload, _, left_out) in enumerate(packets):
        if not left_out:
            browser.send(rtp(sequence, 960 * i, payload=payload, payload_type=OPUS[2]))
            sequence += 1
        heard += heard_until(phone, start + 0.02 * (i + 1))
    return heard + heard_until(phone, time.monotonic() + 0.2), sequence * 0.02


def heard_until(peer: RtpPeer, deadline: float) -> list[RtpPacket]:
    heard = []
    while (left_s := deadline - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            heard.append(peer.receive(left_s))
    return heard


@pytest.mark.parametrize(("target", "ptime_ms"), [(PCMA, 20), (PCMU, 10), (PCMU, 30), (PCMA, 60), (G722, 20)])
def test_a_pause_is_told_by_its_level(plane: Plane, target: CodecEntry, ptime_ms: int) -> None:
    heard, sent_s = talk_pause_talk(plane, target, ptime_ms)
    noise = [packet for packet in heard if packet.payload_type == COMFORT_NOISE[2]]
    spoken = [packet for packet in heard if packet.payload_type == target[2]]
    assert 1 <= len(noise) <= 1 + PAUSE_S / 0.2
    assert {len(packet.payload) for packet in noise} == {1}
    assert abs(-noise[-1].payload[0] - BACKGROUND_DBFS) <= 8
    spoken_s = len(spoken) * ptime_ms / 1000
    assert 2 * TALK_S - 0.1 < spoken_s < sent_s + 0.3
    # One stream: numbers without gaps, and time goes on in the pause.
    first = heard[0]
    assert [(packet.sequence_number - first.sequence_number) % 65536 for packet in heard] == list(range(len(heard)))
    again = heard[heard.index(noise[-1]) + 1]
    assert again.marker == 1
    before = heard[heard.index(noise[0]) - 1]
    assert (again.timestamp - before.timestamp) % 2**32 > 8000 * PAUSE_S / 2
    steps = [(b.timestamp - a.timestamp) % 2**32 for a, b in itertools.pairwise(heard)]
    assert all(0 < step < 8000 * PAUSE_S for step in steps)


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_is_alone_in_a_room_is_told_of_silence(workers: int) -> None:
    with Plane(workers=workers) as plane:
        room = plane.engine.create_room(0, 8000)
        alone = plane.rtp_leg([PCMU, COMFORT_NOISE], worker=workers - 1)
        plane.engine.join_room(room, alone.leg)
        heard = heard_until(alone, time.monotonic() + 1.0)
        assert [(packet.payload_type, packet.payload) for packet in heard] == [(COMFORT_NOISE[2], b"\x7f")]


def test_a_peer_without_it_hears_the_noise(plane: Plane) -> None:
    heard, _ = talk_pause_talk(plane, PCMU, 20, comfort_noise=False)
    assert {packet.payload_type for packet in heard} == {PCMU[2]}
    pcm = audio.decode_ulaw(b"".join(packet.payload for packet in heard))
    assert len(pcm) / 8000 > 2 * TALK_S + PAUSE_S - 0.2
    middle = pcm[int(8000 * (TALK_S + 0.6)) : int(8000 * (TALK_S + PAUSE_S - 0.2))]
    assert abs(audio.level_dbfs(middle) - BACKGROUND_DBFS) < 8
