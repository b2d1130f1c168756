"""Records as clients get them: JSON, or CSV (RFC 4180). Pure; for a thread that is not the event loop's."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from sdpserver.models.records import CallRecordInfo
from sdpserver.timestamps import utc_text

from .query import Cursor, TimeColumn

_COLUMNS = {"from_": "from_number", "to": "to_number"}
_FIELDS = tuple((field.name, field.encode_name) for field in msgspec.structs.fields(CallRecordInfo))

# What a spreadsheet takes for the beginning of a formula, as OWASP lists it ("CSV Injection").
_FORMULA = re.compile(r"[=+\-@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


def _value(row: RowMapping, name: str) -> Any:
    value = row[_COLUMNS.get(name, name)]
    return utc_text(value) if isinstance(value, datetime) else value


def json_page(rows: Sequence[RowMapping], *, limit: int, by: TimeColumn) -> bytes:
    """A `CallRecordList` of the first `limit` of the rows; one more says that there is another page."""
    records = [
        {
            shown: json.loads(row[name]) if name in ("recordings", "metadata") else _value(row, name)
            for name, shown in _FIELDS
        }
        for row in rows[:limit]
    ]
    cursor = cursor_of(rows[limit - 1], by).encode() if len(rows) > limit else None
    return json.dumps({"records": records, "next_cursor": cursor}, separators=(",", ":")).encode()


def csv_head() -> bytes:
    """The names of the columns."""
    return _csv([[shown for _, shown in _FIELDS]])


def csv_lines(rows: Sequence[RowMapping]) -> bytes:
    """A line for each. `recordings` are separated by `;`."""
    return _csv([[_cell(row, name) for name, _ in _FIELDS] for row in rows])


def cursor_of(row: RowMapping, by: TimeColumn) -> Cursor:
    return Cursor(by=by, at=row["created_at" if by == "created" else "ended_at"], record_id=row["record_id"])


def _cell(row: RowMapping, name: str) -> Any:
    value = _value(row, name)
    if name == "recordings":
        value = ";".join(json.loads(value))
    elif name == "metadata" and value == "{}":
        value = ""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"  # a client's words must not run in whoever opens the file; a number such as +49123 cannot
    return value


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
