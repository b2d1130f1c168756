"""What a peer may have us do with a call: REFER (RFC 3515) and Replaces (RFC 3891)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from peers.asterisk import Asterisk
from peers.sip_peer import PeerCall, PeerDialog, SipMessage, SipPeer, sdp

from sdpserver.errors import BadRequest
from sdpserver.sdp import Direction
from sdpserver.sip import Refer, SipCall, SipEventType, transfer

from .conftest import RTP_PORT, Callee, Events, Scene, assert_call_is_unhurt, local_audio, running_caller, sent_by_us


@dataclass
class Talk:
    """A call that is up, whoever made it."""

    scene: Scene
    dialog: PeerDialog | PeerCall
    call: SipCall
    events: Events

    def refer(self, to: str, *headers: str) -> None:
        self.dialog.request("REFER", headers="\n".join([f"Refer-To: {to}", *headers]))

    async def referred(self) -> Refer:
        event = await self.events.next(SipEventType.REFERRED)
        assert event.refer is not None
        return event.refer

    async def notified(self) -> tuple[str, str]:
        """The next NOTIFY: its fragment, and the state of the subscription."""
        notify = await self.scene.peer.receive("NOTIFY")
        assert (notify["event"], notify["content-type"]) == ("refer", "message/sipfrag")
        self.scene.peer.respond(notify, 200)
        return notify.body.strip(), notify["subscription-state"].partition(";")[0]

    @property
    def replaces(self) -> str:
        """The Replaces that names this dialog, as a third party has it."""
        invite = self.dialog.invite
        if isinstance(self.dialog, PeerDialog):
            ours = re.search(r"tag=([^;]+)", invite["from"])
            theirs = self.dialog.tag
        else:
            ours = re.search(r"tag=([^;]+)", self.dialog.to_header)
            theirs = invite["from"].rpartition("tag=")[2]
        assert ours is not None
        return f"{invite['call-id']};to-tag={ours[1]};from-tag={theirs}"


@pytest.fixture(params=["made", "taken"])
async def talk(request: pytest.FixtureRequest, scene: Scene) -> AsyncIterator[Talk]:
    if request.param == "made":
        call, events, dialog = await scene.connect()
        yield Talk(scene, dialog, call, events)
    else:
        peer, call, events = await Callee(scene).connect()
        yield Talk(scene, peer, call, events)
    assert scene.caller.endpoint.trunk_status("peer")["calls"] <= 1


async def test_a_refer_is_accepted_handed_on_and_told_of(talk: Talk) -> None:
    host = talk.scene.peer.host_port
    talk.refer(f"<sip:%2b4930@{host}>", "Referred-By: <sip:boss@example.com>")
    assert (await talk.scene.peer.receive(202)).method == "REFER"
    assert await talk.referred() == Refer(user="+4930", uri=f"sip:%2b4930@{host}", referred_by="sip:boss@example.com")
    assert await talk.notified() == ("SIP/2.0 100 Trying", "active")
    talk.call.answer_refer(180)
    assert await talk.notified() == ("SIP/2.0 180 Ringing", "active")
    talk.call.answer_refer(200, "OK")
    assert await talk.notified() == ("SIP/2.0 200 OK", "terminated")
    talk.call.answer_refer(200)  # it is over
    talk.dialog.request("OPTIONS")
    await talk.scene.peer.receive(200)
    assert len(sent_by_us(talk.scene.peer, "NOTIFY")) == 3
    assert all(invite is talk.dialog.invite for invite in sent_by_us(talk.scene.peer, "INVITE"))


async def test_the_next_refer_may_come_after_the_last_notify(talk: Talk) -> None:
    for status in (486, 200):
        talk.refer(f"<sip:900@{talk.scene.peer.host_port}>")
        await talk.scene.peer.receive(202)
        await talk.referred()
        assert (await talk.notified())[1] == "active"
        talk.refer(f"<sip:901@{talk.scene.peer.host_port}>")
        await talk.scene.peer.receive(491)
        talk.call.answer_refer(status)
        assert (await talk.notified())[1] == "terminated"
    assert talk.events.types.count(SipEventType.REFERRED) == 2


async def test_a_refer_without_a_subscription(talk: Talk) -> None:
    """RFC 4488."""
    talk.refer(f"<sip:900@{talk.scene.peer.host_port}>", "Refer-Sub: false")
    assert (await talk.scene.peer.receive(202))["refer-sub"] == "false"
    await talk.referred()
    talk.call.answer_refer(200)
    talk.dialog.request("OPTIONS")
    await talk.scene.peer.receive(200)
    assert not sent_by_us(talk.scene.peer, "NOTIFY")


async def test_a_refer_with_replaces_hands_it_on(talk: Talk) -> None:
    other = "abc%40host%3Bto-tag%3D1%3Bfrom-tag%3D2"
    talk.refer(f"<sip:900@{talk.scene.peer.host_port}?Replaces={other}&Require=replaces>")
    await talk.scene.peer.receive(202)
    refer = await talk.referred()
    assert (refer.user, refer.replaces) == ("900", "abc@host;to-tag=1;from-tag=2")


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("<sip:900@192.0.2.1>", 603),
        ("<sip:900@127.0.0.1:1>", 603),
        ("<sip:900@evil.example;maddr=127.0.0.1>", 603),
        ("<tel:+4930>", 603),
        ("<http://example.com/>", 603),
        ("<sip:900@{trunk};method=BYE>", 603),
        ("<sip:{trunk}>", 400),
        ("<>", 603),
        ("", 603),
        ("<sip:900@{trunk}?Replaces=x>", 400),
        ("<sip:900@{trunk}?Replaces=x%0d%0aEvil%3a1%3Bto-tag%3D1%3Bfrom-tag%3D2>", 400),
        ("<sip:900@{trunk}>\nRefer-To: <sip:901@{trunk}>", 400),
    ],
)
async def test_a_refer_to_elsewhere_or_nowhere_is_refused(scene: Scene, to: str, status: int) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("REFER", headers=f"Refer-To: {to.format(trunk=scene.peer.host_port)}")
    assert (await scene.peer.receive(status)).method == "REFER"
    await assert_call_is_unhurt(scene, dialog)
    assert SipEventType.REFERRED not in events.types


async def test_a_refer_without_refer_to(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    dialog.request("REFER")
    await scene.peer.receive(400)
    await assert_call_is_unhurt(scene, dialog)


async def test_a_refer_while_it_rings_is_refused(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(180, "Ringing")
    await events.next(SipEventType.RINGING)
    dialog.request("REFER", headers=f"Refer-To: <sip:900@{scene.peer.host_port}>")
    await scene.peer.receive(481)


async def test_a_call_that_ends_with_its_refer_open(talk: Talk) -> None:
    talk.refer(f"<sip:900@{talk.scene.peer.host_port}>")
    await talk.scene.peer.receive(202)
    await talk.referred()
    talk.dialog.request("BYE")
    await talk.events.ended()
    talk.call.answer_refer(200)


async def test_our_invite_may_replace_a_dialog(scene: Scene) -> None:
    replaces = "abc@host;to-tag=1;from-tag=2"
    _, _, dialog = await scene.dial("900", replaces=replaces)
    assert (dialog.invite["replaces"], dialog.invite["require"]) == (replaces, "replaces")
    dialog.respond(486, "Busy Here")
    with pytest.raises(BadRequest):
        await scene.dial("900", replaces="abc\r\nX: y;to-tag=1;from-tag=2")


async def replace(talk: Talk, peer: SipPeer, body: str) -> PeerCall:
    headers = f"Replaces: {talk.replaces}\nRequire: replaces"
    return PeerCall.make(peer, "5001", talk.scene.caller.address, headers=headers, body=body)


@pytest.mark.parametrize("offer", [sdp(33000, formats="8 101"), ""], ids=["offer", "no offer"])
async def test_the_trunk_replaces_a_call(talk: Talk, offer: str) -> None:
    async with await SipPeer.open() as third:
        taker = await replace(talk, third, offer)
        ok = await taker.response(200)
        assert f"m=audio {RTP_PORT} RTP/AVP 8 101" in ok.body if offer else f"m=audio {RTP_PORT} " in ok.body
        taker.ack(body="" if offer else sdp(33000, formats="8 101"))
        replaced = await talk.events.next(SipEventType.REPLACED)
        assert replaced.media is not None
        assert (replaced.media.rtp_port, replaced.media.codecs[0].name) == (33000, "PCMA")
        bye: SipMessage = await talk.scene.peer.receive("BYE")
        talk.scene.peer.respond(bye, 200)
        # It is the same call, with another peer.
        talk.call.set_direction(Direction.SENDONLY)
        invite = await third.receive("INVITE")
        third.respond(invite, 200, body=sdp(33000, "a=recvonly", formats="8 101"))
        await third.receive("ACK")
        held = await talk.events.next(SipEventType.MEDIA_CHANGED)
        assert held.media is not None
        assert held.media.direction is Direction.SENDONLY
        assert talk.scene.caller.endpoint.trunk_status("peer")["calls"] == 1
        taker.request("BYE")
        end = await talk.events.ended()
        assert (end.reason, end.by_remote) == ("normal_clearing", True)
        assert talk.scene.caller.endpoint.trunk_status("peer")["calls"] == 0


async def test_a_call_is_replaced_twice(talk: Talk) -> None:
    async with await SipPeer.open() as third, await SipPeer.open() as fourth:
        third.answer_by_itself("BYE")
        talk.scene.peer.answer_by_itself("BYE")
        taker = await replace(talk, third, sdp(33000))
        await taker.answered()
        await talk.events.next(SipEventType.REPLACED)
        again = Talk(talk.scene, taker, talk.call, talk.events)
        last = await replace(again, fourth, sdp(34000))
        await last.answered()
        assert (await talk.events.next(SipEventType.REPLACED)).media is not None
        await third.receive("BYE")
        talk.call.hangup()
        await talk.events.ended()
        fourth.respond(await fourth.receive("BYE"), 200)


@pytest.mark.parametrize(
    "offer",
    [
        sdp(33000, "a=rtpmap:18 G729/8000", formats="18"),
        sdp(33000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40, proto="RTP/SAVP"),
        sdp(33000).replace("c=IN IP4 127.0.0.1", "c=IN IP4 pbx.example.com"),
    ],
    ids=["no codec", "SRTP", "host name"],
)
async def test_replaces_with_an_offer_that_we_cannot_take_leaves_the_call(talk: Talk, offer: str) -> None:
    async with await SipPeer.open() as third:
        taker = await replace(talk, third, offer)
        await taker.response(488)
        talk.dialog.request("OPTIONS")
        await talk.scene.peer.receive(200)
        # and it can still be replaced
        taker = await replace(talk, third, sdp(33000))
        await taker.answered()
        await talk.events.next(SipEventType.REPLACED)
        talk.scene.peer.respond(await talk.scene.peer.receive("BYE"), 200)
        third.answer_by_itself("BYE")
        talk.call.hangup()
        await talk.events.ended()
        await third.receive("BYE")


async def test_a_stranger_replaces_nothing(talk: Talk) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        taker = await replace(talk, stranger, sdp(33000))
        await taker.response(403)
    talk.dialog.request("OPTIONS")
    await talk.scene.peer.receive(200)
    assert not sent_by_us(talk.scene.peer, "BYE")


async def test_a_call_that_rings_is_not_replaced(scene: Scene) -> None:
    callee = Callee(scene)
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    call.ring()
    await peer.response(180)
    async with await SipPeer.open() as third:
        headers = f"Replaces: {Talk(scene, peer, call, events).replaces}\nRequire: replaces"
        PeerCall.make(third, "5001", scene.caller.address, headers=headers, body=sdp(33000))
        await third.receive(481)
    call.answer(local_audio())
    await peer.answered()
    await events.next(SipEventType.ANSWERED)


async def test_asterisk_refers_us_and_hears_how_it_went(asterisk: Asterisk) -> None:
    user = asterisk.users["any"]
    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        taken: asyncio.Queue[SipCall] = asyncio.Queue()
        caller.endpoint.on_incoming = lambda call, _: taken.put_nowait(call)
        target = f"PJSIP/{user.name}/sip:5001@127.0.0.1:{caller.address[1]}"
        transfer = f"Transfer PJSIP/sip:601@{asterisk.address}"
        await asyncio.to_thread(asterisk.rx, f"channel originate {target} application {transfer}")
        call = await asyncio.wait_for(taken.get(), 5)
        call.on_event = events = Events()
        call.answer(local_audio())
        await events.next(SipEventType.ANSWERED)
        refer = (await events.next(SipEventType.REFERRED)).refer
        assert refer is not None
        assert (refer.user, refer.uri) == ("601", f"sip:601@{asterisk.address}")
        other, others = await caller.call(refer.user)
        await others.next(SipEventType.ANSWERED)
        call.answer_refer(200)
        # Asterisk has no more to do in the call that it has handed on.
        assert (await events.ended()).by_remote is True
        other.hangup()
        await others.ended()
    await asyncio.to_thread(asterisk.wait_no_channels)


async def test_a_refer_that_nobody_answers_expires(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SUBSCRIPTION_S", 1)
    call, events, dialog = await scene.connect()
    talk = Talk(scene, dialog, call, events)
    for _ in range(2):
        talk.refer(f"<sip:900@{scene.peer.host_port}>")
        await scene.peer.receive(202)
        await talk.referred()
        assert await talk.notified() == ("SIP/2.0 100 Trying", "active")
        assert await talk.notified() == ("SIP/2.0 408 Request Timeout", "terminated")
