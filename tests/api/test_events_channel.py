"""The data channel `events`: its reader is told the end of its session, whatever was to be told just before."""

from __future__ import annotations

import pytest
from peers.in_process import in_process

OCTETS = 1000
"""Of an event; a few of them fill what SCTP sends before it has an acknowledgement (RFC 9260 section 7.2.1)."""


@pytest.mark.parametrize("count", [0, 3, 10, 40])
async def test_the_end_is_told_behind_many_events_at_once(count: int) -> None:
    async with in_process() as server, server.client(events=True) as client:
        await client.call("echo")
        await client.wait_event("dtls")
        session = server.app.state.sessions.find_open(client.session_id, owner="anonymous")
        for number in range(count):
            session.events.emit("told", number=number, text="x" * OCTETS)
        session.close("normal_clearing")
        await client.wait_closed()
        told = [event["data"]["number"] for _, event in client.events if event["type"] == "told"]
        assert told == list(range(count))
        assert (await client.wait_event("closed", timeout_s=1))["reason"] == "normal_clearing"
