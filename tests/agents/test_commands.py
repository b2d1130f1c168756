"""What an agent does to a call: mute, keys, recording, conference."""

from __future__ import annotations

import contextlib
from asyncio import to_thread
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import audio
from peers.agent import Agent, AgentCall, Refused
from peers.asterisk import Asterisk, User, running_asterisk
from peers.rooms import heard_of, hears
from peers.server import ServerProcess, running, trunks_to
from peers.waiting import until

from .conftest import connected, registered

# None of the sums and differences of two is the third.
ANN_HZ, BOB_HZ, CEM_HZ = 500.0, 900.0, 1700.0
ALL_HZ = [ANN_HZ, BOB_HZ, CEM_HZ]
METHODS = ("rfc4733", "info")


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    users = (User("rfc4733", "pw-rfc4733", "ulaw"), User("info", "pw-info", "ulaw", "dtmf-info"))
    with running_asterisk(*users) as peer:
        yield peer


@pytest.fixture(scope="module")
def keypads(dns: list[dict[str, Any]], pbx: Asterisk) -> Iterator[ServerProcess]:
    """1605 goes to a user of Asterisk that takes events, 2605 to one that takes INFO."""
    routes = [{"match": f"^{number}", "trunk": name, "strip": 1} for number, name in enumerate(METHODS, 1)]
    with running(ServerProcess({"dn": dns, "trunks": trunks_to(pbx), "routes": routes})) as process:
        yield process


