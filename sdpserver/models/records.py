"""Bodies of the routes about call records. Their names are those of the columns of CSV, too."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from .base import RecordsState, Response
from .session import CallDirection

CallResult = Literal["answered", "busy", "no_answer", "rejected", "cancelled", "failed", "interrupted"]


class CallRecordInfo(Response, rename={"from_": "from"}):
    """A call that has ended. `record_id` is no other's, whereas a client may use its `call_id` again. `result` is what
    became of the call, `reason` why it ended, `talk_s` what a bill counts: from the answer to the end. `to` is what was
    dialled, `destination` where that led. `received` is what this server heard of that side, `sent` what the side heard
    by its own reports. `interrupted`: the server was killed, and the call ended when it was last known to live.
    """

    record_id: str
    call_id: str
    session_id: str
    instance: str
    owner: str
    direction: CallDirection
    from_: str | None
    to: str
    destination: str
    dn: str | None
    display_name: str | None
    trunk: str | None
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    duration_s: float
    talk_s: float
    result: CallResult
    reason: str | None
    sip_status: int | None
    sip_call_id: str | None
    webrtc_codec: str | None
    webrtc_mos_received: float | None
    webrtc_mos_sent: float | None
    webrtc_loss_received: float | None
    webrtc_loss_sent: float | None
    sip_codec: str | None
    sip_mos_received: float | None
    sip_mos_sent: float | None
    sip_loss_received: float | None
    sip_loss_sent: float | None
    transferred_to: str | None
    recordings: list[str]
    metadata: dict[str, Any]


class CallRecordList(Response):
    """GET /api/cdr: a page. `next_cursor`: of the page after it; null: this is the last."""

    records: list[CallRecordInfo]
    next_cursor: str | None


class RecordTotals(Response):
    """Rows since the start, also of calls that live. `waiting`: not written yet. `lost`: never will be. `failures`: of
    the database; `error` is the one that lasts."""

    state: RecordsState
    instance: str
    waiting: int
    written: int
    lost: int
    failures: int
    error: str | None
