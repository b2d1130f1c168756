"""How good a call sounds, from what was measured: ITU-T G.107's E-model. Pure.

    R = Ro - Is - Id - Ie,eff + A      (G.107 (06/2015), 7.1)

- Ro, the basic signal-to-noise ratio (7.2): circuit noise, room noise at both sides, the receiver's floor.
- Is, what comes with the speech itself (7.3): Iolr (too loud a connection), Ist (sidetone), Iq (quantising, by `qdu`).
- Id, what delay does (7.4): Idte (talker echo), Idle (listener echo), and for the absolute one-way delay Ta over
  mT = 100 ms (sT = 1, a user of default sensitivity)

      Idd = 25 ((1 + X^6)^(1/6) - 3 (1 + (X/3)^6)^(1/6) + 2),    X = log2(Ta / mT)

- Ie,eff, codec and packet loss (7.5): with Ppl in per cent

      Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)

  BurstR is the mean number of packets lost in a row, divided by what it would be at this rate if losses were
  independent, 1 / (1 - Ppl / 100).
- A, what users grant for the advantage of mobility (7.6): 0 here.

All that a packet network does not change (loudness, sidetone, noise, TELR = 65 dB, WEPL = 110 dB) has its default
(7.7), with which R = 93.2. T, the way to the talker's echo, is taken as Ta, and Tr, that of the listener's, as 2 Ta.
MOS-CQE comes from R by annex B.

The scale is the narrowband one, up to R 93.2 and MOS 4.41: a call's other half is nearly always G.711, and wideband
speech through Opus or G.722 is heard better than the figure says. G.107.1 has no entries for Opus.

Ie and Bpl:

- G.711, 0 and 25.1: G.113 (2007) appendix I, with packet loss concealment, which browsers, most phones and
  our own playout have. Without concealment it would be 4.3.
- Opus, 2.0 and 16.0: M. Alahmadi, P. Pocta, H. Melvin, "An Adaptive Bitrate Switching Algorithm for Speech
  Applications in Context of WebRTC", ACM TOMM 17(4), 2021: narrowband at 11 kb/s, the highest rate that they have on
  this scale (2.03 and 15.95 there, with random loss). G.113 has no entry. More bits only sound better.
- G.722, 0 and 4.3: by G.113 appendix IV (Ie,WB 13 at 64 kb/s, where undisturbed narrowband has 35.8) it is no worse
  than G.711 on this scale. We know of no Bpl for it with concealment, so it has that of G.711 without.

Bursts and gaps are those of RFC 3611 section 4.7.2 with Gmin 16.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from .models.legs import (
    Bursts,
    LegStats,
    Quality,
    QualityReport,
    Rating,
    ReceivedQuality,
    RemoteBursts,
    SentQuality,
    VoipMetrics,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What a codec does to speech: `ie` without loss, `bpl` how well it stands loss."""

    ie: float
    bpl: float


G711 = Impairment(ie=0.0, bpl=25.1)
OPUS = Impairment(ie=2.0, bpl=16.0)
IMPAIRMENTS: Mapping[str, Impairment] = {
    "PCMU": G711,
    "PCMA": G711,
    "opus": OPUS,
    "red": OPUS,  # which is what browsers put into it
    "G722": Impairment(ie=0.0, bpl=4.3),
}

MAX_BURST_RATIO = 8.0
"""The model is not fitted to more."""
DEFAULT_PACKET_MS = 20.0

# The defaults of G.107, 7.7, in dB, dBm0p or dB(A), as each has it there.
SLR, RLR, STMR, DS, DR, TELR, WEPL = 8.0, 2.0, 15.0, 3.0, 3.0, 65.0, 110.0
QDU, NC, NFOR, PS, PR = 1.0, -70.0, -64.0, 35.0, 35.0
MT_MS = 100.0


def _noise_sum() -> float:
    """No (7.2): circuit noise, room noise of the sender and of the receiver, noise floor, at the 0 dBr point."""
    olr = SLR + RLR
    nos = PS - SLR - DS - 100 + 0.004 * (PS - olr - DS - 14) ** 2
    lstr = STMR + DR
    pre = PR + 10 * math.log10(1 + 10 ** ((10 - lstr) / 10))
    nor = RLR - 121 + pre + 0.008 * (pre - 35) ** 2
    return 10 * math.log10(sum(10 ** (level / 10) for level in (NC, nos, nor, NFOR + RLR)))


NO = _noise_sum()
RO = 15 - 1.5 * (SLR + NO)


