"""What is recorded of agents' calls."""

from __future__ import annotations

from typing import Any

import httpx
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import ANN_HZ, BOB_HZ, CEM_HZ, connected, registered


async def records(server: ServerProcess, count: int, call_ids: set[str]) -> dict[str, dict[str, Any]]:
    """Those of these calls, by call id, once they are there."""
    found: dict[str, dict[str, Any]] = {}

    async def are_there() -> bool:
        answer = (await http.get("/api/cdr", params={"limit": 1000})).raise_for_status().json()
        found.update({record["call_id"]: record for record in answer["records"] if record["call_id"] in call_ids})
        return len(found) == count

    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        await until(are_there, timeout_s=5, what="the records")
    return found


async def test_a_call_between_agents_is_a_record_of_each(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await calling.order("hangup")
        await answered.wait("callEnded")
        found = await records(server, 2, {calling.call_id, answered.call_id})
    hers, his = found[calling.call_id], found[answered.call_id]
    names = ("owner", "dn", "direction", "from", "to", "result", "reason", "display_name")
    assert [hers[name] for name in names[:-1]] == [
        *("dn:7001", "7001", "outbound", "7001", "7002", "answered", "normal_clearing")
    ]
    assert [his[name] for name in names] == [
        *("dn:7002", "7002", "inbound", "7001", "7002", "answered", "normal_clearing", "Ann")
    ]
    assert hers["talk_s"] > 0
    assert his["talk_s"] > 0


async def test_who_hangs_up_what_rings_rejects_it(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling = await ann.call("7002", frequency_hz=ANN_HZ)
        incoming = await bob.incoming()
        await bob.request("reject", callId=incoming["callId"])
        await calling.wait("callEnded")
        found = await records(server, 2, {calling.call_id, incoming["callId"]})
    assert {record["result"] for record in found.values()} == {"rejected"}


async def test_a_transferred_call_says_to_whom(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await answered.order("transfer", to="7003")
        taken = await cem.answer(await cem.incoming(), frequency_hz=CEM_HZ)
        await answered.wait("callEnded")
        await taken.order("hangup")
        await calling.wait("callEnded")
        found = await records(server, 3, {calling.call_id, answered.call_id, taken.call_id})
    assert found[answered.call_id]["transferred_to"] == "7003"
    assert (found[answered.call_id]["result"], found[answered.call_id]["reason"]) == ("answered", "transferred")
    assert found[taken.call_id]["result"] == "answered"


async def test_an_attended_transfer_says_to_whom(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        first, first_there = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        second = await bob.call("7003", frequency_hz=BOB_HZ)
        second_there = await cem.answer(await cem.incoming(), frequency_hz=CEM_HZ)
        await second.client.wait_tone(CEM_HZ)
        await first_there.order("transfer", consultCallId=second.call_id)
        await first_there.wait("callEnded")
        await first.order("hangup")
        await second_there.wait("callEnded")
        found = await records(server, 2, {first_there.call_id, second.call_id})
    assert found[first_there.call_id]["transferred_to"] == "7003"
    assert {record["reason"] for record in found.values()} == {"transferred"}
