"""Calls go on when the database does not, and no record is lost or doubled by it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from peers.postgresql import PASSWORD, PostgreSql
from peers.server import ServerProcess
from peers.waiting import wait_until

from sdpserver.records.database import Database
from sdpserver.records.failures import DatabaseFailed
from sdpserver.records.spill import Spill
from sdpserver.records.writer import Writer

from .caller import Caller, make_record, rows_of
from .conftest import Start

LONGEST_S = 2.0
"""For one request while the database is gone; it takes milliseconds, but the machine is shared."""


def make_calls(caller: Caller, count: int) -> list[str]:
    """Made and ended; their ids. None may wait for the database."""
    call_ids = []
    for _ in range(count):
        started = time.monotonic()
        call = caller.call()
        caller.hang_up(call)
        assert time.monotonic() - started < LONGEST_S
        call_ids.append(call["call"]["call_id"])
    return call_ids


def wait_written(url: str, call_ids: list[str], timeout_s: float) -> None:
    """Each once, and all of them ended."""

    def ended() -> list[str]:
        return sorted(row["call_id"] for row in rows_of(url) if row["result"] is not None)

    wait_until(lambda: ended() == sorted(call_ids), timeout_s=timeout_s, what="all records to be written")
    assert len(rows_of(url)) == len(call_ids)


def test_calls_of_a_server_that_is_killed_are_neither_lost_nor_doubled(database_url: str, start: Start) -> None:
    server, caller = start(database_url, instance="here")
    done = make_calls(caller, 20)
    answered = [caller.call()["call"]["call_id"] for _ in range(10)]
    wait_until(lambda: len(rows_of(database_url)) == 30, timeout_s=5, what="the rows of the open calls")
    assert server.process is not None
    server.process.kill()
    server.process.wait(5)
    server.start()
    caller = Caller(server.url)
    wait_written(database_url, done + answered, 15)
    rows = {row["call_id"]: row for row in rows_of(database_url)}
    assert {rows[call_id]["result"] for call_id in done} == {"answered"}
    for call_id in answered:
        row = rows[call_id]
        assert (row["result"], row["reason"]) == ("interrupted", "server_lost")
        assert 0 <= row["talk_s"] <= row["duration_s"] < 15
    assert len(caller.records(limit=1000)) == 30
    more = make_calls(caller, 3)
    wait_written(database_url, done + answered + more, 5)
    caller.http.close()


@pytest.mark.timeout(120)
def test_a_database_that_is_restarted_in_mid_run_misses_nothing(postgresql: PostgreSql, start: Start) -> None:
    url = postgresql.create_database()
    server, caller = start(url)
    open_call = caller.call()
    call_ids = make_calls(caller, 10)
    postgresql.stop()
    call_ids += make_calls(caller, 50)
    wait_until(lambda: caller.state() == "retrying", timeout_s=10, what="the server to notice")
    answer = caller.http.get("/api/cdr")
    assert (answer.status_code, answer.json()["reason"]) == (503, "records_unavailable")
    assert "retry-after" in answer.headers
    caller.hang_up(open_call)
    postgresql.start()
    wait_until(lambda: caller.state() == "ok", timeout_s=35, what="records to be written again")
    wait_written(url, [*call_ids, open_call["call"]["call_id"]], 10)
    assert len(caller.records(limit=1000)) == 61
    # After a restart of the database the server still has its name, and closes nothing of its own.
    still_open = caller.call()
    wait_until(lambda: len(rows_of(url)) == 62, timeout_s=5, what="the row")
    postgresql.stop()
    postgresql.start()
    call_ids = [caller.call()["call"]["call_id"]]
    wait_until(lambda: len(rows_of(url)) == 63, timeout_s=35, what="a row after the restart")
    row = next(row for row in rows_of(url) if row["call_id"] == still_open["call"]["call_id"])
    assert row["result"] is None
    assert PASSWORD not in server.log


def test_a_server_starts_and_takes_calls_without_its_database(postgresql: PostgreSql, start: Start) -> None:
    url = postgresql.create_database()
    postgresql.stop()
    server, caller = start(url)
    call_ids = make_calls(caller, 5)
    wait_until(lambda: caller.state() == "retrying", timeout_s=10, what="the server to notice")
    postgresql.start()
    wait_written(url, call_ids, 35)
    assert PASSWORD not in server.log
    assert "%68%69" not in server.log  # neither as the URL has it


def test_a_database_that_hangs_holds_up_neither_calls_nor_the_exit(postgresql: PostgreSql, start: Start) -> None:
    url = postgresql.create_database()
    server, caller = start(url)
    wait_written(url, make_calls(caller, 3), 5)
    wait_until(lambda: caller.waiting() == 0, timeout_s=5, what="the server to know that they are written")
    postgresql.freeze()
    try:
        call_ids = make_calls(caller, 30)
        with pytest.raises(httpx.ReadTimeout):
            caller.http.get("/api/cdr", timeout=0.5)  # and it waits on
        took_s = server.terminate()  # judged: within 4.5 s, by itself
        assert took_s < 4.5
    finally:
        postgresql.thaw()
    assert "call record lost" not in server.log
    (spilt,) = server.folder.glob("*.unwritten-records.jsonl")
    assert {json.loads(line)["call_id"] for line in spilt.read_text().splitlines()} == set(call_ids)
    with spilt.open("a") as file:
        file.write('{"call_id": "half a li')  # as if it had been killed at it
    server.start()
    wait_until(lambda: len(rows_of(url)) == 33, timeout_s=10, what="the records of the last run")
    wait_until(lambda: not spilt.exists(), timeout_s=5, what="the file to be gone")
    assert {row["result"] for row in rows_of(url)} == {"answered"}


def test_a_file_that_somebody_else_locks_is_written_to_once_he_does_not(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "records.db"
    url = f"sqlite:///{file}"
    _, caller = start(url)
    call_ids = make_calls(caller, 3)
    wait_written(url, call_ids, 5)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    call_ids += make_calls(caller, 20)
    wait_until(lambda: caller.state() == "retrying", timeout_s=15, what="the server to notice")
    assert len(caller.records()) == 3  # those that are there can be read meanwhile
    other.execute("ROLLBACK")
    other.close()
    wait_written(url, call_ids, 20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount one")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(file: Path) -> None:
    """Until there is no more room."""
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while opened.write(b"x" * 4096):
            pass


def test_a_full_disk_costs_no_call_and_no_record(small_disk: Path, start: Start) -> None:
    url = f"sqlite:///{small_disk}/records.db"
    _, caller = start(url)
    call_ids = make_calls(caller, 3)
    wait_written(url, call_ids, 5)
    ballast = small_disk / "ballast"
    fill(ballast)
    call_ids += make_calls(caller, 100)
    wait_until(lambda: caller.state() == "retrying", timeout_s=10, what="the server to notice")
    assert len(caller.records(limit=1000)) == 3
    ballast.unlink()
    wait_written(url, call_ids, 35)


def test_a_disk_that_is_read_only_costs_no_call_and_no_record(small_disk: Path, start: Start) -> None:
    url = f"sqlite:///{small_disk}/records.db"
    server, caller = start(url)
    call_ids = make_calls(caller, 3)
    server.terminate()
    remount = ["mount", "-o", "remount"]
    subprocess.run([*remount, "-r", small_disk], check=True)
    server.start()
    call_ids += make_calls(caller, 10)
    wait_until(lambda: caller.state() == "retrying", timeout_s=10, what="the server to notice")
    subprocess.run([*remount, "-w", small_disk], check=True)
    wait_written(url, call_ids, 35)


# -- the writer by itself


class Files:
    """A limit of this process's files, as a disk quota."""

    def __init__(self, octets: int) -> None:
        self._octets = octets

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._octets, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


