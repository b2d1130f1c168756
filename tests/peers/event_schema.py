"""Whether events are as /openapi.json says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonschema_rs
import msgspec
import orjson

from sdpserver.models.events import SessionEventInfo

_VALIDATOR = jsonschema_rs.Draft202012Validator(msgspec.json.schema(SessionEventInfo))


def events_of(stream: str) -> list[dict[str, Any]]:
    """The data of a whole event stream."""
    return [orjson.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]


def check_events(events: Iterable[dict[str, Any]]) -> set[str]:
    """Assert that their schema allows them, and has all of their members; their types."""
    types = set()
    for event in events:
        _VALIDATOR.validate(event)
        known = msgspec.to_builtins(msgspec.convert(event, SessionEventInfo))
        assert known.keys() == event.keys()
        assert known["data"].keys() == event["data"].keys(), f"{event} has what the schema does not name"
        types.add(event["type"])
    return types
