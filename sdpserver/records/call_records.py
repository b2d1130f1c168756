"""The records of all calls, as the rest of the server sees them."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import RowMapping

from sdpserver.config import Config
from sdpserver.models.base import RecordsState
from sdpserver.models.records import RecordTotals
from sdpserver.session import Session

from .database import READERS, Database
from .failures import DatabaseFailed, RecordsUnavailable
from .following import FollowedCall
from .query import RecordQuery
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
        self._writer = Writer(self._database, keep_days=records.keep_days)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="call records reader")
        self._reading = 0
        self._calls: dict[str, FollowedCall] = {}

    def start(self) -> None:
        """The database is connected to, and its tables are brought up to date, while calls are made already."""
        self._writer.start()

    async def stop(self, within_s: float) -> None:
        """Write what waits, within this time."""
        await asyncio.to_thread(self._writer.stop, within_s)
        self._readers.shutdown(wait=False, cancel_futures=True)

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
        loop = asyncio.get_running_loop()
        self._reading += 1
        future = loop.run_in_executor(self._readers, self._read, query, limit, form)
        future.add_done_callback(self._has_read)  # also of one that nobody waits for any more
        try:
            async with asyncio.timeout(READ_S):
                return await asyncio.shield(future)
        except TimeoutError as exc:
            text = "the database of call records does not answer in time"
            raise RecordsUnavailable(text, retry_after_s=RETRY_AFTER_S) from exc
        except DatabaseFailed as exc:
            log.warning("call records cannot be read", error=str(exc))
            raise RecordsUnavailable("call records cannot be read now", retry_after_s=RETRY_AFTER_S) from exc

    def _read(self, query: RecordQuery, limit: int, form: Callable[[Sequence[RowMapping]], T]) -> T:
        return form(self._database.read(query.select(limit)))

    def _has_read(self, future: asyncio.Future[T]) -> None:
        self._reading -= 1
        if not future.cancelled():
            future.exception()  # its waiter has it, or has given up

    @property
    def state(self) -> RecordsState:
        """Whether records are being written."""
        return self._writer.state

    @property
    def totals(self) -> RecordTotals:
        """The figures of this process."""
        return self._writer.totals(self.instance)
