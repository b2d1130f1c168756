"""SRTP toward the SIP side, heard at both ends: Asterisk that insists on it, and a phone for what it cannot do."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from asyncio import to_thread
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from peers import audio
from peers.aiortc_client import VOICE_HZ, Client, dial
from peers.ari import Ari
from peers.asterisk import Asterisk, User, running_asterisk
from peers.chromium import caller, hear_each_other
from peers.rtp_phone import SRTP, RtpPhone
from peers.server import ServerProcess, running
from peers.sip_peer import PeerDialog, SipPeer, sdp
from peers.waiting import until, wait_until
from playwright.async_api import Browser

PHONE_HZ = 500
MEDIA_TIMEOUT_S = 1.5
BEFORE_THE_ANSWER = 25
"""Packets that a caller may send until the phone has answered."""
SHA1_80 = "AES_CM_128_HMAC_SHA1_80"
USERS = tuple(User(name, f"pw-{name}", "ulaw", name) for name in ("sdes", "sdes32", "optimistic"))
PLAIN = User("plain", "pw-plain", "ulaw")


# -- Asterisk


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    """It takes SRTP by AES_CM_128_HMAC_SHA1_80 and _32; Debian's libsrtp has no GCM for it."""
    with running_asterisk(*USERS, PLAIN) as peer:
        yield peer


@pytest.fixture(scope="module")
def secure_gateway(pbx: Asterisk) -> Iterator[ServerProcess]:
    """A trunk for each user and each use of SRTP: `sdes-required` and so on."""
    trunks = [
        {"name": f"{user.name}-{use}", "server": pbx.address, "username": user.name, "password": user.password}
        | {"srtp": use}
        for user in pbx.users.values()
        for use in ("optional", "required")
    ]
    with running(ServerProcess({"trunks": trunks})) as server:
        yield server


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("codec", ["PCMU", "opus"])
@pytest.mark.parametrize("trunk", ["sdes-required", "sdes-optional", "optimistic-optional", "plain-optional"])
async def test_browser_and_pbx_hear_each_other(
    chromium: Browser, secure_gateway: ServerProcess, pbx: Asterisk, trunk: str, codec: str
) -> None:
    async with caller(chromium, secure_gateway.url) as page:
        mark = pbx.ami.mark()
        await page.call("601", trunk=trunk, codec=codec)
        channel = await to_thread(pbx.wait_channel, since=mark)
        await hear_each_other(page, pbx, channel, 440)
        (session,) = [found for found in secure_gateway.sessions() if found["state"] == "connected"]
        assert session["sip"]["srtp"] == (None if trunk.startswith("plain") else SHA1_80)
        assert session["sip"]["media"]["auth_failures"] == 0
        await page.hang_up()
        await to_thread(pbx.wait_hangup, channel)


async def test_a_pbx_without_srtp_is_not_called_when_it_is_required(
    secure_gateway: ServerProcess, pbx: Asterisk
) -> None:
    async with Client(secure_gateway.url, codec="PCMU", events=True) as client:
        await client.call("600", trunk="plain-required")
        ended = await client.wait_event("ended")
        assert (ended["reason"], ended["sip_status"]) == ("not_acceptable", 488)
        await client.wait_closed()


async def test_reports_of_the_pbx_are_understood(secure_gateway: ServerProcess, pbx: Asterisk) -> None:
    async with Client(secure_gateway.url, codec="PCMU") as client:
        await dial(client, pbx, "600", trunk="sdes-required")
        await client.wait_tone(VOICE_HZ)

        async def reported() -> bool:
            return bool((await client.describe())["sip"]["media"]["rtcp_received"])

        await until(reported, timeout_s=8, what="a report of Asterisk")
        media = (await client.describe())["sip"]["media"]
        assert (media["auth_failures"], media["dropped_malformed"]) == (0, 0)
        await client.hang_up()


