"""Orders for sounds and recordings that cannot be: each is answered with its reason before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from peers import audio
from peers.server import ServerProcess, running

Offer = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess()
    process.add_sound("hello.wav", audio.sine(440, 0.5, 8000), 8000)
    (process.sounds / "broken.wav").write_text("no sound")
    with running(process):
        yield process


@pytest.fixture
def call_id(client: httpx.Client, offer: Offer) -> Iterator[str]:
    opened = client.post("/webrtc/offer", json=offer(call={"to": "silence"})).json()
    yield opened["call"]["call_id"]
    client.post("/webrtc/close", json={"session_id": opened["session_id"]})


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


@pytest.mark.parametrize(
    ("to", "answer"),
    [
        ("playback/none.wav", (404, "sound_not_found")),
        ("playback/broken.wav", (400, "bad_sound")),
        ("playback/../config.toml", (400, "bad_sound_name")),
        ("playback//etc/passwd", (400, "bad_sound_name")),
        ("playback/", (400, "bad_sound_name")),
    ],
)
def test_a_sound_that_cannot_be_played_is_refused_before_the_answer(
    client: httpx.Client, offer: Offer, to: str, answer: tuple[int, str]
) -> None:
    assert refused(client.post("/webrtc/offer", json=offer(call={"to": to}))) == answer
    assert client.get("/webrtc/sessions").json()["sessions"] == []


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, (400, "missing_field")),
        ({"file": "none.wav"}, (404, "sound_not_found")),
        ({"file": "broken.wav"}, (400, "bad_sound")),
        ({"file": "../x"}, (400, "bad_sound_name")),
        ({"file": "hello.wav", "stop": True}, (400, "invalid_field")),
        ({"file": "hello.wav", "leg": "middle"}, (400, "invalid_field")),
        ({"file": "hello.wav", "leg": "sip"}, (409, "no_such_leg")),
        ({"file": "hello.wav", "leg": "both"}, (409, "no_such_leg")),
        ({"file": "hello.wav", "volume": 3}, (400, "unknown_field")),
    ],
)
def test_a_wrong_order_to_play(
    client: httpx.Client, call_id: str, body: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert refused(client.post("/api/call/play", json={"callId": call_id, **body})) == answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, (400, "missing_field")),
        ({"record": False}, (409, "not_recording")),
        ({"record": False, "pause": True}, (400, "invalid_field")),
        ({"record": "yes"}, (400, "invalid_field")),
    ],
)
def test_a_wrong_order_to_record(
    client: httpx.Client, call_id: str, body: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert refused(client.post("/api/call/record", json={"callId": call_id, **body})) == answer


def test_a_call_that_never_was(client: httpx.Client) -> None:
    for route, body in (("play", {"file": "hello.wav"}), ("record", {"record": True})):
        answer = client.post(f"/api/call/{route}", json={"callId": "0123456789abcdef", **body})
        assert refused(answer) == (404, "call_not_found")


def test_a_recording_can_be_ordered_paused_resumed_and_ended(client: httpx.Client, call_id: str) -> None:
    def order(**body: Any) -> dict[str, Any]:
        response = client.post("/api/call/record", json={"callId": call_id, **body})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    first = order(record=True)
    assert first["path"].endswith(".wav")
    assert call_id in first["path"]
    assert order(record=True)["path"] == first["path"], "one at a time"
    order(record=True, pause=True)
    order(record=True, pause=False)
    assert order(record=False)["status"] == "stopping"
    again = order(record=True)
    assert again["path"] != first["path"]
