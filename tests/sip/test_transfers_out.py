"""REFERs of ours: blind and attended transfers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from peers.ami import AmiEvent
from peers.asterisk import Asterisk, User, running_asterisk
from peers.sip_peer import SipMessage, SipPeer
from peers.waiting import until, wait_until

from sdpserver.errors import BadRequest
from sdpserver.sip import SipCall, SipEvent, SipEventType
from sdpserver.sip import transfer as transfer_module

from .conftest import Callee, Events, Scene, assert_call_is_unhurt, local_audio, running_caller

DN = User("5001", "pw-5001", "ulaw,alaw")
FRAGMENT = "Event: refer\nContent-Type: message/sipfrag\nSubscription-State: {}"


async def transfer(events: Events) -> tuple[int, bool]:
    event: SipEvent = await events.next(SipEventType.TRANSFER)
    return event.status, event.final


@pytest.mark.parametrize(("status", "text"), [(200, "OK"), (486, "Busy Here"), (503, "Service Unavailable")])
async def test_a_blind_transfer_is_told_to_its_end(scene: Scene, status: int, text: str) -> None:
    call, events, dialog = await scene.connect()
    call.refer("+49 30")
    refer = await scene.peer.receive("REFER")
    assert refer["refer-to"] == f"<sip:+49%2030@{scene.peer.host_port}>"
    assert refer["referred-by"].startswith("<sip:anonymous@127.0.0.1>")
    scene.peer.respond(refer, 202, "Accepted")
    assert await transfer(events) == (100, False)
    for fragment, state in (("100 Trying", "active;expires=60"), ("180 Ringing", "active;expires=55")):
        dialog.request("NOTIFY", headers=FRAGMENT.format(state), body=f"SIP/2.0 {fragment}\r\n")
        assert (await scene.peer.receive(200)).method == "NOTIFY"
        assert await transfer(events) == (int(fragment[:3]), False)
    final = FRAGMENT.format("terminated;reason=noresource")
    dialog.request("NOTIFY", headers=final, body=f"SIP/2.0 {status} {text}\r\n")
    await scene.peer.receive(200)
    assert await transfer(events) == (status, True)
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize("status", [403, 405, 603])
async def test_a_peer_that_takes_no_refer(scene: Scene, status: int) -> None:
    call, events, dialog = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), status, "No")
    assert await transfer(events) == (status, True)
    call.refer("901")  # another one may follow
    scene.peer.respond(await scene.peer.receive("REFER"), status, "No")
    assert await transfer(events) == (status, True)
    await assert_call_is_unhurt(scene, dialog)


async def test_a_peer_that_sends_no_notifies(scene: Scene) -> None:
    """RFC 4488."""
    call, events, _ = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted", headers="Refer-Sub: false")
    assert await transfer(events) == (200, True)


async def test_one_transfer_at_a_time(scene: Scene) -> None:
    call, events, _ = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted")
    assert await transfer(events) == (100, False)
    call.refer("901")
    assert await transfer(events) == (491, True)


@pytest.mark.parametrize("target", ["", "sip:900@evil.example", "9\r\nX: y"])
async def test_a_target_that_is_not_the_trunks_is_refused_here(scene: Scene, target: str) -> None:
    call, _, dialog = await scene.connect()
    with pytest.raises(BadRequest):
        call.refer(target)
    await assert_call_is_unhurt(scene, dialog)


async def test_a_transfer_before_the_answer_is_refused(scene: Scene) -> None:
    call, events, _ = await scene.dial()
    call.refer("900")
    assert await transfer(events) == (491, True)


async def test_the_peer_hangs_up_in_the_middle(scene: Scene) -> None:
    call, events, dialog = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted")
    assert await transfer(events) == (100, False)
    dialog.request("BYE")
    await events.ended()


async def test_an_attended_transfer_names_the_other_dialog(scene: Scene) -> None:
    first, events, _ = await scene.connect()
    second, _, other = await scene.dial("700")
    await other.answer(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 31000 RTP/AVP 0\r\n"
    )
    first.refer_replacing(second)
    refer = await scene.peer.receive("REFER")
    match = re.search(r"<(sip:[^?>]+)\?(?:[^>]*&)?Replaces=([^&>]+)", refer["refer-to"])
    assert match is not None
    assert match[1] == f"sip:700@{scene.peer.host_port}"
    ours = re.search(r"tag=([^;]+)", other.invite["from"])
    assert ours is not None
    assert unquote(match[2]) == f"{second.call_id};to-tag={other.tag};from-tag={ours[1]}"
    scene.peer.respond(refer, 202, "Accepted")
    assert await transfer(events) == (100, False)


async def test_an_attended_transfer_to_a_call_that_is_over(scene: Scene) -> None:
    first, events, _ = await scene.connect()
    second, others, dialog = await scene.dial()
    dialog.respond(486, "Busy Here")
    await others.ended()
    first.refer_replacing(second)
    assert await transfer(events) == (481, True)


async def test_an_attended_transfer_between_trunks_is_refused(scene: Scene) -> None:
    call, _, _ = await scene.connect()
    with pytest.raises(BadRequest):
        call.refer_replacing(call)


async def test_a_call_that_was_taken_is_transferred(scene: Scene) -> None:
    peer, call, events = await Callee(scene).connect()
    call.refer("900")
    refer: SipMessage = await scene.peer.receive("REFER")
    assert refer["refer-to"] == f"<sip:900@{scene.peer.host_port}>"
    scene.peer.respond(refer, 202, "Accepted")
    assert await transfer(events) == (100, False)
    assert peer.cseq == 1


def joins_a_bridge(event: AmiEvent) -> bool:
    return event.name == "BridgeEnter" and event.fields["Channel"].startswith("PJSIP/")


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    """With a user whose number its dialplan dials."""
    with running_asterisk(DN) as asterisk:
        yield asterisk


def sip_channels(pbx: Asterisk) -> list[str]:
    return [channel for channel in pbx.channels() if channel.startswith("PJSIP/")]


async def test_asterisk_carries_out_transfers(pbx: Asterisk) -> None:
    """Of its channels that are bridged with calls to us."""
    options: dict[str, Any] = {"username": DN.name, "password": DN.password, "register": True}
    async with running_caller(pbx.address, **options) as caller:
        status = caller.endpoint.trunk_status
        await until(lambda: bool(status("peer")["registered"]), timeout_s=5, what="the registration")
        taken: asyncio.Queue[SipCall] = asyncio.Queue()
        caller.endpoint.on_incoming = lambda call, _: taken.put_nowait(call)

        async def bridged() -> tuple[SipCall, Events]:
            since = pbx.ami.mark()
            await asyncio.to_thread(pbx.rx, f"channel originate Local/601@test/n extension {DN.name}@test")
            call = await asyncio.wait_for(taken.get(), 5)
            call.on_event = events = Events()
            call.answer(local_audio())
            await events.next(SipEventType.ANSWERED)
            await asyncio.to_thread(pbx.ami.wait_for, joins_a_bridge, since=since)
            return call, events

        async def transferred(*calls: tuple[SipCall, Events]) -> None:
            """Asterisk leaves it to us to hang up."""
            status, final = await transfer(calls[0][1])
            while not final:
                status, final = await transfer(calls[0][1])
            assert status == 200
            for call, events in calls:
                call.hangup()
                await events.ended()

        blind, events = await bridged()
        blind.refer("600")
        await transferred((blind, events))
        first, events = await bridged()
        second, others = await bridged()
        first.refer_replacing(second)
        await transferred((first, events), (second, others))
        # What was bridged with us goes on without us.
        await asyncio.to_thread(wait_until, lambda: not sip_channels(pbx), timeout_s=5, what="us to be out")
        assert len(pbx.channels()) == 6
        await asyncio.to_thread(pbx.rx, "channel request hangup all")
        await asyncio.to_thread(pbx.wait_no_channels)


async def test_a_stranger_cannot_end_a_transfer(scene: Scene) -> None:
    call, events, dialog = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted")
    assert await transfer(events) == (100, False)
    async with await SipPeer.open("127.0.0.2") as stranger:
        headers = FRAGMENT.format("terminated;reason=noresource")
        stranger.request("NOTIFY", "sip:x@127.0.0.1", scene.caller.address, headers=headers, body="SIP/2.0 200 OK\r\n")
        await stranger.receive(481)
    final = FRAGMENT.format("terminated;reason=noresource")
    dialog.request("NOTIFY", headers=final, body="SIP/2.0 404 Not Found\r\n")
    assert await transfer(events) == (404, True)


async def test_a_peer_that_says_no_more_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "FIRST_NOTIFY_S", 0.3)
    call, events, dialog = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted")
    assert await transfer(events) == (100, False)
    assert await transfer(events) == (408, True)
    call.refer("901")
    await scene.peer.receive("REFER")
    assert await transfer(events) == (408, True)
    await assert_call_is_unhurt(scene, dialog)


async def test_a_peer_that_rings_for_long_is_not_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "FIRST_NOTIFY_S", 0.3)
    call, events, dialog = await scene.connect()
    call.refer("900")
    scene.peer.respond(await scene.peer.receive("REFER"), 202, "Accepted")
    assert await transfer(events) == (100, False)
    dialog.request("NOTIFY", headers=FRAGMENT.format("active;expires=60"), body="SIP/2.0 100 Trying\r\n")
    assert await transfer(events) == (100, False)
    with pytest.raises(TimeoutError):
        await events.next(SipEventType.TRANSFER, timeout_s=0.6)
    dialog.request("NOTIFY", headers=FRAGMENT.format("terminated"), body="SIP/2.0 200 OK\r\n")
    assert await transfer(events) == (200, True)
