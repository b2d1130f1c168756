"""Call progress tones, as ITU-T Recommendation E.180 (03/98), section 2, recommends them for new systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """Frequencies in Hz; cadence as on, off, ... in ms, empty for a continuous tone."""

    frequencies_hz: tuple[float, ...]
    cadence_ms: tuple[int, ...] = ()


TEST_TONE = Tone((440.0,))
SILENCE = Tone(())
RINGBACK = Tone((425.0,), (1000, 4000))
BUSY = Tone((425.0,), (500, 500))
CONGESTION = Tone((425.0,), (250, 250))

_BY_REASON: Mapping[str, Tone] = {"busy": BUSY, "rejected": BUSY, "declined": BUSY, "no_answer": BUSY}


def tone_for(reason: str) -> Tone:
    """What a caller hears when a call could not be made: busy if a person or a phone refused, else congestion."""
    return _BY_REASON.get(reason, CONGESTION)
