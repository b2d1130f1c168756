"""What holds an answer back, and what lets it go."""

from __future__ import annotations

import asyncio

import pytest

from sdpserver.errors import BadRequest, Conflict
from sdpserver.session import waiting
from sdpserver.session.waiting import CallProgress


async def test_an_answer_goes_out_once_the_call_is_on_its_way() -> None:
    progress = CallProgress()
    held = asyncio.create_task(progress.wait_dialled())
    await asyncio.sleep(0)
    progress.dialled()
    progress.dialled()
    async with asyncio.timeout(1):
        await held


async def test_a_call_that_cannot_be_made_is_the_offers_error() -> None:
    progress = CallProgress()
    held = asyncio.create_task(progress.wait_dialled())
    await asyncio.sleep(0)
    assert progress.fail_dialling(BadRequest("no", reason="bad_destination"))
    with pytest.raises(BadRequest, match="no"):
        await held


async def test_an_answer_does_not_wait_long_and_is_then_beyond_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "DIAL_WAIT_S", 0.01)
    progress = CallProgress()
    async with asyncio.timeout(1):
        await progress.wait_dialled()
    assert not progress.fail_dialling(BadRequest("no", reason="bad_destination"))


async def test_a_step_wakes_all_who_wait_and_a_failure_too() -> None:
    progress = CallProgress()
    for end in (progress.step, lambda: progress.fail(Conflict("over", reason="session_closed"))):
        waiters = [asyncio.create_task(progress.wait_step()) for _ in range(2)]
        await asyncio.sleep(0)
        before = progress.awaited
        end()
        assert (before, progress.awaited) == (True, False)
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiters, return_exceptions=True)
        assert [str(result) for result in results] == (["None"] * 2 if end == progress.step else ["over"] * 2)
    progress.fail(Conflict("nobody hears it", reason="session_closed"))


async def test_who_gives_up_is_not_waited_for() -> None:
    progress = CallProgress()
    waiter = asyncio.create_task(progress.wait_step())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not progress.awaited
