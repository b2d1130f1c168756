"""The tones of countries, against another table that was taken from the same source."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sdpserver.tones import COUNTRIES, RECOMMENDED, ProgressTones, Tone, progress_tones

ROW = re.compile(r"^(?:ring|busy|congestion)\s*=")


def as_asterisk_writes_it(tone: Tone) -> str:
    frequency = "+".join(f"{frequency:g}" for frequency in tone.frequencies_hz)
    if tone.modulation_hz:
        frequency += f"*{tone.modulation_hz:g}"
    return ",".join(f"{frequency if i % 2 == 0 else 0}/{ms}" for i, ms in enumerate(tone.cadence_ms))


@pytest.fixture(scope="module")
def asterisk() -> dict[str, dict[str, str]]:
    """Its sample file: country -> kind -> tone."""
    cache = Path(os.environ.get("SDPSERVER_CACHE", Path.home() / ".cache" / "sdpserver")) / "asterisk"
    (sample, *_) = sorted(cache.glob("*/fs/usr/share/asterisk/conf/samples/indications.conf.sample"))
    table: dict[str, dict[str, str]] = {}
    for line in sample.read_text().splitlines():
        if header := re.match(r"\[([\w-]+)\]", line):
            table[header[1].upper()] = kinds = {}
        elif ROW.match(line):
            kind, _, value = line.partition("=")
            kinds[kind.strip()] = value.partition(";")[0].strip()
    table["GB"], table["CA"] = table.pop("UK"), table["US"]
    return table


# Where we differ, and why.
DIFFERENT = {
    ("JP", "ring"): "400+15/1000,0/2000",  # a sum stands for the modulation of 16 Hz that the table has
    ("AU", "congestion"): "425/375,0/375,420/375,0/375",  # 420 Hz stands for every other beep being softer
}


@pytest.mark.parametrize("country", COUNTRIES)
def test_a_country_has_the_tones_that_another_table_has(country: str, asterisk: dict[str, dict[str, str]]) -> None:
    ours = COUNTRIES[country]
    for kind, tone in (("ring", ours.ringback), ("busy", ours.busy), ("congestion", ours.congestion)):
        theirs = asterisk[country][kind]
        assert DIFFERENT.get((country, kind), as_asterisk_writes_it(tone)) == theirs


def test_there_are_many_countries_and_their_tones_can_be_made() -> None:
    assert len(COUNTRIES) >= 25
    for country in COUNTRIES.values():
        for tone in (country.ringback, country.busy, country.congestion):
            assert 1 <= len(tone.frequencies_hz) <= 2
            assert len(tone.cadence_ms) % 2 == 0 < len(tone.cadence_ms)


def test_no_country_means_what_the_itu_recommends() -> None:
    assert progress_tones("") is RECOMMENDED
    assert progress_tones("DE").busy == Tone((425.0,), (480, 480))
    assert progress_tones("GB").ringback == Tone((400.0, 450.0), (400, 200, 400, 2000))
    assert progress_tones("JP").ringback == Tone((400.0,), (1000, 2000), 16.0)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("busy", "busy"), ("rejected", "busy"), ("no_answer", "busy"), ("number_not_found", "congestion")],
)
def test_why_a_call_failed_decides_between_busy_and_congestion(reason: str, kind: str) -> None:
    tones: ProgressTones = progress_tones("US")
    assert tones.for_end(reason) == getattr(tones, kind)
