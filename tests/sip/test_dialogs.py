"""Calls to a peer that follows a script: re-INVITE, UPDATE, races and refusals."""

from __future__ import annotations

import dataclasses

import pytest
from peers.sip_peer import PeerDialog, sdp

from sdpserver.sdp import Direction
from sdpserver.sip import SipCallState, SipEventType

from .conftest import RTP_PORT, Scene, local_audio, sent_by_us

MULTIPART = (
    "--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b1--\r\n"
)


async def test_the_sdp_that_leaves_is_ours(scene: Scene) -> None:
    _, _, dialog = await scene.dial(media=local_audio("PCMA", "opus"))
    lines = dialog.invite.body.split("\r\n")
    assert f"m=audio {RTP_PORT} RTP/AVP 8 111 101 110" in lines
    assert "a=rtpmap:111 opus/48000/2" in lines
    assert lines[1].split()[2] == "1"
    dialog.respond(486, "Busy Here")
    await scene.peer.receive("ACK")


async def test_ringing_then_answer(scene: Scene) -> None:
    call, events, dialog = await scene.dial()
    dialog.respond(180, "Ringing")
    ringing = await events.next(SipEventType.RINGING)
    assert (ringing.status, ringing.media, call.state) == (180, None, SipCallState.RINGING)
    await dialog.answer(sdp(30000, "a=rtcp:30007"))
    answered = await events.next(SipEventType.ANSWERED)
    assert answered.media is not None
    assert (answered.media.ip, answered.media.rtp_port, answered.media.rtcp_port) == ("127.0.0.1", 30000, 30007)
    assert [codec.name for codec in answered.media.codecs] == ["PCMU", "telephone-event"]
    call.hangup()
    assert (await events.ended()).reason == "normal_clearing"
    scene.peer.respond(await scene.peer.receive("BYE"), 200)


