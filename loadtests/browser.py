"""Chromium against the built-in `echo`: from the POST to connected, and to hearing its own tone come back."""

from __future__ import annotations

from typing import Any

from peers.chromium import browser
from playwright.async_api import Route

from .gateway import Gateway
from .setups import summary

PAGE = "__bench__"
# The first audio frame that the page is given with more than -30 dBFS in it is when a user would begin to hear.
SCRIPT = """
async () => {
  const microphone = await navigator.mediaDevices.getUserMedia(
    {audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
  const pc = new RTCPeerConnection();
  pc.addTrack(microphone.getAudioTracks()[0], microphone);
  const connected = new Promise(resolve => {
    pc.onconnectionstatechange = () => { if (pc.connectionState === 'connected') resolve(performance.now()); };
  });
  const heard = new Promise(resolve => {
    pc.ontrack = async ({track}) => {
      document.querySelector('audio').srcObject = new MediaStream([track]);
      const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
      for (;;) {
        const {value, done} = await reader.read();
        if (done) return;
        const pcm = new Float32Array(value.numberOfFrames);
        value.copyTo(pcm, {planeIndex: 0, format: 'f32-planar'});
        value.close();
        if (pcm.reduce((sum, x) => sum + x * x, 0) / pcm.length > 0.001) return resolve(performance.now());
      }
    };
  });
  await pc.setLocalDescription();
  const post = (path, body) => fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
  const started = performance.now();
  const reply = await post('/webrtc/offer', {
    sdp: {type: 'offer', sdp: pc.localDescription.sdp}, call: {to: 'echo'}});
  const answer = await reply.json();
  if (!reply.ok) throw new Error(JSON.stringify(answer));
  const answered = performance.now();
  await pc.setRemoteDescription(answer.sdp);
  const times = {answer_ms: answered - started, connected_ms: await connected - started,
                 two_way_audio_ms: await heard - started};
  await post('/webrtc/close', {session_id: answer.session_id});
  pc.close();
  microphone.getTracks().forEach(track => track.stop());
  return times;
}
"""


async def chromium_echo(runs: int = 20) -> dict[str, Any]:
    """One call after the other in one page; the first two, which warm the browser, are not counted. ms."""
    found: dict[str, list[float]] = {"answer_ms": [], "connected_ms": [], "two_way_audio_ms": []}
    async with Gateway() as gateway, browser() as process:
        context = await process.new_context()
        page = await context.new_page()

        async def fulfill(route: Route) -> None:
            await route.fulfill(content_type="text/html", body="<!doctype html><audio autoplay muted></audio>")

        await page.route(f"{gateway.url}/{PAGE}", fulfill)
        await page.goto(f"{gateway.url}/{PAGE}")
        version = process.version
        for i in range(runs + 2):
            times = await page.evaluate(SCRIPT)
            if i >= 2:
                for name, value in times.items():
                    found[name].append(value)
        await context.close()
    return {"chromium": version, **{name: summary(values) for name, values in found.items()}}
