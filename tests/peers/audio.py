"""Ears for tests: which tone a recording holds, how loud and how clean it is, and where it breaks off.

PCM is a one-dimensional float array, full scale at 1.0, mono; rates are in Hz. Levels are in dBFS with a full-scale
sine at 0 dBFS (AES17-2020).
"""

from __future__ import annotations

import base64
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float64]

SILENCE_DBFS = -60.0
GAP_DROP_DB = 12.0
"""How far below the tone's own level its envelope must be to count as a gap."""
_ENVELOPE_MS = 2.5  # half a period of 200 Hz: each block of a tone above that holds a peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """What `measure` found. `purity_db`: the tone's power over everything else's, in windows of 100 ms, the median."""

    frequency_hz: float
    level_dbfs: float
    purity_db: float
    start_s: float
    duration_s: float
    longest_gap_ms: float
    gap_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a recording in which one frequency dominates."""

    frequency_hz: float
    start_s: float
    duration_s: float


def sine(frequency_hz: float, duration_s: float, rate: int, *, amplitude: float = 0.3, phase: float = 0.0) -> Pcm:
    """A test tone."""
    time_s = np.arange(round(duration_s * rate)) / rate
    wanted: Pcm = amplitude * np.sin(2 * np.pi * frequency_hz * time_s + phase)
    return wanted


def level_dbfs(pcm: Pcm) -> float:
    """Root mean square, a full-scale sine being 0 dBFS; -120 for nothing."""
    power = float(np.mean(pcm**2)) if len(pcm) else 0.0
    return 10 * float(np.log10(max(2 * power, 1e-12)))


def dominant_frequency(pcm: Pcm, rate: int) -> float:
    """The strongest frequency above 50 Hz, between the bins by a parabola through the logarithms; 0.0 for silence."""
    if len(pcm) < 32 or level_dbfs(pcm) < SILENCE_DBFS:
        return 0.0
    size = 1 << max(12, (len(pcm) - 1).bit_length())
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), size))
    spectrum[: int(50 * size / rate) + 1] = 0.0
    peak = int(np.argmax(spectrum))
    if not 0 < peak < len(spectrum) - 1 or spectrum[peak] == 0.0:
        return 0.0
    left, middle, right = np.log(np.maximum(spectrum[peak - 1 : peak + 2], 1e-15))
    curvature = left - 2 * middle + right
    if curvature == 0.0:  # a click: all frequencies alike
        return 0.0
    return float((peak + 0.5 * (left - right) / curvature) * rate / size)


def envelope(pcm: Pcm, rate: int) -> Pcm:
    """The peak of each 2.5 ms."""
    block = round(rate * _ENVELOPE_MS / 1000)
    count = len(pcm) // block
    peaks: Pcm = np.abs(pcm[: count * block]).reshape(count, block).max(axis=1, initial=0.0)
    return peaks


def _longest_run(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(length, first index) of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(ends[longest] - starts[longest]), int(starts[longest])


def _purity_db(pcm: Pcm, rate: int, frequency_hz: float) -> float:
    """The power that a sine of this frequency explains, fitted anew each 100 ms, over what is left."""
    window = rate // 10
    if len(pcm) < window or frequency_hz == 0.0:
        return 0.0
    angle = 2 * np.pi * frequency_hz * np.arange(window) / rate
    basis = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    frames = pcm[: len(pcm) // window * window].reshape(-1, window).T
    fitted = basis @ np.linalg.lstsq(basis, frames, rcond=None)[0]
    signal = np.mean(fitted**2, axis=0)
    rest = np.mean((frames - fitted) ** 2, axis=0)
    return float(np.median(10 * np.log10((signal + 1e-12) / (rest + 1e-12))))


def measure(pcm: Pcm, rate: int) -> Tone:
    """The tone from where it is first heard to where it is last heard, and the longest break between."""
    peaks = envelope(pcm, rate)
    loud = peaks > 10 ** (SILENCE_DBFS / 20)
    if not loud.any():
        return Tone(
            frequency_hz=0.0,
            level_dbfs=level_dbfs(pcm),
            purity_db=0.0,
            start_s=0.0,
            duration_s=0.0,
            longest_gap_ms=len(pcm) / rate * 1000,
            gap_at_s=0.0,
        )
    threshold = float(np.median(peaks[loud])) / 10 ** (GAP_DROP_DB / 20)
    heard = np.flatnonzero(peaks >= threshold)
    first, last = int(heard[0]), int(heard[-1]) + 1
    block = round(rate * _ENVELOPE_MS / 1000)
    tone = pcm[first * block : last * block]
    gap, gap_at = _longest_run(peaks[first:last] < threshold)
    frequency_hz = dominant_frequency(tone, rate)
    return Tone(
        frequency_hz=frequency_hz,
        level_dbfs=level_dbfs(tone),
        purity_db=_purity_db(tone, rate, frequency_hz),
        start_s=first * block / rate,
        duration_s=len(tone) / rate,
        longest_gap_ms=gap * _ENVELOPE_MS,
        gap_at_s=(first + gap_at) * block / rate,
    )


def check_tone(
    pcm: Pcm,
    rate: int,
    frequency_hz: float,
    *,
    min_duration_s: float = 1.0,
    min_level_dbfs: float = -40.0,
    min_purity_db: float = 10.0,
    max_gap_ms: float = 60.0,
    tolerance: float = 0.02,
) -> Tone:
    """Assert that the recording is this tone, unbroken, for at least that long."""
    heard = measure(pcm, rate)
    wrong = []
    if abs(heard.frequency_hz - frequency_hz) > tolerance * frequency_hz:
        wrong.append(f"heard {heard.frequency_hz:.1f} Hz instead of {frequency_hz:.1f} Hz")
    if heard.duration_s < min_duration_s:
        wrong.append(f"heard for {heard.duration_s:.2f} s instead of {min_duration_s:.2f} s")
    if heard.longest_gap_ms > max_gap_ms:
        wrong.append(f"a gap of {heard.longest_gap_ms:.0f} ms at {heard.gap_at_s:.2f} s")
    if heard.level_dbfs < min_level_dbfs:
        wrong.append(f"only {heard.level_dbfs:.1f} dBFS")
    if heard.purity_db < min_purity_db:
        wrong.append(f"mangled: the tone is only {heard.purity_db:.1f} dB above the rest")
    assert not wrong, f"{'; '.join(wrong)} ({heard})"
    return heard


def is_steady(pcm: Pcm, rate: int, frequency_hz: float) -> bool:
    """Whether this is 200 ms or more of that tone at a level that no longer changes.

    A speech codec needs a moment for a pure tone: Chromium's Opus at 8 kHz swings by 15 dB in its first second.
    """
    if len(pcm) < 0.2 * rate or abs(dominant_frequency(pcm, rate) - frequency_hz) > 0.02 * frequency_hz:
        return False
    window = rate // 20
    levels = [level_dbfs(pcm[start : start + window]) for start in range(0, len(pcm) - window + 1, window)]
    return max(levels) - min(levels) < 2.0


def spans(pcm: Pcm, rate: int, *, min_duration_s: float = 0.1) -> list[Span]:
    """Which frequencies were heard one after the other; silence and what is shorter is left out.

    A tone that jumps in its phase, as one does where a packet was concealed, is one tone.
    """
    window, hop = rate // 20, rate // 40
    found: list[_Run] = []
    was_silent = True
    for start in range(0, len(pcm) - window + 1, hop):
        frequency_hz = dominant_frequency(pcm[start : start + window], rate)
        if frequency_hz == 0.0:
            was_silent = True
            continue
        at_s, end_s = start / rate, (start + window) / rate
        last = found[-1] if found else None
        if last is not None and last.is_like(frequency_hz) and at_s <= last.end_s + 0.01:
            last.frequencies_hz.append(frequency_hz)
            last.end_s = end_s
        else:
            found.append(_Run([frequency_hz], at_s, end_s, after_silence=was_silent))
        was_silent = False
    merged: list[_Run] = []
    for run in found:
        if run.end_s - run.start_s < min_duration_s:
            continue
        before = merged[-1] if merged else None
        if before is not None and before.is_like(run.frequency_hz) and not _is_interrupted(found, before, run):
            before.frequencies_hz += run.frequencies_hz
            before.end_s = run.end_s
        else:
            merged.append(run)
    return [
        Span(frequency_hz=run.frequency_hz, start_s=run.start_s, duration_s=run.end_s - run.start_s) for run in merged
    ]


@dataclass(slots=True)
class _Run:
    """Windows of about the same frequency."""

    frequencies_hz: list[float]
    start_s: float
    end_s: float
    after_silence: bool

    @property
    def frequency_hz(self) -> float:
        return float(np.median(self.frequencies_hz))

    def is_like(self, frequency_hz: float) -> bool:
        return abs(self.frequency_hz - frequency_hz) < 0.03 * frequency_hz


def _is_interrupted(runs: list[_Run], first: _Run, last: _Run) -> bool:
    """By silence, or by something else that is longer than a jump takes to pass through a window."""
    between = (run for run in runs if first.start_s < run.start_s <= last.start_s)
    return last.start_s - first.end_s > 0.1 or any(run.after_silence for run in between)


def cut(pcm: Pcm, rate: int, start_s: float, end_s: float | None = None) -> Pcm:
    """From `start_s` to `end_s`."""
    return pcm[round(start_s * rate) : None if end_s is None else round(end_s * rate)]


def from_int16(octets: bytes) -> Pcm:
    """Little-endian 16-bit samples."""
    samples: Pcm = np.frombuffer(octets, "<i2").astype(np.float64) / 32768
    return samples


def from_float32_base64(text: str) -> Pcm:
    """What a page sends: little-endian 32-bit floats."""
    samples: Pcm = np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
    return samples


def read_wav(path: Path) -> tuple[Pcm, int]:
    """The first channel of a 16-bit file, and its rate."""
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path}: not 16-bit")
        return from_int16(file.readframes(file.getnframes()))[:: file.getnchannels()], file.getframerate()


def write_wav(path: Path, pcm: Pcm, rate: int) -> None:
    """Mono, 16-bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())


