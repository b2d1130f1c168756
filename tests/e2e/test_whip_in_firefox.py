"""WHIP in Firefox ESR: whip-whep's client, from a page of another origin, hears itself from `echo`."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest
from peers.firefox import firefox, page_of, served, tone_of
from peers.server import ServerProcess, running
from peers.whip import WHIP_WHEP

from sdpserver.config import WebRtc
from sdpserver.webrtc.addresses import AnnouncedAddresses

MICROPHONE_HZ = 1000.0
"""Of Firefox's fake one."""
SCRIPT = """CLIENT
const settled = async pc => {
  while (!["connected", "completed"].includes(pc.iceConnectionState)) await new Promise(done => setTimeout(done, 20));
};

async function main() {
  const microphone = await navigator.mediaDevices.getUserMedia({audio: true});
  const pc = new RTCPeerConnection();
  microphone.getTracks().forEach(track => pc.addTrack(track, microphone));
  const stream = new Promise(done => { pc.ontrack = ({streams}) => done(streams[0]); });
  const client = new WHIPClient();
  await client.publish(pc, "SERVER/whip/echo");
  await settled(pc);
  const first = await heard(await stream);
  await client.restart();
  await settled(pc);
  const second = await heard(await stream);
  await client.stop();
  return [first, second];
}
"""


async def test_firefox_calls_restarts_ice_and_hangs_up() -> None:
    results: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def reply(path: str, body: Any) -> Any:
        results.set_result(body)

    page = ""
    async with served(reply, lambda: page) as url:
        # Firefox uses no loopback address while there is another one, and this client cannot restart ICE with two of
        # the server's: loopback must not be told to a client that comes from elsewhere.
        address = AnnouncedAddresses(WebRtc(bind="0.0.0.0"), time.monotonic).current()[0]
        tables = {
            "webrtc": {"bind": "0.0.0.0", "announced_ips": [address, "127.0.0.1"]},
            "http": {"cors_origins": [url.rstrip("/")]},
        }
        server = await asyncio.to_thread(ServerProcess, tables)
        with running(server):
            client = WHIP_WHEP.read_text().replace("export class", "class")
            page = page_of(SCRIPT.replace("CLIENT", client).replace("SERVER", server.url))
            async with firefox(url), asyncio.timeout(45):
                heard = await results
            assert len(heard) == 2, heard
            assert server.open_sessions() == []
    for recording in heard:
        tone = tone_of(base64.b64decode(recording))
        assert tone.frequency_hz == pytest.approx(MICROPHONE_HZ, rel=0.02)
        assert tone.duration_s > 1.0