def test_a_quota_that_is_reached_is_a_failure_and_no_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/records.db"
    database = Database(url, instance="here", run_id="run")
    try:
        database.write([make_record(0)])
        with Files(64 * 1024), pytest.raises(DatabaseFailed):
            database.write([make_record(number, metadata=json.dumps("x" * 10_000)) for number in range(100)])
        database.disconnect()
        database.write([make_record(number) for number in range(100)])
    finally:
        database.close()
    assert len(rows_of(url)) == 100


def wait_stats(writer: Writer, **wanted: object) -> None:
    def reached() -> bool:
        totals = writer.totals("here")
        return all(getattr(totals, name) == value for name, value in wanted.items())

    wait_until(reached, timeout_s=10, what=f"{wanted}, not {writer.totals('here')}")


def test_what_waits_is_bounded_and_open_calls_go_first(postgresql: PostgreSql, tmp_path: Path) -> None:
    url = postgresql.create_database()
    postgresql.stop()
    writer = Writer(Database(url, instance="here", run_id="run"), Spill(tmp_path, "here"), max_waiting=10)
    writer.start()
    opened = {"result": None, "ended_at": None, "duration_s": None, "talk_s": None, "reason": None}
    for number in range(20):
        writer.submit(make_record(number, **opened))
    wait_stats(writer, waiting=10, lost=0)
    for number in range(15):
        writer.submit(make_record(number))
    wait_stats(writer, waiting=10, lost=5, state="retrying")
    postgresql.start()
    wait_stats(writer, waiting=0, lost=5, state="ok")
    writer.stop(2.0)
    assert [row["call_id"] for row in rows_of(url)] == [f"{number:016x}" for number in range(10)]
    assert all(row["result"] == "answered" for row in rows_of(url))