async def test_early_media_then_an_answer_without_sdp_keeps_the_early_one(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(183, "Session Progress", body=sdp(30002))
    early = await events.next(SipEventType.EARLY_MEDIA)
    dialog.respond(200)
    await scene.peer.receive("ACK")
    answered = await events.next(SipEventType.ANSWERED)
    assert answered.media == early.media


async def test_an_answer_with_a_renumbered_codec_keeps_both_numbers(scene: Scene) -> None:
    answer = sdp(30000, "a=rtpmap:96 opus/48000/2", formats="96")
    _, events, dialog = await scene.dial(media=local_audio("opus"))
    await dialog.answer(answer)
    media = (await events.next(SipEventType.ANSWERED)).media
    assert media is not None
    assert [(codec.payload_type, codec.send_payload_type) for codec in media.codecs] == [(111, 96)]


async def test_an_sdp_in_a_multipart_body_is_found(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    headers = 'Content-Type: multipart/mixed;boundary="b1"'
    await dialog.answer(MULTIPART.format(sdp=sdp(30004)), headers=headers)
    media = (await events.next(SipEventType.ANSWERED)).media
    assert media is not None
    assert media.rtp_port == 30004


@pytest.mark.parametrize(
    ("hold", "ours", "answered"),
    [
        (sdp(30000, "a=sendonly"), Direction.RECVONLY, "a=recvonly"),
        (sdp(30000, "a=inactive"), Direction.INACTIVE, "a=inactive"),
        (sdp(30000, ip="0.0.0.0"), Direction.INACTIVE, "c=IN IP4 0.0.0.0"),
    ],
    ids=["sendonly", "inactive", "RFC 2543"],
)
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_the_peer_holds_and_resumes(scene: Scene, method: str, hold: str, ours: Direction, answered: str) -> None:
    _, events, dialog = await scene.connect()
    dialog.request(method, body=hold)
    response = await scene.peer.receive(200)
    assert answered in response.body.split("\r\n")
    assert f"m=audio {RTP_PORT} RTP/AVP 0 101" in response.body
    if method == "INVITE":
        dialog.ack()
    held = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert held is not None
    assert (held.direction, held.ip, held.rtp_port) == (ours, "127.0.0.1", 30000)
    dialog.request(method, body=sdp(30000))
    resumed = await scene.peer.receive(200)
    if method == "INVITE":
        dialog.ack()
    assert "a=sendrecv" in resumed.body
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert media.direction is Direction.SENDRECV
    versions = [int(message.body.split("\r\n")[1].split()[2]) for message in (dialog.invite, response, resumed)]
    assert versions == [1, 2, 3]


async def test_the_peer_moves_its_media_and_changes_the_codec(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("INVITE", body=sdp(31000, ip="127.0.0.9", formats="8 101"))
    response = await scene.peer.receive(200)
    dialog.ack()
    assert f"m=audio {RTP_PORT} RTP/AVP 8 101" in response.body
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert (media.ip, media.rtp_port, media.codecs[0].name) == ("127.0.0.9", 31000, "PCMA")


async def test_an_offer_with_several_codecs_is_answered_with_the_one_in_use(scene: Scene) -> None:
    _, events, dialog = await scene.connect(sdp(30000, formats="8 101"))
    dialog.request("INVITE", body=sdp(31000, formats="0 8 101"))
    response = await scene.peer.receive(200)
    dialog.ack()
    assert f"m=audio {RTP_PORT} RTP/AVP 8 101" in response.body
    assert (await events.next(SipEventType.MEDIA_CHANGED)).media is not None


async def test_a_video_stream_in_an_offer_is_rejected_in_its_place(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    video = "m=video 31002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    head, _, audio = sdp(31000).partition("m=audio")
    dialog.request("INVITE", body=f"{head}{video}m=audio{audio}")
    response = await scene.peer.receive(200)
    dialog.ack()
    media_lines = [line for line in response.body.split("\r\n") if line.startswith("m=")]
    assert media_lines == ["m=video 0 RTP/AVP 96", f"m=audio {RTP_PORT} RTP/AVP 0 101"]
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert media.rtp_port == 31000


async def test_a_refresh_that_changes_nothing_is_no_event(scene: Scene) -> None:
    call, events, dialog = await scene.connect()
    dialog.request("INVITE", body=sdp(30000))
    await scene.peer.receive(200)
    dialog.ack()
    dialog.request("BYE")
    assert (await events.ended()).reason == "normal_clearing"
    assert call.state is SipCallState.ENDED


@pytest.mark.parametrize(
    "offer",
    [
        sdp(31000, "a=rtpmap:18 G729/8000", formats="18"),
        sdp(31000, proto="RTP/SAVP"),
        sdp(31000).replace("c=IN IP4 127.0.0.1", "c=IN IP4 pbx.example.com"),
        sdp(0),
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n",
    ],
    ids=["no common codec", "SRTP", "host name in c=", "no stream", "no stream and no c="],
)
async def test_an_offer_that_we_cannot_take_is_refused_and_the_call_goes_on(scene: Scene, offer: str) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("INVITE", body=offer)
    await scene.peer.receive(488)
    dialog.ack()
    dialog.request("INVITE", body=sdp(31000))
    await scene.peer.receive(200)
    dialog.ack()
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert media.rtp_port == 31000


async def test_a_re_invite_without_an_offer_gets_our_full_offer(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("INVITE")
    response = await scene.peer.receive(200)
    assert f"m=audio {RTP_PORT} RTP/AVP 0 8 111 101 110" in response.body
    dialog.ack(body=sdp(31000, formats="8 101"))
    media = (await events.next(SipEventType.MEDIA_CHANGED)).media
    assert media is not None
    assert (media.ip, media.rtp_port, media.direction) == ("127.0.0.1", 31000, Direction.SENDRECV)
    assert [codec.name for codec in media.codecs] == ["PCMA", "telephone-event"]


@pytest.mark.parametrize(
    "answer",
    [sdp(30000, "a=rtpmap:18 G729/8000", formats="18"), sdp(0), "v=0\r\nnonsense"],
    ids=["no common codec", "rejected", "no SDP at all"],
)
async def test_an_answer_that_we_cannot_take_ends_the_call(scene: Scene, answer: str) -> None:
    _, events, dialog = await scene.dial()
    await dialog.answer(answer)
    end = await events.ended()
    assert (end.reason, end.by_remote) == ("not_acceptable", False)
    scene.peer.respond(await scene.peer.receive("BYE"), 200)


async def test_the_peer_hangs_up(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("BYE", headers='Reason: Q.850;cause=16;text="Normal"')
    end = await events.ended()
    assert (end.reason, end.by_remote, end.status) == ("normal_clearing", True, 0)
    await scene.peer.receive(200)


async def test_bye_from_both_sides_at_once(scene: Scene) -> None:
    call, events, dialog = await scene.connect()
    call.hangup()
    ours = await scene.peer.receive("BYE")
    dialog.request("BYE")
    assert (await scene.peer.receive(200)).method == "BYE"
    scene.peer.respond(ours, 200)
    assert (await events.ended()).by_remote is False


async def test_cancel_while_it_rings(scene: Scene) -> None:
    call, events, dialog = await scene.dial()
    dialog.respond(180, "Ringing")
    await events.next(SipEventType.RINGING)
    call.hangup(reason="no_answer")
    call.hangup(reason="again")
    end = await events.ended()
    assert (end.reason, end.by_remote) == ("no_answer", False)
    scene.peer.respond(await scene.peer.receive("CANCEL"), 200)
    dialog.respond(487, "Request Terminated")
    await scene.peer.receive("ACK")


async def test_cancel_before_any_provisional_waits_for_one(scene: Scene) -> None:
    call, events, dialog = await scene.dial()
    call.hangup()
    await events.ended()
    assert not [message for message in scene.peer.received if message.method == "CANCEL"]
    dialog.respond(180, "Ringing")
    scene.peer.respond(await scene.peer.receive("CANCEL"), 200)
    dialog.respond(487, "Request Terminated")
    await scene.peer.receive("ACK")


async def test_cancel_that_crosses_the_answer_is_followed_by_a_bye(scene: Scene) -> None:
    call, events, dialog = await scene.dial()
    dialog.respond(180, "Ringing")
    await events.next(SipEventType.RINGING)
    call.hangup()
    await events.ended()
    cancel = await scene.peer.receive("CANCEL")
    dialog.respond(200, body=sdp(30000))
    scene.peer.respond(cancel, 200)
    await scene.peer.receive("ACK")
    scene.peer.respond(await scene.peer.receive("BYE"), 200)


async def test_a_repeated_answer_is_acknowledged_again(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    answer = dialog.respond(200, body=sdp(30000))
    first = await scene.peer.receive("ACK")
    scene.peer.repeats.clear()
    scene.peer.send(answer, dialog.invite.source)
    scene.peer.send(answer, dialog.invite.source)
    dialog.request("UPDATE")  # is answered after the repeated 200s
    await scene.peer.receive(200)
    acks = [message for message in scene.peer.received if message.method == "ACK"]
    assert len(acks) == 3
    assert first["cseq"] == dialog.invite["cseq"].replace("INVITE", "ACK")
    await events.next(SipEventType.ANSWERED)
    assert events.types == [SipEventType.ANSWERED]


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (302, "Contact: <sip:premium@192.0.2.1>", "redirected"),
        (403, "", "forbidden_by_peer"),
        (404, "", "number_not_found"),
        (480, 'Reason: Q.850;cause=19;text="no answer"', "no_answer"),
        (486, "", "busy"),
        (488, "", "not_acceptable"),
        (503, "", "trunk_unavailable"),
        (600, "", "busy"),
        (603, "", "rejected"),
        (604, "", "number_not_found"),
    ],
)
async def test_a_refusal_has_its_reason(scene: Scene, status: int, headers: str, reason: str) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(status, "No\x01 way", headers=headers)
    end = await events.ended()
    assert (end.reason, end.status, end.by_remote) == (reason, status, True)
    assert end.sip_reason == "No  way"
    await scene.peer.receive("ACK")
    assert sent_by_us(scene.peer, "INVITE") == [dialog.invite]


async def test_headers_and_names_leave_as_they_were_given(scene: Scene) -> None:
    headers = {"X-Case": "42, ü", "User-to-User": "deadbeef;encoding=hex", "Subject": "a: b"}
    _, events, dialog = await scene.dial(
        "+49 30/1;x", display_name='Ann "A\\B" Ünal', from_user="5001", headers=headers
    )
    assert dialog.invite.start == f"INVITE sip:+49%2030/1;x@{scene.peer.host_port} SIP/2.0"
    assert dialog.invite["from"].startswith('"Ann \\"A\\\\B\\" Ünal" <sip:5001@127.0.0.1>;tag=')
    assert {name: dialog.invite[name] for name in headers} == headers
    dialog.respond(486, "Busy Here")
    await events.ended()
    await scene.peer.receive("ACK")


async def test_an_sdp_of_ours_that_pjsip_cannot_read_ends_the_call_instead_of_a_silent_one(scene: Scene) -> None:
    good = local_audio("PCMU")
    broken = dataclasses.replace(good.codecs[0], fmtp="x\r\nm=broken")
    call, events = await scene.caller.call(media=dataclasses.replace(good, codecs=(broken,)))
    end = await events.ended()
    assert (end.reason, call.state) == ("internal_error", SipCallState.ENDED)
    invite = await scene.peer.receive("INVITE")
    scene.peer.respond(invite, 487, "Request Terminated")


async def test_a_session_interval_that_is_too_small_for_the_peer_is_raised(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    assert dialog.invite["session-expires"] == "1800"
    assert "timer" in dialog.invite["supported"]
    dialog.respond(422, "Session Interval Too Small", headers="Min-SE: 3600")
    await scene.peer.receive("ACK")
    again = PeerDialog(scene.peer, await scene.peer.receive("INVITE"))
    assert (again.invite["session-expires"], again.invite["min-se"]) == ("3600", "3600")
    await again.answer(sdp(30000), headers="Session-Expires: 3600;refresher=uas")
    await events.next(SipEventType.ANSWERED)


async def test_the_second_answer_of_a_fork_is_acknowledged_and_ended(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    await dialog.answer(sdp(30000))
    answered = await events.next(SipEventType.ANSWERED)
    assert answered.media is not None
    assert answered.media.rtp_port == 30000
    scene.peer.respond(dialog.invite, 200, tag="fork", body=sdp(31000))
    assert (await scene.peer.receive("ACK"))["to"].endswith("tag=fork")
    bye = await scene.peer.receive("BYE")
    assert bye["to"].endswith("tag=fork")
    scene.peer.respond(bye, 200)
    dialog.request("BYE")
    assert (await events.ended()).by_remote is True


async def test_reliable_early_media_and_an_update_before_the_answer(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(183, "Session Progress", headers="Require: 100rel\nRSeq: 7", body=sdp(30000))
    prack = await scene.peer.receive("PRACK")
    assert prack["rack"].startswith("7 ")
    scene.peer.respond(prack, 200)
    await events.next(SipEventType.EARLY_MEDIA)
    dialog.request("UPDATE", body=sdp(31000))
    await scene.peer.receive(200)
    moved = await events.next(SipEventType.MEDIA_CHANGED)
    dialog.respond(200)
    await scene.peer.receive("ACK")
    assert (await events.next(SipEventType.ANSWERED)).media == moved.media


async def test_all_of_a_call_leaves_from_the_sip_port(scene: Scene) -> None:
    call, _, _ = await scene.connect()
    call.hangup()
    scene.peer.respond(await scene.peer.receive("BYE"), 200)
    assert {message.source for message in scene.peer.received} == {scene.caller.address}
    contact = f"<sip:sdpserver@127.0.0.1:{scene.caller.address[1]}>"
    assert scene.peer.received[0]["contact"] == contact
