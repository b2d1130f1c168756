"""The Python SDK against the real server, blocking and asyncio."""

from __future__ import annotations

import asyncio
import fractions
from pathlib import Path
from typing import Any

import aioice.ice
import httpx
import pytest
from aiortc import AudioStreamTrack
from av import AudioFrame
from peers import audio
from peers.asterisk import Asterisk
from peers.ports import free_port
from peers.server import ServerProcess
from peers.waiting import until, wait_until
from sdpserver_client import (
    AsyncWebRtcClient,
    BadRequestError,
    CallOptions,
    ConflictError,
    ConnectionFailed,
    IceCandidate,
    NotFoundError,
    Recording,
    RequestTimedOut,
    SipError,
    WebRtcClient,
)

OFFER = (Path(__file__).parents[1] / "data" / "offers" / "chromium" / "audio.sdp").read_bytes().decode()
CANDIDATE = IceCandidate(candidate="candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host", sdp_mid="0")

# These tests never leave the machine, and aioice leaves 127.0.0.1 out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Silence(AudioStreamTrack):
    """20 ms of nothing at a time."""

    _pts = 0

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0.02)
        frame = AudioFrame(format="s16", layout="mono", samples=160)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, self._pts = self._pts, self._pts + 160
        frame.sample_rate = 8000
        frame.time_base = fractions.Fraction(1, 8000)
        return frame


def test_a_blocking_client_exchanges_trickles_and_closes(gateway: ServerProcess) -> None:
    with WebRtcClient(gateway.url) as client:
        assert client.get_ice_servers() == ()
        answer = client.send_offer(OFFER, to="echo", metadata={"case": 42})
        assert answer.sdp.startswith("v=0\r\n")
        assert answer.metadata == {"case": 42}
        assert answer.call.to == "echo"
        assert answer.ice_candidates[0].candidate.startswith("candidate:")
        client.send_ice_candidate(answer.session_id, CANDIDATE)
        client.send_ice_candidates(answer.session_id, [CANDIDATE, None])
        assert client.describe_session(answer.session_id)["state"] == "connecting"
        client.close_session(answer.session_id)
        client.close_session(answer.session_id)


async def test_an_asyncio_client_does_the_same(gateway: ServerProcess) -> None:
    async with AsyncWebRtcClient(gateway.url) as client:
        answer = await client.send_offer(OFFER, call=CallOptions(to="tone", codecs=["PCMA"]))
        assert "a=rtpmap:8 PCMA/8000" in answer.sdp
        await client.send_ice_candidates(answer.session_id, [CANDIDATE, None])
        await client.close_session(answer.session_id, "bored")
        assert (await client.describe_session(answer.session_id))["close_reason"] == "bored"


@pytest.fixture
def sound(gateway: ServerProcess) -> str:
    """The name of a file that the server can play."""
    gateway.add_sound("hello.wav", audio.sine(700, 10, 8000), 8000)
    return "hello.wav"


ANSWERED = CallOptions(to="605", wait_for="answer")
"""605 of the PBX reads four keys."""


def test_a_blocking_client_does_to_a_call_what_can_be_done(
    gateway: ServerProcess, asterisk: Asterisk, sound: str
) -> None:
    mark = asterisk.ami.mark()
    with WebRtcClient(gateway.url) as client:
        answer = client.send_offer(OFFER, call=ANSWERED)
        call_id = answer.call.call_id
        client.send_dtmf(call_id, "1A*9", duration_ms=60, gap_ms=60)
        assert asterisk.wait_digits(since=mark, timeout_s=8) == "1A*9"
        client.play(call_id, sound, leg="sip", loop=True)
        client.stop_playing(call_id, leg="sip")
        started = client.record(call_id, tone=False)
        assert Path(started.path).name.startswith(call_id)
        wait_until(lambda: client.record(call_id).status == "recording", timeout_s=5, what="the file to be open")
        assert client.record(call_id, "pause").status == "paused"
        assert client.record(call_id, "resume").status == "recording"
        assert client.record(call_id, "stop").status == "stopping"
        client.mute(call_id)
        client.mute(call_id, False)
        client.mute(call_id, leg="sip")
        assert client.conference([call_id], "sdk") == "sdk"
        members = httpx.get(f"{gateway.url}/api/rooms/sdk", trust_env=False).json()["members"]
        assert [(member["leg"], member["muted"]) for member in members] == [("webrtc", False), ("sip", True)]
        steps = {"play_ended", "muted", "recording"}
        wait_until(
            lambda: steps <= client.describe_session(answer.session_id)["timeline"].keys(), timeout_s=5, what=str(steps)
        )
        client.close_session(answer.session_id)
        with pytest.raises(ConflictError) as ended:
            client.mute(call_id)
        assert ended.value.reason == "call_ended"


