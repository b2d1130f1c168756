"""Who may read the SIP messages of a call, and of which calls there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from peers.ports import claim_block, release_block
from peers.server import ServerProcess, running
from peers.waiting import wait_until

from .conftest import TIMEOUT_S

KEYS = {"ann": ["session", "call"], "bob": ["session", "call"], "boss": ["call", "supervise"], "kiosk": ["session"]}
Offer = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    block = claim_block()
    yield block[0]
    release_block(block)


@pytest.fixture(scope="module")
def server(closed_port: int) -> Iterator[ServerProcess]:
    """With a trunk at which nobody is."""
    api_keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}
        for name, scopes in KEYS.items()
    ]
    trunk = {"name": "gone", "server": f"127.0.0.1:{closed_port}", "options_interval_s": 0}
    tables = {
        "auth": {"mode": "api_key", "api_keys": api_keys},
        "trunks": [trunk],
        "routes": [{"match": "^[0-9]+$", "trunk": "gone"}],
    }
    with running(ServerProcess(tables)) as process:
        yield process


def as_(name: str) -> dict[str, str]:
    return {"x-api-key": name}


def trace_of(opened: dict[str, Any]) -> str:
    return f"/api/calls/{opened['call']['call_id']}/trace"


def test_a_call_is_its_owners_and_the_supervisors(client: httpx.Client, offer: Offer) -> None:
    opened = client.post("/webrtc/offer", json=offer(call={"to": "600"}), headers=as_("ann")).json()
    assert {name: client.get(trace_of(opened), headers=as_(name)).status_code for name in (*KEYS, "nobody")} == {
        "ann": 200,
        "bob": 404,
        "boss": 200,
        "kiosk": 403,
        "nobody": 401,
    }

    def messages() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get(trace_of(opened), headers=as_("boss")).json()["messages"]
        return found

    # The answer to an offer waits only a moment for the INVITE to leave.
    wait_until(lambda: bool(messages()), timeout_s=5, what="the INVITE")
    first = messages()[0]
    assert (first["direction"], first["cseq"].split()[1], first["elapsed_ms"]) == ("out", "INVITE", 0)
    client.post("/webrtc/close", json={"session_id": opened["session_id"]}, headers=as_("ann"))
    assert client.get(trace_of(opened), headers=as_("ann")).json()["messages"][0] == first
    assert client.get(trace_of(opened), headers=as_("bob")).status_code == 404


def test_a_call_without_sip_has_no_messages(client: httpx.Client, offer: Offer) -> None:
    opened = client.post("/webrtc/offer", json=offer(call={"to": "echo"}), headers=as_("ann")).json()
    call_id = opened["call"]["call_id"]
    found = client.get(trace_of(opened), headers=as_("ann")).json()
    assert found == {"callId": call_id, "messages": [], "dropped": 0}
    for format_ in ("text", "ladder"):
        text = client.get(trace_of(opened), params={"format": format_}, headers=as_("ann")).text
        assert text.strip() == f"Call {call_id}: 0 SIP messages"
    client.post("/webrtc/close", json={"session_id": opened["session_id"]}, headers=as_("ann"))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/html, text/*;q=0.9, */*;q=0.8", "text/plain; charset=utf-8"),
        ("application/json, text/plain", "application/json"),
        ("text/plain;q=0.5, application/*;q=0.6", "application/json"),
        ("text/plain;q=x", "application/json"),
        ("image/png", "application/json"),
        (";;,q=;", "application/json"),
    ],
)
def test_the_form_is_the_one_that_is_accepted(client: httpx.Client, offer: Offer, accept: str, media_type: str) -> None:
    opened = client.post("/webrtc/offer", json=offer(call={"to": "echo"}), headers=as_("ann")).json()
    response = client.get(trace_of(opened), headers=as_("ann") | {"accept": accept})
    assert response.headers["content-type"] == media_type
    client.post("/webrtc/close", json={"session_id": opened["session_id"]}, headers=as_("ann"))


@pytest.mark.parametrize("off", [{}, {"sip": {"trace": False}}], ids=["no trunk", "switched off"])
def test_a_server_that_keeps_none_says_so(off: dict[str, Any], offer: Offer, closed_port: int) -> None:
    trunk = {"name": "gone", "server": f"127.0.0.1:{closed_port}", "options_interval_s": 0}
    with (
        running(ServerProcess(off | ({"trunks": [trunk]} if off else {}))) as server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        opened = client.post("/webrtc/offer", json=offer(call={"to": "echo"})).json()
        response = client.get(trace_of(opened))
        assert (response.status_code, response.json()["reason"]) == (409, "trace_off")
        client.post("/webrtc/close", json={"session_id": opened["session_id"]})


def test_the_route_is_described(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/api/calls/{call_id}/trace"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/plain"}
    assert {"200", "400", "401", "403", "404", "409"} <= set(operation["responses"])
    assert [parameter["name"] for parameter in operation["parameters"]] == ["call_id", "format"]
