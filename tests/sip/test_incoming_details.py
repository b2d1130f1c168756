"""Calls that a trunk makes to us: PRACK, timers, SRTP, TCP, and offers of all sorts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from peers.descriptors import open_files
from peers.sip_peer import PeerCall, SipPeer, sdp

from sdpserver.sip import SipCall, SipEventType, SrtpKeys
from sdpserver.sip.sdes import Crypto, SrtpUse

from .conftest import RTP_PORT, Callee, Events, Scene, local_audio, media_line, running_caller


async def test_a_peer_that_requires_reliable_responses_acknowledges_the_180(callee: Callee) -> None:
    """RFC 3262."""
    peer = callee.dial(headers="Require: 100rel", body=sdp(30000))
    call, _, events = await callee.incoming()
    call.ring()
    ringing = await peer.response(180)
    assert ringing["require"] == "100rel"
    peer.request("PRACK", headers=f"RAck: {ringing['rseq']} 1 INVITE")
    assert (await peer.response(200)).method == "PRACK"
    call.answer(local_audio())
    await peer.response(200)
    peer.send("ACK", 1)
    await events.next(SipEventType.ANSWERED)


async def test_a_reliable_180_that_is_not_acknowledged_yet(callee: Callee) -> None:
    peer = callee.dial(headers="Require: 100rel", body=sdp(30000))
    call, _, events = await callee.incoming()
    call.ring()
    ringing = await peer.response(180)
    call.answer(local_audio())
    peer.request("PRACK", headers=f"RAck: {ringing['rseq']} 1 INVITE")
    answers = [await peer.response(200), await peer.response(200)]
    assert {answer.method for answer in answers} == {"PRACK", "INVITE"}
    peer.send("ACK", 1)
    await events.next(SipEventType.ANSWERED)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_a_session_timer_of_the_callers(callee: Callee, method: str) -> None:
    """RFC 4028: the refresh is answered, and changes nothing."""
    headers = "Supported: timer\nSession-Expires: 90;refresher=uac\nMin-SE: 90"
    peer = callee.dial(headers=headers, body=(offer := sdp(30000)))
    call, _, events = await callee.incoming()
    call.answer(local_audio())
    ok = await peer.answered()
    assert ok["session-expires"].startswith("90;refresher=uac")
    await events.next(SipEventType.ANSWERED)
    peer.request(method, headers=headers, body=offer if method == "INVITE" else "")
    assert (await peer.response(200))["session-expires"].startswith("90")
    if method == "INVITE":
        peer.ack()
    call.hangup()
    await events.ended()
    callee.peer.respond(await callee.peer.receive("BYE"), 200)
    assert events.types == [SipEventType.ANSWERED, SipEventType.ENDED]


@pytest.mark.parametrize("srtp", ["optional", "required"])
async def test_an_incoming_call_with_srtp(srtp: SrtpUse) -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, srtp=srtp) as caller:
        callee = Callee(Scene(caller, peer))
        theirs = Crypto.new(1, "AEAD_AES_128_GCM")
        for offered in (True, False):
            dialog = callee.dial(body=sdp(30000, theirs.line, proto="RTP/SAVP") if offered else "")
            call, _, events = await callee.incoming()
            call.answer(replace(local_audio(), srtp=srtp))
            ok = await dialog.response(200)
            line = next(line for line in ok.body.split("\r\n") if " AEAD_AES_128_GCM " in line)
            ours = Crypto.parse(line.removeprefix("a=crypto:"))
            assert ours is not None
            proto = media_line(ok).split()[2]
            assert proto == ("RTP/SAVP" if offered or srtp == "required" else "RTP/AVP")
            dialog.ack(body="" if offered else sdp(30000, theirs.line, proto=proto))
            media = (await events.next(SipEventType.ANSWERED)).media
            assert media is not None
            assert media.srtp == SrtpKeys("AEAD_AES_128_GCM", ours.key, theirs.key)
        peer.answer_by_itself("BYE")
        await caller.endpoint.stop()


async def test_300_calls_of_all_sorts_leave_nothing_behind(callee: Callee) -> None:
    callee.peer.answer_by_itself("BYE", "NOTIFY", "CANCEL")
    endpoint = callee.scene.caller.endpoint

    async def one(number: int) -> None:
        offer = sdp(30000) if number % 2 else ""
        peer = callee.dial(body=offer)
        call, _, events = await callee.incoming()
        how = number % 6
        if how == 0:
            call.reject(486, "busy")
        elif how == 1:
            call.ring()
            peer.cancel()
        else:
            call.answer(local_audio())
            await peer.response(200)
            peer.ack(body="" if offer else sdp(30000))
            await events.next(SipEventType.ANSWERED)
            if how == 2:
                peer.request("REFER", headers=f"Refer-To: <sip:900@{callee.peer.host_port}>")
                await events.next(SipEventType.REFERRED)
            if how == 3:
                peer.request("BYE")
            else:
                call.hangup()
        await events.ended()

    await one(2)
    files = len(open_files())
    for number in range(300):
        await one(number)
    assert endpoint.trunk_status("peer")["calls"] == 0
    assert len(open_files()) <= files
    before_s = time.monotonic()
    await endpoint.stop()
    assert time.monotonic() - before_s < 1.0


@pytest.mark.parametrize(
    "offer",
    [
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP\r\n",
        sdp(30000) + "a=fmtp:0 " + "x" * 12000 + "\r\n",
        sdp(99999),
        sdp(0),
        sdp(30000, formats="0 300"),
        sdp(30000, formats=" ".join(map(str, range(96, 128)))),
        "m=audio 0 RTP/AVP 0\r\n",
        sdp(30000) + "m=audio 30002 RTP/AVP 0\r\n" * 40,
        sdp(30000, proto="UDP/TLS/RTP/SAVPF"),
        sdp(30000, "a=crypto:1 NONSENSE inline:x", proto="RTP/SAVP"),
        "\0" * 100,
    ],
    ids=[
        "v only",
        "no format",
        "12 kB line",
        "port",
        "port 0",
        "payload type",
        "unexplained",
        "no v",
        "40 streams",
        "DTLS",
        "bad keys",
        "zeros",
    ],
)
async def test_a_hostile_offer_is_refused_or_answered(callee: Callee, offer: str) -> None:
    """Whatever it is, the process lives and the next call is taken."""
    callee.dial(body=offer)
    good = callee.dial(body=sdp(30000))
    for _ in range(2):
        call, invite, _ = await callee.incoming()
        call.answer(local_audio())
        if invite.sip_call_id == good.invite["call-id"]:
            break
    await good.answered()
    callee.peer.answer_by_itself("BYE")


async def test_video_and_a_second_stream_are_rejected_in_their_places(callee: Callee) -> None:
    head, _, audio = sdp(30000).partition("m=audio")
    video = "m=video 31002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    text = "m=text 31004 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n"
    peer = callee.dial(body=f"{head}{video}m=audio{audio}{text}m=audio 31006 RTP/AVP 0\r\n")
    call, invite, events = await callee.incoming()
    assert [codec.name for codec in invite.codecs] == ["PCMU", "telephone-event"]
    call.answer(local_audio())
    ok = await peer.answered()
    lines = [line for line in ok.body.split("\r\n") if line.startswith("m=")]
    assert lines == [
        "m=video 0 RTP/AVP 96",
        f"m=audio {RTP_PORT} RTP/AVP 0 101",
        "m=text 0 RTP/AVP 98",
        "m=audio 0 RTP/AVP 0",
    ]
    assert (await events.next(SipEventType.ANSWERED)).media is not None


async def test_a_call_over_tcp() -> None:
    """Our requests in it go by the connection's transport, to the Contact that the peer gave."""
    async with await SipPeer.open() as peer, running_caller(peer.host_port) as caller:
        taken: asyncio.Queue[SipCall] = asyncio.Queue()
        caller.endpoint.on_incoming = lambda call, _: taken.put_nowait(call)
        reader, writer = await asyncio.open_connection("127.0.0.1", caller.endpoint.ports["tcp"])
        host, port = writer.get_extra_info("sockname")
        body = sdp(30000)
        lines = [
            "INVITE sip:5001@127.0.0.1;transport=tcp SIP/2.0",
            f"Via: SIP/2.0/TCP {host}:{port};branch=z9hG4bKtcp",
            "Max-Forwards: 70",
            "From: <sip:900@example.com>;tag=1",
            "To: <sip:5001@127.0.0.1>",
            "Call-ID: over-tcp",
            "CSeq: 1 INVITE",
            f"Contact: <sip:peer@{host}:{port};transport=tcp>",
            "Content-Type: application/sdp",
            f"Content-Length: {len(body)}",
        ]
        writer.write(("\r\n".join([*lines, "", ""]) + body).encode())
        call = await asyncio.wait_for(taken.get(), 5)
        call.on_event = events = Events()
        call.ring()
        async with asyncio.timeout(5):
            while "180 Ringing" not in (head := (await reader.readuntil(b"\r\n\r\n")).decode()):
                pass
        assert "Contact:" in head
        writer.close()  # the caller is gone; what is sent to it fails
        await writer.wait_closed()
        call.answer(local_audio())
        call.hangup()
        await events.ended()
        assert caller.endpoint.trunk_status("peer")["calls"] == 0
        await caller.endpoint.stop(timeout_s=0.1)


async def test_a_call_over_ipv6() -> None:
    async with await SipPeer.open("::1") as peer, running_caller(peer.host_port, sip={"bind": "::1"}) as caller:
        taken: asyncio.Queue[SipCall] = asyncio.Queue()
        caller.endpoint.on_incoming = lambda call, _: taken.put_nowait(call)
        dialog = PeerCall.make(peer, "5001", ("::1", caller.endpoint.ports["udp"]), body=sdp(30000, ip="::1"))
        call = await asyncio.wait_for(taken.get(), 5)
        call.on_event = events = Events()
        call.answer(local_audio(ip="::1"))
        assert "c=IN IP6 ::1" in (await dialog.answered()).body
        media = (await events.next(SipEventType.ANSWERED)).media
        assert media is not None
        assert (media.ip, media.rtp_port) == ("::1", 30000)
        dialog.request("BYE")
        assert (await events.ended()).by_remote is True
