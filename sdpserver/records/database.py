"""The database of the records: SQLite or PostgreSQL, behind one class. Everything here blocks.

One thread writes, over one connection that it keeps; others read, over connections of their own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy import Connection, Engine, RowMapping
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from .failures import DatabaseFailed, RecordsRefused
from .migration import migrate
from .record import CallRecord, Result
from .schema import call_records, server_runs

log = structlog.get_logger(__name__)

READERS = 2
CONNECT_S = 5
STATEMENT_S = 15
SQLITE_BUSY_S = 5.0
SQLITE_LOOK_S = 0.01
PURGE_BATCH = 1000

_POSTGRESQL_OPTIONS = {
    "connect_timeout": str(CONNECT_S),
    "application_name": "sdpserver",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": str(STATEMENT_S * 1000),
    "options": f"-c statement_timeout={STATEMENT_S}s",
}
_REFUSED = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
"""What is the records' own fault. A lone `StatementError` is too: the driver did not get as far as to ask."""


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """The one statement for which SQLite does not wait for another connection's lock by itself (it has read before it
    writes, and two that do so would wait for each other), such as that of a server that starts at the same moment."""
    wait_until = time.monotonic() + SQLITE_BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= wait_until:
                raise
        time.sleep(SQLITE_LOOK_S)


