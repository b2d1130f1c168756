"""Several servers on one database, and one server over several lives."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from peers.waiting import wait_until

from sdpserver.records.database import Database

from .caller import make_record, rows_of
from .conftest import Start

OPEN: dict[str, Any] = {"result": None, "ended_at": None, "duration_s": None, "talk_s": None, "reason": None}


@pytest.fixture
def databases() -> Iterator[list[Database]]:
    """What a test puts there is closed at its end."""
    opened: list[Database] = []
    yield opened
    for database in opened:
        database.close()


def open_call(database: Database, number: int, *, run_id: str, instance: str = "here", **members: Any) -> None:
    now = datetime.now(UTC)
    times = {"created_at": now, "answered_at": now, "over_by": now + timedelta(hours=1)}
    database.write([make_record(number, run_id=run_id, instance=instance, **{**OPEN, **times, **members})])


def results(url: str) -> list[str | None]:
    return [row["result"] for row in rows_of(url)]


def wait_results(database: Database, url: str, expected: list[str | None]) -> None:
    """Once it tells that it lives, as a server does every 10 s. PostgreSQL lets go of the lock of a connection that has
    ended when it has noticed."""

    def look() -> bool:
        database.tell_alive()
        return results(url) == expected

    wait_until(look, timeout_s=5, what=f"the results to be {expected}")


def test_a_server_closes_what_its_own_last_life_left_open(database_url: str, databases: list[Database]) -> None:
    first = Database(database_url, instance="here", run_id="first")
    open_call(first, 1, run_id="first")
    seen_at = datetime.now(UTC)
    first.tell_alive()
    gone_at = datetime.now(UTC)
    first.close()  # and nothing of the call's end
    second = Database(database_url, instance="here", run_id="second")
    databases.append(second)
    wait_results(second, database_url, ["interrupted"])
    (row,) = rows_of(database_url)
    assert row["reason"] == "server_lost"
    ended_at = row["ended_at"]
    ended_at = datetime.fromisoformat(ended_at).replace(tzinfo=UTC) if isinstance(ended_at, str) else ended_at
    assert seen_at <= ended_at <= gone_at  # when it was last known to live
    assert row["talk_s"] == pytest.approx(row["duration_s"])


def test_a_server_leaves_the_calls_of_another_alone(database_url: str, databases: list[Database]) -> None:
    here, there = (Database(database_url, instance=name, run_id=name) for name in ("here", "there"))
    databases += [here, there]
    open_call(there, 1, run_id="there", instance="there")
    there.disconnect()  # as when the database is restarted: its lock is gone
    here.connect()
    here.tell_alive()
    assert results(database_url) == [None]


def test_two_servers_of_one_name_leave_each_other_s_calls_alone(database_url: str, databases: list[Database]) -> None:
    first, second = (Database(database_url, instance="here", run_id=run) for run in ("first", "second"))
    databases += [first, second]
    open_call(first, 1, run_id="first")
    open_call(second, 2, run_id="second")
    second.tell_alive()
    first.tell_alive()
    assert results(database_url) == [None, None]
    first.disconnect()  # it ends
    wait_results(second, database_url, ["interrupted", None])


def test_calls_past_their_longest_duration_are_closed_by_whoever_comes(
    database_url: str, databases: list[Database]
) -> None:
    lost = Database(database_url, instance="a-container", run_id="lost")
    past = datetime.now(UTC) - timedelta(hours=2)
    open_call(lost, 1, run_id="lost", created_at=past, answered_at=None, over_by=past + timedelta(hours=1))
    lost.close()
    here = Database(database_url, instance="here", run_id="here")
    databases.append(here)
    here.connect()
    (row,) = rows_of(database_url)
    assert (row["result"], row["talk_s"]) == ("interrupted", 0)
    assert 0 <= row["duration_s"] <= 3600


def test_an_end_that_is_written_late_takes_the_place_of_interrupted(
    database_url: str, databases: list[Database]
) -> None:
    database = Database(database_url, instance="here", run_id="run")
    databases.append(database)
    database.write([make_record(1, result="interrupted", reason="server_lost", talk_s=0.0)])
    database.write([make_record(1)])
    (row,) = rows_of(database_url)
    assert (row["result"], row["reason"], row["talk_s"]) == ("answered", "normal_clearing", 6)


def test_servers_that_start_at_once_make_the_tables_once(database_url: str, databases: list[Database]) -> None:
    databases += [Database(database_url, instance=f"n{number}", run_id=f"r{number}") for number in range(6)]
    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(lambda database: database.connect(), databases))
    for number, database in enumerate(databases):
        database.write([make_record(number)])
    assert len(rows_of(database_url)) == 6


def test_a_file_that_another_writes_to_is_waited_for_before_it_has_a_log(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # as a server that starts at the same moment
    ending = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    ending.start()
    with contextlib.closing(Database(f"sqlite:///{tmp_path}/records.db", instance="here", run_id="run")) as database:
        database.connect()
    ending.join()
    other.close()


def test_two_servers_write_to_one_database(database_url: str, start: Start) -> None:
    servers = [start(database_url) for _ in range(2)]
    made = []
    for _ in range(20):
        for _, caller in servers:
            call = caller.call()
            made.append(call["call"]["call_id"])
            caller.hang_up(call)
    kept_open = servers[1][1].call()["call"]["call_id"]
    wait_until(lambda: len(rows_of(database_url)) == 41, timeout_s=10, what="all rows")
    process = servers[0][0].process
    assert process is not None
    process.kill()
    process.wait(5)
    servers[0][0].start()
    wait_until(lambda: len(servers[1][1].records(limit=1000)) == 40, timeout_s=15, what="the records")
    rows = {row["call_id"]: row for row in rows_of(database_url)}
    assert set(rows) == {*made, kept_open}
    assert rows[kept_open]["result"] is None
    assert len({row["instance"] for row in rows.values()}) == 2
