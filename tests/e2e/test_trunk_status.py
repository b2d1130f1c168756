"""The trunks of a real server at a real Asterisk."""

from __future__ import annotations

import httpx
from peers.server import ServerProcess
from peers.waiting import wait_until


def test_trunks_at_asterisk_are_connected(gateway: ServerProcess) -> None:
    def trunks() -> list[dict[str, object]]:
        answer = httpx.get(f"{gateway.url}/api/genesys/status", timeout=5, trust_env=False).raise_for_status()
        return list(answer.json()["trunks"])

    wait_until(lambda: all(trunk["connected"] for trunk in trunks()), timeout_s=5, what="Asterisk's answers")
    assert trunks()[0]["name"] == "any"
    for trunk in trunks():
        options = trunk["last_options"]
        assert isinstance(options, dict)
        assert options["answered"] is True
