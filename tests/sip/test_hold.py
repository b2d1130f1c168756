"""Holding and resuming by re-INVITEs of ours."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from peers.ami import AmiEvent
from peers.asterisk import Asterisk
from peers.sip_peer import PeerCall, PeerDialog, SipMessage, SipPeer, sdp

from sdpserver.sdp import Direction
from sdpserver.sip import SipCall, SipEvent, SipEventType, SrtpKeys
from sdpserver.sip.incoming import IncomingDialog
from sdpserver.sip.sdes import Crypto, SrtpUse

from .conftest import RTP_PORT, Callee, Events, Scene, local_audio, running_caller

SENDONLY, SENDRECV, INACTIVE = Direction.SENDONLY, Direction.SENDRECV, Direction.INACTIVE


@dataclass
class Talk:
    """A call that is up, whoever made it."""

    peer: SipPeer
    dialog: PeerDialog | PeerCall
    call: SipCall
    events: Events

    async def reinvite(self) -> SipMessage:
        return await self.peer.receive("INVITE")

    async def take(self, *lines: str, port: int = 30000) -> SipMessage:
        """Our next re-INVITE, answered with an SDP of these lines."""
        invite = await self.reinvite()
        self.peer.respond(invite, 200, body=sdp(port, *lines))
        await self.peer.receive("ACK")
        return invite

    async def refuse(self, status: int) -> SipMessage:
        invite = await self.reinvite()
        self.peer.respond(invite, status, "No")
        await self.peer.receive("ACK")
        return invite

    async def changed(self) -> tuple[Direction, bool, int]:
        event = await self.events.next(SipEventType.MEDIA_CHANGED)
        assert event.media is not None
        return event.media.direction, event.by_remote, event.status


@pytest.fixture(params=["made", "taken"])
async def talk(request: pytest.FixtureRequest, scene: Scene) -> AsyncIterator[Talk]:
    if request.param == "made":
        call, events, dialog = await scene.connect()
        yield Talk(scene.peer, dialog, call, events)
    else:
        peer, call, events = await Callee(scene).connect()
        yield Talk(scene.peer, peer, call, events)


async def test_hold_and_resume(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    hold = await talk.take("a=recvonly")
    assert "a=sendonly" in hold.body.split("\r\n")
    assert f"m=audio {RTP_PORT} RTP/AVP 0 8 111 101 110" in hold.body
    assert await talk.changed() == (SENDONLY, False, 0)
    talk.call.set_direction(SENDRECV)
    resume = await talk.take()
    assert "a=sendrecv" in resume.body.split("\r\n")
    assert await talk.changed() == (SENDRECV, False, 0)
    first, second = (int(message.body.split("\r\n")[1].split()[2]) for message in (hold, resume))
    assert second == first + 1


@pytest.mark.parametrize(
    "renumbered",
    [
        {"telephone-event/8000": 102},
        {"telephone-event/8000": 111},
        {"telephone-event/8000": 110},
        {"opus/48000/2": 101, "telephone-event/48000": 111},
        {"opus/48000/2": 110, "telephone-event/48000": 111},
        {"opus/48000/2": 96, "telephone-event/48000": 101},
    ],
)
async def test_a_hold_after_a_peer_has_numbered_codecs_anew(talk: Talk, renumbered: dict[str, int]) -> None:
    """As a PBX does when it sends on the offer of another party; numbers may be those of other codecs of ours."""
    formats = renumbered if "opus/48000/2" in renumbered else {"PCMU/8000": 0, **renumbered}
    section = [f"m=audio 30000 RTP/AVP {' '.join(map(str, formats.values()))}"]
    section += [f"a=rtpmap:{number} {name}" for name, number in formats.items()]
    talk.dialog.request("INVITE", body=sdp(30000).partition("m=")[0] + "\r\n".join(section) + "\r\n")
    answer = await talk.peer.receive(200)
    talk.dialog.ack()
    event = await talk.events.next(SipEventType.MEDIA_CHANGED)
    assert payload_types(event) == (payload_types_of(answer.body), formats)
    talk.call.set_direction(SENDONLY)
    invite = await talk.reinvite()
    offered = payload_types_of(invite.body)
    assert set(offered) == {"PCMU/8000", "PCMA/8000", "opus/48000/2", "telephone-event/8000", "telephone-event/48000"}
    assert len(set(offered.values())) == len(offered)
    taken = {name: offered[name] for name in formats}
    section = [f"m=audio 30000 RTP/AVP {' '.join(map(str, taken.values()))}"]
    section += [f"a=rtpmap:{number} {name}" for name, number in taken.items()]
    talk.peer.respond(invite, 200, body=sdp(30000).partition("m=")[0] + "\r\n".join([*section, "a=recvonly", ""]))
    await talk.peer.receive("ACK")
    event = await talk.events.next(SipEventType.MEDIA_CHANGED)
    assert event.media is not None
    assert event.media.direction is SENDONLY
    assert payload_types(event) == (taken, taken)
    talk.call.set_direction(SENDRECV)
    await talk.take()
    assert (await talk.changed())[0] is SENDRECV


def payload_types_of(body: str) -> dict[str, int]:
    """What each codec of an SDP is numbered as."""
    return {name: int(number) for number, name in re.findall(r"^a=rtpmap:(\d+) (\S+)", body, re.MULTILINE)}


def payload_types(event: SipEvent) -> tuple[dict[str, int], dict[str, int]]:
    """(what we take each codec as, what we send it as)."""
    assert event.media is not None
    names = [codec.rtpmap.split()[1] for codec in event.media.codecs]
    return (
        {name: codec.payload_type for name, codec in zip(names, event.media.codecs, strict=True)},
        {name: codec.send_payload_type for name, codec in zip(names, event.media.codecs, strict=True)},
    )


async def test_inactive(talk: Talk) -> None:
    talk.call.set_direction(INACTIVE)
    assert "a=inactive" in (await talk.take("a=inactive")).body
    assert await talk.changed() == (INACTIVE, False, 0)


async def test_the_direction_that_is_there_is_told_at_once(talk: Talk) -> None:
    talk.call.set_direction(SENDRECV)
    assert await talk.changed() == (SENDRECV, False, 0)


async def test_of_several_requests_the_last_one_counts(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    first = await talk.reinvite()
    talk.call.set_direction(SENDRECV)
    talk.call.set_direction(INACTIVE)
    talk.call.press("1", 100)  # by which we see that the requests were taken
    talk.peer.respond(await talk.peer.receive("INFO"), 200)
    talk.peer.respond(first, 200, body=sdp(30000, "a=recvonly"))
    await talk.peer.receive("ACK")
    assert await talk.changed() == (SENDONLY, False, 0)
    assert "a=inactive" in (await talk.take("a=inactive")).body
    assert await talk.changed() == (INACTIVE, False, 0)


async def test_a_request_that_collides_is_sent_again(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    invite = await talk.reinvite()
    before_s = time.monotonic()
    talk.peer.respond(invite, 491, "Request Pending")
    await talk.peer.receive("ACK")
    assert "a=sendonly" in (await talk.take("a=recvonly")).body
    delay_s = time.monotonic() - before_s
    low_s, high_s = (0.0, 2.0) if talk.call.is_incoming else (2.1, 4.0)
    assert low_s <= delay_s <= high_s + 1.0
    assert await talk.changed() == (SENDONLY, False, 0)


async def test_both_hold_at_once(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3261 section 14.2: each gets a 491, and the one whose delay is shorter comes first, which is the peer's."""
    monkeypatch.setattr(IncomingDialog, "retry_delay_s", (1.0, 2.0))
    talk.call.set_direction(SENDONLY)
    ours = await talk.reinvite()
    talk.dialog.request("INVITE", body=sdp(30000, "a=sendonly"))
    await talk.peer.receive(491)
    talk.dialog.ack()
    talk.peer.respond(ours, 491, "Request Pending")
    await talk.peer.receive("ACK")
    talk.dialog.request("INVITE", body=sdp(30000, "a=sendonly"))
    theirs = await talk.peer.receive(200)
    talk.dialog.ack()
    assert "a=inactive" in theirs.body
    assert await talk.changed() == (INACTIVE, True, 0)
    assert "a=sendonly" in (await talk.take("a=inactive")).body
    assert await talk.changed() == (INACTIVE, False, 0)


