"""How the cost of a call grows with their number, and where it ends: more and more calls on one server."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .gateway import Gateway
from .live_calls import play, set_up
from .loadgen import Loadgen
from .processes import memory_mb
from .rtpengine import Rtpengine

Server = Literal["sdpserver", "rtpengine"]

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 400, 700, 1000)
"""Those that are always tried; then a quarter more each time, until the load is no longer carried."""
MAX_CALLS = 4000
MAX_LOSS = 0.001
MAX_DELAY_P99_US = 20_000.0
MAX_TRANSCODED_DELAY_US = 150_000.0
"""The median: it is told by a few sounds a second, and the last percentile of those is one of them. Transcoded audio
waits in a jitter buffer, which a busy machine makes longer."""
MAX_LATE_P99_US = 5_000.0
"""A generator that is later than this with its own packets has nothing left to say about a server."""
BUSY_PERCENT = 90.0
GROUP = "growth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """So many calls at once, on one server."""

    kind: Literal["relay", "transcode"]
    calls: int
    cpu_percent_per_call: float  # of one core, the whole process
    busiest_thread_percent: float
    mb_per_call: float  # RSS, beyond that of the first call
    lost_share: float
    delay_p50_us: float  # the slower direction
    delay_p99_us: float
    generator_cpu_percent: float
    generator_late_p99_us: float

    def limit(self) -> str:
        """What is no longer kept, "" if all is well."""
        if self.lost_share > MAX_LOSS:
            return f"{100 * self.lost_share:.2f} % of the packets lost"
        if self.kind == "transcode" and self.delay_p50_us > MAX_TRANSCODED_DELAY_US:
            return f"median of the delay {self.delay_p50_us / 1000:.0f} ms"
        if self.kind == "relay" and self.delay_p99_us > MAX_DELAY_P99_US:
            return f"p99 of the delay {self.delay_p99_us / 1000:.0f} ms"
        if self.generator_late_p99_us > MAX_LATE_P99_US:
            return f"the generator {self.generator_late_p99_us / 1000:.0f} ms late"
        return ""

    def stopped_by(self) -> str:
        """Whose work it was that did not fit."""
        if self.busiest_thread_percent >= BUSY_PERCENT and self.generator_cpu_percent >= BUSY_PERCENT:
            return "both the server's thread and the generator are at the end of their core"
        if self.busiest_thread_percent >= BUSY_PERCENT:
            return "the server's busiest thread is at the end of its core"
        if self.generator_cpu_percent >= BUSY_PERCENT:
            return "the generator is at the end of its core"
        return "the machine's cores are shared by more threads than fit"


def sizes(largest: int) -> Iterator[int]:
    """Growing numbers of calls up to `largest`."""
    yield from (size for size in SIZES if size <= largest)
    size = float(SIZES[-1])
    while (size := size * 1.25) <= largest:
        yield int(size)


async def grow(
    server: Server,
    *,
    profile: str,
    codec_a: str = "PCMU",
    seconds: float = 3.0,
    largest: int = MAX_CALLS,
    rtpengine_ports: tuple[int, int],
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Steps with spread arrivals until one of the limits is crossed; that last step is told apart.

    :returns: `steps` that were carried; of the one that was not: `beyond`, `limit` and `stopped_by` (None, or "").
    """
    async with AsyncExitStack() as stack:
        loadgen = await stack.enter_async_context(await Loadgen.start())
        if server == "sdpserver":
            gateway = await stack.enter_async_context(
                Gateway(tables={"session": {"max_sessions": MAX_CALLS + 1}, "media": {"rtp_port_range": [1100, 9999]}})
            )
            pid = gateway.pid

            def call() -> Awaitable[object]:
                return gateway.call(loadgen, group=GROUP, profile=profile, codec_a=codec_a)
        else:
            rtpengine = await stack.enter_async_context(Rtpengine(ports=rtpengine_ports))
            pid = rtpengine.pid

            def call() -> Awaitable[object]:
                return rtpengine.call(loadgen, group=GROUP, profile=profile, codec_a=codec_a)

        first_mb = 0.0

        async def measure(calls: int) -> Step:
            segment = await play(loadgen, group=GROUP, pattern="spread", pid=pid, calls=calls, seconds=seconds)
            return Step(
                kind="relay" if codec_a == "PCMU" else "transcode",
                calls=calls,
                cpu_percent_per_call=segment.cpu_percent_per_call,
                busiest_thread_percent=segment.busiest_thread_percent,
                mb_per_call=(memory_mb(pid)[0] - first_mb) / (calls - 1) if calls > 1 else 0.0,
                lost_share=max(segment.lost, 0) / segment.sent,
                delay_p50_us=max(segment.delay_p50_us),
                delay_p99_us=max(segment.delay_p99_us),
                generator_cpu_percent=segment.generator_cpu_percent,
                generator_late_p99_us=segment.late_p99_us,
            )

        steps: list[Step] = []
        beyond: Step | None = None
        limit = stopped_by = ""
        for before, calls in itertools.pairwise([0, *sizes(largest)]):
            await set_up(calls - before, call)
            step = await measure(calls)
            if step.limit():  # what a stall of the machine crossed is not crossed again, what the load crossed is
                step = await measure(calls)
            if before == 0:
                first_mb = memory_mb(pid)[0]
            progress(f"{server}, {calls} calls, {codec_a}: {step.cpu_percent_per_call:.3f} % of a core per call")
            if limit := step.limit():
                beyond = step
                stopped_by = step.stopped_by()
                break
            steps.append(step)
        return {
            "server": server,
            "codecs": f"{codec_a}-PCMU",
            "profile": profile,
            "steps": [asdict(step) for step in steps],
            "beyond": asdict(beyond) if beyond else None,
            "limit": limit,
            "stopped_by": stopped_by,
        }
