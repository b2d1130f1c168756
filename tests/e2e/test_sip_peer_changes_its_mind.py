"""A SIP phone holds, comes back, moves to another address or falls silent, and both sides hear what they should."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from peers.aiortc_client import VOICE_HZ, Client
from peers.rtp_phone import RtpPhone
from peers.server import ServerProcess
from peers.sip_peer import PeerDialog, SipPeer, sdp

MEDIA_TIMEOUT_S = 1.5
PHONE_HZ = 500


@dataclass(slots=True)
class Call:
    """An answered call between `client` and a phone that speaks SIP through `peer`."""

    server: ServerProcess
    dialog: PeerDialog

    @property
    def rtp_port(self) -> int:
        """Where the server wants its RTP."""
        found = re.search(r"^m=audio (\d+)", self.dialog.invite.body, re.MULTILINE)
        assert found is not None
        return int(found[1])

    async def reinvite(self, body: str) -> str:
        """The SDP that the server answers with."""
        self.dialog.request("INVITE", body=body)
        answer = await self.dialog.peer.receive(200)
        self.dialog.ack()
        return answer.body


@pytest.fixture
def servers(own_server: Callable[..., ServerProcess]) -> Callable[[SipPeer], ServerProcess]:
    def start(peer: SipPeer) -> ServerProcess:
        tables: dict[str, Any] = {
            "trunks": [{"name": "phone", "server": peer.host_port}],
            "session": {"media_timeout_s": MEDIA_TIMEOUT_S},
        }
        return own_server(tables)

    return start


async def connect(client: Client, peer: SipPeer, phone: RtpPhone, server: ServerProcess) -> Call:
    """Call the phone, which answers and talks."""
    calling = asyncio.create_task(client.call("600", trunk="phone"))
    call = Call(server, PeerDialog(peer, await peer.receive("INVITE")))
    phone.talk(call.rtp_port, PHONE_HZ)
    await call.dialog.answer(sdp(phone.port))
    await calling
    await client.wait_tone(PHONE_HZ)
    return call


async def hang_up(client: Client, call: Call) -> None:
    closing = asyncio.create_task(client.hang_up())
    call.dialog.peer.respond(await call.dialog.peer.receive("BYE"), 200)
    await closing


@pytest.mark.parametrize("hold", ["sendonly", "inactive"])
async def test_a_call_on_hold_outlives_the_media_timeout_and_comes_back(
    servers: Callable[[SipPeer], ServerProcess], hold: str
) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU", events=True) as client:
            call = await connect(client, peer, phone, server)
            answer = await call.reinvite(sdp(phone.port, f"a={hold}"))
            assert f"a={'recvonly' if hold == 'sendonly' else 'inactive'}" in answer
            assert (await client.wait_event("media_changed"))["held"]
            held_s = time.monotonic()
            if hold == "inactive":
                await phone.hush()
                await client.wait(2 * MEDIA_TIMEOUT_S)
            else:  # music on hold goes on
                (await client.listen(2 * MEDIA_TIMEOUT_S)).check_tone(PHONE_HZ, min_duration_s=2.5)
            assert len(phone.heard.since(held_s + 0.1).audio_packets) == 0
            assert (await client.describe())["state"] == "connected"
            await call.reinvite(sdp(phone.port, "a=sendrecv"))
            if hold == "inactive":
                phone.talk(call.rtp_port, PHONE_HZ)
            await client.wait_tone(PHONE_HZ)
            back_s = time.monotonic()
            (await client.listen(1.2)).check_tone(PHONE_HZ)
            phone.heard.since(back_s).check_tone(VOICE_HZ)
            await hang_up(client, call)


async def test_a_phone_that_moves_is_followed_and_its_old_address_is_not(
    servers: Callable[[SipPeer], ServerProcess],
) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as before, await RtpPhone.open() as after:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call = await connect(client, peer, before, server)
            await call.reinvite(sdp(after.port))
            moved_s = time.monotonic()
            after.talk(call.rtp_port, 700)
            await client.wait_tone(700)  # though the old address still talks
            there_s = time.monotonic()
            (await client.listen(1.2)).check_tone(700)
            after.heard.since(there_s).check_tone(VOICE_HZ)
            assert len(before.heard.since(moved_s + 0.1).audio_packets) == 0
            assert (await client.describe())["sip"]["media"]["dropped_source"] > 30
            await hang_up(client, call)


async def test_a_stranger_cannot_talk_into_a_call(servers: Callable[[SipPeer], ServerProcess]) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone, await RtpPhone.open() as stranger:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call = await connect(client, peer, phone, server)
            stranger.talk(call.rtp_port, 900)
            (await client.listen(1.2)).check_tone(PHONE_HZ)
            assert (await client.describe())["sip"]["media"]["dropped_source"] > 30
            await hang_up(client, call)


async def test_a_phone_that_falls_silent_ends_the_call_with_media_timeout(
    servers: Callable[[SipPeer], ServerProcess],
) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU", events=True) as client:
            await connect(client, peer, phone, server)
            await phone.hush()
            silent_s = time.monotonic()
            peer.respond(await peer.receive("BYE", timeout_s=MEDIA_TIMEOUT_S + 1), 200)
            ended = await client.wait_event("ended")
            assert ended["reason"] == "media_timeout"
            assert MEDIA_TIMEOUT_S - 0.2 < ended["came_s"] - silent_s < MEDIA_TIMEOUT_S + 1
            await client.wait_closed(1)


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_a_phone_gets_packets_of_the_length_that_it_asks_for(
    servers: Callable[[SipPeer], ServerProcess], codec: str
) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec=codec) as client:
            call = await connect(client, peer, phone, server)
            for ptime_ms in (10, 30, 40, 60, 20):
                answer = await call.reinvite(sdp(phone.port, f"a=ptime:{ptime_ms}"))
                assert f"a=ptime:{ptime_ms}\r\n" in answer
                changed_s = time.monotonic() + 0.2
                await client.wait(1.4)
                heard = phone.heard.since(changed_s)
                assert {len(packet.payload) for packet in heard.audio_packets} == {8 * ptime_ms}
                heard.check_tone(VOICE_HZ)
            await hang_up(client, call)
