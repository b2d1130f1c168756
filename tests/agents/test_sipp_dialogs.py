"""Calls that are up with a PBX scripted with SIPp: offers that come often or that cross, BYEs, REFER, Replaces."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from peers.sipp import Step
from peers.sipp_calls import (
    CALLEE,
    CALLER,
    SECOND_CALLER,
    Party,
    accept,
    answer_kept,
    answered,
    divert,
    end,
    hung_up,
    keep,
    label,
    notified,
    notify,
    pressed,
    receive,
    refuse,
    reply,
    sdp,
    signalled,
)

from .sipp_lines import TRUNK_USER, Line, Lines, running_lines, signal

REINVITES = 50


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    with running_lines({"reattach_s": 1}) as found:
        yield found


@pytest.fixture(params=[CALLEE, CALLER], ids=["made", "taken"])
def party(request: pytest.FixtureRequest) -> Party:
    """The PBX's end of a call that an agent has made, or taken."""
    found: Party = request.param
    return found


# -- offers


async def test_a_storm_of_re_invites_with_new_directions_and_ports(line: Line, party: Party) -> None:
    directions = ("sendonly", "inactive", "recvonly", "sendrecv")
    storm = Step("")
    for number in range(REINVITES):
        storm += party.reinvite(sdp(str(40_000 + 2 * number), directions[number % 4], version=number + 2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((line.ip, 0))
        phone.setblocking(False)
        last = party.reinvite(sdp(str(phone.getsockname()[1]), version=REINVITES + 2))
        async with line.up(party, storm + last + pressed(party, 7) + hung_up()) as (call, sipp):
            await call.wait("dtmf", digit="7", timeout_s=10)
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(phone, 2048), 5)
            told = [message["type"] for message in call.messages if message["type"] in ("held", "resumed")]
            assert told == ["held", "resumed"] * (REINVITES // 4 + 1)
            await call.hang_up()
            await sipp.finished()


async def test_a_storm_of_updates(line: Line, party: Party) -> None:
    storm = Step("")
    for number in range(REINVITES):
        offer = sdp("40000", ("sendonly", "sendrecv")[number % 2], version=number + 2)
        storm += party.request("UPDATE", body=offer) + receive(200)
    async with line.up(party, storm + pressed(party, 7) + hung_up()) as (call, sipp):
        await call.wait("dtmf", digit="7", timeout_s=10)
        told = [message["type"] for message in call.messages if message["type"] in ("held", "resumed")]
        assert told == ["held", "resumed"] * (REINVITES // 2)
        await call.hang_up()
        await sipp.finished()


async def test_an_update_without_an_offer_and_re_invites_that_cannot_be_taken(line: Line, party: Party) -> None:
    rest = (
        party.request("UPDATE")
        + receive(200)
        + party.reinvite("v=0\nnonsense\n", status=415)
        + party.reinvite(sdp().replace("RTP/AVP 0 101", "RTP/AVP 18"), status=488)
        + party.reinvite(sdp(version=2))
        + pressed(party, 7)
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        await sipp.finished()


async def test_a_re_invite_without_an_offer_moves_the_media_by_its_ack(line: Line, party: Party) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((line.ip, 0))
        phone.setblocking(False)
        answer = sdp(str(phone.getsockname()[1]), version=2)
        begin = party.request("INVITE", cseq=9000) + receive(100, optional=True) + receive(200)
        rest = begin + party.request("ACK", cseq=9000, body=answer) + hung_up()
        async with line.up(party, rest) as (call, sipp):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(phone, 2048), 5)
            await call.hang_up()
            await sipp.finished()


async def test_our_offer_that_crosses_theirs_is_made_again(line: Line, party: Party) -> None:
    rest = (
        receive("INVITE", timeout_ms=10_000)
        + accept(status="491 Request Pending")
        + receive("ACK")
        + receive("INVITE", timeout_ms=10_000)
        + accept(body=sdp(direction="recvonly"))
        + receive("ACK")
        + pressed(party, 7)
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.order("hold", hold=True)
        await call.wait("dtmf", digit="7", timeout_s=10)
        await call.hang_up()
        await sipp.finished()


async def test_their_offer_that_crosses_ours_is_refused_until_ours_is_answered(line: Line, party: Party) -> None:
    rest = (
        keep("INVITE")
        + party.reinvite(sdp("40002", version=2), status=491)
        + answer_kept("200 OK", sdp(direction="recvonly", version=3))
        + receive("ACK")
        + party.reinvite(sdp("40004", version=4, direction="recvonly"))
        + pressed(party, 7)
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.order("hold", hold=True)
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        await sipp.finished()


# -- ends


async def test_bye_crosses_bye(line: Line, party: Party) -> None:
    rest = keep("BYE") + party.bye() + answer_kept("200 OK")
    async with line.up(party, rest) as (call, sipp):
        await call.order("hangup")
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


async def test_our_bye_crosses_their_re_invite(line: Line, party: Party) -> None:
    # RFC 3261 leaves open which refusal it is.
    rest = keep("BYE") + party.reinvite(sdp(version=2), status=488) + answer_kept("200 OK")
    async with line.up(party, rest) as (call, sipp):
        await call.order("hangup")
        await call.wait("callEnded")
        await sipp.finished()


async def test_our_re_invite_crosses_their_bye(line: Line, party: Party) -> None:
    rest = keep("INVITE") + party.bye() + answer_kept("481 Call Does Not Exist") + receive("ACK")
    async with line.up(party, rest) as (call, sipp):
        await call.order("hold", hold=True)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


async def test_a_re_invite_to_a_call_that_they_have_forgotten_ends_it(line: Line, party: Party) -> None:
    rest = receive("INVITE") + accept(status="481 Call Does Not Exist") + receive("ACK") + hung_up()
    async with line.up(party, rest) as (call, sipp):
        await call.order("hold", hold=True)
        assert (await call.wait("callEnded"))["reason"] == "sip_timeout"
        await sipp.finished()


# -- other requests


async def test_info_of_each_kind(line: Line, party: Party) -> None:
    rest = (
        party.request("INFO")
        + receive(200)
        + party.request("INFO", "Content-Type: text/plain", "hello\n")
        + receive(415)
        + party.request("INFO", "Info-Package: conference")
        + receive(469)
        + pressed(party, 7)
        + signalled()
        + party.bye()
    )
    async with line.up(party, rest) as (call, sipp):
        pressed_ = await call.wait("dtmf", digit="7")
        assert pressed_["durationMs"] == 160
        await signal(call)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await sipp.finished()


@pytest.mark.parametrize(
    ("status", "asking", "giving"),
    [
        ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
        ("407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"),
    ],
    ids=["401", "407"],
)
async def test_requests_in_a_call_that_are_challenged(
    line: Line, party: Party, status: str, asking: str, giving: str
) -> None:

    def challenged(method: str) -> Step:
        challenge = accept(f'{asking}: Digest realm="sipp", nonce="of {method}", qop="auth"', status=status)
        ack = receive("ACK") if method == "INVITE" else Step("")
        credentials = (giving, f"for_{method}", f"{TRUNK_USER}.*of {method}")
        return receive(method) + challenge + ack + receive(method, credentials)

    rest = (
        challenged("INVITE")
        + accept(body=sdp(direction="recvonly", version=2))
        + receive("ACK")
        + pressed(party, 7)
        + challenged("INFO")
        + accept()
        + pressed(party, 8)
        + challenged("REFER")
        + accept(status="603 Decline")
        + challenged("BYE")
        + accept()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.order("hold", hold=True)
        await call.wait("dtmf", digit="7")
        await signal(call)
        await call.wait("dtmf", digit="8")
        await call.order("transfer", to=line.user(1))
        await call.wait("transferred", state="failed", sipStatus=603)
        await call.hang_up()
        await sipp.finished()


# -- REFER from us


async def test_our_blind_transfer(line: Line, party: Party) -> None:
    rest = (
        receive("REFER", ("Refer-To", "to", f"sip:{line.user(1)}@{line.host_port}"))
        + accept(status="202 Accepted")
        + notify(party, "100 Trying", final=False)
        + notify(party, "180 Ringing", final=False)
        + notify(party, "200 OK", final=True)
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.order("transfer", to=line.user(1))
        await call.wait("transferred", state="completed")
        assert (await call.wait("callEnded"))["reason"] == "transferred"
        await sipp.finished()
        states = [message["payload"]["state"] for message in call.messages if message["type"] == "transferred"]
        assert states == ["trying", "ringing", "completed"]


async def test_our_transfer_fails(line: Line, party: Party) -> None:
    rest = (
        receive("REFER")
        + accept(status="202 Accepted")
        + notify(party, "100 Trying", final=False)
        + notify(party, "486 Busy Here", final=True)
        + receive("REFER")
        + accept(status="603 Decline")
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        for status in (486, 603):
            await call.order("transfer", to=line.user(1))
            await call.wait("transferred", state="failed", sipStatus=status)
        await call.hang_up()
        await sipp.finished()


async def test_their_bye_ends_a_transfer_of_ours(line: Line, party: Party) -> None:
    rest = receive("REFER") + accept(status="202 Accepted") + notify(party, "100 Trying", final=False) + party.bye()
    async with line.up(party, rest) as (call, sipp):
        await call.order("transfer", to=line.user(1))
        assert (await call.wait("callEnded"))["reason"] == "transferred"
        await sipp.finished()


async def test_our_attended_transfer(line: Line) -> None:
    replaces = ("Refer-To", "to", f"sip:{line.user(1)}@.*Replaces=.*to-tag.*from-tag")
    first = (
        divert(line.user(1), "second")
        + reply("200 OK", body=sdp())
        + receive("ACK")
        + receive("INVITE")
        + accept(body=sdp(direction="recvonly"))
        + receive("ACK")
        + receive("REFER", replaces)
        + accept(status="202 Accepted")
        + notify(CALLEE, "200 OK", final=True)
        + hung_up()
        + end()
    )
    second = label("second") + reply("200 OK", body=sdp()) + receive("ACK") + hung_up()
    async with line.callee(first + second, calls=2) as sipp, line.agent() as agent:
        call = await agent.call(line.user(), codec="PCMU")
        await call.wait("callAccepted")
        consultation = await agent.call(line.user(1), codec="PCMU")
        await consultation.wait("callAccepted")
        await call.wait("held", by="local")
        await call.order("transfer", consultCallId=consultation.call_id)
        for ended in (call, consultation):
            assert (await ended.wait("callEnded"))["reason"] == "transferred"
        await sipp.finished()


# -- REFER to us


def referring(line: Line, answer: Step, rest: Step) -> Step:
    """The first call has a REFER in it, to a second call, which gets this answer."""
    begin = divert(line.user(1), "second") + reply("200 OK", body=sdp()) + receive("ACK")
    refer = CALLEE.request("REFER", f"Refer-To: <sip:{line.user(1)}@{line.host_port}>") + receive(202)
    return begin + refer + notified("100", final=False) + rest + end() + label("second") + answer


async def test_their_refer_is_carried_out(line: Line) -> None:
    answer = reply("200 OK", body=sdp()) + receive("ACK") + hung_up()
    scenario = referring(line, answer, notified("200", final=True) + hung_up())
    async with line.talking(scenario, calls=2) as (call, sipp):
        await call.wait("transferred", state="completed")
        await call.hang_up()
        await sipp.finished()


async def test_their_refer_to_a_number_that_is_busy(line: Line) -> None:
    scenario = referring(line, refuse("486 Busy Here"), notified("486", final=True) + hung_up())
    async with line.talking(scenario, calls=2) as (call, sipp):
        await call.wait("transferred", state="failed", sipStatus=486)
        await call.hang_up()
        await sipp.finished()


async def test_their_refers_to_elsewhere_are_refused(line: Line, party: Party) -> None:
    rest = (
        party.request("REFER", f"Refer-To: <sip:{line.user(1)}@127.0.2.1>")
        + receive(603)
        + party.request("REFER", "Refer-To: <tel:+15550100>")
        + receive(603)
        + party.request("REFER")
        + receive(400)
        + party.request("REFER", f"Refer-To: <sip:{line.number + 1:02d}001@{line.host_port}>")
        + receive(202)
        + notified("100", final=False)
        + notified("403", final=True)
        + pressed(party, 7)
        + hung_up()
    )
    async with line.up(party, rest) as (call, sipp):
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        await sipp.finished()


# -- Replaces


def replacing(to_tag: str, rest: Step) -> Step:
    """The caller calls once more, to take the place of the first call."""
    keep_tag = Step(
        answered().xml.replace(
            "</action></recv>\n<Reference",
            '<ereg regexp="tag=(.*)" search_in="hdr" header="To:" start_line="true" assign_to="all_of_it,our_tag"/>'
            '</action></recv>\n<Reference variables="all_of_it,our_tag"/>\n<Reference',
        )
    )
    replaces = f"Require: replaces\nReplaces: [call_id];to-tag={to_tag};from-tag=[call_number]"
    return CALLER.invite(body=sdp()) + keep_tag + CALLER.ack() + SECOND_CALLER.invite(replaces, sdp("40000")) + rest


async def test_an_invite_with_replaces_takes_a_calls_place(line: Line) -> None:
    rest = answered() + SECOND_CALLER.ack() + hung_up() + pressed(SECOND_CALLER, 7) + hung_up()
    async with line.called(replacing("[$our_tag]", rest)) as (agent, incoming, sipp):
        call = await agent.answer(incoming, codec="PCMU")
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        await sipp.finished()


async def test_replaces_of_a_dialog_that_is_not_there_is_refused(line: Line) -> None:
    rest = receive(100, optional=True) + receive(481) + SECOND_CALLER.ack_refusal() + pressed(CALLER, 7) + hung_up()
    async with line.called(replacing("none", rest)) as (agent, incoming, sipp):
        call = await agent.answer(incoming, codec="PCMU")
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        await sipp.finished()
