"""Writes call records on a thread of its own, so that no call ever waits for a database.

What waits is the newest form of each call's record, so a call that begins and ends while the database is gone is one
row. It is bounded: first the records of calls that are still open are let go, since their end will be written with all
that they had; then those of calls that end are lost, counted, and logged with what a bill needs.

At the end of the process what waits goes to a file if the database does not take it, and from there to the database at
the next start.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from sdpserver.models.base import RecordsState
from sdpserver.models.records import RecordTotals

from .database import Database
from .failures import DatabaseFailed, RecordsRefused
from .record import CallRecord
from .spill import Spill

log = structlog.get_logger(__name__)

GATHER_S = 0.02
"""Records that come within it share a transaction, and a call's beginning does not compete with its answer."""

INTERVAL_S = 0.2
"""Between transactions at the least."""

MAX_BATCH = 500
MAX_WAITING = 20_000
MAX_WAITING_OCTETS = 128 << 20
ALIVE_S = 10.0
PURGE_S = 3600.0
FIRST_RETRY_S, MAX_RETRY_S = 0.5, 30.0
LAST_RETRY_S = 0.1
"""Between attempts once the server is being stopped."""


class Writer:
    """`submit` is for the event loop; all else happens on the thread."""

    def __init__(
        self,
        database: Database,
        spill: Spill,
        *,
        keep_days: int = 0,
        max_waiting: int = MAX_WAITING,
        max_waiting_octets: int = MAX_WAITING_OCTETS,
    ) -> None:
        self._database = database
        self._spill = spill
        self._has_read_spill = False
        self._keep_days = keep_days
        self._max_waiting = max_waiting
        self._max_octets = max_waiting_octets
        self._changed = threading.Condition()
        self._open: dict[str, CallRecord] = {}
        self._ended: dict[str, CallRecord] = {}
        self._writing: list[CallRecord] = []
        self._octets = 0
        self._stop_at: float | None = None
        self._written = self._lost = self._failures = 0
        self._error: str | None = None
        self._failing_since: float | None = None
        self._is_ready = False
        self._alive_at = self._purge_at = self._written_at = 0.0
        self._thread = threading.Thread(target=self._run, name="call records", daemon=True)

    # -- the event loop's

    def start(self) -> None:
        self._thread.start()

    def submit(self, record: CallRecord) -> None:
        """Have a record written in place of the one before of the same call. Does not wait, and does not raise."""
        lost: CallRecord | None = None
        with self._changed:
            was_empty = not self._waiting
            self._forget(self._open, record.record_id)
            if record.result is None:
                if not self._is_full:
                    self._put(self._open, record)
            else:
                while self._is_full and self._open:
                    self._forget(self._open, next(iter(self._open)))
                if self._is_full:
                    lost = record
                    self._lost += 1
                else:
                    self._put(self._ended, record)
            if was_empty:
                self._changed.notify()
        if lost is not None:
            _log_lost(lost, "too many records wait for the database")

    @property
    def _waiting(self) -> int:
        return len(self._open) + len(self._ended)

    @property
    def _is_full(self) -> bool:
        return self._waiting >= self._max_waiting or self._octets >= self._max_octets

    def _put(self, where: dict[str, CallRecord], record: CallRecord) -> None:
        where[record.record_id] = record
        self._octets += record.octets

    def _forget(self, where: dict[str, CallRecord], record_id: str) -> None:
        if (record := where.pop(record_id, None)) is not None:
            self._octets -= record.octets

    def stop(self, within_s: float) -> None:
        """Write what waits, within this time, and end. Waits for it. What could not be written goes to the spill."""
        with self._changed:
            self._stop_at = time.monotonic() + within_s
            self._changed.notify()
        self._thread.join(within_s + LAST_RETRY_S)
        with self._changed:
            left = [record for record in (*self._writing, *self._ended.values()) if record.result is not None]
        if not left:
            return
        try:
            self._spill.keep(left)
        except OSError as exc:
            self._lost += len(left)
            for record in left:
                _log_lost(record, f"neither the database takes it ({self._error}) nor {self._spill.file} ({exc})")
        else:
            log.warning("records wait for the next start", file=str(self._spill.file), records=len(left))

    @property
    def state(self) -> RecordsState:
        if self._failing_since is not None:
            return "retrying"
        return "ok" if self._is_ready else "starting"

    def totals(self, instance: str) -> RecordTotals:
        """The figures of this process."""
        with self._changed:
            waiting = self._waiting + len(self._writing)
        return RecordTotals(
            state=self.state,
            instance=instance,
            waiting=waiting,
            written=self._written,
            lost=self._lost,
            failures=self._failures,
            error=self._error,
        )

    # -- the thread

    def _run(self) -> None:
        retry_s = 0.0
        try:
            while self._wait(retry_s):
                try:
                    self._step()
                    retry_s = 0.0
                except DatabaseFailed as exc:
                    retry_s = min(max(2 * retry_s, FIRST_RETRY_S), MAX_RETRY_S)
                    self._failed(exc)
                except Exception as exc:  # a bug here must cost neither the thread nor the records
                    log.exception("call records failed")
                    retry_s = MAX_RETRY_S
                    self._failed(DatabaseFailed(f"{type(exc).__name__}"))
        finally:
            self._database.close()

    def _wait(self, retry_s: float) -> bool:
        """Until there is something to do; False: the end.

        :param retry_s: since the last attempt has failed; 0: it has not.
        """
        with self._changed:
            if retry_s:
                self._changed.wait_for(self._is_stopping, retry_s)
            elif self._is_ready:
                idle_s = max(self._alive_at - time.monotonic(), 0.0)
                if self._changed.wait_for(lambda: self._waiting or self._is_stopping(), idle_s):
                    since_s = time.monotonic() - self._written_at
                    self._changed.wait_for(self._is_stopping, max(GATHER_S, INTERVAL_S - since_s))
            if self._stop_at is None:
                return True
            left_s = self._stop_at - time.monotonic()
            if not self._waiting or left_s <= 0:
                return False
        if retry_s:
            time.sleep(min(LAST_RETRY_S, left_s))
        return True

    def _step(self) -> None:
        self._database.connect()
        self._is_ready = True  # it has taken this run's own row
        if not self._has_read_spill:
            self._write_spilt()
        batch = self._take()
        if batch:
            try:
                self._write(batch)
            except BaseException:
                self._put_back()
                raise
            finally:
                with self._changed:
                    self._writing = []
                self._written_at = time.monotonic()
        if time.monotonic() >= self._alive_at and not self._is_stopping():
            self._database.tell_alive()
            self._purge()
            self._alive_at = time.monotonic() + ALIVE_S
        self._succeeded()

    def _write_spilt(self) -> None:
        """What the last run could not write, from which this one's cannot differ: its calls have ended."""
        spilt = self._spill.read()
        for first in range(0, len(spilt), MAX_BATCH):
            self._write(spilt[first : first + MAX_BATCH])
        self._spill.clear()
        self._has_read_spill = True
        if spilt:
            log.info("records of the last run are written", records=len(spilt))

    def _is_stopping(self) -> bool:
        return self._stop_at is not None

    def _take(self) -> list[CallRecord]:
        with self._changed:
            for where in (self._ended, self._open):
                # In one pass: a dict that is emptied from its front keeps the gaps, to be skipped each time.
                first = list(itertools.islice(where.values(), MAX_BATCH - len(self._writing)))
                for record in first:
                    self._forget(where, record.record_id)
                self._writing += first
            return self._writing

    def _put_back(self) -> None:
        with self._changed:
            for record in self._writing:
                if record.record_id not in self._ended and record.record_id not in self._open:
                    self._put(self._open if record.result is None else self._ended, record)
            self._writing = []

    def _write(self, batch: list[CallRecord]) -> None:
        try:
            self._database.write(batch)
            self._written += len(batch)
        except RecordsRefused:
            self._write_each(batch)

    def _write_each(self, batch: Iterable[CallRecord]) -> None:
        """One of them is not taken by the database: it shall not keep the others back."""
        for record in batch:
            try:
                self._database.write([record])
                self._written += 1
            except RecordsRefused as exc:
                if record.result is not None:
                    self._lost += 1
                _log_lost(record, str(exc))

    def _purge(self) -> None:
        if not self._keep_days or time.monotonic() < self._purge_at:
            return
        before = datetime.now(UTC) - timedelta(days=self._keep_days)
        while self._database.purge(before=before):
            if self._waiting:
                return  # the rest goes with the next step
        self._database.purge_runs()
        self._purge_at = time.monotonic() + PURGE_S

    def _failed(self, exc: DatabaseFailed) -> None:
        self._database.disconnect()
        self._failures += 1
        text = str(exc)
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        if text != self._error:
            self._error = text
            log.warning("call records cannot be written; they are kept and tried again", error=text, **self._brief)

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            after_s = round(time.monotonic() - self._failing_since, 1)
            self._failing_since = self._error = None
            log.info("call records are written again", after_s=after_s, **self._brief)

    @property
    def _brief(self) -> dict[str, int]:
        return {"waiting": self._waiting, "lost": self._lost}


def _log_lost(record: CallRecord, why: str) -> None:
    log.error(
        "call record lost",
        why=why,
        call_id=record.call_id,
        owner=record.owner,
        direction=record.direction,
        from_number=record.from_number,
        to_number=record.to_number,
        created_at=record.created_at.isoformat(),
        answered_at=record.answered_at.isoformat() if record.answered_at else None,
        talk_s=record.talk_s,
        result=record.result,
        reason=record.reason,
    )
