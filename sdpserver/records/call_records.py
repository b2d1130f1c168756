"""The records of all calls, as the rest of the server sees them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import RowMapping

from sdpserver.config import Config
from sdpserver.models.base import RecordsState
from sdpserver.models.records import RecordTotals
from sdpserver.session import Session

from .database import Database
from .failures import DatabaseFailed, RecordsUnavailable
from .following import FollowedCall
from .query import RecordQuery
from .spill import Spill
from .writer import Writer

log = structlog.get_logger(__name__)

T = TypeVar("T")

READ_S = 20.0
MAX_READING = 16
"""Queries that run or wait; more than that are refused."""

RETRY_AFTER_S = 5


class CallRecords:
    """A follower of the sessions. Used on the event loop; nothing but `read` and `stop` waits."""

    def __init__(self, config: Config) -> None:
        records = config.records
        self.instance = records.instance or f"{socket.gethostname()}:{config.http.port}"
        self._run_id = secrets.token_hex(8)
        self._max_duration_s = config.session.max_duration_s
        self._database = Database(records.url, instance=self.instance, run_id=self._run_id)
        spill = Spill(Path(records.spill_dir), self.instance)
        self._writer = Writer(self._database, spill, keep_days=records.keep_days)
        self._reading = 0
        self._calls: dict[str, FollowedCall] = {}

    def start(self) -> None:
        """The database is connected to, and its tables are brought up to date, while calls are made already."""
        self._writer.start()

    async def stop(self, within_s: float) -> None:
        """Write what waits, within this time."""
        await asyncio.to_thread(self._writer.stop, within_s)

    # -- following

    def session_began(self, session: Session) -> None:
        self._calls[session.id] = FollowedCall(
            session,
            self._writer.submit,
            instance=self.instance,
            run_id=self._run_id,
            max_duration_s=self._max_duration_s,
        )

    def session_ended(self, session: Session) -> None:
        if (call := self._calls.pop(session.id, None)) is not None:
            call.finish(session)

    # -- reading

    async def read(self, query: RecordQuery, limit: int, form: Callable[[Sequence[RowMapping]], T]) -> T:
        """The first `limit` records that the query is for, in the form that `form` gives their rows; it is called on
        the reader's thread. Columns are as in `CallRecord`.

        :raises RecordsUnavailable:
        """
        if self._reading >= MAX_READING:
            raise RecordsUnavailable("too many ask for call records at once", retry_after_s=RETRY_AFTER_S)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._reading += 1
        threading.Thread(target=self._read, args=(future, query, limit, form), name="call records", daemon=True).start()
        try:
            async with asyncio.timeout(READ_S):
                return await future
        except TimeoutError as exc:
            text = "the database of call records does not answer in time"
            raise RecordsUnavailable(text, retry_after_s=RETRY_AFTER_S) from exc
        except DatabaseFailed as exc:
            log.warning("call records cannot be read", error=str(exc))
            raise RecordsUnavailable("call records cannot be read now", retry_after_s=RETRY_AFTER_S) from exc

    def _read(
        self, future: asyncio.Future[T], query: RecordQuery, limit: int, form: Callable[[Sequence[RowMapping]], T]
    ) -> None:
        """On a thread of its own. No executor's: a database that hangs would hold up the end of the process."""
        outcome: T | Exception
        try:
            outcome = form(self._database.read(query.select(limit)))
        except Exception as exc:  # it is the reader's
            outcome = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            future.get_loop().call_soon_threadsafe(self._has_read, future, outcome)

    def _has_read(self, future: asyncio.Future[T], outcome: T | Exception) -> None:
        self._reading -= 1
        if future.done():
            return  # its reader has given up
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    @property
    def state(self) -> RecordsState:
        """Whether records are being written."""
        return self._writer.state

    @property
    def totals(self) -> RecordTotals:
        """The figures of this process."""
        return self._writer.totals(self.instance)