async def test_an_asyncio_client_does_so_too(gateway: ServerProcess, asterisk: Asterisk, sound: str) -> None:
    mark = asterisk.ami.mark()
    async with AsyncWebRtcClient(gateway.url) as client:
        answer = await client.send_offer(OFFER, call=ANSWERED)
        call_id = answer.call.call_id
        await client.send_dtmf(call_id, "4711", method="rfc4733")
        assert await asyncio.to_thread(asterisk.wait_digits, since=mark, timeout_s=8) == "4711"
        await client.play(call_id, sound, leg="both")
        await client.stop_playing(call_id, leg="both")
        started = await client.record(call_id)
        assert (await client.record(call_id, "stop")) == Recording(status="stopping", path=started.path)
        await client.mute(call_id, leg="sip")
        assert await client.conference([call_id])
        steps = {"play_ended", "muted", "room_joined"}

        async def are_reached() -> bool:
            return bool(steps <= (await client.describe_session(answer.session_id))["timeline"].keys())

        await until(are_reached, timeout_s=5, what=str(steps))
        with pytest.raises(NotFoundError) as unknown:
            await client.record("never-was")
        assert unknown.value.reason == "call_not_found"
        await client.close_session(answer.session_id)


def test_exchange_sdp_is_text_in_and_text_out(gateway: ServerProcess) -> None:
    with WebRtcClient(gateway.url) as client:
        assert "a=ice-lite" in client.exchange_sdp(OFFER, to="silence")
        for session_id in gateway.open_sessions():
            client.close_session(session_id)


def test_refusals_are_typed_and_carry_what_the_server_said(gateway: ServerProcess) -> None:
    with WebRtcClient(gateway.url) as client:
        with pytest.raises(BadRequestError) as bad:
            client.send_offer("no sdp", session_id="mine")
        assert (bad.value.code, bad.value.reason) == (400, "invalid_sdp")
        assert bad.value.request_id
        with pytest.raises(NotFoundError) as unknown:
            client.close_session("never-was")
        assert (unknown.value.reason, unknown.value.session_id) == ("session_not_found", "never-was")
        with pytest.raises(SipError) as busy:
            client.send_offer(OFFER, call=CallOptions(to="602", wait_for="answer"))
        assert (busy.value.code, busy.value.reason, busy.value.sip_status) == (502, "busy", 486)


def test_a_taken_session_id_is_a_conflict_and_its_token_is_the_way_in(gateway: ServerProcess) -> None:
    with WebRtcClient(gateway.url) as client:
        first = client.send_offer(OFFER, to="echo", session_id="twice")
        with pytest.raises(ConflictError) as taken:
            client.send_offer(OFFER, to="echo", session_id="twice")
        assert taken.value.reason == "session_exists"
        again = client.send_offer(OFFER, session_id="twice", resume_token=first.resume_token)
        assert again.call == first.call
        client.close_session("twice")


def test_no_server_is_a_connection_failure() -> None:
    with WebRtcClient(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ConnectionFailed):
        client.get_ice_servers()


async def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    left = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AsyncWebRtcClient(f"http://127.0.0.1:{port}", timeout_s=0.2) as client:
        with pytest.raises(RequestTimedOut):
            await client.get_ice_servers()
        async with asyncio.timeout(5):
            await left.wait()


async def test_setup_session_connects_follows_events_and_closes(gateway: ServerProcess) -> None:
    async with AsyncWebRtcClient(gateway.url) as client:
        async with client.setup_session(audio=Silence(), to="echo") as session:
            await session.wait_connected()
            seen = []
            async for event in session.events():
                seen.append(event.type)
                if event.type == "first_rtp_in":
                    break
            assert seen[0] == "offer"
            assert {"answered", "ice", "dtls"} <= set(seen)
            await session.renegotiate()
            assert session.audio is not None
        assert session.closed
        assert (await client.describe_session(session.id))["state"] == "closed"


async def test_the_far_ends_hang_up_ends_the_session_with_its_reason(gateway: ServerProcess) -> None:
    async with AsyncWebRtcClient(gateway.url) as client, client.setup_session(audio=Silence(), to="612") as session:
        assert await session.wait_closed(10) == "normal_clearing"


async def test_a_call_that_fails_leaves_nothing_open(gateway: ServerProcess) -> None:
    async with AsyncWebRtcClient(gateway.url) as client:
        with pytest.raises(SipError):
            await client.setup_session(audio=Silence(), call=CallOptions(to="602", wait_for="answer"))


def test_a_blocking_session_runs_its_connection_in_a_thread(gateway: ServerProcess) -> None:
    options: dict[str, Any] = {"audio": Silence(), "to": "tone"}
    with WebRtcClient(gateway.url) as client, client.setup_session(**options) as session:
        session.wait_connected()
        assert session.audio is not None
        assert session.call.to == "tone"


def test_a_blocking_client_closes_the_sessions_that_it_made(gateway: ServerProcess) -> None:
    client = WebRtcClient(gateway.url)
    session = client.setup_session(audio=Silence(), to="echo")
    client.close()
    session.close()
    assert gateway.open_sessions() == []


async def test_the_end_is_told_over_the_events_channel_before_the_connection_goes(gateway: ServerProcess) -> None:
    async with (
        AsyncWebRtcClient(gateway.url) as client,
        AsyncWebRtcClient(gateway.url) as operator,
        client.setup_session(audio=Silence(), to="echo") as session,
    ):
        seen = {}
        async for event in session.events():
            seen[event.type] = event.data
            if event.type == "dtls":
                await operator.close_session(session.id, "operator")
        assert seen["closed"]["reason"] == "operator"
