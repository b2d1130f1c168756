"""Reading and checking a body, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from sdpserver import json_bodies
from sdpserver.api import bodies
from sdpserver.api.failures import ClientDisconnected
from sdpserver.errors import BadRequest, BodyTooLarge, RequestTimeout
from sdpserver.models.webrtc import OfferRequest


class Incoming:
    """What a client sends; after the last message it sends nothing more."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)

    async def __call__(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_parts_are_joined() -> None:
    assert await bodies.read(Incoming(part(b"a"), part(b""), part(b"b", more=False)), {}) == b"ab"


async def test_exactly_the_limit_is_taken() -> None:
    body = b"x" * bodies.MAX_BODY
    assert await bodies.read(Incoming(part(body, more=False)), {b"content-length": b"%d" % len(body)}) == body


async def test_counting_stops_at_the_limit_and_leaves_the_rest_unread() -> None:
    incoming = Incoming(part(b"x" * bodies.MAX_BODY), part(b"x"), part(b"never read"))
    with pytest.raises(BodyTooLarge):
        await bodies.read(incoming, {})
    assert [message["body"] for message in incoming.messages] == [b"never read"]


async def test_a_body_that_stays_away_is_a_timeout() -> None:
    with pytest.raises(RequestTimeout) as caught:
        await bodies.read(Incoming(part(b"{")), {}, timeout_s=0.02)
    assert caught.value.reason == "body_timeout"


async def test_a_body_that_trickles_in_is_a_timeout_too() -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.005)
        return part(b" ")

    with pytest.raises(RequestTimeout):
        await bodies.read(drip, {}, timeout_s=0.05)


async def test_a_client_that_leaves_ends_the_reading() -> None:
    with pytest.raises(ClientDisconnected):
        await bodies.read(Incoming(part(b"{"), {"type": "http.disconnect"}), {})


def test_of_a_member_that_is_there_twice_the_last_counts() -> None:
    body = b'{"sdp":{"type":"offer","sdp":"a"},"session_id":"a","session_id":"b"}'
    assert json_bodies.decode(body, OfferRequest).session_id == "b"


@pytest.mark.parametrize("metadata", [{}, {"a": [None, True, 1, -(2**63), 2**64 - 1, 1.5, "é😀", {"b": []}]}])
def test_metadata_that_json_can_carry_is_taken(metadata: dict[str, Any]) -> None:
    json_bodies.check_metadata(metadata)


def test_metadata_is_measured_in_octets() -> None:
    json_bodies.check_metadata({"a": "x" * (json_bodies.MAX_METADATA - 8)})
    with pytest.raises(BadRequest) as caught:
        json_bodies.check_metadata({"a": "é" * (json_bodies.MAX_METADATA // 2)})
    assert caught.value.reason == "metadata_too_large"
