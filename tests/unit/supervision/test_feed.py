"""The feed of events: who sees what, what is replayed, and who is cut off."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from sdpserver.models.supervision import EVENT_TYPES, EventType
from sdpserver.supervision.feed import IDS_PER_S, LOG_LENGTH, QUEUE_LENGTH, Feed, FeedSubscription, View

SUPERVISOR = View(owner="boss", sees_all=True, sees_dns=True)
DESK = View(owner="desk", sees_all=False, sees_dns=True)
CALLER = View(owner="ann", sees_all=False, sees_dns=False)


def feed() -> Feed:
    return Feed(now_s=1000.0)


async def waiting(subscription: FeedSubscription) -> list[dict[str, Any]]:
    """What it has been told so far; it is closed after that."""
    subscription.close()
    text = b"".join([chunk async for chunk in subscription]).decode()
    found = []
    for frame in text.split("\n\n")[:-1]:
        id_line, data_line = frame.split("\n")
        event = orjson.loads(data_line.removeprefix("data: "))
        assert id_line == f"id: {event['id']}"
        found.append(event)
    return found


async def types(subscription: FeedSubscription) -> list[str]:
    return [event["type"] for event in await waiting(subscription)]


def publish_all(it: Feed) -> None:
    it.publish("callBegan", {"of": "ann"}, owner="ann")
    it.publish("callAnswered", {"of": "5001"}, owner="dn:5001", dn="5001")
    it.publish("callEnded", {"of": "5002"}, owner="dn:5002", dn="5002")
    it.publish("dnStatus", {}, dn="5001")
    it.publish("trunkStatus", {})
    it.publish("callQuality", {}, owner="ann", keep=False)


@pytest.mark.parametrize(
    ("view", "seen"),
    [
        (SUPERVISOR, ["callBegan", "callAnswered", "callEnded", "dnStatus", "trunkStatus"]),
        (DESK, ["callAnswered", "callEnded", "dnStatus", "trunkStatus"]),
        (CALLER, ["callBegan", "trunkStatus"]),
        (View(owner="b", sees_all=True, sees_dns=True, dns=frozenset({"5001"})), ["callAnswered", "dnStatus"]),
        (View(owner="ann", sees_all=False, sees_dns=False, dns=frozenset({"5001"})), []),
        (View(owner="b", sees_all=True, sees_dns=True, types=frozenset[EventType]({"callQuality"})), ["callQuality"]),
    ],
    ids=["supervisor", "desk", "caller", "one-dn", "not-his-dn", "quality"],
)
async def test_each_sees_what_concerns_it(view: View, seen: list[str]) -> None:
    it = feed()
    subscription = it.subscribe(view)
    publish_all(it)
    assert await types(subscription) == seen


async def test_ids_rise_also_from_one_start_to_the_next() -> None:
    before, after = Feed(now_s=1000.0), Feed(now_s=1001.0)
    for _ in range(1000):
        before.publish("trunkStatus", {})
    assert before.last_id < after.last_id == 1001 * IDS_PER_S


async def test_what_came_after_the_last_event_is_replayed_for_who_may_see_it() -> None:
    it = feed()
    publish_all(it)
    events = await waiting(it.subscribe(SUPERVISOR, after_id=it.last_id - 6))
    assert [event["type"] for event in events] == [
        "callBegan",
        "callAnswered",
        "callEnded",
        "dnStatus",
        "trunkStatus",
    ]  # not how it sounded
    assert await types(it.subscribe(SUPERVISOR, after_id=events[1]["id"])) == ["callEnded", "dnStatus", "trunkStatus"]
    assert await types(it.subscribe(CALLER, after_id=events[0]["id"])) == ["trunkStatus"]


async def test_a_gap_is_known() -> None:
    it = feed()
    start = it.last_id
    assert not it.lacks(start)
    assert it.lacks(start - 1)  # of an earlier process
    assert it.lacks(start + 1)  # of nobody
    for _ in range(LOG_LENGTH):
        it.publish("trunkStatus", {})
    assert not it.lacks(start)
    it.publish("trunkStatus", {})
    assert it.lacks(start)
    assert not it.lacks(start + 1)


async def test_a_slow_reader_is_cut_off_and_the_others_are_not() -> None:
    it = feed()
    slow, quick = it.subscribe(SUPERVISOR), it.subscribe(SUPERVISOR)
    read: list[int] = []

    async def follow() -> None:
        async for chunk in quick:
            read.append(chunk.count(b"data: "))

    following = asyncio.create_task(follow())
    for _ in range(QUEUE_LENGTH + 1):
        it.publish("trunkStatus", {})
        if it.last_id % 100 == 0:
            await asyncio.sleep(0)
    assert slow.overrun
    assert not quick.overrun
    assert await waiting(slow) == []  # it comes back for all that it has not read
    assert it.readers == 1
    it.close()
    await following
    assert sum(read) == QUEUE_LENGTH + 1
    assert it.readers == 0


async def test_who_comes_back_after_a_long_time_has_room_for_what_it_missed() -> None:
    it = feed()
    start = it.last_id
    for _ in range(LOG_LENGTH):
        it.publish("trunkStatus", {})
    subscription = it.subscribe(SUPERVISOR, after_id=start)
    it.publish("trunkStatus", {})
    assert len(await waiting(subscription)) == LOG_LENGTH + 1


async def test_a_quiet_readers_id_moves_on() -> None:
    it = feed()
    subscription = it.subscribe(CALLER)
    it.publish("callBegan", {}, owner="bob")
    assert subscription.heartbeat() == b"id: %d\n\n" % it.last_id
    it.publish("callBegan", {}, owner="ann")
    assert subscription.heartbeat() == b": still here\n\n"  # what waits comes before the id


async def test_a_thousand_events_a_second_for_fifty_readers_cost_a_tenth_of_a_core() -> None:
    it = feed()
    readers = [it.subscribe(SUPERVISOR) for _ in range(50)]
    data = {"callId": "0123456789abcdef", "dn": "5001", "from": "5001", "to": "sip:600@pbx", "state": "answered"}
    started_s = time.process_time()
    for _ in range(1000):
        it.publish("callAnswered", data, owner="dn:5001", dn="5001")
    assert time.process_time() - started_s < 0.1
    assert not any(reader.overrun for reader in readers)
    it.close()


def test_every_call_event_is_filtered_as_one() -> None:
    assert {type_ for type_ in EVENT_TYPES if type_.startswith("call")} == {
        "callBegan",
        "callRinging",
        "callAnswered",
        "callHeld",
        "callResumed",
        "callTransferred",
        "callRecording",
        "callQuality",
        "callEnded",
    }
