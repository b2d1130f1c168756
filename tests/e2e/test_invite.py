"""/invite with a client that can do SDP and nothing else, to Asterisk and back."""

from __future__ import annotations

import httpx
import pytest
from peers.aiortc_client import VOICE_HZ, Client
from peers.server import ServerProcess
from peers.waiting import until


async def test_a_call_is_heard_by_both_ends_until_it_is_deleted(gateway: ServerProcess) -> None:
    async with Client(gateway.url) as client, httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        made = await http.post("/invite", json={"target": "600", "sdp": await client.offer(), "callId": "echoed"})
        assert made.status_code == 200, made.text
        await client.accept({"sdp": {"sdp": made.json()["sdp"]}})
        await client.wait_connected()
        await client.wait_tone(VOICE_HZ)
        (await client.listen(1.2)).check_tone(VOICE_HZ)
        call = (await http.get("/call/echoed")).json()
        assert call["status"] == "answered"
        assert call["timeline"].keys() >= {"dtls", "answered", "first_rtp_in", "first_rtp_out"}
        assert (await http.post("/api/call/dtmf", json={"callId": "echoed", "digits": "1"})).status_code == 200
        assert (await http.delete("/call/echoed")).json() == {"callId": "echoed", "status": "ended"}
        await until(lambda: client.pc.connectionState == "closed", timeout_s=5, what="the end")


@pytest.mark.parametrize(
    ("target", "status", "reason", "sip_status"), [("602", 502, "busy", 486), ("610", 502, "number_not_found", 404)]
)
async def test_a_call_that_waits_for_an_answer_fails_as_the_pbx_says(
    gateway: ServerProcess, target: str, status: int, reason: str, sip_status: int
) -> None:
    async with Client(gateway.url) as client, httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        body = {"target": target, "sdp": await client.offer(), "callId": f"to-{target}", "wait_for": "answer"}
        response = await http.post("/invite", json=body)
        found = response.json()
        assert (response.status_code, found["reason"], found["sip_status"]) == (status, reason, sip_status)
        ended = (await http.get(f"/call/to-{target}")).json()
        assert (ended["status"], ended["sipStatus"]) == ("ended", sip_status)
