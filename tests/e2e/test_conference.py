"""Rooms with real peers: who hears whom, by the frequencies in what each one hears."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import Callable

import pytest
from peers import audio
from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ, caller
from peers.in_process import in_process
from peers.rooms import call_id, heard_of, hears, members, post, room
from peers.server import ServerProcess
from peers.waiting import until
from playwright.async_api import Browser

from sdpserver.errors import Unavailable
from sdpserver.models.webrtc import CallOptions, OfferRequest, SdpOffer
from sdpserver.session import Sessions


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_each_member_hears_the_others_and_not_himself(workers: int, rate_hz: int) -> None:
    voices = {500.0: "PCMU", 900.0: "opus", 1700.0: "PCMA"}
    tables = {"media": {"workers": workers}, "conference": {"rate_hz": rate_hz}}
    async with in_process(tables) as server, members(server, "team", voices) as clients:
        for client, own in zip(clients, voices, strict=True):
            others = [frequency for frequency in voices if frequency != own]
            await hears(client, others, of=list(voices))
        described = await room(clients[0], "team")
        assert [member["callId"] for member in described["members"]] == [call_id(client) for client in clients]
        assert described["rate_hz"] == rate_hz

        async def all_talk() -> bool:
            found = (await room(clients[0], "team"))["members"]
            return all(member["talking"] and -20 < member["level_dbov"] < -8 for member in found)

        await until(all_talk, timeout_s=3, what="everybody to be seen talking at his level")


async def test_a_wideband_room_prefers_wideband_codecs() -> None:
    async with in_process() as server, server.client() as client:
        await client.call("conference/team")
        assert client.sends == "opus"


async def test_who_is_alone_hears_silence_and_the_room_goes_with_him() -> None:
    async with in_process() as server, server.client(codec="PCMU") as client:
        await client.call("conference/lobby")
        pcm, rate = (await client.listen(1)).pcm()
        assert len(pcm) > 0.9 * rate
        assert not pcm.any()
        assert [found["room"] for found in (await client.http.get("/api/rooms")).json()["rooms"]] == ["lobby"]
        await client.hang_up()
        assert (await client.http.get("/api/rooms")).json() == {"rooms": []}


async def test_the_room_is_told_of_by_metadata_too() -> None:
    async with in_process() as server, server.client() as client:
        await client.call(body={"metadata": {"room_id": "lobby"}})
        assert client.answer["call"]["to"] == "conference/lobby"
        assert (await room(client, "lobby"))["members"][0]["callId"] == call_id(client)


async def test_a_muted_member_is_heard_by_nobody_and_hears_all() -> None:
    voices = {500.0: "PCMU", 900.0: "PCMU", 1700.0: "PCMU"}
    async with in_process() as server, members(server, "team", voices, events=True) as clients:
        first, second, third = clients
        muted = (await room(first, "team"))["members"][0]["id"]
        await hears(second, [500, 1700], of=list(voices))
        await post(first, "/api/rooms/team/mute", {"member": muted})
        await hears(second, [1700], of=list(voices))
        await hears(third, [900], of=list(voices))
        await hears(first, [900, 1700], of=list(voices))
        assert (await room(second, "team"))["members"][0]["muted"]
        assert (await third.wait_event("muted"))["member"] == muted
        await post(first, "/api/rooms/team/unmute", {"member": muted})
        await hears(second, [500, 1700], of=list(voices))


async def test_a_removed_member_is_out_and_the_others_are_told() -> None:
    voices = {500.0: "PCMU", 900.0: "PCMU", 1700.0: "PCMU"}
    async with in_process() as server, members(server, "team", voices, events=True) as clients:
        first, second, third = clients
        removed = (await room(first, "team"))["members"][2]["id"]
        await hears(second, [500, 1700], of=list(voices))
        await post(first, "/api/rooms/team/kick", {"member": removed})
        await third.wait_closed(2)
        assert (await third.wait_event("closed"))["reason"] == "kicked"
        await hears(second, [500], of=list(voices))
        left = await second.wait_event("room_left")
        assert (left["member"], left["reason"], left["members"]) == (removed, "kicked", 2)
        assert len((await room(first, "team"))["members"]) == 2


async def test_who_talks_is_told_and_then_who_does_not() -> None:
    async with (
        in_process() as server,
        server.client(codec="PCMU", frequency_hz=500) as speaker,
        server.client(codec="PCMU", frequency_hz=0, events=True) as listener,
    ):
        await listener.call("conference/team")
        await speaker.call("conference/team")

        def last() -> list[str] | None:
            told = [event["data"]["members"] for _, event in listener.events if event["type"] == "talking"]
            return told[-1] if told else None

        await until(lambda: last() == [f"{call_id(speaker)}-webrtc"], timeout_s=3, what="the speaker to be named")
        assert speaker.track is not None
        speaker.track.frequency_hz = 0
        await until(lambda: last() == [], timeout_s=3, what="nobody to be named")


async def test_a_reloaded_page_is_still_in_its_room() -> None:
    voices = {500.0: "PCMU", 900.0: "PCMU"}
    async with in_process({"session": {"resume_s": 5}}) as server, members(server, "team", voices) as (first, second):
        tokens = {"session_id": first.session_id, "resume_token": first.answer["resume_token"]}
        async with server.client(codec="PCMU", frequency_hz=1700) as reloaded:
            await first.pc.close()
            await reloaded.call(body=tokens)
            await hears(second, [1700], of=[500, 1700])
            await hears(reloaded, [900], of=[900, 1700])
            described = await room(second, "team")
            assert [member["callId"] for member in described["members"]] == [call_id(first), call_id(second)]


async def test_a_full_room_refuses_the_offer() -> None:
    async with (
        in_process({"conference": {"max_members": 2, "max_rooms": 1}}) as server,
        members(server, "team", {500.0: "PCMU", 900.0: "PCMU"}),
        server.client() as third,
    ):
        response = await third.post_offer(to="conference/team")
        assert (response.status_code, response.json()["reason"]) == (503, "room_full")
        response = await third.post_offer(to="conference/other")
        assert (response.status_code, response.json()["reason"]) == (503, "no_room_free")


async def test_an_offer_that_fails_has_left_nothing_behind_when_its_error_is_told() -> None:
    """Not a moment later: who is told that a room is full may take the session's place for another call."""
    async with (
        in_process({"conference": {"max_members": 2}}) as server,
        members(server, "team", {500.0: "PCMU", 900.0: "PCMU"}),
        server.client() as third,
    ):
        sessions: Sessions = server.app.state.sessions
        before = sessions.stats
        offer = SdpOffer(type="offer", sdp=await third.offer())
        with pytest.raises(Unavailable, match="full") as refused:
            await sessions.offer(OfferRequest(sdp=offer, call=CallOptions(to="conference/team")), owner="anonymous")
        assert sessions.stats == before | {
            "sessions_created": before["sessions_created"] + 1,
            "sessions_closed_kept": before["sessions_closed_kept"] + 1,
        }
        closed = sessions.describe_one(refused.value.session_id or "", owner="anonymous")
        assert (closed["state"], closed["close_reason"]) == ("closed", "room_full")


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a/b", "a%2Fb", "x\n"])
async def test_a_room_needs_a_proper_name(name: str) -> None:
    async with in_process() as server, server.client() as client:
        for call in ({"call": {"to": f"conference/{name}"}}, {"metadata": {"room_id": name}}):
            response = await client.post_offer(call)
            assert (response.status_code, response.json()["reason"]) == (400, "bad_destination"), response.text