def read_recording(path: Path | str) -> tuple[Pcm, Pcm, int]:
    """Left, right and the rate of a file that the server has recorded."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        both = from_int16(file.readframes(file.getnframes()))
        return both[0::2], both[1::2], file.getframerate()


# -- G.711 as ITU-T G.711 (11/88) defines it, by formula: independent of the tables in the server


def decode_ulaw(octets: bytes) -> Pcm:
    """Table 2a of G.711, read off its segments: inverted bits, 3 bits of segment, 4 of step, bias 33."""
    code = ~np.frombuffer(octets, np.uint8) & 0xFF
    magnitude = ((2 * (code & 0x0F) + 33) << ((code >> 4) & 7).astype(np.int64)) - 33
    samples: Pcm = np.where(code & 0x80, -magnitude, magnitude) / 8159.0
    return samples


def decode_alaw(octets: bytes) -> Pcm:
    """Table 1a of G.711: even bits inverted, segment 0 linear."""
    code = (np.frombuffer(octets, np.uint8) ^ 0x55).astype(np.int64)
    segment, step = (code >> 4) & 7, code & 0x0F
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    samples: Pcm = np.where(code & 0x80, magnitude, -magnitude) / 4096.0
    return samples


def as_dict(tone: Tone) -> dict[str, Any]:
    """For reports."""
    return {name: round(getattr(tone, name), 2) for name in Tone.__slots__}
