"""What can go wrong with the database of the records.

DatabaseFailed           it is gone, full, read-only or of a later version: tried again
└── RecordsRefused       it does not take these records, and never will
RecordsUnavailable  503  a client asks for records that cannot be read now
"""

from __future__ import annotations

from typing import Any

from sdpserver.errors import Unavailable


class DatabaseFailed(Exception):
    """The text is fit for logs: it names neither a password nor what is in a record."""


class RecordsRefused(DatabaseFailed):
    """At least one of the records is at fault, and nothing has been written."""


class RecordsUnavailable(Unavailable):
    """503 `records_unavailable`: the database does not answer, or too many ask at once."""

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message, reason="records_unavailable", **detail)
