"""The E-model held against what is published, and a leg's figures made from its counters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import pytest
from peers.voip_metrics import METRICS

from sdpserver import quality
from sdpserver.quality import G711, IMPAIRMENTS, LegQuality

if TYPE_CHECKING:  # a stub's name only
    from sdpserver._media import LegStats


def test_with_all_defaults_r_is_93_2_and_mos_4_41() -> None:
    """G.107, 7.7 and annex B."""
    assert quality.r_factor(G711) == pytest.approx(93.2, abs=0.05)
    assert quality.mos(93.2) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(("r", "expected"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_mos_is_that_of_the_table_in_annex_b(r: float, expected: float) -> None:
    assert quality.mos(r) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("r", "expected"), [(-5, 1.0), (0, 1.0), (3, 1.0), (100, 4.5), (120, 4.5)])
def test_mos_keeps_to_its_ends(r: float, expected: float) -> None:
    assert quality.mos(r) == expected


@pytest.mark.parametrize("delay_ms", [50, 100, 150, 200, 250, 300])
def test_delay_costs_what_is_published(delay_ms: float) -> None:
    """R. Cole, J. Rosenbluth, "Voice over IP Performance Monitoring" (2001), their fit to G.107 with its defaults:
    Id = 0.024 d + 0.11 (d - 177.3) above 177.3 ms."""
    published = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - 177.3)
    cost = quality.r_factor(G711) - quality.r_factor(G711, one_way_delay_ms=delay_ms)
    assert cost == pytest.approx(published, abs=1.3)


def test_the_absolute_delay_begins_at_100_ms_without_a_step() -> None:
    ratings = [quality.r_factor(G711, one_way_delay_ms=at) for at in (99.9, 100.0, 100.1)]
    assert max(ratings) - min(ratings) < 0.05


@pytest.mark.parametrize(("loss_percent", "ie_eff"), [(1, 5), (2, 7), (3, 10), (5, 15), (7, 20), (10, 25)])
def test_loss_costs_g711_what_listeners_said(loss_percent: float, ie_eff: float) -> None:
    """The table of impairments by random loss with concealment that G.113 appendix I had before there was a Bpl."""
    assert quality.effective_impairment(G711, loss_percent / 100) == pytest.approx(ie_eff, abs=2.2)


@pytest.mark.parametrize("codec", IMPAIRMENTS)
def test_mos_falls_with_loss_delay_and_bursts(codec: str) -> None:
    def falls(ratings: list[float]) -> bool:
        scores = [quality.mos(rating) for rating in ratings]
        assert scores[0] > 4.3
        return all(later <= earlier for earlier, later in itertools.pairwise(scores)) and scores[-1] < scores[0] - 0.5

    impairment = IMPAIRMENTS[codec]
    assert falls([quality.r_factor(impairment, loss_fraction=loss / 1000) for loss in range(0, 1001, 5)])
    assert falls([quality.r_factor(impairment, one_way_delay_ms=delay) for delay in range(0, 2000, 10)])
    bursts = [quality.r_factor(impairment, loss_fraction=0.02, burst_ratio=1 + ratio / 10) for ratio in range(71)]
    assert all(later < earlier for earlier, later in itertools.pairwise(bursts))


def stats(**changed: Any) -> LegStats:
    """A minute of a good G.711 call."""
    fields: dict[str, Any] = {
        "packets_received": 3000,
        "packets_sent": 3000,
        "packets_lost": 0,
        "packets_unseen": 0,
        "jitter_ms": 1.0,
        "packet_ms": 20.0,
        "loss_runs": 0,
        "loss_runs_lost": 0,
        "bursts": 0,
        "burst_packets": 0,
        "burst_packets_lost": 0,
        "remote_packets_lost": 0,
        "remote_jitter_ms": 2.0,
        "remote_fraction_lost": 0.0,
        "reports_received": 12,
        "playout_delay_ms": 0.0,
        "packets_late": 0,
        "packets_recovered": 0,
        "concealed_ms": 0.0,
        "round_trip_ms": 30.0,
        "codec_received": "PCMU",
        "codec_sent": "PCMA",
        "voip_metrics": None,
    }
    assert not changed.keys() - fields.keys()
    return cast("LegStats", fields | changed)


def test_a_clean_leg() -> None:
    described = LegQuality().describe(stats())
    assert described == {
        "round_trip_ms": 30.0,
        "received": {
            "codec": "PCMU",
            "packets": 3000,
            "lost": 0,
            "loss_fraction": 0.0,
            "jitter_ms": 1.0,
            "late": 0,
            "recovered": 0,
            "playout_delay_ms": None,
            "concealed_ms": 0,
            "bursts": 0,
            "burst_density": 0.0,
            "burst_duration_ms": 0,
            "gap_density": 0.0,
            "gap_duration_ms": 60_000,
            "r_factor": pytest.approx(91.6, abs=0.1),
            "mos": pytest.approx(4.38, abs=0.01),
        },
        "sent": {
            "codec": "PCMA",
            "packets": 3000,
            "lost": 0,
            "loss_fraction": 0.0,
            "jitter_ms": 2.0,
            "burst_density": None,
            "burst_duration_ms": None,
            "gap_density": None,
            "gap_duration_ms": None,
            "r_factor": pytest.approx(91.6, abs=0.1),
            "mos": pytest.approx(4.38, abs=0.01),
        },
    }


def test_bursts_and_gaps_are_densities_and_mean_durations() -> None:
    received = LegQuality().describe(
        stats(
            packets_received=2850,
            packets_lost=150,
            loss_runs=40,
            loss_runs_lost=150,
            bursts=10,
            burst_packets=400,
            burst_packets_lost=124,
        )
    )["received"]
    assert received["loss_fraction"] == 0.05
    assert received["burst_density"] == 0.31
    assert received["burst_duration_ms"] == 800
    assert received["gap_density"] == 0.01  # 26 of 2600
    assert received["gap_duration_ms"] == round(2600 * 20 / 11)


def test_the_same_loss_in_bursts_is_heard_worse() -> None:
    lost = {"packets_received": 2850, "packets_lost": 150, "loss_runs_lost": 150}
    alone, bursts = (LegQuality().describe(stats(**lost, loss_runs=runs))["received"]["mos"] for runs in (143, 30))
    # BurstR 1 and 4.75: Ie,eff 15.8 and 18.2.
    assert alone == pytest.approx(3.86, abs=0.01)
    assert bursts == pytest.approx(3.76, abs=0.01)


def test_what_never_came_counts_as_lost() -> None:
    received: Any = LegQuality().describe(stats(packets_received=500, packets_unseen=500))["received"]
    assert (received["lost"], received["loss_fraction"]) == (500, 0.5)
    assert received["mos"] < 2


def test_what_was_recovered_is_not_missing_and_what_came_late_is() -> None:
    lost = {"packets_received": 2850, "packets_lost": 150, "loss_runs": 143, "loss_runs_lost": 150}
    plain: Any
    whole: Any
    late: Any
    plain, whole, late = (
        LegQuality().describe(stats(**lost, **more))["received"]
        for more in ({}, {"packets_recovered": 150}, {"packets_late": 150})
    )
    assert plain["loss_fraction"] == whole["loss_fraction"] == late["loss_fraction"] == 0.05
    assert whole["mos"] == LegQuality().describe(stats())["received"]["mos"]
    assert late["mos"] < plain["mos"] - 0.3


def test_the_delay_of_our_own_jitter_buffer_counts_instead_of_an_assumed_one() -> None:
    def received(**changed: float) -> Any:
        found: Any = LegQuality().describe(stats(round_trip_ms=200.0, **changed))["received"]
        return found

    assert received()["playout_delay_ms"] is None
    assert received(playout_delay_ms=20.0)["r_factor"] == received()["r_factor"]  # a packet, at 1 ms of jitter
    assert received(playout_delay_ms=200.04)["playout_delay_ms"] == 200.0
    assert received(playout_delay_ms=200.0)["mos"] < received(playout_delay_ms=60.0)["mos"] - 0.3
    assert received(concealed_ms=1234.5)["concealed_ms"] == 1234


def test_repeated_packets_are_no_negative_loss() -> None:
    received = LegQuality().describe(stats(packets_lost=-7))["received"]
    assert (received["lost"], received["loss_fraction"]) == (-7, 0.0)


def test_a_report_has_the_loss_since_the_last_one() -> None:
    leg = LegQuality()
    first = leg.report(stats(packets_received=240, packets_lost=10, remote_fraction_lost=0.25))
    assert first["received"]["interval_loss_fraction"] == 0.04
    assert first["sent"]["interval_loss_fraction"] == 0.25
    second = leg.report(stats(packets_received=490, packets_lost=10))
    assert second["received"]["interval_loss_fraction"] == 0.0
    silent = leg.report(stats(packets_received=490, packets_lost=10))
    assert silent["received"]["interval_loss_fraction"] == 0.0
    dead = leg.report(stats(packets_received=490, packets_lost=10, packets_unseen=250))
    assert dead["received"]["interval_loss_fraction"] == 1.0


def test_what_is_unknown_is_none() -> None:
    silent = stats(packets_received=0, packets_sent=0, codec_received="", codec_sent="", round_trip_ms=-1.0)
    silent["reports_received"] = 0
    described = LegQuality().report(silent)
    assert described["round_trip_ms"] is None
    assert (described["received"]["mos"], described["received"]["r_factor"]) == (None, None)
    sent = described["sent"]
    assert {name for name, value in sent.items() if value is not None} == {"packets"}


def test_a_peers_extended_report_tells_of_its_bursts() -> None:
    metrics = METRICS | {"loss_rate": 0.1, "discard_rate": 0.0, "gap_density": 0.01}
    described: Any = LegQuality().describe(stats(voip_metrics=metrics, reports_received=0, round_trip_ms=-1.0))
    assert described["round_trip_ms"] == 80
    sent = described["sent"]
    assert sent["loss_fraction"] == 0.1
    assert (sent["burst_density"], sent["burst_duration_ms"]) == (0.5, 120)
    assert (sent["gap_density"], sent["gap_duration_ms"]) == (0.01, 5000)
    assert sent["mos"] < 3.6