# -- with a PBX


async def test_browsers_and_a_pbx_hear_each_other_in_one_room(gateway: ServerProcess, asterisk: Asterisk) -> None:
    voices = [440.0, 700.0, 1000.0]  # the PBX's, the guest's, the caller's
    async with (
        Client(gateway.url, codec="PCMU", frequency_hz=1000) as agent,
        Client(gateway.url, codec="opus", frequency_hz=700, events=True) as guest,
    ):
        channel = await dial(agent, asterisk, "601", trunk="ulaw")
        await agent.wait_tone(440)
        await guest.call("conference/help")
        answer = await post(agent, "/api/call/conference", {"callIds": [call_id(agent)], "room": "help"})
        assert answer["room"] == "help"
        await hears(agent, [440, 700], of=voices)
        await hears(guest, [440, 1000], of=voices)
        recording = asterisk.record(channel)
        await asyncio.sleep(1)
        there = await to_thread(recording.stop)
        assert heard_of(*there, voices) == [700, 1000]
        assert [event["type"] for _, event in guest.events].count("room_joined") == 3
        # The guest leaves: the call is one of two again, without transcoding.
        await guest.hang_up()
        await agent.wait_tone(440)
        await until_relayed(agent)
        await agent.hang_up()


async def until_relayed(client: Client) -> None:
    async def relayed() -> bool:
        session = await client.describe()
        return bool(session["webrtc"]["media"]["conversion"] == "relay")

    await until(relayed, timeout_s=3, what="the call to be relayed")


