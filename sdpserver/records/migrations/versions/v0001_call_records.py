"""The tables of call records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    number = sa.Float(53)
    op.create_table(
        "call_records",
        sa.Column("record_id", sa.Text, primary_key=True),
        sa.Column("call_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("dn", sa.Text),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("from_number", sa.Text),
        sa.Column("to_number", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text),
        sa.Column("trunk", sa.Text),
        sa.Column("created_at", time, nullable=False),
        sa.Column("over_by", time, nullable=False),
        sa.Column("answered_at", time),
        sa.Column("ended_at", time),
        sa.Column("duration_s", number),
        sa.Column("talk_s", number),
        sa.Column("result", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("sip_status", sa.Integer),
        sa.Column("sip_call_id", sa.Text),
        *(
            column
            for side in ("webrtc", "sip")
            for column in (
                sa.Column(f"{side}_codec", sa.Text),
                sa.Column(f"{side}_mos_received", number),
                sa.Column(f"{side}_mos_sent", number),
                sa.Column(f"{side}_loss_received", number),
                sa.Column(f"{side}_loss_sent", number),
            )
        ),
        sa.Column("transferred_to", sa.Text),
        sa.Column("recordings", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
    )
    op.create_index("call_records_created", "call_records", ["created_at", "record_id"])
    op.create_index("call_records_ended", "call_records", ["ended_at", "record_id"])
    op.create_index("call_records_call", "call_records", ["call_id"])
    op.create_index("call_records_owner", "call_records", ["owner", "created_at"])
    op.create_index("call_records_dn", "call_records", ["dn", "created_at"])
    op.create_index("call_records_from", "call_records", ["from_number", "created_at"])
    op.create_index("call_records_to", "call_records", ["to_number", "created_at"])
    unfinished = sa.text("result IS NULL")
    op.create_index(
        "call_records_unfinished",
        "call_records",
        ["instance"],
        postgresql_where=unfinished,
        sqlite_where=unfinished,
    )
    op.create_table(
        "server_runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("started_at", time, nullable=False),
        sa.Column("seen_at", time, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("server_runs")
    op.drop_table("call_records")
