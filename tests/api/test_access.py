"""Which names the server answers to, which pages may use it, and who may see what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from peers.server import ServerProcess, running

from .conftest import TIMEOUT_S

Offer = Callable[..., dict[str, Any]]

PAGE = "https://app.example.com"


def reason(response: httpx.Response) -> str:
    assert response.json()["code"] == response.status_code
    return str(response.json()["reason"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8080", "127.8.8.8"])
def test_loopback_names_are_ours(client: httpx.Client, host: str) -> None:
    assert client.get("/webrtc/sessions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil.example",
        "[2001:db8::1]",
        "@",
    ],
)
@pytest.mark.parametrize("path", ["/webrtc/sessions", "/health", "/docs", "/nope", "/iceservers"])
def test_without_authentication_other_names_are_not(client: httpx.Client, path: str, host: str) -> None:
    response = client.get(path, headers={"host": host})
    assert (response.status_code, reason(response)) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    "origin",
    [
        PAGE,
        "null",
        "file://",
        "http://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "https://localhost.evil.example",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/webrtc/offer"),
        ("POST", "/webrtc/close"),
        ("POST", "/webrtc/ice-candidate"),
        ("GET", "/webrtc/sessions"),
        ("GET", "/webrtc/sessions/x/events"),
        ("GET", "/iceservers"),
        ("GET", "/nope"),
    ],
)
def test_pages_from_elsewhere_are_refused(client: httpx.Client, method: str, path: str, origin: str) -> None:
    response = client.request(method, path, headers={"origin": origin}, json={} if method == "POST" else None)
    assert (response.status_code, reason(response)) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in response.headers


def test_an_offer_that_needs_no_preflight_is_refused_too(client: httpx.Client, offer: Offer) -> None:
    """A form of another site can post text without asking first."""
    response = client.post("/webrtc/offer", json=offer(), headers={"origin": PAGE, "content-type": "text/plain"})
    assert reason(response) == "origin_not_allowed"
    assert client.get("/webrtc/sessions").json()["sessions"] == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_marks_as_foreign_is_refused_without_an_origin(client: httpx.Client, site: str) -> None:
    response = client.get("/webrtc/sessions", headers={"sec-fetch-site": site})
    assert reason(response) == "origin_not_allowed"
    assert client.get("/docs", headers={"sec-fetch-site": site}).status_code == 200


def test_our_own_pages_and_programs_are_welcome(server: ServerProcess, client: httpx.Client) -> None:
    for headers in ({}, {"origin": server.url}, {"origin": server.url, "sec-fetch-site": "same-origin"}):
        assert client.get("/webrtc/sessions", headers=headers).status_code == 200
    host = f"localhost:{server.http_port}"
    assert client.get("/webrtc/sessions", headers={"host": host, "origin": f"http://{host}"}).status_code == 200


def test_a_foreign_websocket_is_refused(client: httpx.Client) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    assert reason(client.get("/ws", headers={**upgrade, "origin": PAGE})) == "origin_not_allowed"
    assert reason(client.get("/ws", headers={**upgrade, "host": "evil.example"})) == "host_not_allowed"
    assert reason(client.get("/sdp", headers=upgrade)) == "route_not_found"


# -- a server that others may use


KEYS = {"web": "web-key-0123456789", "other": "other-key-0123456789", "local": "local-key-0123456789"}


@pytest.fixture(scope="module")
def open_server() -> Iterator[ServerProcess]:
    scopes = {"web": ["session", "call"], "other": ["session", "call"], "local": ["session"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": scopes[name]}
        for name, key in KEYS.items()
    ]
    tables = {
        "http": {"cors_origins": [PAGE], "server_names": ["calls.example.com"]},
        "auth": {"mode": "api_key", "api_keys": keys},
        "turn": {"urls": ["turn:turn.example.com:3478"], "secret": "north", "ttl_s": 600},
        "ice_servers": [{"urls": ["stun:stun.example.com:3478"]}],
        "trunks": [{"name": "pbx", "server": "127.0.0.1:9"}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
    }
    with running(ServerProcess(tables)) as process:
        yield process


@pytest.fixture
def caller(open_server: ServerProcess) -> Iterator[Callable[..., httpx.Client]]:
    made: list[httpx.Client] = []

    def caller(name: str | None = None) -> httpx.Client:
        headers = {"x-api-key": KEYS[name]} if name else {}
        made.append(httpx.Client(base_url=open_server.url, headers=headers, timeout=TIMEOUT_S, trust_env=False))
        return made[-1]

    yield caller
    for one in made:
        one.close()


Caller = Callable[..., httpx.Client]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/webrtc/offer"),
        ("POST", "/webrtc/close"),
        ("POST", "/webrtc/ice-candidate"),
        ("GET", "/webrtc/sessions"),
        ("GET", "/webrtc/sessions/x"),
        ("GET", "/webrtc/sessions/x/events"),
        ("GET", "/iceservers"),
    ],
)
def test_a_key_is_asked_for(caller: Caller, method: str, path: str) -> None:
    missing = caller().request(method, path)
    assert (missing.status_code, reason(missing)) == (401, "credentials_missing")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    for headers in ({"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"x-api-key": "x" * 9000}):
        assert reason(caller().request(method, path, headers=headers)) == "credentials_invalid"
    assert (
        reason(caller().request(method, path, headers={"authorization": "Basic d2ViOndlYg=="})) == "credentials_missing"
    )


def test_health_needs_no_key(caller: Caller) -> None:
    for path in ("/health", "/ready", "/openapi.json", "/docs"):
        assert caller().get(path).status_code == 200


def test_a_key_may_come_as_bearer(caller: Caller) -> None:
    headers = {"authorization": f"bearer {KEYS['web']}"}
    assert caller().get("/webrtc/sessions", headers=headers).status_code == 200


def test_sessions_of_others_do_not_exist(caller: Caller, offer: Offer) -> None:
    mine, theirs = caller("web"), caller("other")
    assert mine.post("/webrtc/offer", json=offer(session_id="mine")).status_code == 200
    assert theirs.get("/webrtc/sessions").json() == {"sessions": []}
    for response in (
        theirs.get("/webrtc/sessions/mine"),
        theirs.get("/webrtc/sessions/mine/events"),
        theirs.post("/webrtc/close", json={"session_id": "mine"}),
        theirs.post("/webrtc/ice-candidate", json={"session_id": "mine", "candidate": None}),
    ):
        assert (response.status_code, reason(response)) == (404, "session_not_found")
    assert theirs.post("/webrtc/offer", json=offer(session_id="mine")).status_code == 409
    assert [session["session_id"] for session in mine.get("/webrtc/sessions").json()["sessions"]] == ["mine"]
    mine.post("/webrtc/close", json={"session_id": "mine"})


def test_without_the_scope_call_only_built_in_destinations_are_reached(caller: Caller, offer: Offer) -> None:
    local = caller("local")
    opened = local.post("/webrtc/offer", json=offer(call={"to": "tone"}))
    assert opened.status_code == 200, opened.text
    local.post("/webrtc/close", json={"session_id": opened.json()["session_id"]})
    for members in ({"call": {"to": "600"}}, {"metadata": {"to": "600"}}, {"call": {"to": "echo", "trunk": "pbx"}}):
        refused = local.post("/webrtc/offer", json=offer(**members))
        assert (refused.status_code, reason(refused)) == (403, "scope_missing")


def test_turn_credentials_are_short_lived_and_the_callers_own(caller: Caller) -> None:
    import base64
    import hmac
    import time

    stun, turn = caller("web").get("/iceservers").json()
    assert stun == {"urls": ["stun:stun.example.com:3478"]}
    expires, _, owner = turn["username"].partition(":")
    assert owner == "web"
    assert 590 <= int(expires) - time.time() <= 601
    digest = hmac.new(b"north", turn["username"].encode(), hashlib.sha1).digest()
    assert turn == {
        "urls": ["turn:turn.example.com:3478"],
        "username": turn["username"],
        "credential": base64.b64encode(digest).decode(),
    }


def test_a_listed_page_is_let_in_with_cors(caller: Caller) -> None:
    response = caller("web").get("/webrtc/sessions", headers={"origin": PAGE})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["vary"] == "origin"
    assert "location" in response.headers["access-control-expose-headers"]
    refused = caller().get("/webrtc/sessions", headers={"origin": PAGE})
    assert refused.status_code == 401  # and the page may read why
    assert refused.headers["access-control-allow-origin"] == PAGE


def test_a_preflight_is_answered_without_a_key(caller: Caller) -> None:
    ask = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    response = caller().options("/webrtc/offer", headers=ask)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "x-api-key" in response.headers["access-control-allow-headers"]
    assert "POST" in response.headers["access-control-allow-methods"]
    assert (
        reason(caller().options("/webrtc/offer", headers={**ask, "origin": "https://b.example"}))
        == "origin_not_allowed"
    )


@pytest.mark.parametrize(
    ("host", "status"), [("calls.example.com", 200), ("10.1.2.3:8080", 200), ("evil.example", 403)]
)
def test_with_authentication_known_names_and_addresses_are_ours(caller: Caller, host: str, status: int) -> None:
    assert caller("web").get("/webrtc/sessions", headers={"host": host}).status_code == status