@pytest.mark.parametrize("status", [403, 488, 500])
async def test_a_peer_that_refuses_the_hold(talk: Talk, status: int) -> None:
    talk.call.set_direction(SENDONLY)
    await talk.refuse(status)
    assert await talk.changed() == (SENDRECV, False, status)
    talk.dialog.request("INVITE", body=sdp(31000))
    assert "a=sendrecv" in (await talk.peer.receive(200)).body
    talk.dialog.ack()
    assert await talk.changed() == (SENDRECV, True, 0)


async def test_while_we_hold_the_peers_offers_are_answered_so(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    await talk.take("a=recvonly")
    await talk.changed()
    talk.dialog.request("INVITE", body=sdp(31000))
    assert "a=sendonly" in (await talk.peer.receive(200)).body
    talk.dialog.ack()
    assert await talk.changed() == (SENDONLY, True, 0)
    talk.dialog.request("INVITE")
    assert "a=sendonly" in (await talk.peer.receive(200)).body
    talk.dialog.ack(body=sdp(31000, "a=recvonly"))


async def test_an_answer_may_move_the_media(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    await talk.take("a=recvonly", port=32000)
    media = (await talk.events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert (media.rtp_port, media.direction) == (32000, SENDONLY)


async def test_a_hold_before_the_answer_follows_it(scene: Scene) -> None:
    call, events, dialog = await scene.dial()
    call.set_direction(SENDONLY)
    await dialog.answer(sdp(30000))
    await events.next(SipEventType.ANSWERED)
    talk = Talk(scene.peer, dialog, call, events)
    assert "a=sendonly" in (await talk.take("a=recvonly")).body
    assert await talk.changed() == (SENDONLY, False, 0)


@pytest.mark.parametrize("status", [408, 481])
async def test_a_peer_that_knows_the_call_no_more_ends_it(talk: Talk, status: int) -> None:
    """RFC 3261 section 12.2.1.2."""
    talk.call.set_direction(SENDONLY)
    await talk.refuse(status)
    end = await talk.events.ended()
    assert (end.reason, end.by_remote) == ("sip_timeout", False)


async def test_a_hangup_while_the_hold_waits(talk: Talk) -> None:
    talk.call.set_direction(SENDONLY)
    await talk.refuse(491)
    talk.call.hangup()
    assert (await talk.events.ended()).by_remote is False
    talk.peer.respond(await talk.peer.receive("BYE"), 200)


async def test_the_keys_stay_on_hold() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, srtp="required") as caller:
        scene = Scene(caller, peer)
        theirs = Crypto.new(1, "AEAD_AES_128_GCM")
        call, events, dialog = await scene.dial(media=replace(local_audio(), srtp="required"))
        await dialog.answer(sdp(30000, theirs.line, proto="RTP/SAVP"))
        before = (await events.next(SipEventType.ANSWERED)).media
        assert before is not None
        assert isinstance(before.srtp, SrtpKeys)
        call.set_direction(SENDONLY)
        hold = await peer.receive("INVITE")
        peer.respond(hold, 200, body=sdp(30000, theirs.line, "a=recvonly", proto="RTP/SAVP"))
        after = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert after is not None
        assert after.srtp == before.srtp
        peer.answer_by_itself("BYE")
        await caller.endpoint.stop()


def _is(name: str, event: AmiEvent) -> bool:
    return event.name == name


async def test_asterisk_is_held_and_resumed(asterisk: Asterisk) -> None:
    user = asterisk.users["any"]
    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        since = asterisk.ami.mark()
        call, events = await caller.call("600")
        await events.next(SipEventType.ANSWERED)
        for direction, event in ((SENDONLY, "Hold"), (SENDRECV, "Unhold")):
            call.set_direction(direction)
            changed = await events.next(SipEventType.MEDIA_CHANGED)
            assert changed.media is not None
            assert (changed.media.direction, changed.by_remote, changed.status) == (direction, False, 0)
            await asyncio.to_thread(asterisk.ami.wait_for, functools.partial(_is, event), since=since)
        call.hangup()
        await events.ended()
    await asyncio.to_thread(asterisk.wait_no_channels)


VIDEO = "m=video 31002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
FAX = "m=image 31004 udptl t38\r\n"


def with_more(audio: str) -> str:
    """Video before the audio, fax after it."""
    head, _, section = audio.partition("m=audio")
    return f"{head}{VIDEO}m=audio{section}{FAX}"


def media_lines(message: SipMessage) -> list[str]:
    return [line for line in message.body.split("\r\n") if line.startswith("m=")]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", ""])
async def test_streams_that_were_rejected_keep_their_places(scene: Scene, method: str) -> None:
    """RFC 3264 section 8: whether they came with the first offer or later."""
    if method:
        peer, call, events = await Callee(scene).connect()
        peer.request(method, body=with_more(sdp(30000)))
        await peer.response(200)
        if method == "INVITE":
            peer.ack()
    else:
        peer, call, events = await Callee(scene).connect(with_more(sdp(30000)))
    for direction in (SENDONLY, SENDRECV):
        call.set_direction(direction)
        invite = await scene.peer.receive("INVITE")
        audio = f"m=audio {RTP_PORT} RTP/AVP 0 8 111 101 110"
        assert media_lines(invite) == ["m=video 0 RTP/AVP 96", audio, "m=image 0 udptl t38"]
        answer = with_more(sdp(30000, f"a={direction.reversed.value}")).replace("31002", "0").replace("31004", "0")
        scene.peer.respond(invite, 200, body=answer)
        await scene.peer.receive("ACK")
        media = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert media is not None
        assert (media.direction, media.rtp_port) == (direction, 30000)
    peer.request("INVITE")
    assert media_lines(await peer.response(200))[0] == "m=video 0 RTP/AVP 96"


@pytest.mark.parametrize("srtp", ["optional", "required"])
@pytest.mark.parametrize("proto", ["RTP/AVP", "RTP/SAVP"])
async def test_a_hold_keeps_to_the_protocol_in_use(srtp: SrtpUse, proto: str) -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, srtp=srtp) as caller:
        callee = Callee(Scene(caller, peer))
        theirs = Crypto.new(1, "AEAD_AES_128_GCM")
        dialog = callee.dial(body=sdp(30000, theirs.line, proto=proto))
        call, _, events = await callee.incoming()
        call.answer(replace(local_audio(), srtp=srtp))
        await dialog.answered()
        before = (await events.next(SipEventType.ANSWERED)).media
        assert before is not None
        call.set_direction(SENDONLY)
        hold = await peer.receive("INVITE")
        assert media_lines(hold)[0].split()[2] == proto
        peer.respond(hold, 200, body=sdp(30000, theirs.line, "a=recvonly", proto=proto))
        after = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert after is not None
        assert (after.srtp, after.direction) == (before.srtp, SENDONLY)
        peer.answer_by_itself("BYE")
        await caller.endpoint.stop()
