"""Call records: one row a call, in SQLite or PostgreSQL, whatever becomes of the call, the server or the database."""

from .call_records import CallRecords
from .failures import RecordsUnavailable
from .query import RecordQuery

__all__ = ["CallRecords", "RecordQuery", "RecordsUnavailable"]
