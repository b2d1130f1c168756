"""What each route answers, in the right case and in the wrong ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Offer = Callable[..., dict[str, Any]]


def assert_error(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """That it has the one form of errors."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert body["code"] == status
    assert body["reason"] == reason
    assert body["error"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert set(body) <= {"error", "code", "reason", "request_id", "session_id", "sip_status", "sip_reason"}
    return body


def test_a_session_from_offer_to_close(client: httpx.Client, offer: Offer) -> None:
    answer = client.post("/webrtc/offer", json=offer(session_id="mine", metadata={"a": [1, None, "ü"]}))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["sdp"]["type"] == "answer"
    assert body["sdp"]["sdp"].startswith("v=0\r\n")
    assert body["session_id"] == "mine"
    assert body["metadata"] == {"a": [1, None, "ü"]}
    assert body["resume_token"]
    assert body["call"]["to"] == "echo"
    assert {"candidate", "sdpMid", "sdpMLineIndex"} == set(body["ice_candidates"][0])

    listed = client.get("/webrtc/sessions").json()["sessions"]
    assert "mine" in [session["session_id"] for session in listed]
    described = client.get("/webrtc/sessions/mine").json()
    assert described["session_id"] == "mine"
    assert "offer" in described["timeline"]

    text = "candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host generation 0"
    one = {"session_id": "mine", "candidate": {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}}
    assert client.post("/webrtc/ice-candidate", json=one).json() == {"session_id": "mine", "status": "received"}
    many = {"session_id": "mine", "candidates": [one["candidate"], {"candidate": ""}, None]}
    assert client.post("/webrtc/ice-candidate", json=many).status_code == 200
    end = {"session_id": "mine", "candidate": None}
    assert client.post("/webrtc/ice-candidate", json=end).status_code == 200

    for _ in range(2):  # also again, and for who asks late
        closed = client.post("/webrtc/close", json={"session_id": "mine", "reason": "done"})
        assert closed.json() == {"session_id": "mine", "status": "closed"}
    assert "mine" not in [session["session_id"] for session in client.get("/webrtc/sessions").json()["sessions"]]
    assert client.get("/webrtc/sessions/mine").status_code == 200


def test_a_taken_session_id_is_a_conflict(client: httpx.Client, offer: Offer) -> None:
    token = client.post("/webrtc/offer", json=offer(session_id="taken")).json()["resume_token"]
    body = assert_error(client.post("/webrtc/offer", json=offer(session_id="taken")), 409, "session_exists")
    assert body["session_id"] == "taken"
    assert client.post("/webrtc/offer", json=offer(session_id="taken", resume_token=token)).status_code == 200
    client.post("/webrtc/close", json={"session_id": "taken"})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/webrtc/close", {"session_id": "none"}),
        ("POST", "/webrtc/ice-candidate", {"session_id": "none", "candidate": None}),
        ("GET", "/webrtc/sessions/none", None),
        ("GET", "/webrtc/sessions/none/events", None),
    ],
)
def test_a_session_that_never_was_is_not_found(client: httpx.Client, method: str, path: str, body: Any) -> None:
    error = assert_error(client.request(method, path, json=body), 404, "session_not_found")
    assert error["session_id"] == "none"


@pytest.mark.parametrize("path", ["/nope", "/health/", "/webrtc", "/webrtc/offer/x", "/%2e%2e/etc/passwd", "/ws"])
def test_an_unknown_route_has_the_error_form(client: httpx.Client, path: str) -> None:
    assert_error(client.get(path), 404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/webrtc/offer", "POST"),
        ("PUT", "/webrtc/close", "POST"),
        ("DELETE", "/health", "GET, HEAD"),
        ("BREW", "/iceservers", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)
    assert_error(response, 405, "method_not_allowed")
    assert sorted(response.headers["allow"].split(", ")) == allow.split(", ")


def test_options_names_the_methods(client: httpx.Client) -> None:
    response = client.options("/webrtc/offer")
    assert response.status_code == 204
    assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json", "/iceservers", "/webrtc/sessions"])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_health_tells_version_and_uptime(client: httpx.Client) -> None:
    for path in ("/health", "/api/health"):
        body = client.get(path).json()
        assert body["status"] == "ok"
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", body["version"])
        assert body["uptime_s"] > 0
    assert client.get("/ready").json() == {"status": "ready"}


def test_no_ice_servers_by_default(client: httpx.Client) -> None:
    assert client.get("/iceservers").json() == []


def test_openapi_describes_every_route_and_its_errors(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, method in [
        ("/webrtc/offer", "post"),
        ("/webrtc/ice-candidate", "post"),
        ("/webrtc/close", "post"),
        ("/iceservers", "get"),
        ("/webrtc/sessions", "get"),
        ("/webrtc/sessions/{session_id}", "get"),
        ("/webrtc/sessions/{session_id}/events", "get"),
        ("/health", "get"),
        ("/ready", "get"),
    ]:
        responses = document["paths"][path][method]["responses"]
        error = responses["403"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/ErrorResponse"}
    schema = document["components"]["schemas"]["CallOptions"]
    assert set(schema["properties"]) >= {"to", "from", "headers", "wait_for", "ring_timeout_s"}
    references = re.findall(r'"\$ref":"#/components/schemas/(\w+)"', client.get("/openapi.json").text)
    assert set(references) <= set(document["components"]["schemas"])


def test_the_docs_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href)=.?https?:|@import|url\(", response.text)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert client.get("/").headers["location"] == "/docs"


def test_a_sane_request_id_is_kept_and_another_replaced(client: httpx.Client) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for given in ("a b", "x" * 200, "<script>", ""):
        made = client.get("/health", headers={"x-request-id": given}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)


def test_a_checkouts_sdk_and_examples_are_served_and_nothing_beside_them(client: httpx.Client) -> None:
    root = Path(__file__).parents[2]
    served = [("/sdk", root / "clients/js/src"), ("/examples", root / "examples")]
    for path, folder in served:
        for file in folder.glob("*.*"):
            response = client.get(f"{path}/{file.name}")
            assert response.status_code == 200
            assert response.content == file.read_bytes()
        for outside in (
            "",
            "/",
            "/../pyproject.toml",
            "/%2e%2e/%2e%2e/pyproject.toml",
            "/..%2f..%2f..%2fpyproject.toml",
        ):
            assert client.get(path + outside).status_code == 404
