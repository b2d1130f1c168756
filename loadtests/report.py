"""The figures as Markdown, ready for the README."""

from __future__ import annotations

import os
from typing import Any

from . import plot

CORES = os.cpu_count() or 1

TARGETS = {
    "relay_ratio": 0.35,
    "transcode_ratio": 0.4,
    "mb_per_call": 0.5,
    "answer_p50_ms": 5,
    "answer_p99_ms": 20,
    "chromium_connected_ms": 40,
    "chromium_audio_ms": 120,
    "agents_event_p99_ms": 20,
    "agents_click_p99_ms": 50,
}


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pairs(results: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Ours and rtpengine's of the same case."""
    key = ("calls", "profile", "codecs", "pattern")
    theirs = {tuple(r[k] for k in key): r for r in results if r["server"] == "rtpengine"}
    return [(r, theirs[tuple(r[k] for k in key)]) for r in results if r["server"] == "sdpserver"]


def _delay(result: dict[str, Any]) -> str:
    """Median and p99 of both directions in ms."""
    to_srtp, to_rtp = result["delay_to_srtp_us"], result["delay_to_rtp_us"]
    return " / ".join(f"{way['p50'] / 1000:.2f}, {way['p99'] / 1000:.2f}" for way in (to_srtp, to_rtp))


def _loss(result: dict[str, Any]) -> str:
    """Packets, and in how many of the stretches they went missing: CPU is that of the others, if there are any."""
    where = f" (in {result['segments_with_loss']} of {result['segments']} stretches)" if result["packets_lost"] else ""
    return f"{result['packets_lost']} of {result['packets_sent']}{where}"


def live_calls(results: list[dict[str, Any]]) -> str:
    rows = []
    for ours, theirs in _pairs(results):
        ratio = ours["cpu_percent_per_call"] / theirs["cpu_percent_per_call"]
        rows.append(
            [
                str(ours["calls"]),
                ours["codecs"],
                ours["profile"],
                ours["pattern"],
                f"{ours['cpu_percent_per_call']:.3f} %",
                f"{theirs['cpu_percent_per_call']:.3f} %",
                f"**{ratio:.2f}**",
                f"{ours['rss_mb_per_call']:.2f} / {theirs['rss_mb_per_call']:.2f}",
                _delay(ours),
                _delay(theirs),
                f"{_loss(ours)} / {_loss(theirs)}",
            ]
        )
    header = [
        "calls",
        "codecs",
        "SRTP",
        "arrivals",
        "CPU per call",
        "rtpengine",
        "ratio",
        "MB per call, ours / rtpengine",
        "delay in ms: median, p99 to SRTP / to RTP",
        "rtpengine's delay",
        "lost, ours / rtpengine",
    ]
    return _table(header, rows)


def growth(results: list[dict[str, Any]]) -> str:
    """How far each server went, and what the cores would carry without the generator."""
    rows = []
    for result in results:
        if not result["steps"]:
            continue
        last, beyond = result["steps"][-1], result["beyond"]
        ended = f"{beyond['calls']} calls: {result['limit']}; {result['stopped_by']}" if beyond else ""
        rows.append(
            [
                result["server"],
                result["codecs"],
                ", ".join(
                    f"{step['calls']}: {step['cpu_percent_per_call']:.3f} %"
                    for step in result["steps"]
                    if step["calls"] in (1, 10, 50, 200, 1000) or step is last
                ),
                str(last["calls"]),
                f"{last['mb_per_call']:.2f}",
                ended,
                f"{100 * CORES / last['cpu_percent_per_call']:.0f}",
            ]
        )
    header = [
        "server",
        "codecs",
        "CPU per call, by number of calls",
        "largest number carried",
        "MB per call",
        "what ended it",
        f"by CPU per call, {CORES} cores alone",
    ]
    return _table(header, rows)


def sound(results: list[dict[str, Any]]) -> str:
    """PESQ of speech, Opus to PCMU."""
    rows = [
        [
            result["case"],
            *(
                f"{result[server]['mean']:.2f} ({result[server]['min']:.2f} to {result[server]['max']:.2f})"
                for server in ("sdpserver", "rtpengine")
            ),
        ]
        for result in results
    ]
    return _table(["speech, Opus to PCMU: MOS-LQO by PESQ, mean and range", "sdpserver", "rtpengine"], rows)


def growth_plot(results: list[dict[str, Any]]) -> str:
    """SVG. What was no longer carried is a ring at the end of its line."""

    def point(step: dict[str, Any]) -> tuple[float, float]:
        return step["calls"], step["cpu_percent_per_call"]

    names = {
        f"{result['server']}, {'relay' if result['codecs'] == 'PCMU-PCMU' else 'Opus'}": result
        for result in results
        if result["steps"]
    }
    lines = {name: [point(step) for step in result["steps"]] for name, result in names.items()}
    beyond = {name: point(result["beyond"]) for name, result in names.items() if result["beyond"]}
    return plot.svg(lines, beyond, title="Cost of a call", x_title="calls at once", y_title="CPU per call, % of a core")


def _times(figures: dict[str, Any]) -> str:
    if not figures["count"]:
        return "none"
    return f"p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms, largest {figures['max']:.1f} ms"


def _errors(errors: dict[str, int]) -> str:
    return "; ".join(f"{count} x {text}" for text, count in errors.items()) or "no errors"


def set_ups(figures: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    if offers := figures.get("offer_to_answer"):
        what = f"offer to answer, {offers['rate_per_s']:g} a second for {offers['seconds']:g} s"
        rows.append([what, f"{_times(offers['answer_ms'])}; {_errors(offers['errors'])}"])
    if records := figures.get("records"):
        what = f"offer to answer, {records['rate_per_s']:g} a second to each of two servers in turns"
        rows.append([f"{what}, without call records", _times(records["answer_ms"]["without"])])
        kept = f"{records['recorded']} of {records['calls']} calls recorded; {_errors(records['errors'])}"
        rows.append([f"{what}, with call records", f"{_times(records['answer_ms']['with'])}; {kept}"])
    for name, times in figures.get("first_audio", {}).items():
        rows.append([f"offer to connected, `{name}`", _times(times["connected_ms"])])
        rows.append([f"offer to first SRTP packet back, `{name}`", _times(times["first_audio_ms"])])
    if chromium := figures.get("chromium"):
        version = chromium["chromium"]
        rows.append([f"Chromium {version}, POST to connected", _times(chromium["connected_ms"])])
        rows.append([f"Chromium {version}, POST to hearing its own tone", _times(chromium["two_way_audio_ms"])])
    if rate := figures.get("setup_rate"):
        what = f"{rate['rate_per_s']:g} set-ups a second for {rate['seconds']:g} s"
        rows.append([f"{what}, POST to SIP answer", f"{_times(rate['answered_ms'])}; {_errors(rate['errors'])}"])
        rows.append([f"{what}, {rate['connect_per_s']:g} of them to connected", _times(rate["connected_ms"])])
        rows.append([f"{what}, close", _times(rate["closed_ms"])])
    if under := figures.get("agents"):
        what = f"{under['dns']} agents, {under['rate_per_s']:g} calls a second between them beside {under['live']} live"
        rows.append([f"{what}: call to `incomingCall`", f"{_times(under['rang_ms'])}; {_errors(under['errors'])}"])
        rows.append([f"{what}: answer to `callAccepted`", _times(under["answered_ms"])])
        rows.append([f"{what}: hangup to `callEnded`", _times(under["ended_ms"])])
        rows.append([f"{what}: click-to-dial to the agent's `incomingCall`", _times(under["click_ms"])])
    return _table(["what", "measured"], rows)


def targets(figures: dict[str, Any]) -> str:
    """Each promised figure, and whether it was reached."""
    rows: list[list[str]] = []

    def row(what: str, value: float, limit: float, unit: str) -> None:
        rows.append([what, f"{value:.2f} {unit}", f"{limit:g} {unit}", "yes" if value <= limit else "**no**"])

    for ours, theirs in _pairs(figures.get("live_calls", [])):
        case = f"{ours['calls']} calls, {ours['codecs']}, {ours['profile']}, {ours['pattern']}"
        limit = TARGETS["relay_ratio" if ours["codecs"] == "PCMU-PCMU" else "transcode_ratio"]
        row(
            f"CPU, share of rtpengine's: {case}",
            ours["cpu_percent_per_call"] / theirs["cpu_percent_per_call"],
            limit,
            "",
        )
        row(f"memory a call: {case}", ours["rss_mb_per_call"], TARGETS["mb_per_call"], "MB")
    if (offers := figures.get("offer_to_answer")) and offers["answer_ms"]["count"]:
        row("answer, p50", offers["answer_ms"]["p50"], TARGETS["answer_p50_ms"], "ms")
        row("answer, p99", offers["answer_ms"]["p99"], TARGETS["answer_p99_ms"], "ms")
    if chromium := figures.get("chromium"):
        connected, audio = chromium["connected_ms"]["p50"], chromium["two_way_audio_ms"]["p50"]
        row("Chromium connected, median", connected, TARGETS["chromium_connected_ms"], "ms")
        row("Chromium two-way audio, median", audio, TARGETS["chromium_audio_ms"], "ms")
    if rate := figures.get("setup_rate"):
        row("set-ups with an error", sum(rate["errors"].values()), 0, "")
    if (under := figures.get("agents")) and under["events_ms"]["count"]:
        row("agents: events, p99", under["events_ms"]["p99"], TARGETS["agents_event_p99_ms"], "ms")
        if under["click_ms"]["count"]:
            row("agents: click-to-dial, p99", under["click_ms"]["p99"], TARGETS["agents_click_p99_ms"], "ms")
        row("agents: calls with an error", sum(under["errors"].values()), 0, "")
    return _table(["promised", "measured", "limit", "reached"], rows)


def markdown(figures: dict[str, Any]) -> str:
    parts = [f"Machine: {figures['machine']}; load before the run {figures['load_before']:.2f}; {figures['date']}."]
    if figures.get("live_calls"):
        parts.append(f"Beside rtpengine {figures.get('rtpengine', '')}.")
        parts.append(live_calls(figures["live_calls"]))
    if figures.get("sound"):
        parts.append(sound(figures["sound"]))
    if figures.get("growth"):
        parts.append(growth(figures["growth"]))
    if figures.keys() & {"offer_to_answer", "records", "first_audio", "chromium", "setup_rate", "agents"}:
        parts.append(set_ups(figures))
    parts.append(targets(figures))
    return "\n\n".join(parts) + "\n"
