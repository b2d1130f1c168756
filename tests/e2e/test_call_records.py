"""What is recorded of whole calls: with media, through Asterisk, however they end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk
from peers.offers import make_offer
from peers.server import ServerProcess
from peers.waiting import until


async def record_of(server: ServerProcess, call_id: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
    """That of a call, once it is there."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        answer = await http.get("/api/cdr", params={"call_id": call_id})
        found[:] = answer.raise_for_status().json()["records"]
        return bool(found)

    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        await until(is_there, timeout_s=timeout_s, what="the record")
    assert len(found) == 1
    return found[0]


async def test_a_call_with_media_has_codecs_quality_and_its_recording(
    gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with Client(gateway.url, codec="opus", events=True) as client:
        call = {"from": "5001", "display_name": "Ann", "trunk": "ulaw", "record": True}
        await dial(client, asterisk, "600", **call)
        await client.wait_recording("started")
        await client.wait_audio(100)
        sip_call_id = (await client.describe())["sip"]["sip_call_id"]
        call_id = client.answer["call"]["call_id"]
        await client.hang_up()
    record = await record_of(gateway, call_id)
    expected = {
        "direction": "outbound",
        "from": "5001",
        "to": "600",
        "destination": f"sip:600@{asterisk.address}",
        "display_name": "Ann",
        "trunk": "ulaw",
        "result": "answered",
        "reason": "normal_clearing",
        "sip_call_id": sip_call_id,
        "webrtc_codec": "opus",
        "sip_codec": "PCMU",
    }
    assert {name: record[name] for name in expected} == expected
    assert 1 < record["talk_s"] <= record["duration_s"] < 30
    for side in ("webrtc", "sip"):
        assert 3 < record[f"{side}_mos_received"] < 4.5
        assert 0 <= record[f"{side}_loss_received"] < 0.2
    (path,) = record["recordings"]
    assert path.endswith(".wav")
    assert call_id in path


@pytest.mark.parametrize(
    ("to", "result", "reason", "sip_status"),
    [
        ("602", "busy", "busy", 486),
        ("611", "rejected", "rejected", None),
        ("699", "failed", "number_not_found", 404),
    ],
)
async def test_a_call_that_is_refused_says_how(
    gateway: ServerProcess, to: str, result: str, reason: str, sip_status: int | None
) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        answer = (await http.post("/webrtc/offer", json=make_offer(call={"to": to}))).raise_for_status().json()
        record = await record_of(gateway, answer["call"]["call_id"], timeout_s=10)
    assert (record["result"], record["reason"]) == (result, reason)
    assert record["sip_status"] == sip_status or (sip_status is None and record["sip_status"] >= 400)
    assert (record["answered_at"], record["talk_s"]) == (None, 0)


async def test_a_call_that_nobody_answers_and_one_that_its_caller_gives_up(gateway: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        body = make_offer(call={"to": "603", "ring_timeout_s": 1})
        unanswered = (await http.post("/webrtc/offer", json=body)).raise_for_status().json()
        given_up = (await http.post("/webrtc/offer", json=make_offer(call={"to": "603"}))).raise_for_status().json()

        async def rings() -> bool:
            session = (await http.get(f"/webrtc/sessions/{given_up['session_id']}")).raise_for_status().json()
            return "ringing" in session["timeline"]

        await until(rings, timeout_s=5, what="the far end to ring")
        await http.post("/webrtc/close", json={"session_id": given_up["session_id"], "reason": "changed my mind"})
    record = await record_of(gateway, given_up["call"]["call_id"])
    assert (record["result"], record["reason"]) == ("cancelled", "changed my mind")
    record = await record_of(gateway, unanswered["call"]["call_id"], timeout_s=10)
    assert (record["result"], record["reason"]) == ("no_answer", "no_answer")


async def test_an_offer_that_waits_in_vain_is_a_failure(gateway: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=10, trust_env=False) as http:
        body = make_offer(session_id="waits-in-vain", call={"to": "602", "wait_for": "answer"})
        assert (await http.post("/webrtc/offer", json=body)).status_code == 502
        session = (await http.get("/webrtc/sessions/waits-in-vain")).json()
    record = await record_of(gateway, session["call"]["call_id"])
    assert (record["result"], record["sip_status"]) == ("busy", 486)
