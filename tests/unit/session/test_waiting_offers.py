"""An offer that waits for its call is never left waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sdpserver.config import Config, Trunk
from sdpserver.errors import Conflict
from sdpserver.models.webrtc import CallOptions
from sdpserver.recording import RecordingFolder
from sdpserver.session.quality_reports import QualityReports
from sdpserver.session.routing import Destination
from sdpserver.session.session import Session
from sdpserver.session.states import CallState
from sdpserver.session.transfers import Transfers


def new_session() -> Session:
    return Session(
        session_id="s",
        owner="anonymous",
        destination=Destination(uri="sip:600@pbx", trunk=Trunk(name="pbx", server="127.0.0.1"), user="600"),
        options=CallOptions(wait_for="answer"),
        metadata={},
        config=Config(),
        quality_reports=QualityReports(),
        recordings=RecordingFolder(Path("recordings")),
        transfers=Transfers(
            parts=lambda: pytest.fail("nothing is transferred"), resolve=lambda call: pytest.fail("nothing is dialled")
        ),
    )


async def test_a_session_that_closes_wakes_the_offer_that_waits() -> None:
    session = new_session()
    waiting = asyncio.create_task(session.wait_for_call({CallState.ANSWERED}))
    await asyncio.sleep(0)
    session.close("server_shutdown")
    async with asyncio.timeout(1):
        with pytest.raises(Conflict, match="closed"):
            await waiting


async def test_a_session_that_closed_a_moment_before_does_not_let_the_offer_wait() -> None:
    session = new_session()
    session.close("server_shutdown")
    async with asyncio.timeout(1):
        with pytest.raises(Conflict, match="closed"):
            await session.wait_for_call({CallState.ANSWERED})