def test_a_record_that_no_database_takes_does_not_keep_the_others_back(database_url: str, tmp_path: Path) -> None:
    writer = Writer(Database(database_url, instance="here", run_id="run"), Spill(tmp_path, "here"))
    writer.start()
    for number in range(10):
        writer.submit(make_record(number, **({"sip_status": 2**70} if number == 5 else {})))
    wait_stats(writer, waiting=0, written=9, lost=1, state="ok")
    writer.stop(2.0)
    assert [int(row["call_id"], 16) for row in rows_of(database_url)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_submitting_does_not_wait_for_a_writer_that_does(postgresql: PostgreSql, tmp_path: Path) -> None:
    url = postgresql.create_database()
    writer = Writer(Database(url, instance="here", run_id="run"), Spill(tmp_path, "here"))
    writer.start()
    wait_stats(writer, state="ok")
    postgresql.freeze()
    threads = threading.active_count()
    try:
        writer.submit(make_record(0))
        time.sleep(0.5)  # by then it is being written, which takes for ever
        started = time.monotonic()
        for number in range(1, 1000):
            writer.submit(make_record(number))
        assert time.monotonic() - started < 0.5
        assert threading.active_count() <= threads
    finally:
        postgresql.thaw()
    wait_stats(writer, waiting=0, lost=0)
    writer.stop(2.0)
    assert len(rows_of(url)) == 1000


def test_records_that_neither_database_nor_file_takes_are_lost_and_logged(
    postgresql: PostgreSql, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = postgresql.create_database()
    postgresql.stop()
    spill = Spill(tmp_path / "no such folder", "here")
    writer = Writer(Database(url, instance="here", run_id="run"), spill)
    writer.start()
    writer.submit(make_record(7))
    writer.stop(0.5)
    assert writer.totals("here").lost == 1
    told = capfd.readouterr().out
    assert "call record lost" in told
    assert f"{7:016x}" in told
    assert PASSWORD not in told


def test_a_server_killed_in_a_storm_of_calls_doubles_none(database_url: str, start: Start) -> None:
    server, caller = start(database_url, {"log": {"level": "warning"}}, instance="here")
    made: list[str] = []
    for _ in range(150):
        call = caller.call()
        made.append(call["call"]["call_id"])
        caller.hang_up(call)
    assert isinstance(server, ServerProcess)
    assert server.process is not None
    server.process.kill()
    server.process.wait(5)
    # What came in the last moments may not have been written; what has been is whole, and nothing is there twice.
    server.start()
    with Caller(server.url).http as http:
        wait_until(lambda: http.get("/health").json()["records"] == "ok", timeout_s=10, what="the records")
    # PostgreSQL lets go of the killed server's name when it has noticed; the next sign of life then closes its calls.
    wait_until(
        lambda: all(row["result"] is not None for row in rows_of(database_url)), timeout_s=15, what="no open call"
    )
    rows = rows_of(database_url)
    assert {row["call_id"] for row in rows} <= set(made)
    assert len({row["call_id"] for row in rows}) == len(rows)
