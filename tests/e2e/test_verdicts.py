"""Each cause of missing audio, brought about on purpose and named right; and none where there is none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Any

import pylibsrtp
import pytest
from aiortc import RTCDtlsTransport
from peers.agent import Agent
from peers.aiortc_client import VOICE_HZ, Client
from peers.rtp_phone import SRTP, RtpPhone
from peers.server import ServerProcess
from peers.sip_peer import PeerDialog, SipPeer, sdp
from peers.waiting import until

from sdpserver.passwords import hash_password

JUDGED_S = 6.0
"""The patience of a verdict, and what a call takes to get there."""


async def verdict(client: Client, path: str = "") -> dict[str, Any]:
    """Of its own session, unless another is named."""
    response = await client.http.get(path or f"/webrtc/sessions/{client.session_id}/verdict")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert set(found) == {"ok", "cause", "text", "evidence"}
    return found


async def cause(client: Client, *, expected: str, path: str = "") -> dict[str, Any]:
    """The verdict once it is no longer too early, which must be this one."""
    found: dict[str, Any] = {}

    async def is_told() -> bool:
        found.update(await verdict(client, path))
        return found["ok"] is not None

    await until(is_told, timeout_s=JUDGED_S, what="a verdict")
    assert found["cause"] == expected, found
    return found


async def turns_to(client: Client, expected: str, *, timeout_s: float) -> dict[str, Any]:
    """The verdict once it is this one."""
    found: dict[str, Any] = {}

    async def is_told() -> bool:
        found.update(await verdict(client))
        return bool(found["cause"] == expected)

    await until(is_told, timeout_s=timeout_s, what=f"the verdict {expected}")
    return found


# -- the browser's side


async def test_no_check_comes(gateway: ServerProcess) -> None:
    async with Client(gateway.url) as client:
        response = await client.post_offer(to="echo")  # and the answer is thrown away
        client.answer = response.json()
        assert (await verdict(client))["cause"] == "too_early"
        assert "announced_ips" in (await cause(client, expected="no_ice_check"))["text"]
        await client.hang_up()


async def test_checks_go_to_a_wrong_candidate(gateway: ServerProcess) -> None:
    async with Client(gateway.url) as client:
        client.answer = answer = (await client.post_offer(to="echo")).json()
        port = re.search(r"^a=candidate:\S+ 1 udp \d+ 127.0.0.1 (\d+)", answer["sdp"]["sdp"], re.MULTILINE)
        assert port is not None
        astray = answer["sdp"]["sdp"].replace(f" {port[1]} typ", " 9 typ").replace(f"m=audio {port[1]}", "m=audio 9")
        accepting = asyncio.create_task(client.accept({**answer, "sdp": {"type": "answer", "sdp": astray}}))
        found = await cause(client, expected="no_ice_check")
        assert found["evidence"]["waited_s"] >= 3
        await client.hang_up()
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


async def test_the_certificate_is_not_that_of_the_offer(gateway: ServerProcess) -> None:
    async with Client(gateway.url) as client:
        offer = await client.offer()
        spoilt = re.sub(r"(a=fingerprint:sha-\d+ )..", r"\g<1>00", offer)
        response = await client.http.post(
            "/webrtc/offer", json={"sdp": {"type": "offer", "sdp": spoilt}, "call": {"to": "echo"}}
        )
        client.answer = response.json()
        accepting = asyncio.create_task(client.accept(client.answer))
        found = await cause(client, expected="dtls_failed")
        assert found["evidence"]["error"]
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


async def test_the_browser_has_data_channels_only(gateway: ServerProcess) -> None:
    async with Client(gateway.url, audio=False, events=True) as client:
        await client.call("echo")
        await cause(client, expected="no_audio_agreed")
        await client.hang_up()


async def test_checks_come_but_no_dtls(gateway: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: RTCDtlsTransport, _remote: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RTCDtlsTransport, "start", never)
    async with Client(gateway.url) as client:
        client.answer = (await client.post_offer(to="echo")).json()
        accepting = asyncio.create_task(client.accept(client.answer))
        await cause(client, expected="dtls_not_connected")
        await client.hang_up()
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


async def test_the_browser_sends_nothing_though_it_says_so(gateway: ServerProcess) -> None:
    async with Client(gateway.url, frequency_hz=None, codec="PCMU") as client:
        assert client.transceiver is not None
        client.transceiver.direction = "sendrecv"
        await client.call("tone")
        found = await cause(client, expected="no_rtp_from_browser")
        assert found["evidence"]["webrtc"]["packets_received"] == 0
        await client.hang_up()


class SpoiltSrtp:
    """Whose packets of RTP have a wrong tag, and those of RTCP a right one: as with a wrong rollover counter."""

    def __init__(self, session: pylibsrtp.Session) -> None:
        self._session = session

    def protect(self, packet: bytes) -> bytes:
        *rest, last = self._session.protect(packet)
        return bytes((*rest, last ^ 1))

    def protect_rtcp(self, packet: bytes) -> bytes:
        return bytes(self._session.protect_rtcp(packet))


def wrong_keys(session: pylibsrtp.Session) -> pylibsrtp.Session:
    """Others than were agreed on."""
    suite, octets = SRTP["AEAD_AES_128_GCM"]
    kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    return pylibsrtp.Session(pylibsrtp.Policy(key=secrets.token_bytes(octets), ssrc_type=kind, srtp_profile=suite))


Spoil = Callable[[pylibsrtp.Session], Any]


@pytest.mark.parametrize("spoil", [SpoiltSrtp, wrong_keys])
async def test_no_packet_of_the_browser_is_authentic(
    gateway: ServerProcess, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    agree = RTCDtlsTransport._setup_srtp

    def agree_and_spoil(transport: RTCDtlsTransport) -> None:
        agree(transport)
        transport._tx_srtp = spoil(transport._tx_srtp)

    monkeypatch.setattr(RTCDtlsTransport, "_setup_srtp", agree_and_spoil)
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("tone")
        found = await cause(client, expected="srtp_failed")
        assert found["ok"] is False
        assert f"{found['evidence']['auth_failures']} SRTP packets came from the browser, and none" in found["text"]
        await client.hang_up()


@pytest.mark.parametrize("spoil", [SpoiltSrtp, wrong_keys])
async def test_from_some_packet_on_none_of_the_browser_is_authentic(gateway: ServerProcess, spoil: Spoil) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        right, client._dtls._tx_srtp = client._dtls._tx_srtp, spoil(client._dtls._tx_srtp)
        found = await turns_to(client, "srtp_failed", timeout_s=JUDGED_S)
        assert found["ok"] is False
        assert found["evidence"]["auth_failures_in_a_row"] >= 50
        wrong = r"The last \d+ SRTP packets from the browser have wrong tags, after \d+ good ones: "
        assert re.match(wrong, found["text"])
        client._dtls._tx_srtp = right
        await turns_to(client, "ok", timeout_s=JUDGED_S)
        await client.hang_up()


@pytest.mark.timeout(90)
async def test_the_browser_is_lost_when_its_checks_stop_and_not_when_it_has_said_goodbye(
    own_server: Callable[..., ServerProcess],
) -> None:
    async with await SipPeer.open() as peer:
        trunk = {"name": "phone", "server": peer.host_port, "options_interval_s": 0}
        server = own_server({"trunks": [trunk], "session": {"resume_s": 3600}})
        async with Client(server.url) as talking, Client(server.url) as ringing, Client(server.url) as reloading:
            for client in (talking, reloading):
                await client.call("echo")
                await client.wait_tone(VOICE_HZ)
            calling = asyncio.create_task(ringing.call("600", trunk="phone"))
            dialog = PeerDialog(peer, await peer.receive("INVITE"))
            dialog.respond(180, "Ringing")
            await calling
            peer.answer_by_itself("CANCEL")
            await reloading.pc.close()
            for client in (talking, ringing):
                await client.vanish()
            await turns_to(talking, "rtp_stopped", timeout_s=15)
            for client in (talking, ringing):
                found = await turns_to(client, "ice_lost", timeout_s=30)
                assert found["ok"] is False
                session = await client.describe()
                address = session["webrtc"]["ice"]["remote_address"]
                assert found["text"].startswith(f"The browser at {address} has not been heard of for 30 s")
                assert session["close_reason"] == "client_gone"
            dialog.respond(487, "Request Terminated")
            await asyncio.sleep(3)  # the last check of the one that said goodbye may have been so much later
            found = await verdict(reloading)
            assert (found["ok"], found["cause"]) == (None, "too_early")
            assert "resume_token" in found["text"]
            await reloading.hang_up()


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("sendonly", "browser_does_not_listen"), ("recvonly", "browser_does_not_send")],
)
async def test_the_browsers_sdp_is_of_one_way(gateway: ServerProcess, direction: str, expected: str) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        await client.reoffer(direction)
        await cause(client, expected=expected)
        await client.hang_up()


async def test_the_call_was_refused(gateway: ServerProcess) -> None:
    async with Client(gateway.url) as client:
        await client.call("602")
        found = await cause(client, expected="call_failed")
        assert found["evidence"] == {"reason": "busy", "sip_status": 486}
        await client.hang_up()


@pytest.mark.parametrize("to", ["echo", "600", "conference/verdicts"])
async def test_a_good_call_is_judged_good(gateway: ServerProcess, to: str) -> None:
    async with Client(gateway.url, codec="PCMU") as client:
        await client.call(to)
        if to != "conference/verdicts":
            await client.wait_tone(VOICE_HZ)
        for _ in range(20):
            assert (await verdict(client))["ok"] is not False
            await asyncio.sleep(0.05)
        await cause(client, expected="ok")
        await client.hang_up()


# -- another browser's


def without_microphone(agent: Agent) -> Client:
    """Its SDP says that it sends, and it does not."""
    client = agent.client(frequency_hz=None, codec="PCMU")
    assert client.transceiver is not None
    client.transceiver.direction = "sendrecv"
    return client


@pytest.mark.parametrize("silent", ["caller", "callee"])
async def test_the_other_browser_sends_nothing(own_server: Callable[..., ServerProcess], silent: str) -> None:
    """The caller has heard it ring, if nothing else."""
    dns = [{"number": number, "password_hash": hash_password("secret")} for number in ("5001", "5002")]
    server = own_server({"dn": dns})
    async with Agent(server.url) as ann, Agent(server.url) as bob:
        for agent, row in zip((ann, bob), dns, strict=True):
            await agent.register(row["number"], "secret")
        anns = without_microphone(ann) if silent == "caller" else ann.client(codec="PCMU")
        call = await ann.request("call", to="5002", sdp=await anns.offer())
        await anns.accept({"sdp": {"sdp": call["sdp"]}})
        await anns.wait_connected()
        await anns.wait_audio(1)
        incoming = await bob.incoming()
        bobs = without_microphone(bob) if silent == "callee" else bob.client(codec="PCMU")
        await bob.request("answer", callId=incoming["callId"], sdp=await bobs.answer_to(incoming["sdp"]))
        await bobs.wait_connected()
        calls = [call["callId"], incoming["callId"]]
        deaf = calls[1] if silent == "caller" else calls[0]
        (mute,) = set(calls) - {deaf}
        for call_id, expected in ((deaf, "no_rtp_to_browser"), (mute, "no_rtp_from_browser")):
            found = await cause(anns, expected=expected, path=f"/api/calls/{call_id}/verdict")
            assert found["ok"] is False
            assert ("the far end gives no audio" in found["text"]) == (call_id == deaf)
        await ann.request("hangup", callId=calls[0])


# -- the SIP peer's


Start = Callable[..., ServerProcess]


@pytest.fixture
def start(own_server: Callable[..., ServerProcess]) -> Start:
    return lambda peer, **more: own_server({"trunks": [{"name": "phone", "server": peer.host_port} | more]})


async def called(client: Client, peer: SipPeer, body: str) -> tuple[PeerDialog, int]:
    """A call that the peer answers with this SDP; and our RTP port."""
    calling = asyncio.create_task(client.call("600", trunk="phone"))
    invite = await peer.receive("INVITE")
    dialog = PeerDialog(peer, invite)
    await calling
    await dialog.answer(body)
    found = re.search(r"^m=audio (\d+)", invite.body, re.MULTILINE)
    assert found is not None
    return dialog, int(found[1])


async def hang_up(client: Client, peer: SipPeer) -> None:
    peer.answer_by_itself("BYE")
    await client.hang_up()


async def test_the_sip_peer_sends_nothing(start: Start) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer).url, codec="PCMU") as client,
    ):
        await called(client, peer, sdp(phone.port, formats="0"))
        found = await cause(client, expected="no_rtp_from_sip_peer")
        assert f"127.0.0.1 {phone.port}" in found["text"]
        assert found["evidence"]["sip"]["packets_sent"] > 0
        await hang_up(client, peer)


async def test_the_sip_peers_address_cannot_be_reached(start: Start) -> None:
    async with await SipPeer.open() as peer, Client(start(peer).url, codec="PCMU") as client:
        # RTP is bound to loopback, from which the kernel sends to nowhere else.
        await called(client, peer, sdp(4002, ip="10.99.0.1", formats="0"))
        found = await cause(client, expected="no_rtp_from_sip_peer")
        assert "10.99.0.1 4002" in found["text"]
        assert "private" in found["text"]
        assert "cannot be reached" in found["text"]
        await hang_up(client, peer)


async def test_the_sip_peer_falls_silent_in_the_middle(start: Start) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer).url, codec="PCMU") as client,
    ):
        _, rtp_port = await called(client, peer, sdp(phone.port, formats="0"))
        phone.talk(rtp_port, 440)
        await cause(client, expected="ok")
        await phone.hush()
        found = await turns_to(client, "rtp_stopped", timeout_s=12)
        assert f"the SIP peer at 127.0.0.1 {phone.port}" in found["text"]
        await hang_up(client, peer)


async def test_the_sip_peer_sends_from_elsewhere(start: Start) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        await RtpPhone.open() as other,
        Client(start(peer).url, codec="PCMU") as client,
    ):
        _, rtp_port = await called(client, peer, sdp(phone.port, formats="0"))
        other.talk(rtp_port, 440)
        assert "first_packet" in (await cause(client, expected="rtp_from_elsewhere"))["text"]
        await hang_up(client, peer)


@pytest.mark.parametrize(("direction", "ours"), [("sendonly", "recvonly"), ("recvonly", "sendonly")])
async def test_the_sip_peers_sdp_is_of_one_way(start: Start, direction: str, ours: str) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer).url, codec="PCMU") as client,
    ):
        _, rtp_port = await called(client, peer, sdp(phone.port, f"a={direction}", formats="0"))
        phone.talk(rtp_port, 440)
        found = await cause(client, expected="sip_direction")
        assert found["evidence"]["direction"] == ours
        await hang_up(client, peer)


async def test_the_sip_peer_sends_another_codec(start: Start) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer).url, codec="PCMU") as client,
    ):
        _, rtp_port = await called(client, peer, sdp(phone.port, formats="8"))
        phone.talk(rtp_port, 440)  # PCMU all the same
        found = await cause(client, expected="codec_mismatch")
        assert found["evidence"]["dropped_payload_type"] > 0
        await hang_up(client, peer)


@pytest.mark.parametrize("talk", ["wrong keys", "no keys"])
async def test_no_packet_of_the_sip_peer_is_authentic(start: Start, talk: str) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer, srtp="required").url, codec="PCMU") as client,
    ):
        _, rtp_port = await called_by_srtp(client, peer, phone)
        if talk == "wrong keys":
            secure(phone, secrets.token_bytes(30))
        phone.talk(rtp_port, 440)
        found = await cause(client, expected="srtp_failed")
        assert found["ok"] is False
        assert "SRTP packets came from the SIP peer, and none has a right tag" in found["text"]
        await hang_up(client, peer)


async def test_from_some_packet_on_none_of_the_sip_peer_is_authentic(start: Start) -> None:
    async with (
        await SipPeer.open() as peer,
        await RtpPhone.open() as phone,
        Client(start(peer, srtp="required").url, codec="PCMU") as client,
    ):
        key, rtp_port = await called_by_srtp(client, peer, phone)
        secure(phone, key)
        phone.talk(rtp_port, 440)
        await cause(client, expected="ok")
        secure(phone, secrets.token_bytes(30))
        found = await turns_to(client, "srtp_failed", timeout_s=JUDGED_S)
        assert found["ok"] is False
        assert "SRTP packets from the SIP peer have wrong tags, after" in found["text"]
        secure(phone, key)
        await turns_to(client, "ok", timeout_s=JUDGED_S)
        await hang_up(client, peer)


def secure(phone: RtpPhone, key: bytes) -> None:
    """It sends with this key from now on."""
    phone.secure("AES_CM_128_HMAC_SHA1_80", send_key=key, receive_key=key)


async def called_by_srtp(client: Client, peer: SipPeer, phone: RtpPhone) -> tuple[bytes, int]:
    """A call that the peer answers with a key, which is returned; and our RTP port."""
    key = secrets.token_bytes(30)
    crypto = f"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(key).decode()}"
    _, rtp_port = await called(client, peer, sdp(phone.port, crypto, formats="0", proto="RTP/SAVP"))
    return key, rtp_port


# -- who may ask


async def test_whoever_may_see_a_call_may_ask_what_is_wrong_with_it(own_server: Callable[..., ServerProcess]) -> None:
    scopes = {"owner": ["session", "call"], "other": ["session", "call"], "boss": ["call", "supervise"]}
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode() * 4).hexdigest(), "scopes": scopes[name]}
        for name in scopes
    ]
    server = own_server({"auth": {"mode": "api_key", "api_keys": keys}})
    async with Client(server.url, codec="PCMU") as client:
        client.http.headers["x-api-key"] = "owner" * 4
        await client.call("echo")
        await client.wait_tone(VOICE_HZ)
        call_id = client.answer["call"]["call_id"]
        for name, status in (("owner", 200), ("boss", 200), ("other", 404)):
            answer = await client.http.get(f"/api/calls/{call_id}/verdict", headers={"x-api-key": name * 4})
            assert answer.status_code == status, answer.text
            if status == 200:
                assert answer.json()["cause"] in ("ok", "too_early")
        await client.hang_up()
        ended = await client.http.get(f"/api/calls/{call_id}/verdict")
        assert (ended.status_code, ended.json()["reason"]) == (409, "call_ended")