async def test_the_pbx_holds_and_resumes_with_the_keys_that_it_had(
    secure_gateway: ServerProcess, pbx: Asterisk
) -> None:
    with Ari(pbx) as ari:
        async with Client(secure_gateway.url, codec="PCMU", events=True) as client:
            mark = pbx.ami.mark()
            await client.call("630", trunk="sdes-required")
            name = await to_thread(pbx.wait_channel, since=mark)
            channel = await to_thread(ari.wait_channel)
            ari.post(f"channels/{channel}/answer")
            ari.post(f"channels/{channel}/moh")
            await client.wait_tone(700)
            ari.post(f"channels/{channel}/hold")
            assert (await client.wait_event("media_changed"))["held"]
            (await client.listen(1.2)).check_tone(700)  # music on hold goes on
            ari.delete(f"channels/{channel}/hold")
            await until(lambda: changes(client) == [True, False], timeout_s=3, what="the resume")
            recording = pbx.record(name)
            (await client.listen(1.2)).check_tone(700)
            pcm, rate = await to_thread(recording.stop)
            audio.check_tone(pcm, rate, VOICE_HZ, min_duration_s=0.9)
            session = await client.describe()
            assert session["sip"]["srtp"] == SHA1_80
            assert session["sip"]["media"]["auth_failures"] == 0
            await client.hang_up()
            await to_thread(pbx.wait_hangup, name)


def changes(client: Client) -> list[bool]:
    return [event["data"]["held"] for _, event in client.events if event["type"] == "media_changed"]


# -- a phone with every suite


@dataclass(frozen=True, slots=True)
class Line:
    """An a=crypto."""

    tag: int
    suite: str
    key: bytes

    @classmethod
    def all(cls, body: str) -> list[Line]:
        found = re.findall(r"^a=crypto:(\d+) (\S+) inline:(\S+)\r?$", body, re.MULTILINE)
        return [cls(int(tag), suite, base64.b64decode(key)) for tag, suite, key in found]

    @classmethod
    def like(cls, other: Line) -> Line:
        """With a key of its own."""
        return cls(other.tag, other.suite, secrets.token_bytes(SRTP[other.suite][1]))

    def __str__(self) -> str:
        return f"a=crypto:{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


