"""N live calls with audio both ways, through the gateway and through rtpengine in turns: CPU, memory, delay, loss."""

from __future__ import annotations

import asyncio
import functools
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .gateway import Gateway
from .loadgen import Loadgen
from .processes import cpu_seconds, memory_mb, thread_cpu_seconds
from .rtpengine import Rtpengine

Pattern = Literal["spread", "burst"]
WARM_UP_S, DRAIN_S = 0.7, 0.25
SETUPS_AT_ONCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One stretch of audio through one server. Delays in us of packets to A (SRTP side) and to B (RTP side)."""

    cpu_percent_per_call: float  # of one core
    busiest_thread_percent: float  # of one core
    sent: int
    lost: int
    delay_p50_us: tuple[float, float]
    delay_p99_us: tuple[float, float]
    octets_to_srtp: float  # of payload, the mean of a packet
    generator_cpu_percent: float
    late_p99_us: float  # how late the generator's own packets left


@dataclass(slots=True, kw_only=True)
class Result:
    """One server in one case: medians over its segments."""

    server: str
    calls: int
    profile: str
    codecs: str
    pattern: Pattern
    rss_mb_per_call: float
    pss_mb_per_call: float
    segments: list[Segment] = field(default_factory=list)

    def median(self, value: Callable[[Segment], float]) -> float:
        return statistics.median(value(segment) for segment in self.segments)

    @property
    def cpu_percent_per_call(self) -> float:
        """Of the segments that lost nothing, if there are any: packets that were not delivered cost less."""
        whole = [segment for segment in self.segments if segment.lost == 0] or self.segments
        return statistics.median(segment.cpu_percent_per_call for segment in whole)

    @property
    def segments_with_loss(self) -> int:
        return sum(segment.lost > 0 for segment in self.segments)

    @property
    def lost(self) -> int:
        return sum(segment.lost for segment in self.segments)

    @property
    def sent(self) -> int:
        return sum(segment.sent for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "calls": self.calls,
            "profile": self.profile,
            "codecs": self.codecs,
            "pattern": self.pattern,
            "cpu_percent_per_call": self.cpu_percent_per_call,
            "cpu_percent_per_call_segments": [segment.cpu_percent_per_call for segment in self.segments],
            "rss_mb_per_call": self.rss_mb_per_call,
            "pss_mb_per_call": self.pss_mb_per_call,
            "segments": len(self.segments),
            "segments_with_loss": self.segments_with_loss,
            "packets_sent": self.sent,
            "packets_lost": self.lost,
            "delay_to_srtp_us": {
                "p50": self.median(lambda segment: segment.delay_p50_us[0]),
                "p99": self.median(lambda segment: segment.delay_p99_us[0]),
            },
            "delay_to_rtp_us": {
                "p50": self.median(lambda segment: segment.delay_p50_us[1]),
                "p99": self.median(lambda segment: segment.delay_p99_us[1]),
            },
            "octets_to_srtp": self.median(lambda segment: segment.octets_to_srtp),
            "generator_cpu_percent": self.median(lambda segment: segment.generator_cpu_percent),
            "generator_late_p99_us": self.median(lambda segment: segment.late_p99_us),
        }


async def play(loadgen: Loadgen, *, group: str, pattern: Pattern, pid: int, calls: int, seconds: float) -> Segment:
    """Audio both ways on all calls of the group; CPU of process `pid` between the first moments and the drain."""
    loop = asyncio.get_running_loop()
    loadgen.send("reset", group=group)
    loadgen.send("start", group=group, pattern=pattern)
    await asyncio.sleep(WARM_UP_S)
    start_s, before, generator = loop.time(), thread_cpu_seconds(pid), cpu_seconds(loadgen.pid)
    await asyncio.sleep(seconds)
    took_s = loop.time() - start_s
    after, generator = thread_cpu_seconds(pid), cpu_seconds(loadgen.pid) - generator
    threads = [cpu - before.get(thread, 0.0) for thread, cpu in after.items()]
    loadgen.send("stop", group=group)
    await asyncio.sleep(DRAIN_S)  # what is under way arrives
    stats = await loadgen.stats(group)
    a, b = stats["a"], stats["b"]
    errors = {name: a[name] + b[name] for name in ("duplicates", "auth_failures", "send_errors") if a[name] + b[name]}
    if errors:
        raise RuntimeError(f"{group}: {errors}")
    return Segment(
        cpu_percent_per_call=100 * sum(threads) / took_s / calls,
        busiest_thread_percent=100 * max(threads) / took_s,
        sent=a["sent"] + b["sent"],
        lost=a["sent"] + b["sent"] - a["received"] - b["received"],
        delay_p50_us=(a["delay_us"]["p50"], b["delay_us"]["p50"]),
        delay_p99_us=(a["delay_us"]["p99"], b["delay_us"]["p99"]),
        octets_to_srtp=a["octets"] / max(a["received"], 1),
        generator_cpu_percent=100 * generator / took_s,
        late_p99_us=stats["late_us"]["p99"],
    )


async def set_up(count: int, call: Callable[[], Awaitable[object]]) -> None:
    """So many calls, a few at once."""
    limit = asyncio.Semaphore(SETUPS_AT_ONCE)

    async def one() -> None:
        async with limit:
            await call()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(one())


async def compare(
    *,
    calls: int,
    profile: str,
    codec_a: str = "PCMU",
    patterns: tuple[Pattern, ...] = ("spread", "burst"),
    seconds: float = 4.0,
    rounds: int = 3,
    rtpengine_ports: tuple[int, int],
    rtpengine_threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Both servers, fresh processes, hold the same calls; audio runs through one at a time, in turns."""
    codecs = f"{codec_a}-PCMU"
    async with (
        await Loadgen.start() as loadgen,
        Rtpengine(ports=rtpengine_ports, threads=rtpengine_threads) as rtpengine,
        Gateway() as gateway,
    ):
        memory: dict[str, tuple[float, float]] = {}
        servers: dict[str, tuple[int, Callable[[str], Awaitable[object]]]] = {
            "sdpserver": (
                gateway.pid,
                lambda group: gateway.call(loadgen, group=group, profile=profile, codec_a=codec_a),
            ),
            "rtpengine": (
                rtpengine.pid,
                lambda group: rtpengine.call(loadgen, group=group, profile=profile, codec_a=codec_a),
            ),
        }
        for name, (pid, call) in servers.items():
            # A first call on its own: what is loaded or made once is not a call's memory.
            await call(f"{name}-first")
            await play(loadgen, group=f"{name}-first", pattern="spread", pid=pid, calls=1, seconds=0.3)
            before = memory_mb(pid)
            await set_up(calls, functools.partial(call, name))
            await play(loadgen, group=name, pattern="spread", pid=pid, calls=calls, seconds=1.0)
            after = memory_mb(pid)
            memory[name] = ((after[0] - before[0]) / calls, (after[1] - before[1]) / calls)
        results: list[Result] = []
        for pattern in patterns:
            pair = {
                name: Result(
                    server=name,
                    calls=calls,
                    profile=profile,
                    codecs=codecs,
                    pattern=pattern,
                    rss_mb_per_call=memory[name][0],
                    pss_mb_per_call=memory[name][1],
                )
                for name in servers
            }
            for _ in range(rounds):
                for name, (pid, _) in servers.items():
                    segment = await play(loadgen, group=name, pattern=pattern, pid=pid, calls=calls, seconds=seconds)
                    pair[name].segments.append(segment)
            results += pair.values()
            ours, theirs = (pair[name].cpu_percent_per_call for name in ("sdpserver", "rtpengine"))
            progress(
                f"{calls} calls, {codecs}, {profile}, {pattern}: sdpserver {ours:.3f} %, "
                f"rtpengine {theirs:.3f} % of a core per call, ratio {ours / theirs:.2f}"
            )
        return results
