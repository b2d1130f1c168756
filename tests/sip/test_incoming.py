"""Calls that a trunk makes to us."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from peers.asterisk import Asterisk
from peers.sip_peer import PeerCall, SipPeer, sdp
from peers.waiting import until

from sdpserver.sdp import Direction
from sdpserver.sip import IncomingInvite, SipCall, SipCallState, SipEventType

from .conftest import RTP_PORT, Callee, Events, Scene, local_audio, media_line, running_caller

USER = "any"
G729 = "a=rtpmap:18 G729/8000"
CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40


async def test_an_invite_is_told_rung_and_answered(callee: Callee) -> None:
    shown = "X-Case: 42\nAlert-Info: <urn:x>;info=auto\nSubject: hello\nCall-Info: <sip:x>;answer-after=0"
    ann = '"Ann \\"A\\" B" <sip:+49%2030@example.com>'
    offer = sdp(30000, formats="8 0 101")
    peer = callee.dial("5001", from_=ann, headers=f"P-Secret: no\n{shown}", body=offer)
    call, invite, events = await callee.incoming()
    assert (invite.trunk, invite.user, invite.from_user) == ("peer", "5001", "+49 30")
    assert (invite.display_name, invite.from_uri) == ('Ann "A" B', "sip:+49%2030@example.com")
    assert [name for name, _ in invite.headers] == ["X-Case", "Alert-Info", "Subject", "Call-Info"]
    assert [codec.name for codec in invite.codecs] == ["PCMA", "PCMU", "telephone-event"]
    assert (invite.sip_call_id, invite.has_offer) == (peer.invite["call-id"], True)
    assert (call.is_incoming, call.state) == (True, SipCallState.CALLING)
    call.ring()
    ringing = await peer.response(180)
    assert (ringing.body, call.state) == ("", SipCallState.RINGING)
    call.answer(local_audio("PCMU", "PCMA"))
    ok = await peer.response(200)
    assert media_line(ok) == f"m=audio {RTP_PORT} RTP/AVP 8 101"
    assert not events.seen
    peer.ack()
    answered = await events.next(SipEventType.ANSWERED)
    assert call.state is SipCallState.ANSWERED
    assert answered.media is not None
    assert (answered.media.ip, answered.media.rtp_port, answered.media.direction) == (
        "127.0.0.1",
        30000,
        Direction.SENDRECV,
    )
    assert [codec.name for codec in answered.media.codecs] == ["PCMA", "telephone-event"]
    peer.request("BYE")
    end = await events.ended()
    assert (end.reason, end.by_remote) == ("normal_clearing", True)
    assert (await peer.response(200)).method == "BYE"


async def test_our_bye_ends_an_incoming_call(callee: Callee) -> None:
    peer, call, events = await callee.connect()
    call.hangup()
    assert (await events.ended()).by_remote is False
    callee.peer.respond(await callee.peer.receive("BYE"), 200)
    assert peer.cseq == 1


async def test_the_codec_is_one_that_the_answer_allows(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000, formats="0 8 101"))
    call, _, events = await callee.incoming()
    call.answer(local_audio("PCMA"))
    assert media_line(await peer.answered()) == f"m=audio {RTP_PORT} RTP/AVP 8 101"
    media = (await events.next(SipEventType.ANSWERED)).media
    assert media is not None
    assert media.codecs[0].name == "PCMA"


async def test_an_invite_without_an_offer_gets_ours(callee: Callee) -> None:
    peer = callee.dial()
    call, invite, events = await callee.incoming()
    assert (invite.has_offer, invite.codecs) == (False, ())
    call.ring()
    assert (await peer.response(180)).body == ""
    call.answer(local_audio())
    assert media_line(await peer.response(200)) == f"m=audio {RTP_PORT} RTP/AVP 0 8 111 101 110"
    peer.ack(body=sdp(30000, "a=rtcp:30007", formats="8 101"))
    media = (await events.next(SipEventType.ANSWERED)).media
    assert media is not None
    assert (media.rtp_port, media.rtcp_port, media.codecs[0].name) == (30000, 30007, "PCMA")


@pytest.mark.parametrize(
    "answer", ["", sdp(0), sdp(30000, "a=rtpmap:18 G729/8000", formats="18")], ids=["none", "rejected", "no codec"]
)
async def test_a_late_answer_that_we_cannot_use_ends_the_call(callee: Callee, answer: str) -> None:
    peer = callee.dial()
    call, _, events = await callee.incoming()
    call.answer(local_audio())
    await peer.response(200)
    peer.ack(body=answer)
    end = await events.ended()
    assert (end.reason, end.by_remote) == ("not_acceptable", False)
    callee.peer.respond(await callee.peer.receive("BYE"), 200)


@pytest.mark.parametrize(
    ("status", "reason"), [(486, "busy"), (480, "no_answer"), (603, "rejected"), (404, "number_not_found")]
)
@pytest.mark.parametrize("body", [sdp(30000), ""], ids=["offer", "no offer"])
async def test_a_call_is_rejected(callee: Callee, status: int, reason: str, body: str) -> None:
    peer = callee.dial(body=body)
    call, _, events = await callee.incoming()
    call.ring()
    call.reject(status, reason)
    end = await events.ended()
    assert (end.status, end.reason, end.by_remote) == (status, reason, False)
    await peer.response(status)


async def test_a_hangup_before_the_answer_is_a_480(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    call.hangup(reason="no_answer")
    assert (await events.ended()).reason == "no_answer"
    await peer.response(480)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [("", "cancelled"), ('Reason: SIP;cause=200;text="Call completed elsewhere"', "answered_elsewhere")],
)
@pytest.mark.parametrize("rings", [True, False])
async def test_the_caller_cancels(callee: Callee, headers: str, reason: str, rings: bool) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    if rings:
        call.ring()
        await peer.response(180)
    peer.cancel(headers=headers)
    end = await events.ended()
    assert (end.reason, end.by_remote) == (reason, True)
    await peer.response(487)
    call.answer(local_audio())
    call.hangup()


async def test_an_answer_that_crosses_the_cancel(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    peer.cancel()
    call.answer(local_audio())
    end = await events.ended()
    assert (end.reason, end.by_remote) == ("cancelled", True)


async def test_a_hangup_between_the_answer_and_its_ack(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    call.answer(local_audio())
    await peer.response(200)
    call.hangup()
    assert (await events.ended()).by_remote is False
    peer.ack()  # RFC 3261 section 15: no BYE before it
    callee.peer.respond(await callee.peer.receive("BYE"), 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (sdp(30000, G729, formats="18"), 488),
        (sdp(30000, CRYPTO, proto="RTP/SAVP"), 488),
        (sdp(30000).replace("c=IN IP4 127.0.0.1", "c=IN IP4 pbx.example.com"), 488),
        ("v=0\r\nnonsense", 400),
    ],
    ids=["no codec", "SRTP", "host name", "no SDP"],
)
async def test_an_offer_that_we_cannot_take_is_refused_at_once(callee: Callee, body: str, status: int) -> None:
    peer = callee.dial(body=body)
    await peer.response(status)
    assert callee.is_untouched


async def test_nobody_is_there_without_a_listener(scene: Scene) -> None:
    PeerCall.make(scene.peer, "5001", scene.caller.address, body=sdp(30000))
    await scene.peer.receive(404)
    await until(lambda: not scene.caller.endpoint.trunk_status("peer")["calls"], timeout_s=1, what="the call's end")


async def test_a_listener_that_fails_is_a_500(scene: Scene) -> None:
    def fail(call: SipCall, invite: IncomingInvite) -> None:
        raise LookupError(invite.user)

    scene.caller.endpoint.on_incoming = fail
    PeerCall.make(scene.peer, "5001", scene.caller.address, body=sdp(30000))
    await scene.peer.receive(500)
    await until(lambda: not scene.caller.endpoint.trunk_status("peer")["calls"], timeout_s=1, what="the call's end")


async def test_a_stranger_is_told_of_to_nobody(callee: Callee) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        PeerCall.make(stranger, "5001", callee.scene.caller.address, body=sdp(30000))
        await stranger.receive(403)
    assert callee.is_untouched


async def test_max_calls_counts_those_that_come() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, max_calls=1) as caller:
        callee = Callee(Scene(caller, peer))
        first = callee.dial(body=sdp(30000))
        call, _, events = await callee.incoming()
        second = callee.dial(body=sdp(30000))
        await second.response(503)
        assert callee.is_untouched
        call.reject(486, "busy")
        await events.ended()
        await first.response(486)
        callee.dial(body=sdp(30000))
        await callee.incoming()


async def test_two_calls_with_one_call_id_are_two_calls(callee: Callee) -> None:
    """As when a proxy forks, or sends our own call back to us."""
    peers = [callee.dial(user, call_id="the-same", body=sdp(30000)) for user in ("5001", "5002")]
    calls = [(await callee.incoming())[0] for _ in peers]
    assert len({call.call_id for call in calls}) == 2
    assert {call.sip_call_id for call in calls} == {"the-same"}
    calls[0].reject(486, "busy")
    await callee.peer.receive(486)
    calls[1].answer(local_audio())
    await callee.peer.receive(200)


async def test_a_repeated_invite_is_one_call(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    text = peer.text
    callee.peer.send(text, callee.scene.caller.address)
    call.ring()
    await peer.response(180)
    callee.peer.send(text, callee.scene.caller.address)
    assert callee.is_untouched
    call.reject(486, "busy")
    await events.ended()


async def test_the_end_of_a_call_that_nobody_owns_is_kept(callee: Callee) -> None:
    peer, call, events = await callee.connect()
    call.on_event = None
    peer.request("BYE")
    await until(lambda: call.state is SipCallState.ENDED, timeout_s=2, what="the end")
    later = Events()
    call.on_event = later
    assert (await later.ended()).reason == "normal_clearing"
    assert SipEventType.ENDED not in events.types


async def test_the_endpoints_stop_ends_calls_that_ring_and_that_talk(callee: Callee) -> None:
    ringing_peer = callee.dial(body=sdp(30000))
    _, _, ringing = await callee.incoming()
    _, _, talking = await callee.connect()
    callee.peer.answer_by_itself("BYE")
    await callee.scene.caller.endpoint.stop()
    assert [(await events.ended()).reason for events in (ringing, talking)] == ["shutdown"] * 2
    await ringing_peer.response(480)


async def test_headers_and_names_of_any_size_and_sort(callee: Callee) -> None:
    headers = "\n".join(f"X-{number}: {'ü' * 500}" for number in range(10))
    callee.dial(
        "%00%0d%0aevil" + "9" * 300, from_=f'"{"A" * 500}" <sip:{"b" * 300}@x>', headers=headers, body=sdp(30000)
    )
    call, invite, events = await callee.incoming()
    assert invite.user.isprintable()
    assert (len(invite.user), len(invite.from_user), len(invite.display_name)) == (128, 128, 128)
    assert sum(len(name) + len(value) for name, value in invite.headers) <= 4096
    call.reject(404, "number_not_found")
    await events.ended()


async def test_the_session_is_described_from_the_leg_that_answers(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    call.answer(replace(local_audio(), rtp_port=41000))
    ok = await peer.answered()
    assert media_line(ok) == "m=audio 41000 RTP/AVP 0 101"
    await events.next(SipEventType.ANSWERED)
    peer.request("INVITE", body=sdp(30000, "a=sendonly"))
    assert media_line(await peer.answered()) == "m=audio 41000 RTP/AVP 0 101"
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert media.direction is Direction.RECVONLY


async def test_asterisk_calls_and_hears_our_answer(asterisk: Asterisk) -> None:
    user = asterisk.users[USER]
    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        calls: asyncio.Queue[tuple[SipCall, IncomingInvite]] = asyncio.Queue()
        caller.endpoint.on_incoming = lambda call, invite: calls.put_nowait((call, invite))
        for hangs_up in (True, False):
            target = f"PJSIP/{USER}/sip:5001@127.0.0.1:{caller.address[1]}"
            since = asterisk.ami.mark()
            await asyncio.to_thread(asterisk.rx, f"channel originate {target} extension 600@test")
            call, invite = await asyncio.wait_for(calls.get(), 5)
            assert (invite.user, invite.trunk) == ("5001", "peer")
            assert [codec.name for codec in invite.codecs][:2] == ["PCMU", "PCMA"]
            events = Events()
            call.on_event = events
            call.ring()
            channel = await asyncio.to_thread(asterisk.wait_channel, since=since)
            call.answer(local_audio())
            media = (await events.next(SipEventType.ANSWERED)).media
            assert media is not None
            assert asterisk.rtp_ports[0] <= media.rtp_port <= asterisk.rtp_ports[1]
            if hangs_up:
                call.hangup()
            else:
                await asyncio.to_thread(asterisk.hangup, channel)
            assert (await events.ended()).by_remote is not hangs_up
            await asyncio.to_thread(asterisk.wait_no_channels)
