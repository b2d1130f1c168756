"""The body of GET /stats."""

from __future__ import annotations

from .base import Response
from .records import RecordTotals


class Times(Response, kw_only=True):
    """`count` since the start; the percentiles are of the last 1,000, null while there is none."""

    count: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class SetupRate(Response):
    """Sessions begun a second, on average."""

    last_10_s: float
    last_60_s: float


class SessionTotals(Response):
    """`by_result`: of those that have ended, `answered` or why not. `kept`: ended, and still to be asked for."""

    open: int
    created: int
    ended: int
    kept: int
    by_result: dict[str, int]
    setups_per_s: SetupRate


class CallTotals(Response):
    """Of those that are live. `by_trunk`: "" for calls that no trunk carries."""

    live: int
    by_state: dict[str, int]
    by_direction: dict[str, int]
    by_trunk: dict[str, int]


class CallTimes(Response):
    """From the offer, or the INVITE that came in: `offer` to our SDP answer, `connect` to the end of the DTLS
    handshake, `answer` to the answer of the far end, or of the agent."""

    offer: Times
    connect: Times
    answer: Times


class MediaTotals(Response):
    """Of all media workers since the start. `kernel_drops`: packets that came faster than they were read."""

    legs: int
    rooms: int
    packets_received: int
    packets_sent: int
    send_failures: int
    kernel_drops: int


class AgentTotals(Response):
    """`dns`: how many are `available`, `busy`, `offline`, as in GET /api/dn/list."""

    websocket_connections: int
    dns: dict[str, int]


class TrunkTotals(Response):
    """`connected`: null while that is not known."""

    name: str
    connected: bool | None
    calls: int


class ProcessTotals(Response):
    resident_octets: int
    cpu_s: float
    open_files: int
    threads: int


class Stats(Response):
    """GET /stats. `records`: of calls; null: none are kept."""

    version: str
    uptime_s: float
    sessions: SessionTotals
    calls: CallTotals
    times: CallTimes
    media: MediaTotals
    agents: AgentTotals
    trunks: list[TrunkTotals]
    records: RecordTotals | None
    process: ProcessTotals
