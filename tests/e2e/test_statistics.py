"""/stats and /metrics after real calls: what has happened is what they say."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from peers.agent import Agent
from peers.aiortc_client import VOICE_HZ, Client
from peers.asterisk import Asterisk
from peers.server import ServerProcess, running
from prometheus_client.parser import text_string_to_metric_families

from sdpserver.passwords import hash_password


@pytest.fixture
def server(asterisk: Asterisk) -> Iterator[ServerProcess]:
    """Whose figures are those of one test."""
    dns = [{"number": "7001", "password_hash": hash_password("ann's")}]
    with running(ServerProcess.for_asterisk(asterisk, {"dn": dns})) as process:
        yield process


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """None: there is no such series."""
        return self.samples.get((f"sdpserver_{name}", tuple(sorted(labels.items()))))


async def scraped(http: httpx.AsyncClient) -> Metrics:
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Metrics(response.text)


async def test_calls_are_counted_by_how_they_went(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        before = await scraped(http)
        assert before.value("sessions_created_total", direction="outbound") == 0
        async with Client(server.url) as client:
            await client.call("600")
            await client.wait_tone(VOICE_HZ)
            during = await scraped(http)
            assert during.value("calls", state="answered", direction="outbound", trunk="any") == 1
            assert during.value("trunk_calls", trunk="any") == 1
            assert during.value("sessions_open") == 1
            assert (during.value("media_packets_received_total") or 0) > 10
            assert during.value("call_answer_seconds_count", direction="outbound", trunk="any") == 1
            live = (await http.get("/stats")).json()
            assert live["calls"] == {
                "live": 1,
                "by_state": {"answered": 1},
                "by_direction": {"outbound": 1},
                "by_trunk": {"any": 1},
            }
            assert live["media"]["legs"] == 2
            assert live["times"]["answer"]["count"] == 1
            assert 0 < live["times"]["connect"]["p50_ms"] < 5000
            await client.hang_up()
        async with Client(server.url) as client:
            body = {"sdp": {"type": "offer", "sdp": await client.offer()}, "call": {"to": "602", "wait_for": "answer"}}
            assert (await http.post("/webrtc/offer", json=body)).status_code == 502
        after = await scraped(http)
        assert after.value("sessions_open") == 0
        assert after.value("sessions_ended_total", direction="outbound", answered="no", reason="busy") == 1
        ended = after.value("sessions_ended_total", direction="outbound", answered="yes", reason="normal_clearing")
        assert ended == 1
        assert after.value("call_duration_seconds_count") == 1
        assert after.value("call_mos_count", side="webrtc") == 1
        assert after.value("offer_seconds_count") == 1  # the other one was never answered
        assert after.value("http_requests_total", method="POST", path="/webrtc/offer", status="502") == 1
        totals = (await http.get("/stats")).json()["sessions"]
        assert (totals["open"], totals["created"], totals["ended"]) == (0, 2, 2)
        assert totals["by_result"] == {"answered": 1, "busy": 1}


async def test_agents_and_trunks_are_counted(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        assert (await scraped(http)).value("dns", status="offline") == 1
        async with Agent(server.url) as agent:
            await agent.register("7001", "ann's")
            found = await scraped(http)
            assert found.value("websocket_connections") == 1
            assert (found.value("dns", status="available"), found.value("dns", status="offline")) == (1, 0)
            totals = (await http.get("/stats")).json()
            assert totals["agents"]["dns"] == {"available": 1, "busy": 0, "offline": 0}
            assert "any" in [trunk["name"] for trunk in totals["trunks"]]
        assert totals["process"]["resident_octets"] > 10_000_000


async def test_a_clients_own_words_make_no_series(server: ServerProcess) -> None:
    """Neither reasons nor paths, of which there is no end."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        for number in range(3):
            async with Client(server.url) as client:
                await client.call("echo")
                body = {"session_id": client.session_id, "reason": f"reason-{number}"}
                assert (await http.post("/webrtc/close", json=body)).status_code == 200
            await http.get(f"/no/such/path/{number}")
        found = await scraped(http)
        assert found.value("sessions_ended_total", direction="outbound", answered="yes", reason="other") == 3
        assert found.value("http_requests_total", method="GET", path="other", status="404") == 3
        text = (await http.get("/metrics")).text
        assert "reason-" not in text
        assert "such" not in text
