"""A session's log: replay, order, slow readers."""

import asyncio
import weakref

from sdpserver.events import LOG_LENGTH, QUEUE_LENGTH, EventLog, SessionEvent


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


class Follower:
    """What it is told of, by id and type."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def see(self, event: SessionEvent) -> None:
        self.seen.append((event.id, event.type))


async def test_a_reader_gets_what_is_kept_after_its_last_id_and_then_what_comes() -> None:
    log = EventLog(clock=Clock())
    for name in ("a", "b", "c"):
        log.emit(name)
    subscription = log.subscribe(after_id=1)
    log.emit("d")
    log.close()
    assert [event.type async for event in subscription] == ["b", "c", "d"]


async def test_a_reader_whose_last_id_is_no_longer_kept_gets_all_that_is() -> None:
    log = EventLog(clock=Clock())
    for _ in range(LOG_LENGTH + 10):
        log.emit("x")
    log.close()
    subscription = log.subscribe(after_id=3)
    assert [event.id async for event in subscription] == list(range(11, LOG_LENGTH + 11))
    assert not subscription.overrun


async def test_a_reader_whose_last_id_is_still_to_come_gets_what_is_new() -> None:
    log = EventLog(clock=Clock())
    log.emit("a")
    subscription = log.subscribe(after_id=5)
    log.emit("b")
    log.close()
    assert [event.id async for event in subscription] == [2]


async def test_a_reader_that_is_cancelled_leaves_nothing_behind() -> None:
    log = EventLog(clock=Clock())
    log.emit("a")
    seen: list[int] = []
    read_one = asyncio.Event()

    async def read() -> None:
        subscription = log.subscribe()
        try:
            async for event in subscription:
                seen.append(event.id)
                read_one.set()
        finally:
            subscription.close()

    reader = asyncio.create_task(read())
    await read_one.wait()
    assert log.subscribers == 1
    reader.cancel()
    await asyncio.wait({reader})
    assert reader.cancelled()
    assert log.subscribers == 0
    log.emit("b")
    assert seen == [1]


async def test_a_log_of_what_is_remembered_is_as_the_first_was() -> None:
    log = EventLog(clock=Clock())
    log.emit("a", n=1, of={"x": [None, 2.5]})
    log.emit_latest("b", text="\u00e9")
    log.emit("c")
    remembered = EventLog.ended(SessionEvent.from_json(event.as_json()) for event in log.kept)
    assert [event.as_json() for event in remembered.kept] == [event.as_json() for event in log.kept]
    assert [event.type async for event in remembered.subscribe(after_id=1)] == ["b", "c"]


async def test_a_closed_log_can_still_be_read() -> None:
    log = EventLog(clock=Clock())
    log.emit("a")
    log.close()
    assert [event.id async for event in log.subscribe()] == [1]


async def test_a_slow_reader_is_ended_and_the_others_go_on() -> None:
    log = EventLog(clock=Clock())
    slow, quick = log.subscribe(), log.subscribe()
    seen = []

    async def read() -> None:
        async for event in quick:
            seen.append(event.id)

    reader = asyncio.create_task(read())
    for _ in range(QUEUE_LENGTH + 10):
        log.emit("x")
        await asyncio.sleep(0)
    assert slow.overrun
    assert not quick.overrun
    assert log.subscribers == 1
    assert [event.id async for event in slow] == list(range(1, QUEUE_LENGTH + 1))
    log.close()
    await reader
    assert seen == list(range(1, QUEUE_LENGTH + 11))


async def test_a_reader_that_begins_with_all_that_is_kept_is_not_a_slow_one() -> None:
    log = EventLog(clock=Clock())
    for _ in range(LOG_LENGTH):
        log.emit("x")
    log.emit_latest("talking")
    log.emit_latest("quality")
    reader = log.subscribe()
    for _ in range(QUEUE_LENGTH):
        log.emit("y")
    assert log.subscribers == 1
    log.emit("z")
    assert log.subscribers == 0
    assert reader.overrun
    assert [event.id async for event in reader] == list(range(1, LOG_LENGTH + QUEUE_LENGTH + 3))


def test_the_log_keeps_a_bounded_number_of_events() -> None:
    log = EventLog(clock=Clock())
    for _ in range(LOG_LENGTH + 5):
        log.emit("x")
    assert [event.id for event in log.kept] == list(range(6, LOG_LENGTH + 6))


async def test_of_what_comes_again_and_again_only_the_newest_is_kept() -> None:
    log = EventLog(clock=Clock())
    follower = log.subscribe()
    log.emit("offer")
    for loss in range(3 * LOG_LENGTH):
        log.emit_latest("quality", loss=loss)
        if loss == 100:
            log.emit("ringing")
    assert [(event.type, event.id) for event in log.kept] == [("offer", 1), ("ringing", 103), ("quality", 770)]
    assert log.timeline.keys() == {"offer", "ringing"}
    late = log.subscribe(after_id=103)
    log.emit("closed")
    log.close()
    assert [event.type async for event in late] == ["quality", "closed"]
    assert [event.id async for event in follower] == list(range(1, QUEUE_LENGTH + 1)), "and whoever follows gets all"


def test_the_timeline_has_the_first_time_of_each_step_in_ms_since_the_start() -> None:
    clock = Clock()
    log = EventLog(clock=clock)
    log.emit("offer")
    clock.now = 10.25
    log.mark("first_rtp_in")
    clock.now = 11.0
    log.mark("first_rtp_in")
    log.emit("closed", reason="x")
    assert log.timeline == {"offer": 0.0, "first_rtp_in": 250.0, "closed": 1000.0}


def test_a_listener_can_leave_while_it_is_called() -> None:
    log = EventLog(clock=Clock())
    seen = []

    def once(event: object) -> None:
        seen.append(event)
        log.unlisten(once)

    log.listen(once)
    log.emit("a")
    log.emit("b")
    log.unlisten(once)
    assert len(seen) == 1


def test_a_follower_is_told_of_what_is_kept_and_then_of_what_comes() -> None:
    log = EventLog(clock=Clock())
    log.emit("offer")
    log.emit_latest("quality")
    log.emit("ringing")
    log.emit_latest("quality")
    follower = Follower()
    log.follow(follower.see)
    assert follower.seen == [(1, "offer"), (3, "ringing"), (4, "quality")]
    log.emit("answered")
    log.emit_latest("quality")
    assert follower.seen[3:] == [(5, "answered"), (6, "quality")]


def test_a_follower_that_comes_late_begins_with_the_oldest_that_is_kept() -> None:
    log = EventLog(clock=Clock())
    for _ in range(LOG_LENGTH + 5):
        log.emit("x")
    follower = Follower()
    log.follow(follower.see)
    log.emit("closed")
    assert [id_ for id_, _ in follower.seen] == list(range(6, LOG_LENGTH + 7))


def test_followers_are_told_the_same_whenever_they_come() -> None:
    log = EventLog(clock=Clock())
    first, second, third = Follower(), Follower(), Follower()
    for name, follower in (("offer", first), ("ringing", second), ("answered", third)):
        log.follow(follower.see)
        log.emit(name)
    assert first.seen == second.seen == third.seen == [(1, "offer"), (2, "ringing"), (3, "answered")]
    log.unlisten(second.see)
    log.emit("closed")
    assert first.seen == third.seen == [*second.seen, (4, "closed")]


def test_a_follower_that_has_left_is_not_kept() -> None:
    log = EventLog(clock=Clock())
    follower = Follower()
    log.follow(follower.see)
    log.unlisten(follower.see)
    left = weakref.ref(follower)
    del follower
    assert left() is None
    log.emit("a")


def test_a_closed_log_keeps_no_follower() -> None:
    log = EventLog(clock=Clock())
    follower = Follower()
    log.follow(follower.see)
    log.emit("closed")
    log.close()
    assert follower.seen == [(1, "closed")]
    gone = weakref.ref(follower)
    del follower
    assert gone() is None


def test_an_event_as_json_has_utc_time_and_its_data() -> None:
    log = EventLog(clock=Clock())
    data = log.emit("ice", remote="192.0.2.1 5000").as_json()
    assert data["id"] == 1
    assert data["type"] == "ice"
    assert data["at"].endswith("Z")
    assert data["data"] == {"remote": "192.0.2.1 5000"}


def test_a_listener_that_leaves_does_not_make_another_miss_the_event() -> None:
    log = EventLog(clock=lambda: 0.0)
    heard: list[str] = []

    def leaves(event: SessionEvent) -> None:
        heard.append("leaves")
        log.unlisten(leaves)

    log.listen(leaves)
    log.listen(lambda event: heard.append("stays"))
    log.emit("closed")
    assert heard == ["leaves", "stays"]


def test_when_a_step_was_last_reached_is_known_too() -> None:
    clock = Clock()
    log = EventLog(clock=clock)
    log.emit("dtls")
    log.mark("far_end")
    clock.now += 2
    log.emit("dtls")
    assert log.timeline == {"dtls": 0.0, "far_end": 0.0}
    assert log.latest == {"far_end": 0.0, "dtls": 2000.0}
