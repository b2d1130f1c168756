"""Whole calls by WHIP: two clients of others in Chromium, unchanged, judged by what is heard at both ends."""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import Callable

import httpx
import pytest
from peers import audio
from peers.asterisk import Asterisk
from peers.chromium import MICROPHONE_HZ, hear_each_other
from peers.server import ServerProcess
from peers.waiting import until
from peers.whip import WhipCaller, whip_caller
from playwright.async_api import Browser

from sdpserver.api.credentials import hash_key

pytestmark = pytest.mark.asyncio(loop_scope="session")
KNOWN_S = 1.0
SDPFRAG = {"content-type": "application/trickle-ice-sdpfrag"}


async def dial(page: WhipCaller, asterisk: Asterisk, to: str) -> tuple[str, str]:
    """Call: the URL of the session and the name of Asterisk's channel."""
    mark = asterisk.ami.mark()
    resource = await page.publish(to)
    return resource, await to_thread(asterisk.wait_channel, since=mark)


def session_id(resource: str) -> str:
    return resource.rpartition("/")[2]


async def patch(resource: str, fragment: str, if_match: str | None) -> httpx.Response:
    headers = SDPFRAG if if_match is None else SDPFRAG | {"if-match": if_match}
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.patch(resource, content=fragment, headers=headers)


