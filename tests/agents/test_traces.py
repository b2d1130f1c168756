"""Traces of calls, held against what the peers say that they have sent and received."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from peers.agent import AgentCall
from peers.asterisk import Asterisk
from peers.server import ServerProcess, running
from peers.sip_captures import Captured, asterisk_capture, of_calls, sipp_messages
from peers.sipp import MESSAGES
from peers.sipp_calls import CALLEE, hung_up, invited, pressed, receive, refuse, reply, sdp, signalled
from peers.waiting import until

from sdpserver.sip.blanking import BLANK, blanked

from .conftest import ANN, BOB, CEM, HZ, agents, consulted_and_transferred, registered, sent_on
from .sipp_lines import TRUNK_PASSWORD, TRUNK_USER, Line, Lines, running_lines, signal


def get_trace(server: ServerProcess, call_id: str, format_: str = "json") -> httpx.Response:
    url = f"{server.url}/api/calls/{call_id}/trace"
    return httpx.get(url, params={"format": format_}, timeout=5, trust_env=False).raise_for_status()


def messages(server: ServerProcess, call_id: str) -> list[dict[str, Any]]:
    found = get_trace(server, call_id).json()
    assert (found["callId"], found["dropped"]) == (call_id, 0)
    return list(found["messages"])


def check_same(traced: Sequence[dict[str, Any]], captured: Sequence[Captured]) -> None:
    """Each way the same messages in the same order; what one side has sent the other has received."""
    for direction, was_sent in (("out", False), ("in", True)):
        ours = [message["text"] for message in traced if message["direction"] == direction]
        theirs = [blanked(message.text) for message in captured if message.was_sent is was_sent]
        assert ours == theirs, direction


def check_ladder(ladder: str, traced: Sequence[dict[str, Any]]) -> None:
    """A line for each message, in their order, with its direction; none wider than a terminal."""
    rows = [line for line in ladder.splitlines() if re.match(r"\d\d:\d\d:\d\d\.\d{3} [A-Z] ", line)]
    assert len(rows) == len(traced)
    assert max(len(line) for line in ladder.splitlines()) <= 100
    for row, message in zip(rows, traced, strict=True):
        assert row[:12] == message["time"][11:23]
        assert (">|" in row, "|<" in row) == (message["direction"] == "out", message["direction"] == "in")
        words = message["startLine"].split()
        assert f" {words[1] if words[0] == 'SIP/2.0' else words[0]} " in row


async def test_an_attended_transfer_is_traced_as_asterisk_saw_it(upstream: ServerProcess, pbx: Asterisk) -> None:
    with asterisk_capture(pbx) as capture:
        async with agents(upstream, ANN, BOB, CEM) as (ann, bob, cem):
            calls = await consulted_and_transferred(ann, bob, cem)
            first, *_, second_there = calls
            await first.hang_up()
            await second_there.wait("callEnded")
            await to_thread(pbx.wait_no_channels)
            traces = [await to_the_end(upstream, call) for call in calls]
            ladders = [get_trace(upstream, call.call_id, "ladder").text for call in calls]
    captured = capture.messages()
    for traced, ladder in zip(traces, ladders, strict=True):
        call_ids = {message["sipCallId"] for message in traced}
        check_same(traced, of_calls(captured, call_ids))
        check_ladder(ladder, traced)
        assert [message["elapsed_ms"] for message in traced] == sorted(message["elapsed_ms"] for message in traced)
        assert {(message["transport"], message["remote"]) for message in traced} == {("UDP", pbx.address)}
    assert traces[1] == traces[2], "the consultation is part of the trace of what it was for"
    assert [len({message["sipCallId"] for message in traced}) for traced in traces] == [1, 2, 2, 1]
    assert "-- REFER 5001 --" in ladders[1]
    assert "-- NOTIFY 200 OK --" in ladders[1]
    assert "-- INVITE (SDP sendonly) --" in ladders[1]


async def test_a_call_that_the_pbx_sends_on_has_both_dialogs(upstream: ServerProcess, pbx: Asterisk) -> None:
    with asterisk_capture(pbx) as capture:
        async with agents(upstream, ANN) as (ann,):
            call = await sent_on(pbx, ann)
            await call.hang_up()
            traced = await to_the_end(upstream, call)
        await to_thread(pbx.wait_no_channels)
    captured = capture.messages()
    call_ids = list(dict.fromkeys(message["sipCallId"] for message in traced))
    assert len(call_ids) == 2
    check_same(traced, of_calls(captured, set(call_ids)))
    starts = [(call_ids.index(message["sipCallId"]), message["startLine"].split()[0]) for message in traced]
    assert starts.index((0, "REFER")) < starts.index((1, "INVITE")) < starts.index((0, "BYE"))


async def test_whoever_takes_a_call_over_has_its_dialog(dns: list[dict[str, Any]], pbx: Asterisk) -> None:
    tables = {
        "dn": dns,
        "trunks": [{"name": "pbx", "server": pbx.address, "username": CEM, "password": f"pw{CEM}"}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
    }
    with running(ServerProcess(tables)) as server:
        async with registered(server, "7001") as ann, registered(server, "7002") as bob:
            first = await ann.call("601", frequency_hz=HZ[ANN])
            await first.client.wait_tone(440)
            second = await ann.call("7002", frequency_hz=HZ[ANN])
            there = await bob.answer(await bob.incoming(), frequency_hz=HZ[BOB])
            await there.client.wait_tone(HZ[ANN])
            assert messages(server, there.call_id) == messages(server, second.call_id) == []
            await first.order("transfer", consultCallId=second.call_id)
            await first.wait("callEnded")
            await there.client.wait_tone(440)
            await there.order("hangup")
            traced = await to_the_end(server, there)
            assert traced == messages(server, first.call_id)
            assert traced[0]["startLine"].startswith("INVITE sip:601@")
            assert messages(server, second.call_id) == []
    await to_thread(pbx.wait_no_channels)


# -- as SIPp saw it


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    with running_lines({"linger_s": 2}, count=4) as found:
        yield found


async def to_the_end(server: ServerProcess, call: AgentCall) -> list[dict[str, Any]]:
    """Its messages, up to the answer to the BYE of each dialog, which comes after the call has ended for its client."""

    def are_answered() -> bool:
        traced = messages(server, call.call_id)
        ended = {
            message["sipCallId"]
            for message in traced
            if message["startLine"].startswith("SIP/2.0 200") and message["cseq"].endswith("BYE")
        }
        return bool(ended == {message["sipCallId"] for message in traced})

    await until(are_answered, timeout_s=5, what="the answers to the BYEs")
    return messages(server, call.call_id)


async def test_a_call_with_secrets_is_traced_as_sipp_saw_it(line: Line) -> None:
    challenge = 'WWW-Authenticate: Digest realm="sipp", nonce="noncense", qop="auth", opaque="opaquely"'
    with_key = sdp().replace("m=audio", "a=ice-pwd:keykeykeykeykeykeykey\nm=audio")
    scenario = (
        invited()
        + refuse("401 Unauthorized", challenge)
        + invited(user=TRUNK_USER, password=TRUNK_PASSWORD)
        + reply("180 Ringing")
        + reply("200 OK", "X-Token: tokenish", with_key)
        + receive("ACK")
        + signalled()
        + pressed(CALLEE, 7)
        + hung_up()
    )
    async with line.talking(scenario) as (call, sipp):
        await signal(call)
        await call.wait("dtmf", digit="7")
        await call.hang_up()
        traced = await to_the_end(line.server, call)  # now: it is not kept for long
        shown = [get_trace(line.server, call.call_id, format_).text for format_ in ("json", "text", "ladder")]
        await sipp.finished()
    captured = sipp_messages(line.folder / MESSAGES)
    assert len(captured) == len(traced) == 13
    check_same(traced, captured)
    check_ladder(shown[2], traced)
    wire = "".join(message.text for message in captured)
    response = re.search(r'response="(\w+)"', wire)
    assert response is not None
    for secret in ("noncense", "opaquely", "tokenish", "keykeykey", "Signal=5", "Signal=7", response[1]):
        assert secret in wire
        assert all(secret not in text for text in shown), secret
    assert shown[1].count(f"Signal={BLANK}") == 2
    assert [message["retransmission"] for message in traced] == [False] * 13


async def test_a_trace_can_be_read_until_its_call_is_forgotten(line: Line) -> None:
    scenario = invited() + reply("200 OK", body=sdp()) + receive("ACK") + hung_up()
    async with line.talking(scenario) as (call, sipp):
        url = f"{line.server.url}/api/calls/{call.call_id}/trace"
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            live = await http.get(url)
            assert [message["cseq"].split()[1] for message in live.json()["messages"]] == ["INVITE", "INVITE", "ACK"]
            assert live.headers["cache-control"] == "no-store"
            text = await http.get(url, headers={"accept": "text/plain, application/json;q=0.5"})
            assert text.headers["content-type"] == "text/plain; charset=utf-8"
            assert text.text.startswith(f"Call {call.call_id}: 3 SIP messages, from ")
            assert "\nINVITE sip:" in text.text
            assert "\r" not in text.text
            wrong = await http.get(url, params={"format": "xml"})
            assert (wrong.status_code, wrong.json()["reason"]) == (400, "invalid_field")
            await call.hang_up()
            assert len(await to_the_end(line.server, call)) == 5
            await sipp.finished()
            await until(
                lambda: httpx.get(url, trust_env=False).status_code != 200, timeout_s=5, what="the call to be forgotten"
            )
            gone = await http.get(url)
            assert (gone.status_code, gone.json()["reason"]) == (404, "call_not_found")
