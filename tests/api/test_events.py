"""A session's events as a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from peers.server import ServerProcess
from peers.waiting import wait_until

Offer = Callable[..., dict[str, Any]]


def read_events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream; their `id:` lines are checked against what is in them."""
    last_id = 0
    for line in response.iter_lines():
        if line.startswith("id: "):
            last_id = int(line[4:])
        elif line.startswith("data: "):
            event = orjson.loads(line[6:])
            assert event["id"] == last_id
            yield event


@pytest.fixture
def session_id(client: httpx.Client, offer: Offer) -> Iterator[str]:
    opened: str = client.post("/webrtc/offer", json=offer()).json()["session_id"]
    yield opened
    client.post("/webrtc/close", json={"session_id": opened})


def test_a_stream_replays_follows_and_ends_with_the_session(client: httpx.Client, session_id: str) -> None:
    with client.stream("GET", f"/webrtc/sessions/{session_id}/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        events = read_events(response)
        seen = [next(events)]
        assert seen[0]["id"] == 1
        assert set(seen[0]) == {"id", "type", "at", "elapsed_ms", "data"}
        client.post("/webrtc/close", json={"session_id": session_id, "reason": "done"})
        seen.extend(events)
    assert [event["id"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["type"] == "closed"


def test_a_client_resumes_after_the_last_event_it_saw(client: httpx.Client, session_id: str) -> None:
    client.post("/webrtc/close", json={"session_id": session_id})
    with client.stream("GET", f"/webrtc/sessions/{session_id}/events") as response:
        everything = list(read_events(response))
    assert len(everything) >= 2
    with client.stream(
        "GET", f"/webrtc/sessions/{session_id}/events", headers={"last-event-id": str(everything[0]["id"])}
    ) as response:
        assert list(read_events(response)) == everything[1:]


def test_a_client_that_has_seen_all_is_told_not_to_come_back(client: httpx.Client, session_id: str) -> None:
    client.post("/webrtc/close", json={"session_id": session_id})
    response = client.get(f"/webrtc/sessions/{session_id}/events", headers={"last-event-id": "9999"})
    assert response.status_code == 204


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 40, "²"])
def test_a_senseless_last_event_id_is_refused(client: httpx.Client, session_id: str, given: str) -> None:
    response = client.get(f"/webrtc/sessions/{session_id}/events", headers={b"last-event-id": given.encode("latin-1")})
    assert response.status_code == 400
    assert response.json()["reason"] == "invalid_field"


def test_readers_that_go_away_leave_nothing(server: ServerProcess, client: httpx.Client, session_id: str) -> None:
    client.get("/health")
    before = server.usage().fds
    for _ in range(20):
        with (
            httpx.Client(base_url=server.url, trust_env=False) as reader,
            reader.stream("GET", f"/webrtc/sessions/{session_id}/events") as response,
        ):
            next(read_events(response))
    wait_until(lambda: server.usage().fds <= before, timeout_s=5, what="the streams to be closed")


def test_many_readers_get_the_same(server: ServerProcess, client: httpx.Client, session_id: str) -> None:
    results: list[list[int]] = []
    ready = threading.Barrier(9, timeout=10)

    def read() -> None:
        with (
            httpx.Client(base_url=server.url, timeout=10, trust_env=False) as reader,
            reader.stream("GET", f"/webrtc/sessions/{session_id}/events") as response,
        ):
            events = read_events(response)
            first = next(events)
            ready.wait()
            results.append([first["id"], *(event["id"] for event in events)])

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    ready.wait()
    client.post("/webrtc/close", json={"session_id": session_id})
    for reader in readers:
        reader.join(10)
    assert len(results) == 8
    assert all(ids == results[0] == list(range(1, len(ids) + 1)) for ids in results)
