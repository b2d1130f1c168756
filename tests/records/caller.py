"""Calls without media, and their records: as a client reads them, and as they are in the database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from peers.offers import make_offer
from peers.server import ServerProcess
from peers.waiting import wait_until

from sdpserver.records.record import CallRecord

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Caller:
    """A client of a server."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def call(self, **members: Any) -> dict[str, Any]:
        """POST /webrtc/offer."""
        answer: dict[str, Any] = self.http.post("/webrtc/offer", json=make_offer(**members)).raise_for_status().json()
        return answer

    def hang_up(self, call: Mapping[str, Any]) -> None:
        self.http.post("/webrtc/close", json={"session_id": call["session_id"]}).raise_for_status()

    def records(self, **query: Any) -> list[dict[str, Any]]:
        """GET /api/cdr; none while they cannot be read."""
        answer = self.http.get("/api/cdr", params=query)
        found: list[dict[str, Any]] = answer.json()["records"] if answer.status_code == 200 else []
        return found

    def waiting(self) -> int:
        """How many records are not written yet, by GET /stats. Readers have a record from its commit on, the server
        knows of that a little later."""
        count: int = self.http.get("/stats").raise_for_status().json()["records"]["waiting"]
        return count

    def state(self) -> str:
        """That of the records, by GET /health."""
        return str(self.http.get("/health").raise_for_status().json()["records"])


def rows_of(url: str) -> list[dict[str, Any]]:
    """What is in the table of records, past the server, oldest first."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("call_records"):
                return []
            found = connection.execute(sa.text("SELECT * FROM call_records ORDER BY created_at, call_id"))
            return [dict(row) for row in found.mappings()]
    finally:
        engine.dispose()


def rows_after_the_end(server: ServerProcess, url: str) -> list[dict[str, Any]]:
    """Stop the server: what is in the table then. What a slow database has not taken within the time that there is for
    it is in a file, and from there in the table after the next start."""
    server.terminate()

    def spilt() -> list[Path]:
        return list(server.folder.glob("*.unwritten-records.jsonl"))

    if spilt():
        server.start()
        wait_until(lambda: not spilt(), timeout_s=10, what="the records of the last run to be written")
        server.terminate()
    return rows_of(url)


def make_record(number: int, **members: Any) -> CallRecord:
    """The record of a call that began `number` seconds after `BEGIN` and lasted 10 s."""
    begun = BEGIN + timedelta(seconds=number)
    ended: dict[str, Any] = {
        "answered_at": begun + timedelta(seconds=4),
        "ended_at": begun + timedelta(seconds=10),
        "duration_s": 10.0,
        "talk_s": 6.0,
        "result": "answered",
        "reason": "normal_clearing",
    }
    record = CallRecord(
        record_id=f"{number:032x}",
        call_id=f"{number:016x}",
        session_id=f"session-{number}",
        instance="here",
        run_id="run",
        owner="anonymous",
        dn=None,
        direction="outbound",
        from_number="5001",
        to_number=f"{600 + number}",
        destination=f"sip:{600 + number}@pbx",
        display_name=None,
        trunk="pbx",
        created_at=begun,
        over_by=begun + timedelta(hours=1),
    )
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return CallRecord(**{**fields, **ended, **members})
