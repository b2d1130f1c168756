"""Who may see the figures, and in which form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest
from peers.server import ServerProcess, running
from prometheus_client.openmetrics.parser import text_string_to_metric_families


@pytest.fixture(scope="module")
def keyed() -> Iterator[ServerProcess]:
    scopes = {"caller": ["session", "call", "dn"], "boss": ["supervise"], "root": ["admin"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": found}
        for name, found in scopes.items()
    ]
    with running(ServerProcess({"auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


@pytest.mark.parametrize("path", ["/stats", "/metrics"])
def test_figures_are_for_supervisors_and_admins(keyed: ServerProcess, path: str) -> None:
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        assert client.get(path).status_code == 401
        response = client.get(path, headers={"x-api-key": "caller"})
        assert (response.status_code, response.json()["reason"]) == (403, "scope_missing")
        for name in ("boss", "root"):
            assert client.get(path, headers={"authorization": f"Bearer {name}"}).status_code == 200


def test_openmetrics_is_for_who_asks_for_it(client: httpx.Client) -> None:
    response = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    families = text_string_to_metric_families(response.text)  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {"sdpserver_sessions_open", "sdpserver_calls", "sdpserver_media_packets_received", "sdpserver_info"} <= names


def test_an_idle_server_has_all_its_totals(client: httpx.Client) -> None:
    totals = client.get("/stats").json()
    assert totals["times"]["offer"] == {"count": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    assert totals["calls"] == {"live": 0, "by_state": {}, "by_direction": {}, "by_trunk": {}}
    assert (totals["trunks"], totals["media"]["legs"], totals["uptime_s"] > 0) == ([], 0, True)
