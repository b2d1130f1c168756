"""Calls from Asterisk to agents of this server, judged by what each side hears."""

from __future__ import annotations

from asyncio import to_thread

import pytest
from peers import audio
from peers.asterisk import Asterisk
from peers.server import ServerProcess

from .conftest import registered

AGENT_HZ = 1100.0


def uri_of(server: ServerProcess, number: str) -> str:
    return f"sip:{number}@127.0.0.1:{server.sip_port}"


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_an_agent_answers_and_both_sides_hear_each_other(
    trunked: ServerProcess, asterisk: Asterisk, codec: str
) -> None:
    async with registered(trunked, "7001") as ann:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        incoming = await ann.incoming()
        assert (incoming["from"], incoming["displayName"]) == ("4711", "The Caller")
        call = await ann.answer(incoming, frequency_hz=AGENT_HZ, codec=codec)
        await call.client.wait_tone(440)
        recording = await to_thread(asterisk.record, channel)
        (await call.client.listen(1.2)).check_tone(440)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, AGENT_HZ, min_duration_s=1.0)
        await call.order("hangup")
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await to_thread(asterisk.wait_hangup, channel)


async def test_what_the_agent_is_told_of_the_caller(trunked: ServerProcess, asterisk: Asterisk) -> None:
    headers = {"X-Case": "42", "P-Secret": "no", "Call-Info": "<sip:pbx>\\;answer-after=0"}
    async with registered(trunked, "7001") as ann:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601", headers=headers)
        incoming = await ann.incoming()
        assert (incoming["from"], incoming["displayName"], incoming["autoAnswer"]) == ("4711", "The Caller", True)
        assert incoming["headers"] == {"X-Case": "42", "Call-Info": "<sip:pbx>;answer-after=0"}
        await to_thread(asterisk.hangup, channel)
        assert (await ann.wait("callEnded"))["reason"] == "cancelled"


def hangup_cause(asterisk: Asterisk, channel: str) -> int:
    """Q.850's, as Asterisk makes it of our status."""
    return int(asterisk.wait_hangup(channel).fields["Cause"])


@pytest.mark.parametrize(("reason", "cause"), [("busy", 17), ("rejected", 21)])
async def test_an_agent_refuses(trunked: ServerProcess, asterisk: Asterisk, reason: str, cause: int) -> None:
    async with registered(trunked, "7001") as ann:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        await ann.request("reject", callId=(await ann.incoming())["callId"], reason=reason)
        assert await to_thread(hangup_cause, asterisk, channel) == cause


@pytest.mark.parametrize(("number", "causes"), [("7003", {18, 19, 20}), ("7999", {1})], ids=["offline", "unknown"])
async def test_nobody_is_there_or_known(
    trunked: ServerProcess, asterisk: Asterisk, number: str, causes: set[int]
) -> None:
    channel = await to_thread(asterisk.originate, uri_of(trunked, number), "601")
    assert await to_thread(hangup_cause, asterisk, channel) in causes


async def test_all_connections_ring_and_asterisk_hangs_up_the_one_that_has_won(
    trunked: ServerProcess, asterisk: Asterisk
) -> None:
    async with registered(trunked, "7001") as desk, registered(trunked, "7001") as home:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        await desk.incoming()
        call = await home.answer(await home.incoming())
        assert (await desk.wait("callEnded"))["reason"] == "answered_elsewhere"
        await call.client.wait_tone(440)
        await to_thread(asterisk.hangup, channel)
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        assert await call.client.wait_closed(2)


async def test_an_agents_socket_drops_in_a_call_with_asterisk(trunked: ServerProcess, asterisk: Asterisk) -> None:
    async with registered(trunked, "7001") as ann:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        call = await ann.answer(await ann.incoming(), frequency_hz=AGENT_HZ)
        await call.client.wait_tone(440)
        recording = await to_thread(asterisk.record, channel)
        await ann.drop()
        (await call.client.listen(1.2)).check_tone(440)
        await ann.connect()
        assert [found["callId"] for found in (await ann.resume())["calls"]] == [call.call_id]
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, AGENT_HZ, min_duration_s=1.0)
        await ann.drop()  # and not again
        await to_thread(asterisk.wait_hangup, channel, timeout_s=5)
    await to_thread(asterisk.wait_no_channels)