async def test_two_calls_become_a_conference_and_one_goes_on_when_the_other_ends(
    gateway: ServerProcess, asterisk: Asterisk
) -> None:
    voices = [440.0, 700.0, 1000.0]
    async with (
        Client(gateway.url, codec="PCMU", frequency_hz=1000, events=True) as first,
        Client(gateway.url, codec="PCMU", frequency_hz=700) as second,
    ):
        await dial(first, asterisk, "601", trunk="ulaw")
        other = await dial(second, asterisk, "605", trunk="ulaw")  # says nothing
        await second.wait_step("answered")
        await first.wait_tone(440)
        ids = [call_id(first), call_id(second)]
        name = (await post(first, "/api/call/conference", {"callIds": ids}))["room"]
        assert len((await room(first, name))["members"]) == 4
        await hears(first, [440, 700], of=voices)
        await hears(second, [440, 1000], of=voices)
        recording = asterisk.record(other)
        await asyncio.sleep(1)
        assert heard_of(*await to_thread(recording.stop), voices) == voices
        await to_thread(asterisk.hangup, other)
        await second.wait_closed(3)
        assert (await first.wait_event("room_left"))["callId"] == call_id(second)
        await hears(first, [440], of=voices)
        await until_relayed(first)
        await first.hang_up()


async def test_only_calls_that_are_up_become_a_conference(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url, codec="PCMU") as ringing, Client(gateway.url, codec="PCMU") as echo:
        await dial(ringing, asterisk, "603", trunk="any")
        await echo.call("echo")
        for client, status, reason in ((ringing, 409, "call_not_answered"), (echo, 409, "call_not_answered")):
            answer = await post(client, "/api/call/conference", {"callIds": [call_id(client)]}, status=status)
            assert answer["reason"] == reason
        answer = await post(echo, "/api/call/conference", {"callIds": ["nobody"]}, status=404)
        assert answer["reason"] == "call_not_found"
        await ringing.hang_up()
        await echo.hang_up()


async def test_a_plain_call_can_be_muted_on_either_side(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with Client(gateway.url, codec="PCMU", frequency_hz=1000, events=True) as client:
        channel = await dial(client, asterisk, "601", trunk="ulaw")
        await client.wait_tone(440)
        await post(client, "/api/call/mute", {"callId": call_id(client), "mute": True})
        assert (await client.wait_event("muted"))["leg"] == "webrtc"
        recording = asterisk.record(channel)
        await client.listen(1)
        pcm, rate = await to_thread(recording.stop)
        assert len(pcm) > 0.7 * rate  # silence, but packets of it
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.2)) < audio.SILENCE_DBFS
        await post(client, "/api/call/mute", {"callId": call_id(client), "mute": False})
        await post(client, "/api/call/mute", {"callId": call_id(client), "mute": True, "leg": "sip"})
        recording = asterisk.record(channel)
        pcm, rate = (await client.listen(1)).pcm()
        there = await to_thread(recording.stop)
        assert audio.level_dbfs(audio.cut(pcm, rate, 0.2)) < audio.SILENCE_DBFS
        assert heard_of(*there, [1000.0]) == [1000.0]
        await post(client, "/api/call/mute", {"callId": call_id(client), "mute": False, "leg": "sip"})
        await client.wait_tone(440)
        await client.hang_up()


