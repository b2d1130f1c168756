"""A hundred good calls of all kinds, watched during their whole life: no verdict finds anything wrong with them.

What is silent on purpose (hold, a direction) is named as that, while it lasts and not longer.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from peers.agent import Agent, AgentCall
from peers.aiortc_client import Client
from peers.asterisk import Asterisk
from peers.chromium import Caller, caller
from peers.event_schema import check_events, events_of
from peers.rooms import call_id, post
from peers.rtp_phone import RtpPhone
from peers.server import ServerProcess, running
from peers.sip_peer import PeerDialog, SipPeer, sdp
from peers.verdict_watch import VerdictWatch, watching
from playwright.async_api import Browser

from sdpserver.passwords import hash_password

AT_ONCE = 8
CODECS = ("PCMU", "PCMA", "opus", "G722")
PASSWORD = "secret"
NUMBERS = [str(7000 + number) for number in range(30)]
Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(scope="module")
def server(asterisk: Asterisk) -> Iterator[ServerProcess]:
    """Everything that makes a good call silent at times is on."""
    hashed = hash_password(PASSWORD)
    tables = {
        "dn": [{"number": number, "password_hash": hashed} for number in NUMBERS],
        "media": {"comfort_noise": True, "opus_dtx": True},
        "session": {"resume_s": 3},
    }
    with running(ServerProcess.for_asterisk(asterisk, tables)) as process:
        yield process


class Calls:
    """The scenarios; each counts the sessions that it makes."""

    def __init__(self, server: ServerProcess, asterisk: Asterisk, watch: VerdictWatch) -> None:
        self.server, self.asterisk, self.watch = server, asterisk, watch
        self.count = 0
        self.events: set[str] = set()
        """The types of all that were told, which were as their schema has them."""
        self._numbers = iter(NUMBERS)

    @asynccontextmanager
    async def page(self, to: str, **options: Any) -> AsyncIterator[Client]:
        """A call over HTTP, from its offer to a look at what is left of it."""
        call = options.pop("call", {})
        async with Client(self.server.url, **options) as client:
            await client.call(to, **call)
            self.count += 1
            yield client
            session_id, id_ = client.session_id, call_id(client)
            await client.hang_up()
            await self.watch.look_at_session(session_id, id_)
            stream = (await client.http.get(f"/webrtc/sessions/{session_id}/events")).raise_for_status().text
            self.events |= check_events(events_of(stream))

    async def plain(self, to: str, **options: Any) -> None:
        async with self.page(to, **options) as client:
            await self.watch.is_well(call_id(client))

    async def short(self, to: str, **options: Any) -> None:
        async with self.page(to, **options):
            pass

    async def ringing(self) -> None:
        async with self.page("603", codec="PCMU") as client:
            await client.wait_step("ringing")
            await client.listen(1)

    async def early(self, codec: str) -> None:
        async with self.page("604", codec=codec) as client:
            await client.wait_step("early")
            await client.wait_step("answered")
            await self.watch.is_well(call_id(client))

    async def held(self, codec: str) -> None:
        """By REST: a re-INVITE each way."""
        async with self.page("600", codec=codec) as client:
            id_ = call_id(client)
            await self.watch.is_well(id_)
            for _ in range(2):
                await post(client, "/api/call/hold", {"callId": id_})
                async with self.watch.expecting(id_, "on_hold"):
                    await post(client, "/api/call/resume", {"callId": id_})
                await self.watch.is_well(id_)

    async def turned(self, codec: str) -> None:
        """By the page's own SDP."""
        async with self.page("600", codec=codec) as client:
            id_ = call_id(client)
            await self.watch.is_well(id_)
            for direction, cause in (("sendonly", "browser_does_not_listen"), ("recvonly", "browser_does_not_send")):
                async with self.watch_while(id_, cause, client.reoffer(direction)):
                    await client.reoffer("sendrecv")
                await self.watch.is_well(id_)

    @asynccontextmanager
    async def watch_while(self, id_: str, cause: str, change: Awaitable[object]) -> AsyncIterator[None]:
        """The cause is expected from when the change begins."""
        self.watch.expect(id_, cause)
        try:
            await change
            async with self.watch.expecting(id_, cause):
                yield
        finally:
            self.watch.unexpect(id_, cause)

    async def reloaded(self, codec: str) -> None:
        async with Client(self.server.url, codec=codec) as before:
            await before.call("600")
            self.count += 1
            await self.watch.is_well(call_id(before))
            await asyncio.sleep(3.2)  # the steps of the first page are older than their time
            tokens = {key: before.answer[key] for key in ("session_id", "resume_token")}
            await before.close()
        async with Client(self.server.url, codec=codec) as after:
            offer = await after.post_offer(tokens)
            await asyncio.sleep(0.5)  # a slow page
            await after.accept(offer.json())
            await after.wait_connected()
            await self.watch.is_well(call_id(after))
            await after.hang_up()

    async def muted(self, codec: str) -> None:
        async with self.page("600", codec=codec) as client:
            for mute in (True, False):
                await post(client, "/api/call/mute", {"callId": call_id(client), "mute": mute})
                await self.watch.is_well(call_id(client))

    async def moved_into_a_room(self) -> None:
        async with self.page("600", codec="PCMU") as first, self.page("600", codec="opus") as second:
            ids = [call_id(first), call_id(second)]
            await asyncio.gather(*map(self.watch.is_well, ids))
            await post(first, "/api/call/conference", {"callIds": ids})
            await asyncio.gather(*map(self.watch.is_well, ids))

    async def supervised(self) -> None:
        async with self.page("601", codec="PCMU") as client, self.page("silence", codec="opus") as supervisor:
            body = {"callId": call_id(client), "sessionId": supervisor.session_id}
            for mode in ("listen", "whisper", "barge", "none"):
                await post(supervisor, "/api/call/supervise", body | {"mode": mode})
                await self.watch.is_well(call_id(client))
                await self.watch.is_well(call_id(supervisor))

    # -- agents

    @asynccontextmanager
    async def agents(self, count: int) -> AsyncIterator[list[tuple[Agent, str]]]:
        found = [(Agent(self.server.url), next(self._numbers)) for _ in range(count)]
        try:
            for agent, number in found:
                await agent.connect()
                await agent.register(number, PASSWORD)
            yield found
        finally:
            for agent, _ in found:
                await agent.close()

    async def well(self, *calls: AgentCall) -> None:
        await asyncio.gather(*(self.watch.is_well(call.call_id) for call in calls))

    async def between(self, caller: Agent, callee: Agent, number: str, codec: str) -> tuple[AgentCall, AgentCall]:
        before = sum(message["type"] == "incomingCall" for message in callee.received)
        calling = await caller.call(number, codec=codec)
        incoming = await callee.incoming(number=before)
        await asyncio.sleep(0.5)  # it rings
        answered = await callee.answer(incoming, codec=codec)
        self.count += 2
        await self.well(calling, answered)
        return calling, answered

    async def held_between_agents(self, codec: str) -> None:
        async with self.agents(2) as ((ann, _), (bob, number)):
            calling, answered = await self.between(ann, bob, number, codec)
            for one, other in ((calling, answered), (answered, calling)):
                for call in (one, other):
                    self.watch.expect(call.call_id, "on_hold")
                await one.order("hold", hold=True)
                async with (
                    self.watch.expecting(one.call_id, "on_hold"),
                    self.watch.expecting(other.call_id, "on_hold"),
                ):
                    await one.order("hold", hold=False)
                for call in (one, other):
                    self.watch.unexpect(call.call_id, "on_hold")
                await self.well(one, other)
            await calling.hang_up()
            await answered.wait("callEnded")

    async def sent_on(self) -> None:
        """Blind, to another agent, while the first leg is older than the steps' time."""
        async with self.agents(3) as ((ann, _), (bob, number), (cem, third)):
            calling, answered = await self.between(ann, bob, number, "PCMU")
            await asyncio.sleep(3)
            await answered.order("transfer", to=third)
            taken = await cem.answer(await cem.incoming())
            self.count += 1
            await answered.wait("callEnded")
            await self.well(calling, taken)
            await calling.hang_up()
            await taken.wait("callEnded")

    async def sent_on_from_a_trunk(self) -> None:
        """A call of Asterisk's goes from one agent to another: its SIP leg is another session's."""
        async with self.agents(2) as ((ann, first), (bob, second)):
            uri = f"sip:{first}@127.0.0.1:{self.server.sip_port}"
            await to_thread(self.asterisk.originate, uri, "601")
            call = await ann.answer(await ann.incoming(), codec="PCMU")
            await self.well(call)
            await asyncio.sleep(3)
            await call.order("transfer", to=second)
            taken = await bob.answer(await bob.incoming(), codec="opus")
            self.count += 2
            await call.wait("callEnded")
            await self.well(taken)
            await taken.hang_up()

    async def connected_after_a_consultation(self) -> None:
        async with self.agents(3) as ((ann, _), (bob, number), (cem, third)):
            calling, answered = await self.between(ann, bob, number, "PCMU")
            for call in (calling, answered):
                self.watch.expect(call.call_id, "on_hold")
            second, second_there = await self.between(bob, cem, third, "PCMU")
            await answered.order("transfer", consultCallId=second.call_id)
            await answered.wait("callEnded")
            await asyncio.sleep(0.2)
            self.watch.unexpect(calling.call_id, "on_hold")
            await self.well(calling, second_there)
            await calling.hang_up()
            await second_there.wait("callEnded")

    # -- a phone with habits of its own

    async def phones(self) -> None:
        """One after the other: it pauses without a packet, moves, and holds."""
        async with await SipPeer.open("127.0.0.9") as peer:
            tables = {"trunks": [{"name": "phone", "server": peer.host_port, "options_interval_s": 0}]}
            with running(ServerProcess(tables)) as server:
                async with (
                    watching(server.url) as watch,
                    await RtpPhone.open() as phone,
                    await RtpPhone.open() as other,
                ):
                    await self._phone(Calls(server, self.asterisk, watch), peer, phone, other)
                    assert not watch.alarms
        self.count += 1

    @staticmethod
    async def _phone(calls: Calls, peer: SipPeer, phone: RtpPhone, other: RtpPhone) -> None:
        async with Client(calls.server.url, codec="PCMU") as client:
            calling = asyncio.create_task(client.call("600", trunk="phone"))
            dialog = PeerDialog(peer, await peer.receive("INVITE"))
            await calling
            await dialog.answer(sdp(phone.port))
            port = int(dialog.invite.body.split("m=audio ")[1].split()[0])
            phone.talk(port, 440)
            id_ = call_id(client)
            await calls.watch.is_well(id_)
            await phone.hush()  # silence suppression without a word
            await asyncio.sleep(4)
            phone.talk(port, 440)
            for body, cause in (
                (sdp(other.port), ""),
                (sdp(other.port, "a=sendonly"), "sip_direction"),
                (sdp(other.port, "a=inactive"), "sip_direction"),
                (sdp(phone.port), ""),
            ):
                if cause:
                    calls.watch.expect(id_, cause)
                dialog.request("INVITE", body=body)
                while (await peer.receive(200)).method != "INVITE":
                    pass
                dialog.ack()
                if cause:
                    async with calls.watch.expecting(id_, cause):
                        continue
                calls.watch.unexpect(id_, "sip_direction")
                await calls.watch.is_well(id_)
            peer.answer_by_itself("BYE")
            await client.hang_up()

    # -- Chromium

    async def in_chromium(self, page: Caller, codec: str, to: str) -> None:
        await page.call(to, codec=codec)
        self.count += 1
        id_ = page.answer["call"]["call_id"]
        await self.watch.is_well(id_)
        await page.mute(True)
        await asyncio.sleep(1)
        await self.watch.is_well(id_)
        await page.reoffer(ice_restart=True)
        await self.watch.is_well(id_)
        await page.mute(False)
        await page.hang_up()

    async def in_chromium_without_a_track(self, page: Caller) -> None:
        """Muted by taking the track away: no RTP comes any more, and its reports do."""
        await page.call("600", codec="opus")
        self.count += 1
        id_ = page.answer["call"]["call_id"]
        await self.watch.is_well(id_)
        await page.page.evaluate("sender.replaceTrack(null)")
        await asyncio.sleep(12)
        await self.watch.is_well(id_)
        await page.hang_up()


