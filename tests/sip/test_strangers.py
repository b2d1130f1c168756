"""What nobody may make us do: dial for a stranger, hand a call over, follow a redirection."""

from __future__ import annotations

import re

import pytest
from peers.sip_peer import SipPeer, sdp
from peers.waiting import until

from sdpserver.sdp import Direction
from sdpserver.sip import SipEventType

from .conftest import Scene, assert_call_is_unhurt, running_caller


@pytest.mark.parametrize("body", [sdp(30000), ""], ids=["offer", "no offer"])
@pytest.mark.parametrize("user", ["600", "sdpserver", "peer"])
async def test_an_invite_from_elsewhere_is_forbidden(scene: Scene, user: str, body: str) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        host, port = scene.caller.address
        stranger.request("INVITE", f"sip:{user}@{host}:{port}", scene.caller.address, body=body)
        await stranger.receive(403)
    assert not scene.peer.received


async def test_an_invite_from_the_trunk_finds_nobody(scene: Scene) -> None:
    scene.peer.request("INVITE", "sip:5001@127.0.0.1", scene.caller.address, body=sdp(30000))
    await scene.peer.receive(404)


async def test_allow_ips_says_who_is_the_trunk() -> None:
    async with (
        await SipPeer.open() as server,
        await SipPeer.open("127.0.0.2") as allowed,
        running_caller(server.host_port, allow_ips=["127.0.0.2"]) as caller,
    ):
        allowed.request("INVITE", "sip:5001@127.0.0.1", caller.address, body=sdp(30000))
        await allowed.receive(404)
        server.request("INVITE", "sip:5001@127.0.0.1", caller.address, body=sdp(30000))
        await server.receive(403)


async def test_hundreds_of_strange_invites_leave_no_call_behind(scene: Scene) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        for _ in range(300):
            stranger.request("INVITE", "sip:600@127.0.0.1", scene.caller.address, body=sdp(30000))
            await stranger.receive(403)
    _, _, dialog = await scene.connect()
    await assert_call_is_unhurt(scene, dialog)


async def test_a_refer_in_a_call_to_a_foreign_host_is_declined(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("REFER", headers="Refer-To: <sip:900@192.0.2.1>")
    await scene.peer.receive(603)
    await assert_call_is_unhurt(scene, dialog)
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert media.direction is Direction.RECVONLY


async def test_a_refer_out_of_nowhere_does_nothing(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    async with await SipPeer.open("127.0.0.2") as stranger:
        host, port = scene.caller.address
        refer_to = f"Refer-To: <sip:900@{scene.peer.host_port}>"
        stranger.request("REFER", f"sip:sdpserver@{host}:{port}", scene.caller.address, headers=refer_to)
        await stranger.receive(403)
        stranger.request("OPTIONS", f"sip:sdpserver@{host}:{port}", scene.caller.address)
        await stranger.receive(200)
        assert [message.method for message in stranger.received] == ["REFER", "OPTIONS"]
    await assert_call_is_unhurt(scene, dialog)


async def test_no_stranger_takes_a_call_over_with_replaces(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    match = re.search(r"tag=([^;]+)", dialog.invite["from"])
    assert match is not None
    replaces = f"Replaces: {dialog.invite['call-id']};to-tag={match[1]};from-tag={dialog.tag}\nRequire: replaces"
    async with await SipPeer.open("127.0.0.2") as other:
        other.request("INVITE", "sip:600@127.0.0.1", scene.caller.address, headers=replaces, body=sdp(30000))
        await other.receive(403)
    await assert_call_is_unhurt(scene, dialog)


async def test_replaces_of_no_call_is_refused(scene: Scene) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        replaces = "Replaces: nothing;to-tag=a;from-tag=b\nRequire: replaces"
        stranger.request("INVITE", "sip:600@127.0.0.1", scene.caller.address, headers=replaces, body=sdp(30000))
        await stranger.receive(481)


@pytest.mark.parametrize("status", [300, 301, 302, 305, 380])
async def test_a_redirection_is_not_followed(scene: Scene, status: int) -> None:
    async with await SipPeer.open() as elsewhere:
        _, events, dialog = await scene.dial()
        dialog.respond(status, "Moved", headers=f"Contact: <sip:900@{elsewhere.host_port}>")
        end = await events.ended()
        assert (end.reason, end.status) == ("redirected", status)
        await scene.peer.receive("ACK")
        _, _, again = await scene.dial()  # whatever the first call would have sent is out by now
        again.respond(486, "Busy Here")
        await scene.peer.receive("ACK")
        assert not elsewhere.received


@pytest.mark.parametrize(
    ("method", "status", "headers", "body"),
    [
        ("OPTIONS", 200, "", ""),
        ("MESSAGE", 405, "Content-Type: text/plain", "hello"),
        ("SUBSCRIBE", 403, "Event: presence\nExpires: 60", ""),
    ],
)
async def test_other_requests_out_of_nowhere(scene: Scene, method: str, status: int, headers: str, body: str) -> None:
    async with await SipPeer.open("127.0.0.2") as stranger:
        stranger.request(method, "sip:sdpserver@127.0.0.1", scene.caller.address, headers=headers, body=body)
        await stranger.receive(status)


@pytest.mark.parametrize(
    "datagram",
    [
        "",
        "\r\n\r\n",
        "INVITE",
        "INVITE sip:x SIP/2.0\r\n\r\n",
        "SIP/2.0 200 OK\r\n\r\n",
        "\0" * 2000,
        "INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1\r\n"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 99999\r\n\r\n",
        "X" * 60000,
    ],
    ids=["empty", "keep-alive", "a word", "no headers", "stray response", "zeros", "long Content-Length", "huge"],
)
async def test_garbage_changes_nothing(scene: Scene, datagram: str) -> None:
    _, _, dialog = await scene.connect()
    async with await SipPeer.open("127.0.0.2") as stranger:
        stranger.send(datagram, scene.caller.address)
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize(
    "offer",
    [
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP\r\n",
        sdp(30000) + "a=fmtp:0 " + "x" * 12000 + "\r\n",
        sdp(99999),
        sdp(30000, formats="0 300"),
        sdp(30000, formats=" ".join(map(str, range(96, 128)))),
        "m=audio 0 RTP/AVP 0\r\n",
    ],
    ids=["v only", "no format", "12 kB line", "port", "payload type", "unexplained", "no v"],
)
async def test_a_hostile_offer_in_a_call_gets_its_answer(scene: Scene, offer: str) -> None:
    """Whatever it is, the process lives and the call goes on."""
    _, _, dialog = await scene.connect()
    dialog.request("INVITE", body=offer)
    dialog.request("PUBLISH")
    await scene.peer.receive(405)  # requests are answered in order
    assert [message for message in scene.peer.received if message.status >= 200 and message.method == "INVITE"]
    dialog.send("ACK", dialog.cseq - 1)
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize(
    "proto", ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/AVPF", "TCP/RTP/AVP", "X"]
)
@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2"], ids=["the trunk", "a stranger"])
async def test_an_offer_of_a_protocol_that_pjsip_cannot_set_up_is_refused(scene: Scene, ip: str, proto: str) -> None:
    async with await SipPeer.open(ip) as other:
        other.request("INVITE", "sip:5001@127.0.0.1", scene.caller.address, body=sdp(30000, proto=proto))
        await until(lambda: any(m.status >= 400 for m in other.received), timeout_s=5, what="the refusal")
    _, _, dialog = await scene.connect()
    await assert_call_is_unhurt(scene, dialog)
