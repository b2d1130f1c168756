"""SRTP keys in the dialogs of a scripted peer: what is on the wire, and what the media plane is told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from peers.sip_peer import PeerDialog, SipPeer, sdp

from sdpserver.sip import SipCall, SipEventType
from sdpserver.sip.sdes import MASTER_OCTETS, Crypto, SrtpKeys, SrtpUse, Suite

from .conftest import Events, Scene, local_audio, running_caller

SHA1_80: Suite = "AES_CM_128_HMAC_SHA1_80"


class SecureScene(Scene):
    """Its calls ask for SRTP as the trunk's setting has it."""

    use: SrtpUse = "off"

    async def dial(self, target: str = "600", **options: Any) -> tuple[SipCall, Events, PeerDialog]:
        media = replace(local_audio("PCMU"), srtp=self.use)
        return await super().dial(target, media=media, **options)


MakeScene = Callable[[SrtpUse], AbstractAsyncContextManager[SecureScene]]


@pytest.fixture
def scenes() -> MakeScene:
    @asynccontextmanager
    async def make(use: SrtpUse) -> AsyncIterator[SecureScene]:
        async with await SipPeer.open() as peer, running_caller(peer.host_port, srtp=use) as caller:
            scene = SecureScene(caller, peer)
            scene.use = use
            yield scene
            peer.answer_by_itself("BYE", "CANCEL")

    return make


def cryptos(body: str) -> list[Crypto]:
    found = [Crypto.parse(line[9:]) for line in body.splitlines() if line.startswith("a=crypto:")]
    assert None not in found, body
    return [crypto for crypto in found if crypto]


def proto(body: str) -> str:
    match = re.search(r"^m=audio \d+ (\S+)", body, re.MULTILINE)
    assert match is not None, body
    return match[1]


def secure_sdp(*lines: Crypto, proto: str = "RTP/SAVP", port: int = 30000, more: tuple[str, ...] = ()) -> str:
    return sdp(port, *(crypto.line for crypto in lines), *more, formats="0", proto=proto)


async def test_without_srtp_no_key_leaves(scenes: MakeScene) -> None:
    async with scenes("off") as scene:
        _, _, dialog = await scene.dial()
        assert (proto(dialog.invite.body), cryptos(dialog.invite.body)) == ("RTP/AVP", [])


@pytest.mark.parametrize("suite", MASTER_OCTETS)
async def test_every_suite_can_be_answered(scenes: MakeScene, suite: Suite) -> None:
    async with scenes("required") as scene:
        call, events, dialog = await scene.dial()
        offered = cryptos(dialog.invite.body)
        assert proto(dialog.invite.body) == "RTP/SAVP"
        assert [crypto.suite for crypto in offered] == list(MASTER_OCTETS)
        ours = next(crypto for crypto in offered if crypto.suite == suite)
        theirs = Crypto.new(ours.tag, suite)
        await dialog.answer(secure_sdp(theirs))
        answered = await events.next(SipEventType.ANSWERED)
        assert answered.media is not None
        assert answered.media.srtp == SrtpKeys(suite, ours.key, theirs.key)
        call.hangup()
        scene.peer.respond(await scene.peer.receive("BYE"), 200)
        assert (await events.ended()).reason == "normal_clearing"


