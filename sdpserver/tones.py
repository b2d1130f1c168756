"""Call progress tones: those that ITU-T recommends for new systems, and those that countries have.

The default is ITU-T Recommendation E.180 (03/98), section 2. The countries' are those of Supplement 2 to E.180 (01/94,
"Various tones used in national networks") and of its 2003 edition, annexed to ITU Operational Bulletin 781. Where a
country has several of a kind, the first stands here. Its notation: 400+450 is a sum, 400x16 is 400 Hz that swells
and fades 16 times a second; then on, off, on, off in ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """Frequencies in Hz; cadence as on, off, ... in ms, empty for a continuous tone; `rounds` of it, 0: for ever."""

    frequencies_hz: tuple[float, ...]
    cadence_ms: tuple[int, ...] = ()
    modulation_hz: float = 0.0
    rounds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressTones:
    """What a caller hears of a call that is on its way, or failed."""

    ringback: Tone
    busy: Tone
    congestion: Tone

    def for_end(self, reason: str) -> Tone:
        """Of a call that could not be made: busy if a person or a phone refused, else congestion."""
        return self.busy if reason in _REFUSED_BY_PEOPLE else self.congestion


_REFUSED_BY_PEOPLE = frozenset({"busy", "rejected", "declined", "no_answer"})

TEST_TONE = Tone((440.0,))
SILENCE = Tone(())
RECORD_BEEP = Tone((1400.0,), (400, 0), rounds=1)
"""E.180 section 7 recommends a recording tone of 1400 Hz."""


def _tone(text: str) -> Tone:
    frequencies, _, cadence = text.partition(" ")
    carrier, _, modulation = frequencies.partition("x")
    return Tone(
        tuple(map(float, carrier.split("+"))),
        tuple(map(int, cadence.split())),
        float(modulation) if modulation else 0.0,
    )


def _tones(ringback: str, busy: str, congestion: str) -> ProgressTones:
    return ProgressTones(ringback=_tone(ringback), busy=_tone(busy), congestion=_tone(congestion))


RECOMMENDED = _tones("425 1000 4000", "425 500 500", "425 250 250")

_NORTH_AMERICA = _tones("440+480 2000 4000", "480+620 500 500", "480+620 250 250")

# By ISO 3166-1 alpha-2 code: ringback, busy, congestion.
COUNTRIES: Mapping[str, ProgressTones] = {
    "AT": _tones("420 1000 5000", "420 400 400", "420 200 200"),
    "AU": _tones("413+438 400 200 400 2000", "425 375 375", "425 375 375"),
    "BE": _tones("425 1000 3000", "425 500 500", "425 167 167"),
    "BG": _tones("425 1000 4000", "425 500 500", "425 250 250"),
    "BR": _tones("425 1000 4000", "425 250 250", "425 250 250 750 250"),
    "CA": _NORTH_AMERICA,
    "CH": _tones("425 1000 4000", "425 500 500", "425 200 200"),
    "CL": _tones("400 1000 3000", "400 500 500", "400 200 200"),
    "CN": _tones("450 1000 4000", "450 350 350", "450 700 700"),
    "CZ": _tones("425 1000 4000", "425 330 330", "425 165 165"),
    "DE": _tones("425 1000 4000", "425 480 480", "425 240 240"),
    "DK": _tones("425 1000 4000", "425 500 500", "425 200 200"),
    "EE": _tones("425 1000 4000", "425 300 300", "425 200 200"),
    "ES": _tones("425 1500 3000", "425 200 200", "425 200 200 200 200 200 600"),
    "FI": _tones("425 1000 4000", "425 300 300", "425 200 200"),
    "FR": _tones("440 1500 3500", "440 500 500", "440 250 250"),
    "GB": _tones("400+450 400 200 400 2000", "400 375 375", "400 400 350 225 525"),
    "GR": _tones("425 1000 4000", "425 300 300", "425 200 200"),
    "HU": _tones("425 1250 3750", "425 300 300", "425 300 300"),
    "ID": _tones("425 1000 4000", "425 500 500", "425 250 250"),
    "IL": _tones("414 1000 3000", "414 500 500", "414 250 250"),
    "IN": _tones("400x25 400 200 400 2000", "400 750 750", "400 250 250"),
    "IT": _tones("425 1000 4000", "425 500 500", "425 200 200"),
    "JP": _tones("400x16 1000 2000", "400 500 500", "400 500 500"),
    "LT": _tones("425 1000 4000", "425 350 350", "425 200 200"),
    "MX": _tones("425 1000 4000", "425 250 250", "425 250 250"),
    "MY": _tones("425 400 200 400 2000", "425 500 500", "425 500 500"),
    "NL": _tones("425 1000 4000", "425 500 500", "425 250 250"),
    "NO": _tones("425 1000 4000", "425 500 500", "425 200 200"),
    "NZ": _tones("400+450 400 200 400 2000", "400 500 500", "400 250 250"),
    "PH": _tones("425+480 1000 4000", "480+620 500 500", "480+620 250 250"),
    "PL": _tones("425 1000 4000", "425 500 500", "425 500 500"),
    "PT": _tones("425 1000 5000", "425 500 500", "425 200 200"),
    "RU": _tones("425 1000 4000", "425 350 350", "425 175 175"),
    "SE": _tones("425 1000 5000", "425 250 250", "425 250 750"),
    "TH": _tones("420 1000 5000", "400 500 500", "400 300 300"),
    "TW": _tones("440+480 1000 2000", "480+620 500 500", "480+620 250 250"),
    "US": _NORTH_AMERICA,
    "VE": _tones("425 1000 4000", "425 500 500", "425 250 250"),
    "ZA": _tones("400x33 400 200 400 2000", "400 500 500", "400 250 250"),
}


def progress_tones(country: str) -> ProgressTones:
    """A country's; those that E.180 recommends for an empty code. KeyError: not in the table."""
    return COUNTRIES[country] if country else RECOMMENDED