@pytest.fixture
def servers(own_server: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    def start(peer: SipPeer, use: str = "required") -> ServerProcess:
        return own_server(
            {
                "trunks": [{"name": "phone", "server": peer.host_port, "srtp": use}],
                "session": {"media_timeout_s": MEDIA_TIMEOUT_S},
            }
        )

    return start


Servers = Callable[..., ServerProcess]


class Call:
    """A call between `client` and a phone that speaks SIP through `peer`."""

    def __init__(self, client: Client, peer: SipPeer, phone: RtpPhone, invite: Any) -> None:
        self.client, self.phone = client, phone
        self.dialog = PeerDialog(peer, invite)
        self.offered = Line.all(invite.body)
        found = re.search(r"^m=audio (\d+)", invite.body, re.MULTILINE)
        assert found is not None
        self.rtp_port = int(found[1])

    def sdp(self, *lines: str, proto: str = "RTP/SAVP") -> str:
        return sdp(self.phone.port, *lines, formats="0", proto=proto)

    async def reinvite(self, *lines: str, proto: str = "RTP/SAVP") -> list[Line]:
        """The keys of the answer."""
        self.dialog.request("INVITE", body=self.sdp(*lines, proto=proto))
        answer = await self.dialog.peer.receive(200)
        self.dialog.ack()
        return Line.all(answer.body)

    async def hang_up(self) -> None:
        closing = asyncio.create_task(self.client.hang_up())
        self.dialog.peer.respond(await self.dialog.peer.receive("BYE"), 200)
        await closing


async def ring(client: Client, peer: SipPeer, phone: RtpPhone) -> Call:
    calling = asyncio.create_task(client.call("600", trunk="phone"))
    call = Call(client, peer, phone, await peer.receive("INVITE"))
    await calling
    return call


async def connect(client: Client, peer: SipPeer, phone: RtpPhone, suite: str = SHA1_80) -> tuple[Call, Line, Line]:
    """An answered call, our key and the phone's; both talk."""
    call = await ring(client, peer, phone)
    ours = next(line for line in call.offered if line.suite == suite)
    theirs = Line.like(ours)
    phone.secure(suite, send_key=theirs.key, receive_key=ours.key)
    phone.talk(call.rtp_port, PHONE_HZ)
    await call.dialog.answer(call.sdp(str(theirs)))
    await client.wait_tone(PHONE_HZ)
    return call, ours, theirs


@pytest.mark.parametrize("multiplexed", [False, True])
@pytest.mark.parametrize("suite", SRTP)
async def test_every_suite_is_heard_both_ways(servers: Servers, suite: str, multiplexed: bool) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call, ours, theirs = await connect(client, peer, phone, suite)
            if multiplexed:  # our offers do not have it, but the phone's may
                assert await call.reinvite(str(theirs), "a=rtcp-mux") == [ours]
            start_s = time.monotonic()
            (await client.listen(1.2)).check_tone(PHONE_HZ)
            phone.heard.since(start_s).check_tone(VOICE_HZ)
            session = await client.describe()
            assert session["sip"]["srtp"] == suite
            assert (session["sip"]["media"]["auth_failures"], phone.undeciphered) == (0, 0)
            await call.hang_up()


async def test_a_hold_does_not_start_the_packet_numbers_anew(servers: Servers) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU", events=True) as client:
            call, ours, theirs = await connect(client, peer, phone)
            assert await call.reinvite(str(theirs), "a=sendonly") == [ours]
            assert (await client.wait_event("media_changed"))["held"]
            (await client.listen(2 * MEDIA_TIMEOUT_S)).check_tone(PHONE_HZ, min_duration_s=2.5)
            assert await call.reinvite(str(theirs)) == [ours]
            await until(lambda: changes(client) == [True, False], timeout_s=3, what="the resume")
            (await client.listen(1.2)).check_tone(PHONE_HZ)
            assert len({packet.ssrc for packet in phone.heard.audio_packets}) == 1
            numbers = [packet.sequence for packet in phone.heard.audio_packets]
            assert all((after - before) % 0x10000 == 1 for before, after in pairwise(numbers))
            assert (await client.describe())["sip"]["media"]["replayed"] == 0
            await call.hang_up()


@pytest.mark.parametrize("suite", [SHA1_80, "AEAD_AES_256_GCM"])
async def test_new_keys_in_a_call_are_not_heard(servers: Servers, suite: str) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call, ours, _ = await connect(client, peer, phone)
            listening = asyncio.create_task(client.listen(2.0))
            for _ in range(3):
                await asyncio.sleep(0.4)
                theirs = Line(7, suite, secrets.token_bytes(SRTP[suite][1]))
                before, (ours,) = ours, await call.reinvite(str(theirs))
                assert (ours.tag, ours.suite, ours.key != before.key) == (7, suite, True)
                phone.secure(suite, send_key=theirs.key, receive_key=ours.key)
            (await listening).check_tone(PHONE_HZ, min_duration_s=1.9)
            session = await client.describe()
            heard = phone.heard.audio_packets
            assert len({packet.ssrc for packet in heard}) == 4
            assert phone.undeciphered == 0
            assert len(heard) >= session["sip"]["media"]["packets_sent"] - 1, "not all that left was heard"
            for one, other in pairwise(heard):
                assert other.ssrc != one.ssrc or (other.sequence - one.sequence) % 0x10000 == 1
            # What the caller says is relayed packet by packet, also while keys change.
            unsent = session["webrtc"]["media"]["packets_received"] - session["sip"]["media"]["packets_sent"]
            assert unsent <= BEFORE_THE_ANSWER, f"{unsent} packets of the caller did not leave"
            assert session["sip"]["srtp"] == suite
            # On loopback a packet with the phone's new key may outrun our own news of the 200: at most one each time.
            assert session["sip"]["media"]["auth_failures"] <= 3
            await call.hang_up()


async def test_a_phone_with_a_wrong_key_is_not_heard_and_the_call_ends_with_media_timeout(servers: Servers) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU", events=True) as client:
            call = await ring(client, peer, phone)
            ours = call.offered[0]
            theirs, lie = Line.like(ours), Line.like(ours)
            phone.secure(ours.suite, send_key=lie.key, receive_key=ours.key)
            phone.talk(call.rtp_port, PHONE_HZ)
            await call.dialog.answer(call.sdp(str(theirs)))
            peer.respond(await peer.receive("BYE", timeout_s=MEDIA_TIMEOUT_S + 2), 200)
            assert (await client.wait_event("ended"))["reason"] == "media_timeout"
            await client.wait_closed()
            media = (await client.describe())["sip"]["media"]
            assert media["auth_failures"] > 50
            assert media["packets_received"] == 0
            phone.heard.check_tone(VOICE_HZ)  # ours was right


async def test_early_media_of_two_phones_is_heard_with_the_keys_of_each(servers: Servers) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as first, await RtpPhone.open() as second:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call = await ring(client, peer, first)
            for tag, phone, ours, tone_hz in (("a", first, call.offered[0], 600), ("b", second, call.offered[2], 800)):
                theirs = Line.like(ours)
                phone.secure(ours.suite, send_key=theirs.key, receive_key=ours.key)
                phone.talk(call.rtp_port, tone_hz)
                body = sdp(phone.port, str(theirs), formats="0", proto="RTP/SAVP")
                PeerDialog(peer, call.dialog.invite, tag=tag).respond(183, "Progress", body=body)
                await client.wait_tone(tone_hz)
            start_s = time.monotonic()
            (await client.listen(1.2)).check_tone(800)
            second.heard.since(start_s).check_tone(VOICE_HZ)
            closing = asyncio.create_task(client.hang_up())
            peer.respond(await peer.receive("CANCEL"), 200)
            call.dialog.respond(487, "Request Terminated")
            await closing


async def test_a_call_moves_from_srtp_to_plain_rtp_and_back_when_that_is_optional(servers: Servers) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone, await RtpPhone.open() as plain:
        server = servers(peer, "optional")
        async with Client(server.url, codec="PCMU") as client:
            call = await ring(client, peer, phone)
            theirs = Line.like(call.offered[0])
            phone.secure(theirs.suite, send_key=theirs.key, receive_key=call.offered[0].key)
            phone.talk(call.rtp_port, PHONE_HZ)
            await call.dialog.answer(call.sdp(str(theirs), proto="RTP/AVP"))
            await client.wait_tone(PHONE_HZ)
            plain.talk(call.rtp_port, 700)
            call.phone = plain
            assert await call.reinvite(proto="RTP/AVP") == []
            await client.wait_tone(700)
            start_s = time.monotonic()
            (await client.listen(1.2)).check_tone(700)
            plain.heard.since(start_s).check_tone(VOICE_HZ)
            assert (await client.describe())["sip"]["srtp"] is None
            call.phone = phone
            (ours,) = await call.reinvite(str(theirs))
            phone.secure(theirs.suite, send_key=theirs.key, receive_key=ours.key)
            await client.wait_tone(PHONE_HZ)
            await call.hang_up()


async def test_keys_are_in_no_log_and_in_no_answer(servers: Servers) -> None:
    async with await SipPeer.open() as peer, await RtpPhone.open() as phone:
        server = servers(peer)
        async with Client(server.url, codec="PCMU") as client:
            call, ours, theirs = await connect(client, peer, phone)
            described = str(await client.describe())
            await call.hang_up()
        wait_until(lambda: not server.open_sessions(), timeout_s=5, what="the end of the session")
        for line in (*call.offered, theirs):
            for form in (base64.b64encode(line.key).decode().rstrip("="), line.key.hex(), repr(line.key)[2:-1]):
                assert form not in server.log + described
        assert ours.suite in described
