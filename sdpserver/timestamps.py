"""Times of day as clients get them: ISO 8601, UTC, to the millisecond where no more is said."""

from __future__ import annotations

from datetime import datetime


def utc_text(at: datetime, timespec: str = "milliseconds") -> str:
    """`2026-01-31T12:00:00.000Z` of a time in UTC."""
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
