"""What a client may do to a call, and what it may not: the routes under /api/call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

Offer = Callable[..., dict[str, Any]]


@pytest.fixture
def session(client: httpx.Client, offer: Offer) -> Iterator[dict[str, Any]]:
    opened: dict[str, Any] = client.post("/webrtc/offer", json=offer()).json()
    yield opened
    client.post("/webrtc/close", json={"session_id": opened["session_id"]})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "missing_field"),
        ({"digits": "1"}, "missing_field"),
        ({"callId": "x"}, "missing_field"),
        ({"callId": "x", "digits": ""}, "invalid_digits"),
        ({"callId": "x", "digits": "12 3"}, "invalid_digits"),
        ({"callId": "x", "digits": "1" * 65}, "invalid_digits"),
        ({"callId": "x", "digits": 1}, "invalid_field"),
        ({"callId": "x", "digits": "1", "durationMs": 39}, "invalid_field"),
        ({"callId": "x", "digits": "1", "durationMs": 6001}, "invalid_field"),
        ({"callId": "x", "digits": "1", "gapMs": 39}, "invalid_field"),
        ({"callId": "x", "digits": "1", "method": "smoke"}, "invalid_field"),
        ({"callId": "x", "digits": "1", "leg": "middle"}, "invalid_field"),
        ({"callId": "x", "digits": "1", "digit": "1"}, "unknown_field"),
    ],
)
def test_a_wrong_press_is_a_bad_request(client: httpx.Client, body: dict[str, Any], reason: str) -> None:
    response = client.post("/api/call/dtmf", json=body)
    assert (response.status_code, response.json()["reason"]) == (400, reason), response.text


def test_a_call_that_never_was_is_not_found(client: httpx.Client) -> None:
    response = client.post("/api/call/dtmf", json={"callId": "0123456789abcdef", "digits": "1"})
    assert (response.status_code, response.json()["reason"]) == (404, "call_not_found")


def test_a_call_that_has_ended_says_so(client: httpx.Client, session: dict[str, Any]) -> None:
    client.post("/webrtc/close", json={"session_id": session["session_id"]})
    response = client.post("/api/call/dtmf", json={"callId": session["call"]["call_id"], "digits": "1"})
    assert (response.status_code, response.json()["reason"]) == (409, "call_ended")


def test_the_routes_are_described(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/api/call/dtmf"]["post"]
    assert {"200", "400", "401", "403", "404", "409"} <= set(operation["responses"])
    assert document["components"]["schemas"]["DtmfRequest"]["required"] == ["callId", "digits"]
