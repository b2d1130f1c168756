"""The agent SDK in Firefox ESR, from a page of another origin: registered, a call made and one taken, both heard."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from peers import audio
from peers.agent import Agent
from peers.firefox import firefox, page_of, served, tone_of
from peers.server import ServerProcess, running

from sdpserver.passwords import hash_password

BOB_HZ = 700.0
SCRIPT = """import { SdpServerAgent } from "SERVER/sdk/agent.js";
async function hears(call) {
  const stream = call.stream ?? await new Promise(done => call.on("stream", done));
  if (call.pc.connectionState !== "connected") await new Promise(done => call.on("connected", done));
  return heard(stream);
}

async function main() {
  const agent = new SdpServerAgent({url: "SERVER", dn: "5001", password: "pw"});
  const incoming = new Promise(done => agent.on("incomingCall", done));
  await agent.connect();
  const made = await agent.call("5002");
  await made.answered;
  const first = await hears(made);
  await made.hold();
  await made.resume();
  const again = await hears(made);
  await made.restartIce();
  await made.hangup();
  await post("/call_me");
  const taken = await incoming;
  await taken.answer();
  const second = await hears(taken);
  await post("/heard", [first, again, second]);
  await taken.hangup();
  await agent.close();
  return [agent.state, made.endReason, taken.endReason];
}
"""


async def test_firefox_makes_and_takes_calls() -> None:
    results: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    heard: list[audio.Tone] = []
    calling: list[asyncio.Task[Any]] = []

    async def reply(path: str, body: Any) -> Any:
        match path:
            case "/call_me":
                calling.append(asyncio.create_task(bob.call("5001", frequency_hz=BOB_HZ)))
            case "/heard":
                heard.extend(tone_of(base64.b64decode(text)) for text in body)
            case "/results":
                results.set_result(body)
        return None

    page = ""
    async with served(reply, lambda: page) as url:
        tables = {
            "dn": [{"number": number, "password_hash": hash_password("pw")} for number in ("5001", "5002")],
            "webrtc": {"bind": "0.0.0.0"},  # Firefox uses no loopback address while there is another one
            "http": {"cors_origins": [url.rstrip("/")]},
        }
        server = await asyncio.to_thread(ServerProcess, tables)
        with running(server):
            page = page_of(SCRIPT.replace("SERVER", server.url))
            async with Agent(server.url) as bob, asyncio.timeout(45):
                await bob.register("5002", "pw")
                async with firefox(url):
                    answered = await bob.answer(await bob.incoming(timeout_s=20), frequency_hz=BOB_HZ)
                    await answered.client.wait_audio(20)
                    assert await results == ["closed", "normal_clearing", "normal_clearing"]
                (call,) = [await task for task in calling]
                assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
    assert len(heard) == 3
    for tone in heard:
        assert tone.frequency_hz == pytest.approx(BOB_HZ, rel=0.02)
        assert tone.duration_s > 1.0
