"""GET /api/cdr: who sees what, filters, pages, CSV."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from peers.waiting import wait_until

from sdpserver.models.records import CallRecordList
from sdpserver.records.database import Database

from .caller import BEGIN, Caller, make_record
from .conftest import Start

KEYS = {
    "ann": ["session", "call"],
    "bob": ["session", "call"],
    "desk": ["dn"],
    "boss": ["supervise"],
    "root": ["admin"],
    "page": ["session"],
}
Fill = Callable[..., Caller]


def key_of(name: str) -> str:
    return f"{name}-long-enough-key"


@pytest.fixture
def fill(database_url: str, start: Start) -> Fill:
    """A server over a database that has these records already."""

    def fill(*records: Any, tables: dict[str, Any] | None = None) -> Caller:
        database = Database(database_url, instance="there", run_id="there")
        for first in range(0, len(records), 500):
            database.write(records[first : first + 500])
        database.close()
        _, caller = start(database_url, tables)
        return caller

    return fill


def numbers(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["call_id"], 16) for record in records]


def test_filters(fill: Fill) -> None:
    caller = fill(
        make_record(0),
        make_record(1, result="busy", sip_status=486),
        make_record(2, result="no_answer", direction="inbound", dn="5001", from_number="+49123", to_number="5001"),
        make_record(3, from_number="100%_*", to_number="x"),
        make_record(4, result=None, ended_at=None, over_by=datetime(2099, 1, 1, tzinfo=UTC)),
        make_record(5, ended_at=BEGIN + timedelta(hours=1)),
    )

    def found(**query: Any) -> list[int]:
        return numbers(caller.http.get("/api/cdr", params=query).raise_for_status().json()["records"])

    assert found() == [5, 3, 2, 1, 0]  # newest first, and of ended calls only
    assert found(since="2026-01-31T12:00:02Z") == [5, 3, 2]
    assert found(since="2026-01-31T13:00:02+01:00", until="2026-01-31T12:00:05") == [3, 2]
    assert found(since="2026-01-31", until="2026-02-01") == [5, 3, 2, 1, 0]
    assert found(until="2026-01-31") == []
    assert found(by="ended", since="2026-01-31T12:30:00Z") == [5]
    assert found(by="ended") == [5, 3, 2, 1, 0]
    assert found(dn="5001") == [2]
    assert found(direction="inbound") == [2]
    assert found(result="busy") == [1]
    assert found(result="busy,no_answer") == found(result=["busy", "no_answer"]) == [2, 1]
    assert found(number="601") == [1]
    assert found(number="60*") == [5, 1, 0]
    assert found(number="+49*") == [2]
    assert found(number="100%_*") == [3]  # neither % nor _ is a joker
    assert found(number="%*") == []
    assert found(call_id=f"{3:016x}") == [3]
    assert found(limit=2) == [5, 3]
    # A + that was not escaped is a space by the time it arrives.
    assert numbers(caller.http.get("/api/cdr?since=2026-01-31T13:00:05+01:00").json()["records"]) == [5]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"sinc": "x"}, "unknown_field"),
        ({"since": "yesterday"}, "invalid_field"),
        ({"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:00:00Z"}, "invalid_field"),
        ({"since": ["2026-01-31", "2026-01-31"]}, "invalid_field"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "invalid_field"),
        ({"result": "splendid"}, "invalid_field"),
        ({"result": "busy,"}, "invalid_field"),
        ({"direction": "sideways"}, "invalid_field"),
        ({"by": "size"}, "invalid_field"),
        ({"limit": "0"}, "invalid_field"),
        ({"limit": "1001"}, "invalid_field"),
        ({"limit": "ten"}, "invalid_field"),
        ({"limit": "²"}, "invalid_field"),
        ({"dn": ""}, "invalid_field"),
        ({"dn": "5\x000"}, "invalid_field"),
        ({"number": "6" * 257}, "invalid_field"),
        ({"cursor": "x"}, "invalid_cursor"),
        ({"cursor": "bm9uc2Vuc2U"}, "invalid_cursor"),
        ({"cursor": "é"}, "invalid_cursor"),
    ],
)
def test_wrong_queries_are_refused_by_name(server: Caller, query: dict[str, Any], reason: str) -> None:
    answer = server.http.get("/api/cdr", params=query)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    assert next(iter(query)) in answer.json()["error"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from peers.server import ServerProcess, running

    with running(ServerProcess()) as process, httpx.Client(base_url=process.url, trust_env=False) as http:
        caller = Caller(process.url)
        caller.http.close()
        caller.http = http
        wait_until(lambda: caller.state() == "ok", timeout_s=10, what="the database")
        yield caller


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=0, */*", "application/json"),
    ],
)
def test_the_form_is_the_one_that_is_asked_for(server: Caller, accept: str | None, media_type: str) -> None:
    request = server.http.build_request("GET", "/api/cdr")
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = server.http.send(request)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
    assert "accept" in answer.headers["vary"]


def test_another_form_is_406(server: Caller) -> None:
    answer = server.http.get("/api/cdr", headers={"accept": "application/xml"})
    assert (answer.status_code, answer.json()["reason"]) == (406, "not_acceptable")


def test_pages_have_each_record_once_while_new_calls_come(fill: Fill) -> None:
    # Several of one time, so that the time alone does not order them.
    caller = fill(*(make_record(number, created_at=BEGIN + timedelta(seconds=number // 7)) for number in range(250)))
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = caller.http.get("/api/cdr", params={"limit": 30, "until": "2026-03-01", **cursor}).raise_for_status()
        body = page.json()
        seen += numbers(body["records"])
        if body["next_cursor"] is None:
            break
        cursor = {"cursor": body["next_cursor"]}
        caller.hang_up(caller.call())
    assert seen == list(reversed(range(250)))
    answer = caller.http.get("/api/cdr", params={"by": "ended", **cursor})
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_cursor")


def test_the_last_page_says_so(fill: Fill) -> None:
    caller = fill(*(make_record(number) for number in range(4)))
    assert caller.http.get("/api/cdr", params={"limit": 4}).json()["next_cursor"] is None
    assert caller.http.get("/api/cdr", params={"limit": 3}).json()["next_cursor"] is not None


def test_csv_is_rfc_4180_and_runs_in_no_spreadsheet(fill: Fill) -> None:
    hostile = '=HYPERLINK("http://x"),\r\nnext'
    caller = fill(
        make_record(0, display_name=hostile, from_number="+49123", reason="@SUM(1)", metadata='{"a":"=1"}'),
        make_record(1, display_name="-2+3", from_number="-5", recordings='["/a/b.wav","/a/c.wav"]', dn="\t=1"),
    )
    answer = caller.http.get("/api/cdr", headers={"accept": "text/csv"}).raise_for_status()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="call-records.csv"'
    assert answer.content.endswith(b"\r\n")
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    as_json = caller.records()
    assert [line["call_id"] for line in lines] == [record["call_id"] for record in as_json]
    assert list(lines[0]) == list(as_json[0])
    assert lines[1]["display_name"] == f"'{hostile}"
    assert (lines[1]["from"], lines[0]["from"]) == ("+49123", "-5")  # numbers stay what they are
    assert (lines[1]["reason"], lines[0]["display_name"], lines[0]["dn"]) == ("'@SUM(1)", "'-2+3", "'\t=1")
    assert lines[1]["metadata"] == '{"a":"=1"}'
    assert lines[0]["recordings"] == "/a/b.wav;/a/c.wav"
    assert lines[0]["created_at"] == as_json[0]["created_at"] == "2026-01-31T12:00:01.000Z"
    assert as_json[0]["recordings"] == ["/a/b.wav", "/a/c.wav"]


def test_a_large_export_has_all_and_holds_up_nobody(fill: Fill) -> None:
    count = 20_000
    caller = fill(*(make_record(number) for number in range(count)))
    with httpx.Client(base_url=caller.http.base_url, timeout=60, trust_env=False) as other:
        longest = timedelta()
        with other.stream("GET", "/api/cdr", headers={"accept": "text/csv"}) as stream:
            text = ""
            for piece in stream.iter_text():
                text += piece
                longest = max(longest, caller.http.get("/health").elapsed)
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [int(line["call_id"], 16) for line in lines] == list(reversed(range(count)))
    assert longest < timedelta(seconds=0.5)  # milliseconds, on a machine of its own
    capped = caller.http.get("/api/cdr", params={"limit": 7}, headers={"accept": "text/csv"})
    assert len(capped.text.splitlines()) == 8


def test_who_sees_what(fill: Fill) -> None:
    caller = fill(
        make_record(0, owner="ann"),
        make_record(1, owner="bob"),
        make_record(2, owner="dn:5001", dn="5001"),
        tables={
            "auth": {
                "mode": "api_key",
                "api_keys": [
                    {
                        "name": name,
                        "sha256": hashlib.sha256(f"{name}-long-enough-key".encode()).hexdigest(),
                        "scopes": scopes,
                    }
                    for name, scopes in KEYS.items()
                ],
            }
        },
    )

    def seen(name: str, **query: Any) -> Any:
        headers = {"x-api-key": key_of(name)}
        answer = caller.http.get("/api/cdr", headers=headers, params=query)
        return numbers(answer.json()["records"]) if answer.status_code == 200 else answer.json()["reason"]

    assert (seen("ann"), seen("bob")) == ([0], [1])
    assert seen("desk") == [2]
    assert seen("boss") == seen("root") == [2, 1, 0]
    assert seen("page") == "scope_missing"
    assert seen("ann", dn="5001") == []
    assert seen("ann", call_id=f"{1:016x}") == []
    assert caller.http.get("/api/cdr").status_code == 401


def test_the_answer_is_what_the_schema_says(fill: Fill) -> None:
    import msgspec

    caller = fill(make_record(0), make_record(1, dn="1", webrtc_mos_received=4.2, metadata='{"a":[1]}'))
    answer = caller.http.get("/api/cdr")
    page = msgspec.json.decode(answer.content, type=CallRecordList, strict=True)
    assert [record.call_id for record in page.records] == [f"{1:016x}", f"{0:016x}"]
    assert page.records[0].created_at == BEGIN + timedelta(seconds=1)
    assert isinstance(page.records[0].ended_at, datetime)
    described = caller.http.get("/openapi.json").json()["paths"]["/api/cdr"]["get"]
    assert set(described["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    assert {"400", "401", "406", "503"} <= set(described["responses"])
