"""The peers are proved against peers that are not ours, so that a failure elsewhere means the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from peers.aiortc_client import Client, formats_of
from peers.rtp_recording import Received, RtpRecording
from peers.waiting import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class AiortcEcho:
    """A far end made of aiortc alone: it sends the voice back, less the packets that `drop` names."""

    def __init__(self) -> None:
        self.heard = RtpRecording()
        self.connections: list[RTCPeerConnection] = []
        self.drop = range(0)

    async def offer(self, request: Request) -> JSONResponse:
        body: dict[str, Any] = await request.json()
        sdp = body["sdp"]["sdp"]
        self.heard.formats = formats_of(sdp)
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections.append(pc)

        @pc.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            pc.addTrack(track)

        await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        transport: Any = pc.getTransceivers()[0].sender.transport
        route, send, count = transport._rtp_router.route_rtp, transport._send_rtp, [0]

        def listen(packet: Any) -> Any:
            self.heard.add(Received.of(packet, 0.0))
            return route(packet)

        async def send_some(data: bytes) -> None:
            is_rtcp = 64 <= data[1] & 0x7F <= 95
            count[0] += not is_rtcp
            if is_rtcp or count[0] not in self.drop:
                await send(data)

        transport._rtp_router.route_rtp = listen
        transport._send_rtp = send_some
        answer = pc.localDescription
        return JSONResponse({"sdp": {"type": answer.type, "sdp": answer.sdp}, "session_id": "x", "resume_token": "y"})

    async def close(self) -> None:
        for pc in self.connections:
            await pc.close()


@pytest.fixture
async def echo() -> AsyncIterator[AiortcEcho]:
    far_end = AiortcEcho()
    yield far_end
    await far_end.close()


def client_of(echo: AiortcEcho, **options: Any) -> Client:
    client = Client("http://peer", **options)
    app = Starlette(routes=[Route("/webrtc/offer", echo.offer, methods=["POST"])])
    client.http = httpx.AsyncClient(base_url="http://peer", transport=httpx.ASGITransport(app))
    return client


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "opus"])
async def test_the_aiortc_client_hears_its_own_voice(echo: AiortcEcho, codec: str) -> None:
    async with client_of(echo, codec=codec) as client:
        await client.call()
        await client.wait_tone(1000)
        heard = await client.listen(1.2)
        assert heard.codecs == {codec}
        heard.check_tone(1000)


async def test_the_aiortc_client_notices_five_lost_packets(echo: AiortcEcho) -> None:
    echo.drop = range(60, 65)
    async with client_of(echo, codec="PCMU") as client:
        await client.call()
        await client.wait_audio(110)
        with pytest.raises(AssertionError, match="a gap of 1"):
            client.heard.check_tone(1000)


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_aiortc_client_presses_keys(echo: AiortcEcho, codec: str) -> None:
    async with client_of(echo, codec=codec) as client:
        await client.call()
        await client.wait_audio(1)
        await client.press("18*#")
        await until(lambda: echo.heard.digits() == "18*#", timeout_s=3, what="the last packets of the keys")
        marked = [packet for packet in echo.heard.packets if packet.marker and len(packet.payload) == 4]
        assert len(marked) == 4


async def test_the_aiortc_client_notices_close_notify(echo: AiortcEcho) -> None:
    async with client_of(echo) as client:
        await client.call()
        await client.wait_audio(1)  # both ends are through the handshake
        closing = asyncio.gather(*(pc.close() for pc in echo.connections))
        await client.wait_closed(1)
        await closing
