"""A call as one resource: /invite and /call/{id}."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from peers.server import ServerProcess, running

Sdp = Callable[..., str]


def invite(client: httpx.Client, sdp: str, **members: Any) -> httpx.Response:
    return client.post("/invite", json={"target": "echo", "sdp": sdp, **members})


def failed(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert body["code"] == response.status_code
    return response.status_code, body["reason"]


def test_a_call_is_made_looked_at_and_hung_up(client: httpx.Client, offer_sdp: Sdp) -> None:
    body = {"callId": "case-42", "caller": "Ann", "metadata": {"case": 42}}
    made = invite(client, offer_sdp(), **body)
    assert made.status_code == 200, made.text
    found = made.json()
    assert set(found) == {"callId", "status", "sdp"}
    assert (found["callId"], found["status"]) == ("case-42", "answered")  # the echo is there at once
    assert found["sdp"].startswith("v=0\r\n")
    assert "a=ice-lite" in found["sdp"]

    call = client.get("/call/case-42").json()
    assert call["sdp"] == found["sdp"]
    assert (call["target"], call["caller"], call["direction"]) == ("echo", "Ann", "outbound")
    assert (call["status"], call["reason"], call["held"], call["metadata"]) == ("answered", None, False, {"case": 42})
    assert {"offer", "answer"} <= call["timeline"].keys()
    listed = client.get("/api/calls/active").json()["calls"]
    assert [it["callId"] for it in listed] == ["case-42"]  # the one identifier that all of call control knows

    for _ in range(2):
        assert client.delete("/call/case-42").json() == {"callId": "case-42", "status": "ended"}
    ended = client.get("/call/case-42").json()
    assert (ended["status"], ended["reason"], ended["sdp"]) == ("ended", "normal_clearing", None)
    assert "closed" in ended["timeline"]
    assert not client.get("/webrtc/sessions").json()["sessions"]


def test_a_call_without_an_id_gets_one(client: httpx.Client, offer_sdp: Sdp) -> None:
    first, second = (invite(client, offer_sdp()).json()["callId"] for _ in range(2))
    assert first != second
    for call_id in (first, second):
        assert client.delete(f"/call/{call_id}").status_code == 200


def test_an_id_that_is_taken_is_a_conflict(client: httpx.Client, offer_sdp: Sdp) -> None:
    assert invite(client, offer_sdp(), callId="taken").status_code == 200
    assert failed(invite(client, offer_sdp(), callId="taken")) == (409, "call_exists")
    client.delete("/call/taken")
    assert failed(invite(client, offer_sdp(), callId="taken")) == (409, "call_exists")  # it can still be asked for


def test_a_call_that_never_was_is_not_found(client: httpx.Client) -> None:
    assert failed(client.get("/call/nobody")) == (404, "call_not_found")
    assert failed(client.delete("/call/nobody")) == (404, "call_not_found")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"target": None}, "invalid_field"),
        ({"target": ""}, "invalid_field"),
        ({"sdp": "v=0"}, "invalid_sdp"),
        ({"sdp": {"type": "offer", "sdp": ""}}, "invalid_field"),
        ({"callId": "a b"}, "invalid_field"),
        ({"callId": ""}, "invalid_field"),
        ({"caller": "a\r\nb", "target": "600"}, "bad_destination"),
        ({"target": "sip:600@elsewhere.example.com"}, "bad_destination"),
        ({"wait_for": "ever"}, "invalid_field"),
        ({"from": "Ann"}, "unknown_field"),
        ({"metadata": {"a": "x" * 17000}}, "metadata_too_large"),
    ],
)
def test_a_wrong_body_is_a_bad_request(
    client: httpx.Client, offer_sdp: Sdp, change: dict[str, Any], reason: str
) -> None:
    response = client.post("/invite", json={"target": "echo", "sdp": offer_sdp()} | change)
    assert failed(response) == (400, reason)
    assert not client.get("/webrtc/sessions").json()["sessions"]


@pytest.fixture(scope="module")
def keyed() -> Iterator[ServerProcess]:
    scopes = {"mine": ["session"], "theirs": ["session"], "boss": ["session", "call", "supervise"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": found}
        for name, found in scopes.items()
    ]
    with running(ServerProcess({"auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


def test_a_call_is_its_callers_and_the_supervisors(keyed: ServerProcess, offer_sdp: Sdp) -> None:
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        assert invite(client, offer_sdp()).status_code == 401
        client.headers["x-api-key"] = "mine"
        assert failed(invite(client, offer_sdp(), target="conference/team")) == (403, "scope_missing")
        call_id = invite(client, offer_sdp()).json()["callId"]
        client.headers["x-api-key"] = "theirs"
        assert failed(client.get(f"/call/{call_id}")) == (404, "call_not_found")
        assert failed(client.delete(f"/call/{call_id}")) == (404, "call_not_found")
        client.headers["x-api-key"] = "boss"
        assert client.get(f"/call/{call_id}").status_code == 200
        assert client.delete(f"/call/{call_id}").status_code == 200
