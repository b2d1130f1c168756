"""`make bench`: live calls beside rtpengine, and how fast calls are made. Prints Markdown; ends by itself.

Everything runs on loopback in processes of its own, which are ended with it. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests import (
    agents,
    browser,
    growth,
    live_calls,
    loadgen,
    processes,
    recorded,
    report,
    rtpengine,
    setups,
    sound,
)

PROFILES = ("AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80")
PARTS = (
    "relay",
    "transcode",
    "growth",
    "sound",
    "answer",
    "records",
    "first-audio",
    "chromium",
    "setup-rate",
    "agents",
)
MAX_TRANSCODED_CALLS = 50  # rtpengine needs 2 % of a core for each


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[50, 200], metavar="N", help="live calls (50 200)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a measured stretch of audio (4)")
    parser.add_argument("--rounds", type=int, default=3, help="stretches of each server, in turns (3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES), help="SRTP suites")
    parser.add_argument("--runs", type=int, default=20, help="calls of Chromium (20)")
    parser.add_argument("--largest", type=int, default=growth.MAX_CALLS, metavar="N", help="where growth ends (4000)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture of growth there (SVG)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--rtpengine-threads", type=int, metavar="N", help="its packet threads (default: its own)")
    parser.add_argument(
        "--rtpengine-ports", type=int, nargs=2, default=(50000, 58999), metavar=("FIRST", "LAST"), help="UDP ports"
    )
    chosen = parser.parse_args(arguments)
    if min(chosen.calls) < 1 or chosen.seconds <= 0 or chosen.rounds < 1 or chosen.runs < 1:
        parser.error("--calls, --seconds, --rounds and --runs are at least 1")
    return chosen


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def live(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """The cases of `relay` and `transcode`."""
    common = {
        "seconds": chosen.seconds,
        "rounds": chosen.rounds,
        "rtpengine_ports": tuple(chosen.rtpengine_ports),
        "rtpengine_threads": chosen.rtpengine_threads,
        "progress": say,
    }
    results: list[live_calls.Result] = []
    if "relay" in chosen.only:
        for calls in chosen.calls:
            for profile in chosen.profiles:
                results += await live_calls.compare(calls=calls, profile=profile, **common)
    if "transcode" in chosen.only:
        for calls in sorted({min(MAX_TRANSCODED_CALLS, calls) for calls in chosen.calls}):
            results += await live_calls.compare(
                calls=calls, profile=chosen.profiles[0], codec_a="opus", patterns=("spread",), **common
            )
    return [result.to_dict() for result in results]


async def grown(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """How far each server goes, relaying and transcoding."""
    return [
        await growth.grow(
            server,
            profile=chosen.profiles[0],
            codec_a=codec_a,
            largest=chosen.largest,
            rtpengine_ports=tuple(chosen.rtpengine_ports),
            progress=say,
        )
        for codec_a in ("PCMU", "opus")
        for server in ("sdpserver", "rtpengine")
    ]


async def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "machine": processes.machine(),
        "load_before": processes.load_average(),
        "date": datetime.date.today().isoformat(),
    }
    with_rtpengine = bool({"relay", "transcode", "growth", "sound"} & set(chosen.only))
    if with_rtpengine:  # found missing now rather than after minutes
        threads = chosen.rtpengine_threads or "its default number of"
        figures["rtpengine"] = f"{await asyncio.to_thread(rtpengine.version)}, userspace, {threads} packet threads"
    if figures["load_before"] > 0.5:
        say(f"the machine is busy (load {figures['load_before']:.1f}): trust ratios at most, not times")
    say("building the generator")
    await asyncio.to_thread(loadgen.build)
    parts: dict[str, tuple[str, Callable[[], Awaitable[Any]]]] = {
        "answer": ("offer_to_answer", setups.offer_to_answer),
        "records": ("records", recorded.answers_with_and_without),
        "first-audio": ("first_audio", setups.first_audio),
        "chromium": ("chromium", lambda: browser.chromium_echo(chosen.runs)),
        "setup-rate": ("setup_rate", setups.setup_rate),
        "agents": ("agents", agents.agents_under_load),
    }
    for part, (name, run) in parts.items():
        if part in chosen.only:
            say(part)
            figures[name] = await run()
    if with_rtpengine:
        say("live calls")
        figures["live_calls"] = await live(chosen)
    if "sound" in chosen.only:
        say("sound")
        figures["sound"] = await sound.measure(tuple(chosen.rtpengine_ports), say)
    if "growth" in chosen.only:
        figures["growth"] = await grown(chosen)
        if chosen.plot:
            chosen.plot.write_text(report.growth_plot(figures["growth"]))
    return figures


def main() -> int:
    chosen = options()
    started_s = time.monotonic()
    try:
        figures = uvloop.run(measure(chosen))
    except (loadgen.LoadgenError, rtpengine.RtpengineError) as exc:
        say(f"bench: {exc}")
        return 1
    figures["took_s"] = time.monotonic() - started_s
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(report.markdown(figures))
    say(f"took {figures['took_s']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
