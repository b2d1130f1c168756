"""What is kept of a call. Pure."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Result(enum.StrEnum):
    """What became of a call, in one word; `reason` has the details."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


BY_REASON: Mapping[str, Result] = {
    "busy": Result.BUSY,
    "no_answer": Result.NO_ANSWER,
    "unavailable": Result.NO_ANSWER,
    "rejected": Result.REJECTED,
    "answered_elsewhere": Result.CANCELLED,
    "cancelled": Result.CANCELLED,
    "client_closed": Result.CANCELLED,
    "client_disconnected": Result.CANCELLED,
    "client_gone": Result.CANCELLED,
    "dtls_failed": Result.FAILED,
    "internal_error": Result.FAILED,
    "max_duration": Result.FAILED,
    "media_timeout": Result.FAILED,
    "server_shutdown": Result.FAILED,
    "setup_timeout": Result.FAILED,
}
"""Of calls that nobody has answered. Other reasons of the far end are failures, others of a client its own words."""


def result_of(*, answered: bool, inbound: bool, was_offered: bool, ended: str | None, closed: str) -> Result:
    """
    :param was_offered: the page has its SDP answer; a session that is closed before is refused by this server.
    :param ended: why the far end has ended the call; None: it has not.
    :param closed: why the session was closed.
    """
    if answered:
        return Result.ANSWERED
    if (known := BY_REASON.get(ended or closed)) is not None:
        return known
    if ended is not None:
        return Result.FAILED
    if inbound:
        return Result.REJECTED  # a client of the DN has hung up what was ringing
    return Result.CANCELLED if was_offered else Result.FAILED


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call, as far as it has got; the fields are the columns of `call_records`.

    `record_id` is its own alone; a client may give `call_id` and `session_id`, and the same ones again later.

    `result`, `ended_at` and `duration_s` are None while it lasts. `talk_s` is the time from the answer to the end, 0
    for a call that nobody has answered. `over_by`: by then it has ended, come what may. Of each side, `received`
    is what we heard from it, `sent` what it heard from us by its own reports; loss is a fraction. `recordings` and
    `metadata` are JSON. `run_id` is of the process, `instance` of the server, whose name outlives it.
    """

    record_id: str
    call_id: str
    session_id: str
    instance: str
    run_id: str
    owner: str
    dn: str | None
    direction: str
    from_number: str | None
    to_number: str
    destination: str
    display_name: str | None
    trunk: str | None
    created_at: datetime
    over_by: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    talk_s: float | None = None
    result: str | None = None
    reason: str | None = None
    sip_status: int | None = None
    sip_call_id: str | None = None
    webrtc_codec: str | None = None
    webrtc_mos_received: float | None = None
    webrtc_mos_sent: float | None = None
    webrtc_loss_received: float | None = None
    webrtc_loss_sent: float | None = None
    sip_codec: str | None = None
    sip_mos_received: float | None = None
    sip_mos_sent: float | None = None
    sip_loss_received: float | None = None
    sip_loss_sent: float | None = None
    transferred_to: str | None = None
    recordings: str = "[]"
    metadata: str = "{}"

    @property
    def octets(self) -> int:
        """About as much memory as it takes."""
        return 2048 + len(self.metadata) + len(self.recordings)


def clean(text: str | None) -> str | None:
    """Text that every database takes: without NUL and without half surrogate pairs; empty is None."""
    if not text:
        return None
    if "\0" in text:
        text = text.replace("\0", REPLACEMENT)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_text(value: Mapping[str, Any] | Sequence[str]) -> str:
    """JSON in ASCII: whatever is in a client's strings is an escape, which a column of text takes."""
    return json.dumps(value, separators=(",", ":"))
