"""The figures of one server: taken when somebody asks, but for what sessions tell as they go."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sdpserver import __version__
from sdpserver.agents import Agents
from sdpserver.media import MediaPlane
from sdpserver.models.dns import DnStatus
from sdpserver.models.statistics import (
    AgentTotals,
    CallTimes,
    CallTotals,
    MediaTotals,
    ProcessTotals,
    SessionTotals,
    SetupRate,
    Stats,
    TrunkTotals,
)
from sdpserver.records import CallRecords
from sdpserver.session import Sessions

from .http import HttpStatistics
from .sessions import DIRECTIONS, SessionStatistics

DN_STATUSES: tuple[DnStatus, ...] = ("available", "busy", "offline")
MEDIA_COUNTERS = {
    "packets_received": "RTP and RTCP packets that came in",
    "packets_sent": "RTP and RTCP packets that went out",
    "send_failures": "Packets that a socket would not take",
    "kernel_drops": "Packets that came faster than they were read",
    "unknown_source": "Packets from addresses that are no leg's",
    "malformed": "Packets that are none",
    "stun": "Checks of connectivity that came in",
    "stun_failures": "Checks with a wrong password",
    "dtls": "DTLS datagrams that came in",
}


Values = Iterable[tuple[tuple[str, ...], float]]
"""Each with its labels."""


class Statistics(Collector):
    """All figures. `exposition` is for Prometheus, `totals` for people."""

    def __init__(
        self,
        media: MediaPlane,
        sessions: Sessions,
        agents: Agents,
        http: HttpStatistics,
        records: CallRecords | None,
    ) -> None:
        self._media = media
        self._sessions = sessions
        self._agents = agents
        self._http = http
        self._records = records
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._of_sessions = SessionStatistics(self._registry)
        sessions.follow(self._of_sessions)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their Content-Type: Prometheus' text 0.0.4, or OpenMetrics for who accepts that."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    # -- Prometheus

    def describe(self) -> Iterable[Metric]:
        """For the registry, which would otherwise collect while the server is being put together."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The figures that are looked up rather than counted."""
        yield _gauge("info", "The version that runs.", ("version",), [((__version__,), 1)])
        yield from self._collect_sessions()
        yield from self._collect_calls()
        counters = self._media.counters
        for name, what in MEDIA_COUNTERS.items():
            yield _counter(f"media_{name}", f"{what}.", (), [((), counters[name])])
        yield _gauge("media_legs", "Legs that are open.", (), [((), self._media.legs)])
        yield _gauge("rooms", "Conferences.", (), [((), self._media.rooms)])
        yield _gauge("websocket_connections", "Clients on /ws.", (), [((), self._agents.sockets)])
        yield _gauge(
            "dns", "DNs by their status.", ("status",), [((status,), count) for status, count in self._dns().items()]
        )
        yield from self._collect_trunks()
        yield from self._collect_records()
        yield _counter("http_requests", "Requests answered.", ("method", "path", "status"), self._http.answered.items())

    def _collect_sessions(self) -> Iterable[Metric]:
        began, ended = self._of_sessions.began, self._of_sessions.ended
        yield _counter(
            "sessions_created",
            "Sessions that have begun.",
            ("direction",),
            [((direction,), began[direction]) for direction in DIRECTIONS],
        )
        yield _counter(
            "sessions_ended",
            "Sessions that have ended, by whether they were answered and why they ended.",
            ("direction", "answered", "reason"),
            [((way, "yes" if answered else "no", reason), n) for (way, answered, reason), n in ended.items()],
        )
        yield _gauge("sessions_open", "Sessions that live.", (), [((), self._sessions.stats["sessions"])])

    def _collect_calls(self) -> Iterable[Metric]:
        calls = Counter(
            (call.call_state, call.direction, call.destination.trunk_name) for call in self._sessions.calls()
        )
        labels = ("state", "direction", "trunk")
        yield _gauge("calls", "Live calls; trunk is empty where none carries it.", labels, calls.items())

    def _collect_trunks(self) -> Iterable[Metric]:
        trunks = self._trunks()
        # Unknown is neither: a trunk that has not been asked yet must not raise an alarm.
        up = [((trunk.name,), int(trunk.connected)) for trunk in trunks if trunk.connected is not None]
        yield _gauge("trunk_up", "Whether a trunk answered the last OPTIONS.", ("trunk",), up)
        yield _gauge("trunk_calls", "Calls on a trunk.", ("trunk",), [((it.name,), it.calls) for it in trunks])

    def _collect_records(self) -> Iterable[Metric]:
        if self._records is None:
            return
        totals = self._records.totals
        if totals.state != "starting":
            yield _gauge("records_up", "Whether call records can be written.", (), [((), int(totals.state == "ok"))])
        yield _gauge("records_waiting", "Rows that wait for the database.", (), [((), totals.waiting)])
        yield _counter("records_written", "Rows written.", (), [((), totals.written)])
        yield _counter("records_lost", "Records of calls that will never be written.", (), [((), totals.lost)])
        yield _counter("records_failures", "Failures of the database.", (), [((), totals.failures)])

    # -- GET /stats

    def totals(self, *, now_s: float, uptime_s: float) -> Stats:
        """:param now_s: on the monotonic clock."""
        found, kept = self._of_sessions, self._sessions.stats
        calls = self._sessions.calls()
        counters = self._media.counters
        return Stats(
            version=__version__,
            uptime_s=uptime_s,
            sessions=SessionTotals(
                open=kept["sessions"],
                created=found.began.total(),
                ended=found.ended.total(),
                kept=kept["sessions_closed_kept"],
                by_result=found.by_result(),
                setups_per_s=SetupRate(
                    last_10_s=found.setups.per_second(now_s, 10), last_60_s=found.setups.per_second(now_s, 60)
                ),
            ),
            calls=CallTotals(
                live=len(calls),
                by_state=dict(Counter(call.call_state for call in calls)),
                by_direction=dict(Counter(call.direction for call in calls)),
                by_trunk=dict(Counter(call.destination.trunk_name for call in calls)),
            ),
            times=CallTimes(
                offer=found.offer.summary(), connect=found.connect.summary(), answer=found.answer.summary()
            ),
            media=MediaTotals(
                legs=self._media.legs,
                rooms=self._media.rooms,
                packets_received=counters["packets_received"],
                packets_sent=counters["packets_sent"],
                send_failures=counters["send_failures"],
                kernel_drops=counters["kernel_drops"],
            ),
            agents=AgentTotals(websocket_connections=self._agents.sockets, dns=self._dns()),
            trunks=self._trunks(),
            records=self._records.totals if self._records is not None else None,
            process=_process(),
        )

    def _dns(self) -> dict[str, int]:
        counted = Counter(dn.status for dn in self._agents.all)
        return {status: counted[status] for status in DN_STATUSES}

    def _trunks(self) -> list[TrunkTotals]:
        return [
            TrunkTotals(name=trunk["name"], connected=trunk["connected"], calls=trunk["calls"])
            for trunk in self._sessions.trunks()
        ]


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(f"sdpserver_{name}", what, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _counter(name: str, what: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(f"sdpserver_{name}", what, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _process() -> ProcessTotals:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return ProcessTotals(
        resident_octets=pages * resource.getpagesize(),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 2),
        open_files=len([*Path("/proc/self/fd").iterdir()]),
        threads=len([*Path("/proc/self/task").iterdir()]),
    )
