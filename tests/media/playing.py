"""A stream sent through a network of the test's making to a `Playout`, at times of the test's own: nothing waits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from peers import audio
from peers.voices import espeak_ng

from sdpserver import _media_testing

Samples = NDArray[np.int16]
Sent = list[tuple[bytes, int, bool]]
"""Payload, ms, whether the sender leaves it out."""

FIRST_SEQUENCE, FIRST_TIMESTAMP = 65_500, 2**32 - 4_000  # both wrap soon


def never(_: int) -> bool:
    return False


def at_once(_: int) -> float:
    return 0.0


def tone(frequency_hz: float, duration_s: float, rate: int = 8000) -> Samples:
    wave = audio.sine(frequency_hz, duration_s, rate) * 32767
    return wave.astype(np.int16)


def speech(tmp_path: Path, rate: int) -> Samples:
    """Ten seconds of it, or skipped."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    text = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. " * 3
    path = tmp_path / "speech.wav"
    espeak_ng("-v", "en-us", "-s", "150", "-w", str(path), text)
    pcm, own_rate = audio.read_wav(path)
    count = round(len(pcm) * rate / own_rate)
    spectrum = np.fft.rfft(pcm)
    bins = np.zeros(count // 2 + 1, complex)
    kept = min(len(spectrum), len(bins))
    bins[:kept] = spectrum[:kept]
    resampled = np.fft.irfft(bins, count) * count / len(pcm)
    return (np.clip(0.7 * resampled, -1, 1) * 32767).astype(np.int16)[: 10 * rate]


def encoded(
    samples: Samples,
    codec: str,
    ptime_ms: int = 20,
    rate: int = 8000,
    *,
    expected_loss: float = 0.0,
    dtx: bool = False,
    bitrate_bps: int = 16_000,
) -> Sent:
    """By our own encoder, whose tests hold it against another decoder."""
    encoder = _media_testing.AudioEncoder(opus_bitrate_bps=bitrate_bps, opus_dtx=dtx)
    encoder.set_format(codec, ptime_ms)
    encoder.set_expected_loss(expected_loss)
    packets = []
    size = rate // 50
    for start in range(0, len(samples) - size + 1, size):
        encoder.put(samples[start : start + size].tobytes(), rate)
        while (payload := encoder.take()) is not None:
            packets.append(payload)
    return packets


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    at_s: float
    sequence: int
    timestamp: int
    payload: bytes
    codec: str
    clock_rate_hz: int


def clock_rate(codec: str) -> int:
    return 48_000 if codec in ("opus", "red") else 8_000


def sent(
    packets: Sent,
    codec: str,
    *,
    delay_s: Callable[[int], float] = at_once,
    lost: Callable[[int], bool] = never,
    fast: float = 0.0,
    start_s: float = 1.0,
    first: int = 0,
) -> list[Packet]:
    """As they arrive. `fast`: by how much the sender's clock is. `first`: number of the first packet."""
    arriving = []
    media_ms = 0
    sequence = FIRST_SEQUENCE + first
    timestamp = FIRST_TIMESTAMP
    for index, (payload, duration_ms, left_out) in enumerate(packets):
        if not left_out:
            if not lost(index):
                arriving.append(
                    Packet(
                        at_s=start_s + media_ms / 1000 * (1 - fast) + delay_s(index),
                        sequence=sequence & 0xFFFF,
                        timestamp=timestamp & 0xFFFFFFFF,
                        payload=payload,
                        codec=codec,
                        clock_rate_hz=clock_rate(codec),
                    )
                )
            sequence += 1
        media_ms += duration_ms
        timestamp += clock_rate(codec) * duration_ms // 1000
    return sorted(arriving, key=lambda packet: packet.at_s)


@dataclass(slots=True)
class Heard:
    rate: int
    frames: list[bytes] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def pcm(self) -> audio.Pcm:
        return np.frombuffer(b"".join(self.frames), np.int16) / 32768

    def between(self, start_s: float, end_s: float) -> audio.Pcm:
        return audio.cut(self.pcm, self.rate, start_s, end_s)

    def ms(self, figure: str) -> float:
        return self.figures[figure] * 1000 / self.rate


def play(
    arriving: Sequence[Packet],
    *,
    rate: int = 8000,
    for_s: float,
    frame_ms: int = 20,
    first_tick_s: float = 0.002,
    movable: bool = False,
    playout: _media_testing.Playout | None = None,
) -> Heard:
    """What is heard from the first packet on. `first_tick_s`: how long after it."""
    playout = playout or _media_testing.Playout(rate)
    playout.set_movable_ticks(movable)
    heard = Heard(rate=rate)
    now = arriving[0].at_s + first_tick_s
    end = now + for_s
    waiting = iter(arriving)
    packet = next(waiting, None)
    while now < end - 1e-9:
        while packet is not None and packet.at_s <= now:
            playout.put(
                packet.sequence, packet.timestamp, packet.payload, packet.codec, packet.at_s, packet.clock_rate_hz
            )
            packet = next(waiting, None)
        kind, frame = playout.get(now, frame_ms)
        heard.frames.append(frame)
        heard.kinds.append(kind)
        figures = playout.figures
        heard.delays_ms.append(figures["delay_ms"])
        now += frame_ms / 1000 + (playout.tick_shift_s if movable else 0.0)
    heard.figures = playout.figures
    return heard


def segmental_snr_db(clean: audio.Pcm, heard: audio.Pcm, rate: int, *, max_shift_ms: float = 150.0) -> float:
    """Mean over the speech in 20 ms segments, each between -10 and 35 dB, every 100 ms aligned anew (as a listener does
    not mind a delay that changes): Quackenbush, Barnwell and Clements, Objective Measures of Speech Quality, 1988."""
    block, segment, reach = rate // 10, rate // 50, round(rate * max_shift_ms / 1000)
    speech = 200 / 32768
    found = []
    for start in range(reach, min(len(clean), len(heard)) - block - reach, block):
        wanted = clean[start : start + block]
        if np.mean(wanted**2) < speech**2:
            continue
        around = heard[start - reach : start + block + reach]
        likeness = np.correlate(around, wanted, "valid") / np.sqrt(
            np.convolve(around**2, np.ones(block), "valid") + 1e-9
        )
        best = int(np.argmax(likeness))
        got = around[best : best + block]
        for i in range(0, block, segment):
            power = float(np.mean(wanted[i : i + segment] ** 2))
            if power >= speech**2:
                error = float(np.mean((wanted[i : i + segment] - got[i : i + segment]) ** 2))
                found.append(float(np.clip(10 * np.log10(power / (error + 1e-12)), -10.0, 35.0)))
    return float(np.mean(found))
