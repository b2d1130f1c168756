"""Firefox ESR connects to legs over the real media plane; its page asks this test for answers and offers.

It uses no loopback address while the machine has another one, so the media plane is bound to all.
"""

from __future__ import annotations

import asyncio
from typing import Any

from peers.firefox import firefox, served

from sdpserver.sdp import audio_codecs
from sdpserver.webrtc import WebRtcEvent, parse_offer

from .conftest import Gateway

PAGE = """<!doctype html><meta charset="utf-8"><script>
const post = async (path, body) => (await fetch(path, {method: "POST", body: JSON.stringify(body ?? null)})).json();

async function until(condition, what) {
  for (const end = performance.now() + 8000; performance.now() < end;) {
    if (await condition()) return;
    await new Promise(done => setTimeout(done, 20));
  }
  throw new Error("waited 8 s for " + what);
}

async function negotiate(pc, path) {
  await pc.setLocalDescription();
  await pc.setRemoteDescription({type: "answer", sdp: await post(path, pc.localDescription.sdp)});
}

async function answer(pc, path) {
  await pc.setRemoteDescription({type: "offer", sdp: await post(path)});
  await pc.setLocalDescription();
  await post("/answer", pc.localDescription.sdp);
}

async function hears(pc, more) {
  const count = async () => {
    let packets = 0;
    for (const report of (await pc.getStats()).values())
      if (report.type === "inbound-rtp" && report.kind === "audio") packets += report.packetsReceived;
    return packets;
  };
  const before = await count();
  await until(async () => await count() >= before + more, "audio");
}

function talk(pc) {
  const channel = pc.createDataChannel("chat"), heard = [];
  channel.onmessage = event => heard.push(event.data);
  channel.onopen = () => channel.send("hello");
  return () => until(() => heard[0] === "hello", "the data channel's echo");
}

async function call(config, build, ...then) {
  const pc = new RTCPeerConnection(config);
  const check = build(pc);
  await (config.answers ? answer(pc, config.answers) : negotiate(pc, "/offer"));
  await until(() => pc.connectionState === "connected", "the connection");
  if (check) await check();
  for (const step of then) await step(pc);
  pc.close();
}

async function main() {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
  const [microphone] = media.getAudioTracks(), [camera] = media.getVideoTracks();
  const audio = pc => { pc.addTrack(microphone, media); };
  const videoThenAudio = pc => { pc.addTrack(camera, media); pc.addTrack(microphone, media); };
  const restart = async pc => { pc.restartIce(); await negotiate(pc, "/reoffer"); await hears(pc, 50); };
  const hold = async pc => {
    for (const direction of ["inactive", "sendrecv"]) {
      pc.getTransceivers()[0].direction = direction;
      await negotiate(pc, "/reoffer");
    }
    await hears(pc, 10);
  };
  const later = async pc => { const check = talk(pc); await negotiate(pc, "/reoffer"); await check(); };
  const listen = pc => hears(pc, 10);
  const cases = {
    audio: () => call({}, audio, listen, restart, hold, later),
    audio_data: () => call({}, pc => { audio(pc); return talk(pc); }, listen),
    data: () => call({}, talk),
    answered: () => call({answers: "/own_offer"}, audio, listen, restart, hold, later),
    answered_opus: () => call({answers: "/own_offer_of_opus"}, audio, listen),
    video_audio: () => call({}, videoThenAudio, listen),
    video_audio_max_bundle: () => call({bundlePolicy: "max-bundle"}, videoThenAudio, listen),
  };
  const results = {};
  for (const [name, run] of Object.entries(cases))
    results[name] = await run().then(() => "ok", error => String(error));
  return results;
}

main().catch(error => ({page: String(error)})).then(results => post("/results", results));
</script>"""


async def test_firefox_connects_renegotiates_and_restarts_ice(gateway_on_all_addresses: Gateway) -> None:
    gateway = gateway_on_all_addresses
    results: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    agreed: list[list[str]] = []

    async def reply(path: str, body: Any) -> Any:
        match path:
            case "/offer":
                return gateway.answer(body)
            case "/reoffer":
                offer = parse_offer(body)
                assert gateway.leg.can_renegotiate(offer)
                return gateway.leg.renegotiate(offer)
            case "/own_offer":
                return gateway.leg_with_offer().offer
            case "/own_offer_of_opus":
                return gateway.leg_with_offer(audio_codecs(["opus"])).offer
            case "/answer":
                gateway.leg.accept_answer(body)
                agreed.append([codec.name for codec in gateway.leg.codecs])
            case "/results":
                results.set_result(body)
        return None

    async with served(reply, lambda: PAGE) as url, firefox(url), asyncio.timeout(45):
        found = await results
    assert set(found.values()) == {"ok"}, found
    assert len(found) == 7
    assert gateway.count(WebRtcEvent.CONNECTED) == 7
    assert gateway.count(WebRtcEvent.FAILED) == 0
    assert agreed == [["PCMU", "PCMA", "opus", "telephone-event"], ["opus"]]
    await gateway.wait(WebRtcEvent.CLOSED, count=7)