async def test_a_client_hears_its_voice_from_the_pbx_and_hangs_up(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        resource, channel = await dial(page, asterisk, "600")
        await hear_each_other(page, asterisk, channel)
        (listed,) = gateway.sessions()
        assert listed["session_id"] == session_id(resource)
        assert listed["call"]["call_id"] in gateway.calls()
        hung_up_s = time.monotonic()
        await page.stop()
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - hung_up_s < KNOWN_S
        (deleted,) = await page.exchanges("DELETE")
        assert deleted.status == 200
        assert gateway.open_sessions() == []


async def test_a_client_trickles_its_candidates(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        resource, _ = await dial(page, asterisk, "600")
        await page.wait_tone(MICROPHONE_HZ)
        await page.wait_answered("PATCH", "a=end-of-candidates")
        (posted,) = await page.exchanges("POST")
        assert "a=candidate:" not in posted.body
        patches = await page.exchanges("PATCH")
        assert [patch.status for patch in patches] == [204] * len(patches)
        assert {patch.headers["if-match"] for patch in patches} == {posted.answer_headers["etag"]}
        candidates = {line for patch in patches for line in patch.body.splitlines() if line.startswith("a=candidate:")}
        assert gateway.session(session_id(resource))["webrtc"]["ice"]["remote_candidates"] == len(candidates) > 0
        await page.stop()


async def test_an_ice_restart_is_not_heard(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        resource, channel = await dial(page, asterisk, "601")
        await page.wait_tone(440)
        before = await page.page.evaluate("ufragInUse()")
        (posted,) = await page.exchanges("POST")
        recording = asterisk.record(channel)
        start_s = await page.position_s()
        await page.restart_ice()
        await page.listen(1.5)
        pcm, rate = await page.heard(start_s)
        there = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, 440, min_duration_s=1.5)
        audio.check_tone(*there, MICROPHONE_HZ, min_duration_s=1.4)

        restart = next(patch for patch in await page.exchanges("PATCH") if patch.headers["if-match"] == "*")
        assert restart.status == 200
        assert restart.answer_headers["content-type"] == "application/trickle-ice-sdpfrag"
        assert restart.answer_headers["etag"] != posted.answer_headers["etag"]
        after = await page.page.evaluate("ufragInUse()")
        assert after != before
        assert after in restart.body
        assert "renegotiated" in gateway.session(session_id(resource))["timeline"]
        late = await patch(resource, restart.body, posted.answer_headers["etag"])
        assert late.status_code == 412

        await page.restart_ice()  # and once more, also for what it trickles after it
        await page.wait_tone(440)
        assert all(patch.status in (200, 204) for patch in await page.exchanges("PATCH"))
        assert asterisk.channels() == [channel]
        await page.stop()


async def test_bad_patches_are_not_heard(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        resource, _ = await dial(page, asterisk, "601")
        await page.wait_tone(440)
        start_s = await page.position_s()
        ice = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
        for body, if_match, status in (
            ("v=0", "*", 400),
            (ice + "m=audio 9 RTP/AVP 0\r\na=mid:9\r\n", "*", 422),
            (ice, '"old"', 412),
            (ice, None, 428),
        ) * 5:
            assert (await patch(resource, body, if_match)).status_code == status
        await page.listen(1.0)
        pcm, rate = await page.heard(start_s)
        audio.check_tone(pcm, rate, 440, min_duration_s=1.0)
        await page.restart_ice()
        await page.wait_tone(440)
        await page.stop()
        await until(lambda: not gateway.rtp_ports(), timeout_s=5, what="the RTP ports to be free")


async def test_a_restart_that_the_client_gives_up_leaves_the_call_as_it_was(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    """Its request came, and its answer was lost: the old ICE session is good until the new one has been checked."""
    async with whip_caller(chromium, gateway.url) as page:
        resource, _ = await dial(page, asterisk, "601")
        await page.wait_tone(440)
        start_s = await page.position_s()
        ice = "a=ice-ufrag:lost\r\na=ice-pwd:0123456789012345678901\r\n"
        answers = [await patch(resource, ice, "*") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].text == answers[1].text
        await page.listen(3.0)  # longer than from one of Chromium's checks to the next
        pcm, rate = await page.heard(start_s)
        audio.check_tone(pcm, rate, 440, min_duration_s=3.0)
        await page.restart_ice()
        await page.listen(1.0)
        pcm, rate = await page.heard(start_s)
        audio.check_tone(pcm, rate, 440, min_duration_s=4.0)
        await page.stop()


async def test_a_client_that_only_closes_its_connection_has_hung_up(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        resource, channel = await dial(page, asterisk, "601")
        await page.wait_tone(440)
        closed_s = time.monotonic()
        await page.page.evaluate("pc.close()")
        hangup = await to_thread(asterisk.wait_hangup, channel)
        assert hangup.at_s - closed_s < KNOWN_S / 2
        session = gateway.session(session_id(resource))
        assert session["close_reason"] == "client_closed"
        # It has no token to come back with, so nobody waits for it.
        assert session["timeline"]["closed"] - session["timeline"]["disconnected"] < KNOWN_S / 2 * 1000


async def test_the_pbx_hangs_up(chromium: Browser, gateway: ServerProcess, asterisk: Asterisk) -> None:
    async with whip_caller(chromium, gateway.url) as page:
        _, channel = await dial(page, asterisk, "601")
        await page.wait_tone(440)
        await to_thread(asterisk.hangup, channel)
        await page.wait_state("closed.at > 0", timeout_s=2)
        await page.stop()
        (deleted,) = await page.exchanges("DELETE")
        assert deleted.status == 200


async def test_a_page_of_another_site_calls_with_a_token_and_is_told_of_ice_servers(
    chromium: Browser, gateway: ServerProcess, own_server: Callable[..., ServerProcess]
) -> None:
    token = "a-token-0123456789"
    guarded = own_server(
        {
            "http": {"cors_origins": [gateway.url]},
            "auth": {
                "mode": "api_key",
                "api_keys": [{"name": "studio", "sha256": hash_key(token), "scopes": ["session"]}],
            },
            "ice_servers": [{"urls": ["stun:127.0.0.1:9"]}],
            "turn": {"urls": ["turn:127.0.0.1:9?transport=udp"], "secret": "s" * 20},
        }
    )
    async with whip_caller(chromium, gateway.url) as page:
        await page.publish("echo", gateway=guarded.url, token=token)
        await page.wait_tone(MICROPHONE_HZ)
        stun, turn = await page.page.evaluate("pc.getConfiguration().iceServers")
        assert stun["urls"] in ("stun:127.0.0.1:9", ["stun:127.0.0.1:9"])
        assert turn["username"].endswith(":studio")
        assert turn["credential"]
        await page.restart_ice()
        pcm, rate = await page.listen(1.2)
        audio.check_tone(pcm, rate, MICROPHONE_HZ)
        assert all(patch.status in (200, 204) for patch in await page.exchanges("PATCH"))
        await page.stop()


async def test_a_client_that_only_sends_is_heard_by_the_pbx(
    chromium: Browser, gateway: ServerProcess, asterisk: Asterisk
) -> None:
    """Eyevinn's: it offers `sendonly`, which is answered `recvonly`."""
    async with whip_caller(chromium, gateway.url) as page:
        mark = asterisk.ami.mark()
        resource = await page.publish_by_eyevinn("601")
        channel = await to_thread(asterisk.wait_channel, since=mark)
        await to_thread(asterisk.wait_answered, channel)
        await until(
            lambda: "sip_first_rtp_out" in gateway.session(session_id(resource))["timeline"], timeout_s=5, what="RTP"
        )
        recording = asterisk.record(channel)
        await page.page.wait_for_timeout(1500)
        audio.check_tone(*await to_thread(recording.stop), MICROPHONE_HZ, min_duration_s=1.2)
        assert gateway.session(session_id(resource))["webrtc"]["direction"] == "recvonly"
        (posted,) = await page.exchanges("POST")
        assert "a=candidate:" in posted.body
        await page.stop()
        await to_thread(asterisk.wait_hangup, channel)
        (deleted,) = await page.exchanges("DELETE")
        assert deleted.status == 200
