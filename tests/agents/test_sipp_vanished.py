"""A PBX scripted with SIPp that is gone in the middle of a call, without a word: what becomes of the call, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from peers.sipp import Step
from peers.sipp_calls import (
    CALLEE,
    CALLER,
    Party,
    accept,
    answered,
    invited,
    notified,
    receive,
    refuse,
    reply,
    sdp,
)

from .sipp_lines import Line, running_lines, signal

TRANSACTION_S = 32.0
"""64 T1: how long a request is repeated (RFC 3261 section 17)."""
LATE_S = 36.0
NOTHING = Step("")


class Case:
    """A call whose far end is gone, and how it ends."""

    def __init__(self, name: str, run: Callable[[Line], Awaitable[None]]) -> None:
        self.name = name
        self.run = run


async def ends(line: Line, scenario: Step, reason: str) -> None:
    """We call; the PBX follows the scenario and is gone."""
    async with line.callee(scenario) as sipp, line.agent() as agent:
        call = await agent.call(line.user(), codec="PCMU")
        await sipp.finished()
        assert (await call.wait("callEnded", timeout_s=LATE_S))["reason"] == reason


async def after_our_invite(line: Line) -> None:
    await ends(line, invited(), "trunk_unreachable")


async def after_its_challenge(line: Line) -> None:
    challenge = refuse("401 Unauthorized", 'WWW-Authenticate: Digest realm="sipp", nonce="n1", qop="auth"')
    await ends(line, invited() + challenge + invited(), "sip_timeout")


async def after_its_100(line: Line) -> None:
    async with line.callee(invited() + reply("100 Trying")) as sipp:
        answer = await line.dial(ring_timeout_s=3)
        assert (answer.status_code, answer.json()["reason"]) == (504, "sip_timeout")
        await sipp.finished()


async def after_its_180(line: Line) -> None:
    async with line.callee(invited() + reply("180 Ringing")) as sipp:
        answer = await line.dial(ring_timeout_s=3)
        assert (answer.status_code, answer.json()["reason"]) == (504, "no_answer")
        await sipp.finished()


async def after_our_prack(line: Line) -> None:
    scenario = invited() + reply("183 Session Progress", "Require: 100rel\nRSeq: 7", sdp()) + receive("PRACK")
    async with line.callee(scenario) as sipp:
        answer = await line.dial(ring_timeout_s=3)
        assert (answer.status_code, answer.json()["reason"]) == (504, "no_answer")
        await sipp.finished()


async def after_our_cancel(line: Line) -> None:
    async with line.callee(invited() + reply("180 Ringing") + receive("CANCEL")) as sipp, line.agent() as agent:
        call = await agent.call(line.user(), codec="PCMU")
        await call.wait("callProgress", state="ringing")
        await call.order("hangup")
        await call.wait("callEnded")
        await sipp.finished()


async def while_it_rings_here(line: Line) -> None:
    scenario = CALLER.invite(body=sdp()) + receive(100, optional=True) + receive(180)
    async with line.called(scenario) as (agent, incoming, sipp):
        await sipp.finished()
        await agent.request("reject", callId=incoming["callId"])
        await agent.wait("callEnded", callId=incoming["callId"])


async def after_our_200(line: Line) -> None:
    async with line.called(CALLER.invite(body=sdp()) + answered()) as (agent, incoming, sipp):
        call = await agent.answer(incoming, codec="PCMU")
        await sipp.finished()
        assert (await call.wait("callEnded", timeout_s=LATE_S))["reason"] == "sip_timeout"


def in_a_call(party: Party) -> list[Case]:
    """Those that may happen to calls of either direction."""

    async def after_our_bye(line: Line) -> None:
        async with line.up(party, receive("BYE")) as (call, sipp):
            await call.order("hangup")
            assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
            await sipp.finished()

    async def after_our_re_invite(line: Line) -> None:
        async with line.up(party, receive("INVITE")) as (call, sipp):
            await call.order("hold", hold=True)
            await sipp.finished()
            assert (await call.wait("callEnded", timeout_s=LATE_S))["reason"] == "sip_timeout"

    async def after_our_refer(line: Line) -> None:
        async with line.up(party, receive("REFER")) as (call, sipp):
            await call.order("transfer", to=line.user(1))
            await sipp.finished()
            assert (await call.wait("transferred", state="failed", timeout_s=LATE_S))["sipStatus"] == 408
            await call.hang_up()

    async def before_its_notify(line: Line) -> None:
        async with line.up(party, receive("REFER") + accept(status="202 Accepted")) as (call, sipp):
            await call.order("transfer", to=line.user(1))
            await sipp.finished()
            await call.wait("transferred", state="failed", timeout_s=LATE_S)
            await call.hang_up()

    async def after_its_refer(line: Line) -> None:
        refer = party.request("REFER", f"Refer-To: <sip:{line.user(1)}@{line.host_port}>") + receive(202)
        async with line.up(party, refer + notified("100", final=False)) as (call, sipp):
            await sipp.finished()
            failed = await call.wait("transferred", state="failed", timeout_s=LATE_S)
            assert failed["reason"] == "trunk_unreachable"
            await call.order("hangup")
            await call.wait("callEnded")

    async def after_our_info(line: Line) -> None:
        async with line.up(party, receive("INFO")) as (call, sipp):
            await signal(call)
            await sipp.finished()
            await call.order("hangup")
            assert (await call.wait("callEnded"))["reason"] == "normal_clearing"

    found = (after_our_bye, after_our_re_invite, after_our_refer, before_its_notify, after_its_refer, after_our_info)
    kind = "made" if party is CALLEE else "taken"
    return [Case(f"{case.__name__} ({kind})", case) for case in found]


CASES = [
    *(
        Case(case.__name__, case)
        for case in (
            after_our_invite,
            after_its_challenge,
            after_its_100,
            after_its_180,
            after_our_prack,
            after_our_cancel,
            while_it_rings_here,
            after_our_200,
        )
    ),
    *in_a_call(CALLEE),
    *in_a_call(CALLER),
]


@pytest.mark.timeout(90)
async def test_a_pbx_that_is_gone_in_any_state_leaves_no_call(tmp_path: Path) -> None:
    """Side by side, since most of them end by a timer of 32 s."""
    failed: dict[str, Exception] = {}
    with running_lines({"reattach_s": 1}, len(CASES)) as lines:

        async def run(case: Case, line: Line) -> None:
            try:
                await case.run(line)
            except Exception as exc:
                failed[case.name] = exc

        async with asyncio.TaskGroup() as group:
            for case in CASES:
                group.create_task(run(case, lines.next(tmp_path)))
        assert not failed, "\n".join(f"{name}: {exc!r}" for name, exc in failed.items())
        lines.check_idle()


@pytest.mark.parametrize("party", [CALLEE, CALLER], ids=["made", "taken"])
async def test_a_pbx_that_is_gone_in_mid_call_is_noticed_by_its_silence(party: Party, tmp_path: Path) -> None:
    with running_lines({"reattach_s": 1, "media_timeout_s": 2}, 1) as lines:
        async with lines.next(tmp_path).up(party, NOTHING) as (call, sipp):
            await sipp.finished()
            assert (await call.wait("callEnded"))["reason"] == "media_timeout"
        lines.check_idle()
