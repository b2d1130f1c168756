"""Calls set up with a PBX scripted with SIPp: refusals, challenges, redirections, and races before the answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.sipp import Step, pause
from peers.sipp_calls import (
    CALLER,
    accept,
    answer_kept,
    answered,
    hung_up,
    invited,
    keep,
    receive,
    refuse,
    reply,
    ringing,
    sdp,
    signalled,
)

from .sipp_lines import TRUNK_PASSWORD, TRUNK_USER, Line, Lines, running_lines, signal


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    with running_lines({"reattach_s": 1}) as found:
        yield found


def challenge(nonce: str, *, proxy: bool = False, stale: bool = False) -> Step:
    name, status = ("Proxy", "407 Proxy Authentication Required") if proxy else ("WWW", "401 Unauthorized")
    extra = ", stale=true" if stale else ""
    return refuse(status, f'{name}-Authenticate: Digest realm="sipp", nonce="{nonce}", qop="auth"{extra}')


# -- calls that we make


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        ("403 Forbidden", "", "forbidden_by_peer"),
        ("404 Not Found", "", "number_not_found"),
        ("408 Request Timeout", "", "sip_timeout"),
        ("480 Temporarily Unavailable", "", "unavailable"),
        ("480 Temporarily Unavailable", "Reason: Q.850;cause=19", "no_answer"),
        ("486 Busy Here", "", "busy"),
        ("488 Not Acceptable Here", "", "not_acceptable"),
        ("491 Request Pending", "", "sip_refused"),
        ("500 Server Internal Error", "", "trunk_error"),
        ("503 Service Unavailable", "Retry-After: 7", "trunk_unavailable"),
        ("600 Busy Everywhere", "", "busy"),
        ("603 Decline", "", "rejected"),
        ("699 Beyond All Numbers", "", "sip_refused"),
        ("305 Use Proxy", "Contact: <sip:192.0.2.1>", "redirect_refused"),
        ("380 Alternative Service", "", "redirect_refused"),
    ],
)
async def test_a_refusal_is_told_and_acknowledged(line: Line, status: str, headers: str, reason: str) -> None:
    async with line.callee(invited() + reply("180 Ringing") + refuse(status, headers)) as sipp:
        answer = await line.dial()
        error = answer.json()
        assert error["reason"] == reason
        if reason in ("sip_timeout", "no_answer"):
            assert answer.status_code == 504
        else:
            assert answer.status_code == 502
            assert f"{error['sip_status']} {error['sip_reason']}" == status
        await sipp.finished()


@pytest.mark.parametrize("proxy", [False, True], ids=["401", "407"])
async def test_a_challenge_and_a_stale_nonce_are_met(line: Line, proxy: bool) -> None:
    # SIPp checks digests of 401 only.
    password = {} if proxy else {"user": TRUNK_USER, "password": TRUNK_PASSWORD}
    header = "Proxy-Authorization" if proxy else "Authorization"
    scenario = (
        invited()
        + challenge("n1", proxy=proxy)
        + invited((header, "first", "nonce=.n1.*"), **password)
        + challenge("n2", proxy=proxy, stale=True)
        + invited((header, "second", "nonce=.n2.*"), **password)
        + refuse("486 Busy Here")
    )
    async with line.callee(scenario) as sipp:
        assert (await line.dial()).json()["reason"] == "busy"
        await sipp.finished()


async def test_a_challenge_that_comes_again_ends_the_call(line: Line) -> None:
    scenario = invited() + challenge("n1") + invited() + challenge("n1") + pause(700)
    async with line.callee(scenario) as sipp:
        error = (await line.dial()).json()
        assert (error["reason"], error["sip_status"]) == ("trunk_auth_failed", 401)
        await sipp.finished()


async def test_a_session_interval_that_is_too_small_is_raised(line: Line) -> None:
    scenario = (
        invited()
        + refuse("422 Session Interval Too Small", "Min-SE: 2400")
        + invited(("Session-Expires", "interval", "2400"), ("Min-SE", "least", "2400"))
        + reply("200 OK", "Session-Expires: 2400;refresher=uas\nRequire: timer", sdp())
        + receive("ACK")
        + hung_up()
    )
    async with line.talking(scenario) as (call, sipp):
        await call.hang_up()
        await sipp.finished()


async def test_a_redirection_to_another_user_of_the_trunk_is_followed(line: Line) -> None:
    scenario = (
        invited()
        + refuse("302 Moved Temporarily", f"Contact: <sip:{line.user(1)}@{line.host_port}>")
        + receive("INVITE", ("To", "moved", f"sip:{line.user(1)}@"))
        + accept(status="486 Busy Here")
        + receive("ACK")
    )
    async with line.callee(scenario) as sipp:
        assert (await line.dial()).json()["reason"] == "busy"
        await sipp.finished()


async def test_a_redirection_in_a_circle_ends(line: Line) -> None:
    scenario = (
        invited()
        + refuse("302 Moved Temporarily", f"Contact: <sip:{line.user(1)}@{line.host_port}>")
        + invited()
        + refuse("302 Moved Temporarily", f"Contact: <sip:{line.user()}@{line.host_port}>")
        + pause(700)
    )
    async with line.callee(scenario) as sipp:
        error = (await line.dial()).json()
        assert (error["reason"], error["sip_status"]) == ("redirect_refused", 302)
        await sipp.finished()


@pytest.mark.parametrize("contact", ["<sip:{user}@127.0.2.1>", "<sip:9@{trunk}>", "<sip:{other}@{trunk}>"])
async def test_a_redirection_to_a_foreign_host_or_another_trunks_number_is_refused(line: Line, contact: str) -> None:
    where = contact.format(user=line.user(1), trunk=line.host_port, other=f"{line.number + 1:02d}001")
    async with line.callee(invited() + refuse("302 Moved Temporarily", f"Contact: {where}") + pause(700)) as sipp:
        assert (await line.dial()).json()["reason"] == "redirect_refused"
        await sipp.finished()


async def test_reliable_provisional_responses_are_acknowledged(line: Line) -> None:
    scenario = (
        invited(("Supported", "supported", "100rel"))
        + reply("183 Session Progress", "Require: 100rel\nRSeq: 7", sdp())
        + receive("PRACK", ("RAck", "rack", "^ *7 [0-9]+ INVITE"))
        + accept()
        + reply("180 Ringing", "Require: 100rel\nRSeq: 8")
        + receive("PRACK", ("RAck", "second", "^ *8 [0-9]+ INVITE"))
        + accept()
        + reply("200 OK", body=sdp())
        + receive("ACK")
        + hung_up()
    )
    async with line.talking(scenario) as (call, sipp):
        await call.hang_up()
        await sipp.finished()


async def test_our_cancel_is_answered_by_a_487(line: Line) -> None:
    scenario = invited() + reply("180 Ringing") + receive("CANCEL") + accept() + refuse("487 Request Terminated")
    async with line.callee(scenario) as sipp, line.agent() as agent:
        call = await agent.call(line.user(), codec="PCMU")
        await call.wait("callProgress", state="ringing")
        await call.hang_up()
        await sipp.finished()


async def test_our_cancel_crosses_the_200(line: Line) -> None:
    answer = accept() + reply("200 OK", body=sdp()) + receive("ACK") + hung_up()
    async with (
        line.callee(invited() + reply("180 Ringing") + receive("CANCEL") + answer) as sipp,
        line.agent() as agent,
    ):
        call = await agent.call(line.user(), codec="PCMU")
        await call.wait("callProgress", state="ringing")
        await call.hang_up()
        await sipp.finished()


async def test_repeated_responses_make_one_call(line: Line) -> None:
    ringing, ok = reply("180 Ringing"), reply("200 OK", body=sdp())
    # The ACK that comes again is a retransmission to SIPp, and is not told of.
    async with line.talking(invited() + ringing + ringing + ok + receive("ACK") + ok + hung_up()) as (call, sipp):
        assert [message["type"] for message in call.messages].count("callAccepted") == 1
        await call.hang_up()
        await sipp.finished()


async def test_an_answer_that_cannot_be_used_ends_the_call(line: Line) -> None:
    unusable = sdp().replace("RTP/AVP 0 101", "RTP/AVP 18")
    # pjsip sees that before it sends its ACK, which then follows the BYE.
    scenario = invited() + reply("200 OK", body=unusable) + keep("BYE") + receive("ACK") + answer_kept("200 OK")
    async with line.callee(scenario) as sipp:
        assert (await line.dial()).json()["reason"] == "not_acceptable"
        await sipp.finished()


# -- calls that come


async def test_a_late_offer(line: Line) -> None:
    scenario = CALLER.invite() + answered() + CALLER.ack(sdp()) + hung_up()
    async with line.called(scenario) as (agent, incoming, sipp):
        call = await agent.answer(incoming, codec="PCMU")
        await call.hang_up()
        await sipp.finished()


async def test_the_caller_hangs_up(line: Line) -> None:
    scenario = CALLER.invite(body=sdp()) + answered() + CALLER.ack() + signalled() + CALLER.bye()
    async with line.called(scenario) as (agent, incoming, sipp):
        call = await line.take(agent, incoming)
        await signal(call)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


@pytest.mark.parametrize(("reason", "status"), [("busy", 486), ("rejected", 603)])
async def test_the_agent_refuses(line: Line, reason: str, status: int) -> None:
    ringing = receive(100, optional=True) + receive(180)
    scenario = CALLER.invite(body=sdp()) + ringing + receive(status) + CALLER.ack_refusal()
    async with line.called(scenario) as (agent, incoming, sipp):
        await agent.request("reject", callId=incoming["callId"], reason=reason)
        await sipp.finished()


async def test_nobody_is_registered(line: Line) -> None:
    scenario = CALLER.invite(body=sdp()) + receive(100, optional=True) + receive(480) + CALLER.ack_refusal()
    async with line.caller(scenario) as sipp:
        await sipp.finished()


async def test_the_caller_cancels(line: Line) -> None:
    scenario = (
        CALLER.invite(body=sdp())
        + receive(100, optional=True)
        + receive(180)
        + CALLER.cancel()
        + receive(200)
        + receive(487)
        + CALLER.ack_refusal()
    )
    async with line.called(scenario) as (agent, incoming, sipp):
        ended = await agent.wait("callEnded", callId=incoming["callId"])
        assert (ended["reason"], ended["sipStatus"]) == ("cancelled", 487)
        await sipp.finished()


async def test_the_callers_cancel_crosses_our_200(line: Line) -> None:
    crossing = CALLER.invite(body=sdp()) + answered() + CALLER.cancel() + receive(200) + CALLER.ack()
    async with line.called(crossing + signalled() + CALLER.bye()) as (agent, incoming, sipp):
        call = await line.take(agent, incoming)
        await signal(call)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


async def test_a_repeated_invite_ack_and_bye_are_one_call(line: Line) -> None:
    invite, ack = CALLER.invite(body=sdp()), CALLER.ack()
    bye = CALLER.request("BYE", cseq=2, via="z9hG4bK-bye-[call_number]-[pid]")
    begin = invite + receive(100, optional=True) + receive(180) + invite + answered() + ack + ack + invite
    async with line.called(begin + signalled() + bye + receive(200) + bye) as (agent, incoming, sipp):
        call = await line.take(agent, incoming)
        await signal(call)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        assert [message["type"] for message in agent.received].count("incomingCall") == 1
        await sipp.finished()


async def test_the_caller_says_bye_while_it_rings(line: Line) -> None:
    """RFC 3261 section 15 allows it."""
    end = CALLER.request("BYE", cseq=2) + receive(200) + receive(487) + CALLER.ack_refusal()
    async with line.called(CALLER.invite(body=sdp()) + ringing() + end) as (agent, incoming, sipp):
        await agent.wait("callEnded", callId=incoming["callId"])
        await sipp.finished()


async def test_the_caller_says_bye_instead_of_ack(line: Line) -> None:
    """After our 200 has been repeated."""
    end = CALLER.request("BYE", cseq=2) + receive(200)
    async with line.called(CALLER.invite(body=sdp()) + answered() + pause(1500) + end) as (agent, incoming, sipp):
        call = await agent.answer(incoming, codec="PCMU")
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


async def test_many_callers_of_one_agent_cancel(line: Line) -> None:
    count = 20
    end = CALLER.cancel() + receive(200) + receive(487) + CALLER.ack_refusal()
    async with line.called(CALLER.invite(body=sdp()) + ringing() + end, calls=count) as (agent, _, sipp):
        for number in range(count):
            incoming = await agent.incoming(number=number)
            ended = await agent.wait("callEnded", callId=incoming["callId"])
            assert ended["reason"] == "cancelled"
        await sipp.finished()