# -- supervision


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_a_supervisor_listens_whispers_and_joins(gateway: ServerProcess, asterisk: Asterisk, codec: str) -> None:
    voices = [440.0, 700.0, 1000.0]  # the customer's, the supervisor's, the agent's
    async with (
        Client(gateway.url, codec=codec, frequency_hz=1000, events=True) as agent,
        Client(gateway.url, codec="PCMU", frequency_hz=700) as supervisor,
    ):
        channel = await dial(agent, asterisk, "601", trunk="ulaw")
        await agent.wait_tone(440)
        await supervisor.call("silence")

        async def check(mode: str, *, agent_hears: list[float], customer_hears: list[float]) -> None:
            body = {"callId": call_id(agent), "sessionId": supervisor.session_id, "mode": mode}
            assert (await post(supervisor, "/api/call/supervise", body))["status"] == mode
            await hears(agent, agent_hears, of=voices)
            recording = asterisk.record(channel)
            await asyncio.sleep(1)
            assert heard_of(*await to_thread(recording.stop), voices) == customer_hears
            if mode != "none":
                await hears(supervisor, [440, 1000], of=voices)

        await check("listen", agent_hears=[440], customer_hears=[1000])
        await check("whisper", agent_hears=[440, 700], customer_hears=[1000])
        await check("barge", agent_hears=[440, 700], customer_hears=[700, 1000])
        await check("listen", agent_hears=[440], customer_hears=[1000])
        await check("none", agent_hears=[440], customer_hears=[1000])
        assert "room_joined" not in [
            event["type"] for _, event in agent.events if event["data"].get("callId") == call_id(supervisor)
        ]
        if codec == "PCMU":
            await until_relayed(agent)
        assert audio.level_dbfs((await supervisor.listen(0.5)).pcm()[0]) < audio.SILENCE_DBFS
        await supervisor.hang_up()
        await agent.hang_up()


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_call_has_no_gap_when_a_supervisor_comes_and_goes(
    gateway: ServerProcess, asterisk: Asterisk, codec: str
) -> None:
    async with (
        Client(gateway.url, codec=codec, frequency_hz=1000) as agent,
        Client(gateway.url, codec="PCMU", frequency_hz=0) as supervisor,
    ):
        channel = await dial(agent, asterisk, "601", trunk="ulaw")
        await agent.wait_tone(440)
        await supervisor.call("silence")
        body = {"callId": call_id(agent), "sessionId": supervisor.session_id}
        recording = asterisk.record(channel)
        listening = asyncio.ensure_future(agent.listen(3))
        await asyncio.sleep(0.7)
        await post(supervisor, "/api/call/supervise", body | {"mode": "listen"})
        await asyncio.sleep(0.9)
        await post(supervisor, "/api/call/supervise", body | {"mode": "none"})
        (await listening).check_tone(440, min_duration_s=2.8)
        there = await to_thread(recording.stop)
        audio.check_tone(*there, 1000, min_duration_s=2.5)
        await supervisor.hang_up()
        await agent.hang_up()


async def test_supervision_ends_with_the_call(gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with (
        Client(gateway.url, codec="PCMU") as agent,
        Client(gateway.url, codec="PCMU", frequency_hz=0) as supervisor,
    ):
        await dial(agent, asterisk, "601", trunk="ulaw")
        await supervisor.call("tone")
        await agent.wait_tone(440)
        body = {"callId": call_id(agent), "sessionId": supervisor.session_id, "mode": "listen"}
        await post(supervisor, "/api/call/supervise", body)
        await hears(supervisor, [1000], of=[1000])
        await agent.hang_up()
        await supervisor.wait_tone(440)  # its own far end again
        await post(supervisor, "/api/call/supervise", body, status=409)
        await supervisor.hang_up()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_hears_the_others_and_they_hear_it(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    voices = [500.0, 700.0, MICROPHONE_HZ]
    async with (
        caller(chromium, gateway.url) as page,
        Client(gateway.url, codec="PCMU", frequency_hz=500) as first,
        Client(gateway.url, codec="opus", frequency_hz=700) as second,
    ):
        await first.call("conference/mixed")
        await second.call("conference/mixed")
        await page.call("conference/mixed")
        await hears(first, [700, MICROPHONE_HZ], of=voices)
        await hears(second, [500, MICROPHONE_HZ], of=voices)
        await page.listen(0.5)
        pcm, rate = await page.listen(1.5)
        assert heard_of(pcm, rate, voices) == [500, 700]
        assert (await page.state())["codec"] == "audio/opus"
        await page.hang_up()
        await first.hang_up()
        await second.hang_up()


Server = Callable[..., ServerProcess]


async def test_a_call_is_supervised_across_workers(own_server: Server, asterisk: Asterisk) -> None:
    server = own_server({"media": {"workers": 2}}, asterisk=asterisk)
    voices = [440.0, 700.0, 1000.0]
    async with (
        Client(server.url, codec="PCMU", frequency_hz=1000) as agent,
        Client(server.url, codec="opus", frequency_hz=700) as supervisor,
    ):
        channel = await dial(agent, asterisk, "601", trunk="ulaw")
        await agent.wait_tone(440)
        await supervisor.call("silence")
        body = {"callId": call_id(agent), "sessionId": supervisor.session_id, "mode": "whisper"}
        await post(supervisor, "/api/call/supervise", body)
        await hears(agent, [440, 700], of=voices)
        await hears(supervisor, [440, 1000], of=voices)
        recording = asterisk.record(channel)
        await asyncio.sleep(1)
        assert heard_of(*await to_thread(recording.stop), voices) == [1000]
        await agent.hang_up()
        await supervisor.hang_up()