class Database:
    """`instance`: this server's name, which it has again after a restart; `run_id`: this process's."""

    def __init__(self, url: str, *, instance: str, run_id: str) -> None:
        """
        :param url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`, as `config_checks` lets pass.
        """
        self._url = sa.make_url(url)
        self._instance = instance
        self._run_id = run_id
        self._started_at = datetime.now(UTC)
        self._connection: Connection | None = None
        self._lock: IO[bytes] | None = None
        self._has_lock = False
        self._told_of_lock = False
        if self._url.get_backend_name() == "sqlite":
            self._writer = self._sqlite("BEGIN IMMEDIATE", poolclass=NullPool)
            self._reader = self._sqlite("BEGIN", pool_size=READERS, max_overflow=0, pool_timeout=STATEMENT_S)
            insert: Any = sqlite.insert
        else:
            self._writer = self._postgresql(poolclass=NullPool)
            self._reader = self._postgresql(
                pool_size=READERS, max_overflow=0, pool_timeout=STATEMENT_S, pool_pre_ping=True
            )
            insert = postgresql.insert
        written = insert(call_records)
        self._upsert = written.on_conflict_do_update(
            index_elements=["record_id"],
            set_={column.name: column for column in written.excluded if column.name != "record_id"},
        )
        run = insert(server_runs)
        self._upsert_run = run.on_conflict_do_update(index_elements=["run_id"], set_={"seen_at": run.excluded.seen_at})

    # -- engines

    def _sqlite(self, begin: str, **options: Any) -> Engine:
        engine = sa.create_engine(
            self._url,
            hide_parameters=True,
            connect_args={"timeout": SQLITE_BUSY_S, "check_same_thread": False},
            **options,
        )
        is_writer = begin != "BEGIN"

        # The driver's own idea of when a transaction begins leaves table changes out of it.
        @sa.event.listens_for(engine, "connect")
        def connected(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None
            if is_writer:
                # Readers and a writer do not wait for each other, and what is committed survives a power cut.
                _use_write_ahead_log(connection)
                connection.execute("PRAGMA synchronous = FULL")

        @sa.event.listens_for(engine, "begin")
        def began(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _postgresql(self, **options: Any) -> Engine:
        ours = {name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in self._url.query}
        url = self._url.set(drivername="postgresql+psycopg")
        return sa.create_engine(url, hide_parameters=True, connect_args=ours, **options)

    # -- failures

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """
        :raises DatabaseFailed: of everything that goes wrong. :raises RecordsRefused: for the sake of a record.
        """
        try:
            yield
        except _REFUSED as exc:
            raise RecordsRefused(self._text(exc)) from exc
        except StatementError as exc:
            if isinstance(exc, DBAPIError):
                raise DatabaseFailed(self._text(exc)) from exc
            raise RecordsRefused(self._text(exc)) from exc
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            raise DatabaseFailed(self._text(exc)) from exc

    def _text(self, exc: BaseException) -> str:
        cause = exc.orig if isinstance(exc, StatementError) and exc.orig is not None else exc
        text = " ".join(str(cause).split()) or type(cause).__name__
        for secret in (self._url.password, self._url.query.get("password")):
            if isinstance(secret, str) and secret:
                text = text.replace(secret, "***")
        return text[:500]

    # -- the writer's

    def connect(self) -> None:
        """Be ready to write: the tables are there, and what an earlier run of this server left open is closed.

        Idempotent; quick when it is so already.

        :raises DatabaseFailed: it is not.
        """
        if self._connection is not None:
            return
        with self._translated():
            if self._url.get_backend_name() == "sqlite":
                self._create_file()
            self._connection = self._writer.connect()
        try:
            with self._translated():
                migrate(self._connection)
            self.tell_alive()
        except BaseException:
            self.disconnect()
            raise

    def _create_file(self) -> None:
        """If it is not there: who called whom is its owner's affair.

        One that is there must not be opened past SQLite: closing it again would let go of the locks that our readers
        have on it, as POSIX has it, and another program would then take away the log that we write to (sqlite.org, "How
        To Corrupt An SQLite Database File", section 2.2).
        """
        with suppress(FileExistsError):
            os.close(os.open(self._url.database or "", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def disconnect(self) -> None:
        """Let go of the connection and of the instance's lock; nothing of it is used again. Idempotent."""
        connection, self._connection = self._connection, None
        self._has_lock = False
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if connection is not None:
            with suppress(SQLAlchemyError, sqlite3.Error, OSError):  # it is broken, which is why it goes
                connection.close()

    def close(self) -> None:
        """The end of all connections."""
        self.disconnect()
        self._reader.dispose()

    def write(self, records: Sequence[CallRecord]) -> None:
        """All of them or none, each in place of what was known of its call.

        :raises DatabaseFailed: nothing has been written, as far as can be told; writing it again does no harm.
        """
        self.connect()
        assert self._connection is not None
        with self._translated(), self._connection.begin():
            self._connection.execute(self._upsert, [msgspec.structs.asdict(record) for record in records])

    def tell_alive(self) -> None:
        """Note that this process lives, and close what is open of processes that do not.

        :raises DatabaseFailed:
        """
        self.connect()
        assert self._connection is not None
        now = datetime.now(UTC)
        with self._translated():
            with self._connection.begin():
                run = {
                    "run_id": self._run_id,
                    "instance": self._instance,
                    "started_at": self._started_at,
                    "seen_at": now,
                }
                self._connection.execute(self._upsert_run, run)
            self._take_lock()
            with self._connection.begin():
                closed = self._close_interrupted(self._connection, now)
        if closed:
            log.warning("call records closed as interrupted", calls=closed, instance=self._instance)

    def _take_lock(self) -> None:
        """The lock says that a server with this instance's name lives; it goes with the connection or the process."""
        if self._has_lock:
            return
        assert self._connection is not None
        if self._url.get_backend_name() == "sqlite":
            self._has_lock = self._lock_file()
        else:
            with self._connection.begin():
                key = int.from_bytes(hashlib.sha256(self._instance.encode()).digest()[:8], signed=True)
                self._has_lock = bool(self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))
        if not self._has_lock and not self._told_of_lock:
            self._told_of_lock = True
            log.warning(
                "another server writes call records under the same name; give each its own [records] instance",
                instance=self._instance,
            )

    def _lock_file(self) -> bool:
        name = hashlib.sha256(self._instance.encode()).hexdigest()[:8]
        file = Path(f"{self._url.database}.{name}.lock").open("ab")  # noqa: SIM115 - it is kept as long as the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def _close_interrupted(self, connection: Connection, now: datetime) -> int:
        """Calls of this instance's earlier runs, and whoever's that are past their longest duration.

        They ended when their process was last known to live.
        """
        record, run = call_records.c, server_runs.c
        lost = record.over_by < now
        if self._has_lock:
            # Not of a later one, which lives without the lock when two servers have been given one name.
            is_earlier = sa.or_(run.started_at.is_(None), run.started_at < self._started_at)
            lost = sa.or_(lost, sa.and_(record.instance == self._instance, is_earlier))
        query = (
            sa.select(record.record_id, record.created_at, record.answered_at, record.over_by, run.seen_at)
            .select_from(call_records.outerjoin(server_runs, record.run_id == run.run_id))
            .where(record.result.is_(None), record.run_id != self._run_id, lost)
        )
        closed = 0
        for row in connection.execute(query).all():
            ended_at = max(row.created_at, min(row.seen_at or row.created_at, row.over_by))
            talked_s = (ended_at - row.answered_at).total_seconds() if row.answered_at else 0.0
            change = sa.update(call_records).where(record.record_id == row.record_id, record.result.is_(None))
            closed += connection.execute(
                change.values(
                    result=Result.INTERRUPTED.value,
                    reason="server_lost",
                    ended_at=ended_at,
                    duration_s=round((ended_at - row.created_at).total_seconds(), 3),
                    talk_s=round(max(talked_s, 0.0), 3),
                )
            ).rowcount
        return closed

    def purge(self, *, before: datetime) -> int:
        """Remove some of the oldest calls that ended before then; how many. 0: no more are there.

        :raises DatabaseFailed:
        """
        self.connect()
        assert self._connection is not None
        record = call_records.c
        old = sa.select(record.record_id).where(record.ended_at < before).order_by(record.ended_at).limit(PURGE_BATCH)
        with self._translated(), self._connection.begin():
            return self._connection.execute(sa.delete(call_records).where(record.record_id.in_(old))).rowcount

    def purge_runs(self, *, days: int = 30) -> None:
        """Forget processes that ended long ago and have no open calls.

        :raises DatabaseFailed:
        """
        self.connect()
        assert self._connection is not None
        open_runs = sa.select(call_records.c.run_id).where(call_records.c.result.is_(None))
        gone = server_runs.c.seen_at < datetime.now(UTC) - timedelta(days=days)
        with self._translated(), self._connection.begin():
            self._connection.execute(sa.delete(server_runs).where(gone, server_runs.c.run_id.not_in(open_runs)))

    # -- the readers'

    def read(self, query: sa.Select[Any]) -> Sequence[RowMapping]:
        """The rows of a query.

        :raises DatabaseFailed:
        """
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").exists():
            raise DatabaseFailed("there is no such file yet")  # reading must not make it
        with self._translated(), self._reader.connect() as connection, connection.begin():
            return connection.execute(query).mappings().all()
