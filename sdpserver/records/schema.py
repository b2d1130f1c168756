"""The tables as they are now. `migrations` leads there from what earlier versions have made."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, DateTime, Dialect, Float, Index, Integer, MetaData, Table, Text, TypeDecorator

REVISION = "0001"
"""The last of `migrations/versions`."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone. SQLite has no such type: there it is UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

call_records = Table(
    "call_records",
    metadata,
    Column("record_id", Text, primary_key=True),
    Column("call_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("dn", Text),
    Column("direction", Text, nullable=False),
    Column("from_number", Text),
    Column("to_number", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("display_name", Text),
    Column("trunk", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("over_by", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("duration_s", Float(53)),
    Column("talk_s", Float(53)),
    Column("result", Text),
    Column("reason", Text),
    Column("sip_status", Integer),
    Column("sip_call_id", Text),
    Column("webrtc_codec", Text),
    Column("webrtc_mos_received", Float(53)),
    Column("webrtc_mos_sent", Float(53)),
    Column("webrtc_loss_received", Float(53)),
    Column("webrtc_loss_sent", Float(53)),
    Column("sip_codec", Text),
    Column("sip_mos_received", Float(53)),
    Column("sip_mos_sent", Float(53)),
    Column("sip_loss_received", Float(53)),
    Column("sip_loss_sent", Float(53)),
    Column("transferred_to", Text),
    Column("recordings", Text, nullable=False),
    Column("metadata", Text, nullable=False),
)
_columns = call_records.c
Index("call_records_created", _columns.created_at, _columns.record_id)
Index("call_records_ended", _columns.ended_at, _columns.record_id)
Index("call_records_call", _columns.call_id)
Index("call_records_owner", _columns.owner, _columns.created_at)
Index("call_records_dn", _columns.dn, _columns.created_at)
Index("call_records_from", _columns.from_number, _columns.created_at)
Index("call_records_to", _columns.to_number, _columns.created_at)
Index(
    "call_records_unfinished",
    _columns.instance,
    postgresql_where=_columns.result.is_(None),
    sqlite_where=_columns.result.is_(None),
)

server_runs = Table(
    "server_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("instance", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
