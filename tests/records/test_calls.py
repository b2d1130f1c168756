"""What is written of calls, in both databases, and how a client reads it."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime

import pytest
from peers.offers import make_offer_sdp
from peers.server import ServerProcess
from peers.waiting import wait_until

from .caller import Caller, rows_after_the_end, rows_of
from .conftest import Start


def test_a_call_is_a_row_from_its_beginning_on_and_a_record_from_its_end_on(database_url: str, start: Start) -> None:
    _, caller = start(database_url, instance="here")
    before = datetime.now(UTC)
    metadata = {"case": 42, "note": "über\u0000=1+1"}
    call = caller.call(call={"to": "echo", "from": "5001", "display_name": "Ann"}, metadata=metadata)
    call_id = call["call"]["call_id"]
    wait_until(lambda: len(rows_of(database_url)) == 1, timeout_s=5, what="the row")
    (row,) = rows_of(database_url)
    assert (row["call_id"], row["result"], row["ended_at"], row["instance"]) == (call_id, None, None, "here")
    assert caller.records() == []
    caller.hang_up(call)
    wait_until(lambda: len(caller.records()) == 1, timeout_s=5, what="the record")
    (record,) = caller.records()
    times = [datetime.fromisoformat(record[name]) for name in ("created_at", "answered_at", "ended_at")]
    assert before.replace(microsecond=0) <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
    assert record["duration_s"] == pytest.approx((times[2] - times[0]).total_seconds(), abs=0.05)
    assert record["talk_s"] == pytest.approx((times[2] - times[1]).total_seconds(), abs=0.05)
    expected = {
        "call_id": call_id,
        "session_id": call["session_id"],
        "instance": "here",
        "owner": "anonymous",
        "direction": "outbound",
        "from": "5001",
        "to": "echo",
        "destination": "echo",
        "dn": None,
        "display_name": "Ann",
        "trunk": None,
        "result": "answered",
        "reason": "normal_clearing",
        "sip_status": None,
        "webrtc_codec": "PCMU",
        "webrtc_mos_received": None,
        "transferred_to": None,
        "recordings": [],
        "metadata": metadata,
    }
    assert {name: record[name] for name in expected} == expected


def test_a_client_that_uses_its_call_id_again_has_a_record_of_each_call(database_url: str, start: Start) -> None:
    _, caller = start(database_url, {"session": {"linger_s": 0}})
    for target in ("echo", "tone", "silence"):
        body = {"target": target, "sdp": make_offer_sdp(), "callId": "mine"}
        caller.http.post("/invite", json=body).raise_for_status()
        caller.http.delete("/call/mine").raise_for_status()
    wait_until(lambda: len(caller.records(call_id="mine")) == 3, timeout_s=5, what="the records")
    assert [record["to"] for record in caller.records(limit=2)] == ["silence", "tone"]
    assert len({record["record_id"] for record in caller.records()}) == 3


def test_a_thousand_calls_are_a_thousand_records(database_url: str, start: Start) -> None:
    server, caller = start(database_url, {"log": {"level": "warning"}})
    call_ids = set()
    for number in range(1000):
        call = caller.call(metadata={"number": number})
        call_ids.add(call["call"]["call_id"])
        caller.hang_up(call)
    assert len(call_ids) == 1000
    rows = rows_after_the_end(server, database_url)
    assert {row["call_id"] for row in rows} == call_ids
    assert len(rows) == 1000
    assert {row["result"] for row in rows} == {"answered"}
    assert {json.loads(row["metadata"])["number"] for row in rows} == set(range(1000))


def test_what_is_queued_when_the_server_is_stopped_is_written(database_url: str, start: Start) -> None:
    server, caller = start(database_url)
    call_ids = [caller.call()["call"]["call_id"] for _ in range(20)]
    rows = rows_after_the_end(server, database_url)  # at once, within the time that all of the server has for it
    assert sorted(row["call_id"] for row in rows) == sorted(call_ids)
    assert {(row["result"], row["reason"]) for row in rows} == {("answered", "server_shutdown")}


def test_an_offer_that_fails_before_there_is_a_session_leaves_no_record(database_url: str, start: Start) -> None:
    server, caller = start(database_url)
    answer = caller.http.post("/webrtc/offer", json={"sdp": {"type": "offer", "sdp": "v=0"}})
    assert answer.status_code == 400
    server.terminate()
    assert rows_of(database_url) == []


def test_hostile_metadata_is_kept_as_it_came(database_url: str, start: Start) -> None:
    _, caller = start(database_url)
    hostile = [
        {"nul": "a\u0000b", "\u0000": 1},
        {"quotes": "'; DROP TABLE call_records; --", "percent": "%s %(x)s %"},
        {"emoji": "\U0001f600", "replacement": "\ufffd", "line": "\u2028\r\n"},
        {"long": "x" * (16 * 1024 - 12)},
        {"deep": [[[[[[[[[[{}]]]]]]]]]], "float": 1e308, "int": 2**63},
    ]
    for metadata in hostile:
        caller.hang_up(caller.call(metadata=metadata))
    wait_until(lambda: len(caller.records()) == len(hostile), timeout_s=5, what="the records")
    assert [record["metadata"] for record in reversed(caller.records())] == hostile
    # Half a surrogate pair is no JSON that the server takes, so none can get here.
    answer = caller.http.post(
        "/webrtc/offer",
        content=b'{"sdp": {"type": "offer", "sdp": "v=0"}, "metadata": {"a": "\\ud800"}}',
        headers={"content-type": "application/json"},
    )
    assert answer.json()["reason"] == "invalid_json"


def test_metadata_of_a_reoffer_takes_the_place_of_the_first(database_url: str, start: Start) -> None:
    _, caller = start(database_url)
    call = caller.call(metadata={"first": 1})
    caller.call(session_id=call["session_id"], resume_token=call["resume_token"], metadata={"second": 2})
    caller.hang_up(call)
    wait_until(lambda: len(caller.records()) == 1, timeout_s=5, what="the record")
    assert caller.records()[0]["metadata"] == {"second": 2}


def test_records_that_are_switched_off_leave_no_file_and_no_route(start: Start) -> None:
    server, caller = start("")
    caller.hang_up(caller.call())
    assert caller.state() == "off"
    answer = caller.http.get("/api/cdr")
    assert (answer.status_code, answer.json()["reason"]) == (404, "records_off")
    assert not list(server.folder.glob("*.db*"))


def test_old_records_are_removed_and_live_calls_are_not(database_url: str, start: Start) -> None:
    from sdpserver.records.database import Database

    from .caller import make_record

    database = Database(database_url, instance="there", run_id="run")
    database.write([make_record(number) for number in range(1500)])  # of January
    database.close()
    _, caller = start(database_url, keep_days=30)
    call = caller.call()
    wait_until(
        lambda: [row["call_id"] for row in rows_of(database_url)] == [call["call"]["call_id"]],
        timeout_s=25,
        what="the old records to be gone",
    )


def test_a_default_server_keeps_its_records_beside_it(own_server: type[ServerProcess]) -> None:
    server = own_server()
    caller = Caller(server.url)
    caller.hang_up(caller.call())
    wait_until(lambda: len(caller.records()) == 1, timeout_s=5, what="the record")
    assert (server.folder / "sdpserver.db").stat().st_mode & 0o777 == 0o600
    started = time.monotonic()
    caller.http.close()
    server.terminate()
    assert time.monotonic() - started < 4


def test_figures_of_records_are_among_all_others(database_url: str, start: Start) -> None:
    digest = hashlib.sha256(b"a-key-that-is-long").hexdigest()
    keys = [{"name": "root", "sha256": digest, "scopes": ["session", "call", "admin"]}]
    _, caller = start(database_url, {"auth": {"mode": "api_key", "api_keys": keys}}, instance="here")
    caller.http.headers["x-api-key"] = "a-key-that-is-long"
    caller.hang_up(caller.call())
    wait_until(lambda: len(caller.records()) == 1, timeout_s=5, what="the record")
    wait_until(lambda: caller.waiting() == 0, timeout_s=5, what="the server to know that it is written")
    totals = caller.http.get("/stats").json()["records"]
    assert totals.pop("written") in (1, 2, 3)  # as many of its forms as there was time for
    assert totals == {"state": "ok", "instance": "here", "waiting": 0, "lost": 0, "failures": 0, "error": None}
    metrics = set(caller.http.get("/metrics").text.splitlines())
    for line in ("up 1.0", "waiting 0.0", "lost_total 0.0", "failures_total 0.0"):
        assert f"sdpserver_records_{line}" in metrics
