"""Each cause of missing audio, brought about on purpose and named right; and none where there is none."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCDtlsTransport
from peers.aiortc_client import VOICE_HZ, Client
from peers.rtp_phone import RtpPhone
from peers.server import ServerProcess
from peers.sip_peer import PeerDialog, SipPeer, sdp
from peers.waiting import until

JUDGED_S = 6.0
"""The patience of a verdict, and what a call takes to get there."""


async def verdict(client: Client) -> dict[str, Any]:
    response = await client.http.get(f"/webrtc/sessions/{client.session_id}/verdict")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert set(found) == {"ok", "cause", "text", "evidence"}
    return found


async def cause(client: Client, *, expected: str) -> dict[str, Any]:
    """The verdict once it is no longer too early, which must be this one."""
    found: dict[str, Any] = {}

    async def is_told() -> bool:
        found.update(await verdict(client))
        return found["ok"] is not None

    await until(is_told, timeout_s=JUDGED_S, what="a verdict")
    assert found["cause"] == expected, found
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


# -- the SIP peer's


Start = Callable[[SipPeer], ServerProcess]


@pytest.fixture
def start(own_server: Callable[..., ServerProcess]) -> Start:
    return lambda peer: own_server({"trunks": [{"name": "phone", "server": peer.host_port}]})


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

        async def is_noticed() -> bool:
            return bool((await verdict(client))["cause"] == "rtp_stopped")

        await until(is_noticed, timeout_s=12, what="the verdict on a peer that sends no more")
        assert f"the SIP peer at 127.0.0.1 {phone.port}" in (await verdict(client))["text"]
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