async def test_who_is_muted_is_not_heard_and_hears(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        for muted in (True, True, False, False):
            reply = await ann.exchange("mute", callId=calling.call_id, mute=muted)
            expected = {"callId": calling.call_id, "leg": "webrtc", "muted": muted}
            assert (reply["type"], reply["payload"]) == ("muted", expected)
            await hears(answered.client, [] if muted else [ANN_HZ], of=ALL_HZ)
            await hears(calling.client, [BOB_HZ], of=ALL_HZ)
        assert not any(message["type"] == "muted" for message in bob.received)
        await calling.hang_up()
        await answered.wait("callEnded")


# -- keys


def keys(call: AgentCall, leg: str) -> list[dict[str, Any]]:
    """What `dtmf` told of presses that came."""
    found = [message["payload"] for message in call.messages if message["type"] == "dtmf"]
    return [payload for payload in found if payload.get("leg") == leg]


@pytest.mark.parametrize("way", [*METHODS, None])
@pytest.mark.parametrize("one_by_one", [True, False])
async def test_asterisk_reads_the_keys(
    keypads: ServerProcess, pbx: Asterisk, way: str | None, one_by_one: bool
) -> None:
    number = f"{METHODS.index(way) + 1 if way else 1}605"
    async with registered(keypads, "7001") as ann:
        mark = pbx.ami.mark()
        call = await ann.call(number, codec="PCMU")
        channel = await to_thread(pbx.wait_channel, since=mark)
        await call.wait("callAccepted")
        method = {"method": way} if way else {}
        if one_by_one:
            for digit in "15*9":
                reply = await call.order("dtmf", digit=digit, durationMs=80, **method)
                assert (reply["digits"], reply["status"]) == (digit, "queued")
        else:
            await call.order("dtmf", digits="15*9", **method)
        assert await to_thread(pbx.wait_digits, since=mark) == "15*9"
        await until(lambda: len(keys(call, "sip")) == 4, timeout_s=6, what="the keys that Asterisk sends back")
        assert "".join(key["digit"] for key in keys(call, "sip")) == "15*9"
        assert {key["method"] for key in keys(call, "sip")} == {way or "rfc4733"}
        await call.hang_up()
        await to_thread(pbx.wait_hangup, channel)
    assert "15*9" not in keypads.log


async def test_an_agents_keys_are_heard_and_told_by_the_other(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        await calling.order("dtmf", digits="19#", durationMs=100, method="rfc4733")
        await until(lambda: answered.client.heard.digits() == "19#", timeout_s=3, what="the events")
        await until(lambda: len(keys(answered, "sip")) == 3, timeout_s=2, what="the keys")
        assert [(key["digit"], key["durationMs"], key["method"]) for key in keys(answered, "sip")] == [
            (digit, 100, "rfc4733") for digit in "19#"
        ]
        await answered.client.press("42")  # by the keypad of its own browser
        await until(lambda: calling.client.heard.digits() == "42", timeout_s=3, what="the events")
        for call, leg in ((calling, "sip"), (answered, "webrtc")):  # each is told by a socket of its own
            await until(lambda call=call, leg=leg: len(keys(call, leg)) == 2, timeout_s=2, what="the keys")  # type: ignore[misc]
            assert "".join(key["digit"] for key in keys(call, leg)) == "42"
        with pytest.raises(Refused) as refused:
            await calling.order("dtmf", digits="1", method="info")
        assert (refused.value.code, refused.value.reason) == (409, "no_sip_info")
        (await calling.client.listen(1.2)).check_tone(BOB_HZ)
        await calling.hang_up()
        await answered.wait("callEnded")


# -- recording


async def test_a_recording_has_both_sides_and_its_end_is_told(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling, answered = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        with pytest.raises(Refused) as refused:
            await calling.order("record", record=False)
        assert refused.value.reason == "not_recording"
        path = (await calling.order("record", record=True))["path"]
        await calling.wait("recording", state="started", path=path)
        await calling.client.listen(1.2)
        await calling.order("record", record=True, pause=True)
        await calling.wait("recording", state="paused")
        await calling.order("record", record=True, pause=False)
        await calling.wait("recording", state="resumed")
        await calling.order("record", record=False)
        await calling.wait("recording", state="stopped")
        left, right, rate = audio.read_recording(path)
        audio.check_tone(audio.cut(left, rate, 0.1, 1.1), rate, ANN_HZ, min_duration_s=0.9)
        audio.check_tone(audio.cut(right, rate, 0.1, 1.1), rate, BOB_HZ, min_duration_s=0.9)
        assert not any(message["type"] == "recording" for message in bob.received), "it is Ann's"
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_a_call_may_be_recorded_from_its_answer_on(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling = await ann.call("7002", frequency_hz=ANN_HZ, record=True)
        answered = await bob.answer(await bob.incoming(), frequency_hz=BOB_HZ)
        path = Path((await calling.wait("recording", state="started"))["path"])
        await calling.client.wait_tone(BOB_HZ)
        await answered.order("hangup")
        await calling.wait("callEnded")
        await until(path.exists, timeout_s=2, what="the file")


# -- conference


@contextlib.asynccontextmanager
async def conference(server: ServerProcess) -> Any:
    """Ann has called Bob and Cem and puts them together."""
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003") as cem:
        first, bobs = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        second, cems = await connected(ann, cem, "7003", hz=(ANN_HZ, CEM_HZ))
        reply = await ann.exchange("conference", callIds=[first.call_id, second.call_id])
        assert reply["type"] == "conference"
        assert reply["payload"]["callIds"] == [first.call_id, second.call_id]
        yield ann, first, second, bobs, cems
    await until(lambda: server.calls() == [], timeout_s=5, what="all sessions to be closed")


async def test_each_of_a_conference_hears_the_two_others_and_not_himself(server: ServerProcess) -> None:
    async with conference(server) as (_, first, second, bobs, cems):
        await hears(bobs.client, [ANN_HZ, CEM_HZ], of=ALL_HZ)
        await hears(cems.client, [ANN_HZ, BOB_HZ], of=ALL_HZ)
        await hears(first.client, [BOB_HZ, CEM_HZ], of=ALL_HZ)
        await hears(second.client, [], of=ALL_HZ)  # she listens by her first call
        await bobs.wait("resumed", by="remote")
        for call in (first, second):
            await call.hang_up()
        for call in (bobs, cems):
            assert (await call.wait("callEnded"))["reason"] == "normal_clearing"


async def test_who_leaves_a_conference_leaves_a_call_of_two(server: ServerProcess) -> None:
    async with conference(server) as (_, first, second, bobs, cems):
        await hears(cems.client, [ANN_HZ, BOB_HZ], of=ALL_HZ)
        await bobs.hang_up()
        assert (await first.wait("callEnded"))["reason"] == "normal_clearing"
        await hears(cems.client, [ANN_HZ], of=ALL_HZ)
        await hears(second.client, [CEM_HZ], of=ALL_HZ)
        await second.hang_up()
        await cems.wait("callEnded")


async def test_in_a_conference_its_maker_cannot_hold_and_the_others_can_mute_and_hold(server: ServerProcess) -> None:
    async with conference(server) as (_, first, second, bobs, cems):
        with pytest.raises(Refused) as refused:
            await first.order("hold")
        assert (refused.value.code, refused.value.reason) == (409, "in_a_conference")
        await bobs.order("mute")
        await hears(cems.client, [ANN_HZ], of=ALL_HZ)
        await hears(first.client, [CEM_HZ], of=ALL_HZ)
        await bobs.order("mute", mute=False)
        await hears(cems.client, [ANN_HZ, BOB_HZ], of=ALL_HZ)
        await bobs.order("hold")  # his own way out of it, for a while
        await hears(bobs.client, [], of=ALL_HZ)
        await hears(cems.client, [ANN_HZ], of=ALL_HZ)
        await bobs.order("hold", hold=False)
        await hears(bobs.client, [ANN_HZ, CEM_HZ], of=ALL_HZ)
        await hears(cems.client, [ANN_HZ, BOB_HZ], of=ALL_HZ)
        for call in (first, second):
            await call.hang_up()
        for call in (bobs, cems):
            await call.wait("callEnded")


async def test_a_conference_of_a_trunks_call_and_an_agents(keypads: ServerProcess, pbx: Asterisk) -> None:
    """440 Hz is Asterisk's voice."""
    voices = [440.0, ANN_HZ, CEM_HZ]
    async with registered(keypads, "7001") as ann, registered(keypads, "7003") as cem:
        mark = pbx.ami.mark()
        first = await ann.call("1601", frequency_hz=ANN_HZ, codec="PCMU")
        channel = await to_thread(pbx.wait_channel, since=mark)
        await first.client.wait_tone(440)
        second, cems = await connected(ann, cem, "7003", hz=(ANN_HZ, CEM_HZ))
        await first.wait("held", by="local")
        await ann.request("conference", callIds=[first.call_id, second.call_id], room="team")
        await hears(first.client, [440.0, CEM_HZ], of=voices)
        await hears(cems.client, [440.0, ANN_HZ], of=voices)
        recording = await to_thread(pbx.record, channel)
        await first.client.wait(1.0)
        pcm, rate = await to_thread(recording.stop)
        assert heard_of(pcm, rate, voices) == [ANN_HZ, CEM_HZ]
        await first.hang_up()
        await to_thread(pbx.wait_hangup, channel)
        await hears(cems.client, [ANN_HZ], of=voices)
        await second.hang_up()
        await cems.wait("callEnded")


async def test_a_conference_needs_calls_that_are_answered(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        call = await ann.call("7002")
        incoming = await bob.incoming()
        agent: Agent
        for agent, call_id in ((ann, call.call_id), (bob, incoming["callId"])):
            with pytest.raises(Refused) as refused:
                await agent.request("conference", callIds=[call_id])
            assert refused.value.code == 409
        await call.hang_up()


async def test_both_sides_of_one_call_make_no_conference(server: ServerProcess) -> None:
    """Who calls his own DN and answers has both; they have to hear each other still."""
    async with registered(server, "7001") as ann:
        calling, answered = await connected(ann, ann, "7001", hz=(ANN_HZ, BOB_HZ))
        with pytest.raises(Refused) as refused:
            await ann.request("conference", callIds=[calling.call_id, answered.call_id])
        assert (refused.value.code, refused.value.reason) == (409, "same_call")
        await calling.hang_up()
        await answered.wait("callEnded")


async def test_a_conference_that_cannot_be_leaves_its_calls_on_hold(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob, registered(server, "7003"):
        first, bobs = await connected(ann, bob, "7002", hz=(ANN_HZ, BOB_HZ))
        second = await ann.call("7003")  # not answered
        await first.order("hold")
        with pytest.raises(Refused) as refused:
            await ann.request("conference", callIds=[first.call_id, second.call_id])
        assert refused.value.reason == "call_not_answered"
        await hears(bobs.client, [], of=ALL_HZ)
        await hears(first.client, [], of=ALL_HZ)
        await second.hang_up()
        await first.order("hold", hold=False)
        await hears(bobs.client, [ANN_HZ], of=ALL_HZ)
        await first.hang_up()
        await bobs.wait("callEnded")


async def test_who_is_in_a_conference_of_the_other_side_cannot_transfer(server: ServerProcess) -> None:
    async with conference(server) as (_, first, second, bobs, cems):
        with pytest.raises(Refused) as refused:
            await bobs.order("transfer", to="7003")
        assert (refused.value.code, refused.value.reason) == (409, "in_a_conference")
        for call in (first, second):
            await call.hang_up()
        for call in (bobs, cems):
            await call.wait("callEnded")