async def test_each_call_has_keys_of_its_own(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        keys = [crypto.key for _ in range(2) for crypto in cryptos((await scene.dial())[2].invite.body)]
        assert len(set(keys)) == 8


@pytest.mark.parametrize(
    "answer",
    [
        sdp(30000, formats="0"),
        sdp(30000, formats="0", proto="RTP/SAVP"),
        secure_sdp(Crypto.new(4, SHA1_80)),
        secure_sdp(Crypto.new(9, SHA1_80)),
        secure_sdp(Crypto.new(3, SHA1_80), Crypto.new(4, "AES_CM_128_HMAC_SHA1_32")),
        secure_sdp(Crypto.new(3, SHA1_80)).replace("inline:", "inline:x"),
        secure_sdp(Crypto.new(3, SHA1_80)).replace("\r\na=crypto", "\r\na=nothing"),
    ],
    ids=["plain", "SAVP without", "another suite's tag", "unknown tag", "two", "broken", "renamed"],
)
async def test_required_is_not_done_without_a_key_of_the_peer(scenes: MakeScene, answer: str) -> None:
    async with scenes("required") as scene:
        scene.peer.answer_by_itself("BYE")
        _, events, dialog = await scene.dial()
        dialog.respond(200, body=answer)
        await scene.peer.receive("ACK")
        ended = await events.ended()
        assert ended.reason in ("no_srtp", "not_acceptable")
        await scene.peer.receive("BYE")


async def test_a_peer_without_srtp_refuses_what_is_required(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        _, events, dialog = await scene.dial()
        dialog.respond(488, "Not Acceptable Here")
        ended = await events.ended()
        assert (ended.reason, ended.status) == ("not_acceptable", 488)


@pytest.mark.parametrize("secure", [True, False])
async def test_optional_is_one_offer_that_either_kind_of_peer_takes(scenes: MakeScene, secure: bool) -> None:
    async with scenes("optional") as scene:
        _, events, dialog = await scene.dial()
        assert proto(dialog.invite.body) == "RTP/AVP"
        ours = cryptos(dialog.invite.body)[2]
        theirs = Crypto.new(3, SHA1_80)
        await dialog.answer(secure_sdp(*[theirs] * secure, proto="RTP/AVP"))
        media = (await events.next(SipEventType.ANSWERED)).media
        assert media is not None
        assert media.srtp == (SrtpKeys(SHA1_80, ours.key, theirs.key) if secure else None)


async def test_optional_asks_a_peer_again_that_insists_on_the_secure_profile(scenes: MakeScene) -> None:
    async with scenes("optional") as scene:
        call, events, dialog = await scene.dial()
        dialog.respond(488, "Not Acceptable Here")
        second = PeerDialog(scene.peer, await scene.peer.receive("INVITE"), tag="second")
        assert proto(second.invite.body) == "RTP/SAVP"
        assert second.invite["call-id"] == call.call_id
        first_keys, keys = cryptos(dialog.invite.body), cryptos(second.invite.body)
        assert {crypto.key for crypto in first_keys}.isdisjoint(crypto.key for crypto in keys)
        theirs = Crypto.new(keys[0].tag, keys[0].suite)
        await second.answer(secure_sdp(theirs))
        media = (await events.next(SipEventType.ANSWERED)).media
        assert media is not None
        assert media.srtp == SrtpKeys(keys[0].suite, keys[0].key, theirs.key)
        call.hangup()
        scene.peer.respond(await scene.peer.receive("BYE"), 200)
        assert (await events.ended()).reason == "normal_clearing"


async def test_a_second_refusal_of_what_is_optional_ends_the_call(scenes: MakeScene) -> None:
    async with scenes("optional") as scene:
        _, events, dialog = await scene.dial()
        dialog.respond(488, "Not Acceptable Here")
        PeerDialog(scene.peer, await scene.peer.receive("INVITE"), tag="second").respond(488, "Not Acceptable Here")
        ended = await events.ended()
        assert (ended.reason, ended.status) == ("not_acceptable", 488)


async def connected(scene: SecureScene) -> tuple[Events, PeerDialog, SrtpKeys]:
    """A call that both sides have keys for, and ours, as the wire has them."""
    _, events, dialog = await scene.dial()
    ours = cryptos(dialog.invite.body)[2]
    theirs = Crypto.new(3, SHA1_80)
    await dialog.answer(secure_sdp(theirs, proto=proto(dialog.invite.body)))
    media = (await events.next(SipEventType.ANSWERED)).media
    assert media is not None
    assert media.srtp == SrtpKeys(SHA1_80, ours.key, theirs.key)
    return events, dialog, media.srtp


async def reinvite(dialog: PeerDialog, body: str, status: int = 200) -> str:
    dialog.request("INVITE", body=body)
    answer = await dialog.peer.receive(status)
    dialog.ack()
    return answer.body


@pytest.mark.parametrize("use", ["optional", "required"])
async def test_a_hold_that_repeats_the_key_keeps_both(scenes: MakeScene, use: SrtpUse) -> None:
    async with scenes(use) as scene:
        events, dialog, keys = await connected(scene)
        theirs = Crypto(1, SHA1_80, keys.receive_key)
        for direction in ("sendonly", "sendrecv"):
            answer = await reinvite(dialog, secure_sdp(theirs, more=(f"a={direction}",)))
            assert cryptos(answer) == [Crypto(1, SHA1_80, keys.send_key)]
            media = (await events.next(SipEventType.MEDIA_CHANGED)).media
            assert media is not None
            assert media.srtp == keys


async def test_a_new_key_of_the_peer_gets_a_new_one_of_ours(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        events, dialog, keys = await connected(scene)
        theirs = Crypto.new(1, "AEAD_AES_256_GCM")
        (ours,) = cryptos(await reinvite(dialog, secure_sdp(Crypto.new(2, SHA1_80), theirs)))
        assert (ours.tag, ours.suite) == (1, "AEAD_AES_256_GCM")
        media = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert media is not None
        assert media.srtp == SrtpKeys("AEAD_AES_256_GCM", ours.key, theirs.key)
        assert ours.key != keys.send_key


async def test_plain_rtp_in_a_secured_call_is_refused_when_srtp_is_required(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        events, dialog, _ = await connected(scene)
        await reinvite(dialog, sdp(30000, formats="0"), 488)
        assert events.types == [SipEventType.ANSWERED]


async def test_plain_rtp_in_a_secured_call_is_taken_when_srtp_is_optional(scenes: MakeScene) -> None:
    async with scenes("optional") as scene:
        events, dialog, _ = await connected(scene)
        answer = await reinvite(dialog, sdp(30000, formats="0"))
        assert (proto(answer), cryptos(answer)) == ("RTP/AVP", [])
        media = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert media is not None
        assert media.srtp is None


async def test_srtp_in_a_plain_call_is_refused_when_it_is_off(scenes: MakeScene) -> None:
    async with scenes("off") as scene:
        _, events, dialog = await scene.dial()
        await dialog.answer(sdp(30000, formats="0"))
        await events.next(SipEventType.ANSWERED)
        await reinvite(dialog, secure_sdp(Crypto.new(1, SHA1_80)), 488)


async def test_early_answers_of_several_phones_each_have_their_own_keys(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        _, events, dialog = await scene.dial()
        ours = cryptos(dialog.invite.body)
        for tag, index in (("a", 0), ("b", 2)):
            theirs = Crypto.new(ours[index].tag, ours[index].suite)
            PeerDialog(scene.peer, dialog.invite, tag=tag).respond(183, "Progress", body=secure_sdp(theirs))
            media = (await events.next(SipEventType.EARLY_MEDIA)).media
            assert media is not None
            assert media.srtp == SrtpKeys(ours[index].suite, ours[index].key, theirs.key)
        last = Crypto.new(ours[3].tag, ours[3].suite)
        await PeerDialog(scene.peer, dialog.invite, tag="c").answer(secure_sdp(last))
        media = (await events.next(SipEventType.ANSWERED)).media
        assert media is not None
        assert media.srtp == SrtpKeys(ours[3].suite, ours[3].key, last.key)


async def test_keys_alone_may_change_again_and_again(scenes: MakeScene) -> None:
    """pjsip sees no change in them, and would not raise the version of our SDP (RFC 3264 section 8)."""
    async with scenes("required") as scene:
        events, dialog, _ = await connected(scene)
        versions = set()
        for _ in range(4):
            theirs = Crypto.new(1, SHA1_80)
            answer = await reinvite(dialog, secure_sdp(theirs))
            media = (await events.next(SipEventType.MEDIA_CHANGED)).media
            assert media is not None
            assert media.srtp == SrtpKeys(SHA1_80, cryptos(answer)[0].key, theirs.key)
            versions.add(answer.splitlines()[1])
        assert len(versions) == 4


async def test_after_a_reinvite_without_an_offer_the_keys_are_agreed_on_anew(scenes: MakeScene) -> None:
    """The peer's answer is in its ACK, where pjsua2 does not show it."""
    async with scenes("required") as scene:
        events, dialog, keys = await connected(scene)
        dialog.request("INVITE")
        offer = cryptos((await dialog.peer.receive(200)).body)
        assert (offer[0].suite, offer[0].key) == (SHA1_80, keys.send_key)
        assert {crypto.suite for crypto in offer} == set(MASTER_OCTETS)
        dialog.ack(body=secure_sdp(Crypto(1, SHA1_80, keys.receive_key)))
        ours = await dialog.peer.receive("INVITE")
        offered = cryptos(ours.body)
        assert keys.send_key not in {crypto.key for crypto in offered}
        theirs = Crypto.new(offered[1].tag, offered[1].suite)
        dialog.peer.respond(ours, 200, tag=dialog.tag, body=secure_sdp(theirs, port=30002))
        await dialog.peer.receive("ACK")
        media = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert media is not None
        assert (media.srtp, media.rtp_port) == (SrtpKeys(theirs.suite, offered[1].key, theirs.key), 30002)


async def test_a_peer_that_refuses_our_reinvite_keeps_the_call(scenes: MakeScene) -> None:
    async with scenes("required") as scene:
        events, dialog, _ = await connected(scene)
        dialog.request("INVITE")
        offer = cryptos((await dialog.peer.receive(200)).body)
        dialog.ack(body=secure_sdp(Crypto.new(1, offer[0].suite)))
        dialog.peer.respond(await dialog.peer.receive("INVITE"), 488, "Not Acceptable Here", tag=dialog.tag)
        await dialog.peer.receive("ACK")
        theirs = Crypto.new(1, SHA1_80)
        await reinvite(dialog, secure_sdp(theirs))
        assert (await events.next(SipEventType.MEDIA_CHANGED)).media is not None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("use", ["off", "required"])
async def test_a_session_is_refreshed_by_reinvite_for_a_peer_without_update(scenes: MakeScene, use: SrtpUse) -> None:
    """pjsip offers what was agreed on, which is less than our first offer; 45 s is the least that RFC 4028 allows."""
    async with scenes(use) as scene:
        call, events, dialog = await scene.dial()
        ours = cryptos(dialog.invite.body)
        theirs = Crypto.new(3, SHA1_80)
        lines = [theirs] if use == "required" else []
        body = secure_sdp(*lines, proto=proto(dialog.invite.body))
        session = "Require: timer\r\nSession-Expires: 90;refresher=uac\r\nAllow: INVITE, ACK, BYE, CANCEL"
        await dialog.answer(body, headers=session)
        await events.next(SipEventType.ANSWERED)
        refresh = await scene.peer.receive("INVITE", timeout_s=60)
        assert cryptos(refresh.body) == ours
        changed = body.replace("m=audio 30000", "m=audio 30002")
        scene.peer.respond(refresh, 200, tag=dialog.tag, body=changed, headers=session)
        await scene.peer.receive("ACK")
        media = (await events.next(SipEventType.MEDIA_CHANGED)).media
        assert media is not None
        assert (media.rtp_port, media.srtp is not None) == (30002, use == "required")
        call.hangup()
        scene.peer.respond(await scene.peer.receive("BYE"), 200)
        assert (await events.ended()).reason == "normal_clearing"
