"""What callers see of the trunks."""

from __future__ import annotations

import hashlib

import httpx
from peers.ports import claim_block, release_block
from peers.server import ServerProcess, running
from peers.waiting import wait_until

from .conftest import TIMEOUT_S

STATUS = "/api/genesys/status"


def test_a_server_without_trunks_has_none(client: httpx.Client) -> None:
    response = client.get(STATUS)
    assert (response.status_code, response.json()) == (200, {"trunks": []})


def test_a_trunk_that_is_not_there_is_not_connected() -> None:
    closed_ports = claim_block()
    trunk = {"name": "gone", "server": f"127.0.0.1:{closed_ports[0]}", "transport": "tcp"}
    with (
        running(ServerProcess({"trunks": [trunk]})) as server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client,
    ):

        def gone() -> dict[str, object]:
            return dict(client.get(STATUS).json()["trunks"][0])

        wait_until(lambda: gone()["connected"] is False, timeout_s=5, what="the outcome of the OPTIONS")
        found = gone()
        assert (found["name"], found["server"], found["registered"]) == ("gone", trunk["server"], False)
        options = found["last_options"]
        assert isinstance(options, dict)
        assert options["answered"] is False
    release_block(closed_ports)


def test_the_scope_call_sees_the_trunks() -> None:
    keys = {"ann": ["session", "call"], "kiosk": ["session"]}
    api_keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}
        for name, scopes in keys.items()
    ]
    with running(ServerProcess({"auth": {"mode": "api_key", "api_keys": api_keys}})) as server:
        statuses = {
            name: httpx.get(server.url + STATUS, headers={"x-api-key": name}, trust_env=False).status_code
            for name in ("ann", "kiosk", "nobody")
        }
    assert statuses == {"ann": 200, "kiosk": 403, "nobody": 401}