def _simultaneous(one_way_delay_ms: float) -> float:
    """Is (7.3). Ist alone knows the delay: the talker's echo is part of the sidetone while it is short."""
    olr = SLR + RLR
    xolr = olr + 0.2 * (64 + NO - RLR)
    iolr = 20 * ((1 + (xolr / 8) ** 8) ** (1 / 8) - xolr / 8)
    stmro = -10 * math.log10(10 ** (-STMR / 10) + math.exp(-one_way_delay_ms / 4) * 10 ** (-TELR / 10))
    ist = (
        12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    q = 37 - 15 * math.log10(QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    y = (RO - 100) / 15 + 46 / 8.4 - g / 9
    z = 46 / 30 - g / 40
    iq = 15 * math.log10(1 + 10**y + 10**z)
    return float(iolr + ist + iq)


def _delay(one_way_delay_ms: float) -> float:
    """Id (7.4): talker echo, listener echo, absolute delay."""
    t = one_way_delay_ms
    terv = TELR - 40 * math.log10((1 + t / 10) / (1 + t / 150)) + 6 * math.exp(-0.3 * t**2)
    re, roe = 80 + 2.5 * (terv - 14), -1.5 * (NO - RLR)
    idte = ((roe - re) / 2 + math.sqrt((roe - re) ** 2 / 4 + 100) - 1) * (1 - math.exp(-t))
    rle = 10.5 * (WEPL + 7) * (2 * t + 1) ** -0.25
    idle = (RO - rle) / 2 + math.sqrt((RO - rle) ** 2 / 4 + 169)
    idd = 0.0
    if t > MT_MS:
        x = math.log2(t / MT_MS)
        idd = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    return float(idte + idle + idd)


@functools.lru_cache(maxsize=1024)
def _without_codec(one_way_delay_ms: float) -> float:
    """Ro - Is - Id. Kept, since most of the model's cost is here and calls share few delays."""
    return RO - _simultaneous(one_way_delay_ms) - _delay(one_way_delay_ms)


def effective_impairment(codec: Impairment, loss_fraction: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff (7.5)."""
    ppl = 100 * loss_fraction
    return codec.ie + (95 - codec.ie) * ppl / (ppl / burst_ratio + codec.bpl)


def r_factor(
    codec: Impairment, *, loss_fraction: float = 0.0, burst_ratio: float = 1.0, one_way_delay_ms: float = 0.0
) -> float:
    """The transmission rating factor, 0 to 100, on the narrowband scale.

    :param one_way_delay_ms: from mouth to ear.
    """
    rating = _without_codec(one_way_delay_ms) - effective_impairment(codec, loss_fraction, burst_ratio)
    return min(max(rating, 0.0), 100.0)


def mos(r: float) -> float:
    """MOS-CQE by annex B. Its cubic falls below 1 for 0 < R < 6.5; no MOS does."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def burst_ratio(*, lost: int, runs: int, loss_fraction: float) -> float:
    """BurstR of losses seen in `runs`; at least 1, which is what independent losses have."""
    if runs == 0:
        return 1.0
    return min(max(lost / runs * (1 - loss_fraction), 1.0), MAX_BURST_RATIO)


def one_way_delay(
    *, round_trip_ms: float, jitter_ms: float, packet_ms: float, playout_delay_ms: float | None = None
) -> int:
    """Ta of one leg in whole ms: half the way there and back, one packet to fill it, and a buffer against the jitter.

    A buffer of somebody else, of which `playout_delay_ms` is not known, is assumed to hold twice the jitter (the mean
    of a deviation: most packets are within it), and never less than a packet. What a codec looks ahead, up to 7 ms, is
    left out.
    """
    buffer_ms = max(packet_ms, 2 * jitter_ms) if playout_delay_ms is None else playout_delay_ms
    return round(max(round_trip_ms, 0.0) / 2 + packet_ms + buffer_ms)


def fraction(lost: int, expected: int) -> float:
    """0 to 1, also where repeated packets make the loss negative."""
    return min(max(lost / expected, 0.0), 1.0) if expected > 0 else 0.0


# -- a leg's figures


class LegQuality:
    """The quality of one leg, from its counters; remembers them from one report to the next."""

    def __init__(self) -> None:
        self._before: LegStats | None = None

    def describe(self, stats: LegStats) -> Quality:
        """The call so far, as a session's JSON has it. What is unknown is None."""
        round_trip_ms = stats["round_trip_ms"]
        metrics = stats["voip_metrics"]
        if round_trip_ms < 0 and metrics is not None and metrics["round_trip_ms"] > 0:
            round_trip_ms = float(metrics["round_trip_ms"])
        return {
            "round_trip_ms": round(round_trip_ms, 1) if round_trip_ms >= 0 else None,
            "received": _received(stats, round_trip_ms),
            "sent": _sent(stats, round_trip_ms),
        }

    def report(self, stats: LegStats) -> QualityReport:
        """As `describe`, with the loss since the last report."""
        described = self.describe(stats)
        before, self._before = self._before, stats
        received = _lost_received(stats) - (_lost_received(before) if before else 0)
        expected = _expected(stats) - (_expected(before) if before else 0)
        remote = _rounded(stats["remote_fraction_lost"]) if stats["reports_received"] else None
        return {
            "round_trip_ms": described["round_trip_ms"],
            "received": {
                **described["received"],
                "interval_loss_fraction": _rounded(fraction(received, expected)),
            },
            "sent": {**described["sent"], "interval_loss_fraction": remote},
        }


def _lost_received(stats: LegStats) -> int:
    return stats["packets_lost"] + stats["packets_unseen"]


def _expected(stats: LegStats) -> int:
    return stats["packets_received"] + _lost_received(stats)


def _rounded(value: float) -> float:
    return round(value, 4)


def _received(stats: LegStats, round_trip_ms: float) -> ReceivedQuality:
    expected, lost = _expected(stats), _lost_received(stats)
    loss_fraction, jitter_ms = fraction(lost, expected), stats["jitter_ms"]
    packet_ms = stats["packet_ms"] or DEFAULT_PACKET_MS
    ratio = burst_ratio(lost=stats["loss_runs_lost"], runs=stats["loss_runs"], loss_fraction=loss_fraction)
    # What is heard lacks also what came too late, and not that of which there was a copy.
    missing = fraction(lost + stats["packets_late"] - stats["packets_recovered"], expected)
    playout_delay_ms = stats["playout_delay_ms"] or None
    return {
        "codec": stats["codec_received"] or None,
        "packets": stats["packets_received"],
        "lost": lost,
        "loss_fraction": _rounded(loss_fraction),
        "jitter_ms": round(jitter_ms, 2),
        "late": stats["packets_late"],
        "recovered": stats["packets_recovered"],
        "playout_delay_ms": round(playout_delay_ms, 1) if playout_delay_ms is not None else None,
        "concealed_ms": round(stats["concealed_ms"]),
        **_bursts(stats, expected, packet_ms),
        **_rating(stats["codec_received"], missing, ratio, round_trip_ms, jitter_ms, packet_ms, playout_delay_ms),
    }


def _bursts(stats: LegStats, expected: int, packet_ms: float) -> Bursts:
    bursts, packets, lost = stats["bursts"], stats["burst_packets"], stats["burst_packets_lost"]
    gap_packets = max(expected - packets, 0)
    return {
        "bursts": bursts,
        "burst_density": _rounded(fraction(lost, packets)),
        "burst_duration_ms": round(packets * packet_ms / bursts) if bursts else 0,
        "gap_density": _rounded(fraction(stats["loss_runs_lost"] - lost, gap_packets)),
        "gap_duration_ms": round(gap_packets * packet_ms / (bursts + 1)),
    }


def _sent(stats: LegStats, round_trip_ms: float) -> SentQuality:
    packets, reported = stats["packets_sent"], stats["reports_received"] > 0
    loss_fraction, jitter_ms = fraction(stats["remote_packets_lost"], packets), stats["remote_jitter_ms"]
    metrics = stats["voip_metrics"]
    if metrics is not None and not reported:
        loss_fraction = metrics["loss_rate"]
    known = reported or metrics is not None
    rating: Rating = {"r_factor": None, "mos": None}
    if known:
        rating = _rating(stats["codec_sent"], loss_fraction, 1.0, round_trip_ms, jitter_ms, DEFAULT_PACKET_MS)
    return {
        "codec": stats["codec_sent"] or None,
        "packets": packets,
        "lost": stats["remote_packets_lost"] if reported else None,
        "loss_fraction": _rounded(loss_fraction) if known else None,
        "jitter_ms": round(jitter_ms, 2) if reported else None,
        **_remote_bursts(metrics),
        **rating,
    }


def _remote_bursts(metrics: VoipMetrics | None) -> RemoteBursts:
    """As the peer measured them, which says nothing of their number."""
    return {
        "burst_density": metrics["burst_density"] if metrics else None,
        "burst_duration_ms": metrics["burst_duration_ms"] if metrics else None,
        "gap_density": metrics["gap_density"] if metrics else None,
        "gap_duration_ms": metrics["gap_duration_ms"] if metrics else None,
    }


def _rating(
    codec: str,
    loss_fraction: float,
    ratio: float,
    round_trip_ms: float,
    jitter_ms: float,
    packet_ms: float,
    playout_delay_ms: float | None = None,
) -> Rating:
    """None: nothing has been heard, or the codec is not speech's."""
    impairment = IMPAIRMENTS.get(codec)
    if impairment is None:
        return {"r_factor": None, "mos": None}
    delay_ms = one_way_delay(
        round_trip_ms=round_trip_ms, jitter_ms=jitter_ms, packet_ms=packet_ms, playout_delay_ms=playout_delay_ms
    )
    rating = r_factor(impairment, loss_fraction=loss_fraction, burst_ratio=ratio, one_way_delay_ms=delay_ms)
    return {"r_factor": round(rating, 1), "mos": round(mos(rating), 2)}
