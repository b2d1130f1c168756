"""JSON that has been read already, checked against a model."""

from __future__ import annotations

from typing import Any

import pytest

from sdpserver.agents import messages
from sdpserver.errors import BadRequest
from sdpserver.json_bodies import check_metadata, convert


def test_a_right_payload_becomes_the_model() -> None:
    call = convert({"to": "600", "sdp": "v=0", "headers": {"X-A": "1"}}, messages.Call)
    assert (call.to, call.sdp, call.headers, call.metadata) == ("600", "v=0", {"X-A": "1"}, {})


def test_defaults_are_not_shared() -> None:
    first, second = (convert({"sdp": "v=0"}, messages.Call) for _ in range(2))
    first.metadata["a"] = 1
    assert second.metadata == {}


@pytest.mark.parametrize(
    ("payload", "model", "reason", "named"),
    [
        ({}, messages.Call, "missing_field", "sdp"),
        ({"callId": "a"}, messages.Answer, "missing_field", "sdp"),
        ({"callId": "a", "hold": True, "x": 1}, messages.Hold, "unknown_field", "x"),
        ({"callId": "a", "hold": "yes"}, messages.Hold, "invalid_field", "hold"),
        ({"callId": "a", "hold": 1}, messages.Hold, "invalid_field", "hold"),
        ({"callId": 1}, messages.Hangup, "invalid_field", "callId"),
        ({"callId": "a\n"}, messages.Hangup, "invalid_field", "callId"),
        ({"callIds": ["a", 2]}, messages.Conference, "invalid_field", "callIds"),
        ({"callId": "a", "candidate": {"candidate": 1}}, messages.Candidate, "invalid_field", "candidate"),
        ({"callId": "a", "candidate": {"x": 1}}, messages.Candidate, "unknown_field", "candidate"),
        ({"dn": "70 01"}, messages.Register, "invalid_field", "dn"),
        ([], messages.Ping, "invalid_field", "body"),
        (None, messages.Ping, "invalid_field", "body"),
        ("x", messages.Ping, "invalid_field", "body"),
    ],
)
def test_what_is_wrong_is_named(payload: Any, model: Any, reason: str, named: str) -> None:
    with pytest.raises(BadRequest) as raised:
        convert(payload, model)
    assert raised.value.reason == reason
    assert named in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_long_unknown_name_is_cut() -> None:
    with pytest.raises(BadRequest) as raised:
        convert({"x" * 10_000: 1}, messages.Ping)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [({"a": "x" * 17_000}, "metadata_too_large"), ({"a": 2**70}, "invalid_field")],
)
def test_metadata_that_cannot_be_kept(metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_metadata(metadata)
    assert raised.value.reason == reason