@pytest.mark.timeout(150)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_hundred_good_calls_raise_no_alarm(
    server: ServerProcess, asterisk: Asterisk, chromium: Browser
) -> None:
    async with watching(server.url) as watch:
        calls = Calls(server, asterisk, watch)

        async def chromiums() -> None:
            for codec, to in (
                ("PCMU CN", "600"),
                ("opus", "conference/browsers"),
                ("PCMU", "echo"),
                ("red opus", "600"),
            ):
                async with caller(chromium, server.url) as page:
                    await calls.in_chromium(page, codec, to)

        async def without_a_track() -> None:
            async with caller(chromium, server.url) as page:
                await calls.in_chromium_without_a_track(page)

        long: list[Scenario] = [
            chromiums,
            without_a_track,
            calls.phones,
            calls.sent_on,
            calls.sent_on_from_a_trunk,
            calls.connected_after_a_consultation,
            calls.moved_into_a_room,
            calls.supervised,
            *(lambda codec=codec: calls.held_between_agents(codec) for codec in ("PCMU", "opus", "PCMU")),
            *(lambda codec=codec: calls.reloaded(codec) for codec in ("PCMU", "opus", "PCMU")),
            *(lambda codec=codec: calls.held(codec) for codec in CODECS),
            *(lambda codec=codec: calls.turned(codec) for codec in CODECS),
            *(lambda codec=codec: calls.muted(codec) for codec in CODECS),
            *(lambda codec=codec: calls.early(codec) for codec in CODECS),
            calls.ringing,
            calls.ringing,
        ]
        kinds = itertools.cycle(
            itertools.product(("echo", "600", "tone", "601", "conference/all", "silence", "620"), CODECS)
        )
        queue = asyncio.Queue[Scenario]()
        for scenario in long:
            queue.put_nowait(scenario)

        def short(number: int) -> Scenario:
            to, codec = next(kinds)
            if number % 7 == 3:
                return lambda: calls.short(to, codec=codec)
            voice = {"frequency_hz": 0.0} if number % 5 == 1 else {}
            recorded = {"call": {"record": True}} if number % 6 == 2 else {}
            return lambda: calls.plain(to, codec=codec, **voice, **recorded)

        numbers = itertools.count()

        async def work() -> None:
            while not queue.empty() or calls.count < 100:
                scenario = short(next(numbers)) if queue.empty() else queue.get_nowait()
                await scenario()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    assert calls.count >= 100
    assert not watch.alarms, watch.alarms
    assert calls.events >= {"offer", "dtls", "early", "hold", "muted", "recording", "room_joined", "talking", "closed"}
    looks = sum(sum(causes.values()) for causes in watch.seen.values())
    assert looks > 5 * calls.count
    await to_thread(asterisk.wait_no_channels)
    assert not server.calls()
