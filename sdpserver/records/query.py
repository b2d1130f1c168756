"""Which records a client asks for, as SQL. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from sdpserver.errors import BadRequest

from .schema import call_records

TimeColumn = Literal["created", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The last record of a page: the next page has those that are older by (time, record_id)."""

    by: TimeColumn
    at: datetime
    record_id: str

    def encode(self) -> str:
        """The form that clients get, and give back unread."""
        text = f"{self.by} {self.at.isoformat()} {self.record_id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """:raises BadRequest: `invalid_cursor`."""
        try:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            by, at, record_id = octets.decode("ascii").split(" ")
            time = datetime.fromisoformat(at)
            if by not in ("created", "ended") or time.tzinfo is None:
                raise ValueError(by)
        except (ValueError, binascii.Error) as exc:
            raise BadRequest("cursor must be the next_cursor of an earlier answer", reason="invalid_cursor") from exc
        return cls(by="created" if by == "created" else "ended", at=time.astimezone(UTC), record_id=record_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose records: all, or those of `owner`, and with `dns` those of all DNs."""

    owner: str = ""
    dns: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """Of calls that have ended, newest first by `by`. Of what is None or empty, all.

    `since` counts in, `until` does not. `number` is the one that called or was called; with `*` at its end, all that
    begin so.
    """

    scope: Scope
    by: TimeColumn = "created"
    since: datetime | None = None
    until: datetime | None = None
    dn: str | None = None
    number: str | None = None
    results: tuple[str, ...] = ()
    direction: str | None = None
    call_id: str | None = None
    after: Cursor | None = None

    def select(self, limit: int) -> sa.Select[Any]:
        """The first `limit` of them after the cursor."""
        record = call_records.c
        time = record.created_at if self.by == "created" else record.ended_at
        conditions: list[ColumnElement[bool]] = [record.result.is_not(None)]
        if not self.scope.everything:
            mine = record.owner == self.scope.owner
            conditions.append(sa.or_(mine, record.dn.is_not(None)) if self.scope.dns else mine)
        if self.since is not None:
            conditions.append(time >= self.since)
        if self.until is not None:
            conditions.append(time < self.until)
        if self.dn is not None:
            conditions.append(record.dn == self.dn)
        if self.number is not None:
            conditions.append(_is_number(self.number))
        if self.results:
            conditions.append(record.result.in_(self.results))
        if self.direction is not None:
            conditions.append(record.direction == self.direction)
        if self.call_id is not None:
            conditions.append(record.call_id == self.call_id)
        if self.after is not None:
            # The first condition is in the second, and lets an index begin where the page does.
            conditions.append(time <= self.after.at)
            conditions.append(sa.or_(time < self.after.at, record.record_id < self.after.record_id))
        return sa.select(call_records).where(*conditions).order_by(time.desc(), record.record_id.desc()).limit(limit)


def _is_number(number: str) -> ColumnElement[bool]:
    columns = (call_records.c.from_number, call_records.c.to_number)
    if not number.endswith("*"):
        return sa.or_(*(column == number for column in columns))
    start = number[:-1]
    return sa.or_(*(column.startswith(start, autoescape=True) for column in columns))
