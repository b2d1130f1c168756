"""The JavaScript SDK: its size, its types, its requests in Node, its sessions in Chromium."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers import audio
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import wait_until
from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients" / "js" / "src"
OFFER = (ROOT / "tests" / "data" / "offers" / "chromium" / "audio.sdp").read_bytes().decode()
MAX_OCTETS = {"webrtc-sdp-client.js": 6 * 1024, "agent.js": 5 * 1024}
TSC = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--module", "esnext"]


def run(*command: str | Path, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node(script: str, **values: Any) -> Any:
    """Run the body of an async function with `client` classes and `values` in scope; what it returns, by JSON."""
    code = f"""
        import {{ WebRTCSDPClient, SdpServerError }} from {json.dumps(str(SOURCE / "index.js"))};
        const {{ {", ".join(values)} }} = {json.dumps(values)};
        const failure = (promise) => promise.then(() => null, ({{ ...it }}) => it);
        const result = await (async () => {{ {script} }})();
        console.log(JSON.stringify(result ?? null));
    """
    return json.loads(run("node", "--input-type=module", "-", stdin=code))


@pytest.mark.parametrize("name", list(MAX_OCTETS))
def test_it_is_small_when_minified_and_gzipped(name: str) -> None:
    minified = run("esbuild", SOURCE / name, "--minify", "--bundle", "--format=esm")
    assert len(gzip.compress(minified.encode(), 9)) < MAX_OCTETS[name]


def test_its_types_fit_a_strict_user(tmp_path: Path) -> None:
    user = tmp_path / "user.ts"
    user.write_text(
        f"""
        import {{ WebRTCSDPClient, SdpServerError }} from "{SOURCE / "index"}";
        const client = new WebRTCSDPClient({{ baseUrl: "https://gw.example.com", apiKey: "k", timeoutMs: 5000 }});
        export async function call(audio: HTMLAudioElement): Promise<string> {{
          try {{
            const session = await client.setupSession({{ to: "600", audio, call: {{ wait_for: "early" }} }});
            session.addEventListener("closed", ({{ detail }}) => console.log(detail.toUpperCase()));
            session.addEventListener("event", ({{ detail }}) => console.log(detail.elapsed_ms.toFixed(1)));
            await session.connected;
            await session.sendDtmf("1");
            await client.sendDtmf(session.call.call_id, "1", {{ method: "info", gapMs: 100 }});
            await client.play(session.call.call_id, "hello.wav", {{ leg: "both", loop: true }});
            const {{ path }} = await client.record(session.call.call_id, "start", {{ tone: true }});
            return path + (await client.conference([session.call.call_id])).room;
          }} catch (error) {{
            if (error instanceof SdpServerError && error.sipStatus === 486) return error.reason;
            throw error;
          }}
        }}
        // @ts-expect-error no such action
        client.record("id", "begin");
        // @ts-expect-error no such codec
        client.sendOffer("v=0", {{ call: {{ codecs: ["G729"] }} }});
        """
    )
    run("tsc", *TSC, "--moduleResolution", "node", user)


def test_the_agents_types_fit_a_strict_user(tmp_path: Path) -> None:
    user = tmp_path / "user.ts"
    user.write_text(
        f"""
        import {{ SdpServerAgent, SdpServerAgentError, type AgentCall }} from "{SOURCE / "index"}";
        const agent = new SdpServerAgent({{ dn: "5001", password: "pw", displayName: "Ann" }});
        const off: () => void = agent.on("incomingCall", (call) => call.answer());
        agent.on("callEnded", ({{ call, reason, duration }}) => console.log(call.id, reason, duration?.toFixed()));
        agent.addEventListener("disconnected", ({{ detail }}) => console.log(detail.delayMs.toFixed()));
        export async function work(): Promise<AgentCall> {{
          const {{ dn }} = await agent.connect();
          const call = await agent.call("600", {{ headers: {{ "X-Dn": dn }} }});
          await call.answered;
          call.on("ended", ({{ sipStatus }}) => off());
          await call.sendDtmf("1", {{ method: "info" }});
          await call.transfer(await call.consult("5002"));
          await call.hold().catch((error) => error instanceof SdpServerAgentError && error.code.toFixed());
          return call;
        }}
        // @ts-expect-error without a DN
        new SdpServerAgent({{}});
        // @ts-expect-error no such event
        agent.on("rings", () => {{}});
        """
    )
    run("tsc", *TSC, "--moduleResolution", "node", user)


def test_requests_from_node(gateway: ServerProcess) -> None:
    result = node(
        """
        const client = new WebRTCSDPClient(url + "/");
        const answer = await client.sendOffer(offer, { to: "echo", metadata: { n: 1 } });
        const candidate = { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0", sdpMLineIndex: 0 };
        await client.sendIceCandidate(answer.sessionId, candidate);
        await client.sendIceCandidate(answer.sessionId, [candidate, null]);
        await client.sendIceCandidate(answer.sessionId, null);
        const text = await client.exchangeSdp(offer, { sessionId: answer.sessionId, resumeToken: answer.resumeToken });
        const closed = await client.closeSession(answer.sessionId, "done");
        return { iceServers: await client.getIceServers(), answer, closed, sameText: text.startsWith("v=0") };
        """,
        url=gateway.url,
        offer=OFFER,
    )
    assert result["iceServers"] == []
    assert result["answer"]["sdp"]["type"] == "answer"
    assert result["answer"]["metadata"] == {"n": 1}
    assert result["answer"]["call"]["state"] == "answered"
    assert result["closed"] == {"session_id": result["answer"]["sessionId"], "status": "closed"}
    assert result["sameText"]


def test_what_can_be_done_to_a_call_from_node(gateway: ServerProcess, asterisk: Asterisk) -> None:
    gateway.add_sound("hello.wav", audio.sine(700, 10, 8000), 8000)
    mark = asterisk.ami.mark()
    result = node(
        """
        const client = new WebRTCSDPClient(url);
        const answer = await client.sendOffer(offer, { call: { to: "605", wait_for: "answer" } });
        const id = answer.call.call_id;
        const orders = [
          await client.sendDtmf(id, "2B*8", { durationMs: 60, gapMs: 60, leg: "sip" }),
          await client.play(id, "hello.wav", { leg: "both", loop: true }),
          await client.stopPlaying(id, { leg: "both" }),
          await client.mute(id),
          await client.mute(id, false),
        ];
        const started = await client.record(id, "start", { tone: false });
        const paused = await client.record(id, "pause");
        const resumed = await client.record(id, "resume");
        const stopped = await client.record(id, "stop");
        const wrong = await failure(client.record(id, "begin"));
        const inRoom = await client.conference([id], "node");
        const unnamed = await client.conference([id]);
        const unknown = await failure(client.mute("never-was"));
        const session = answer.sessionId;
        return { orders, started, paused, resumed, stopped, wrong, inRoom, unnamed, unknown, id, session };
        """,
        url=gateway.url,
        offer=OFFER,
    )
    assert asterisk.wait_digits(since=mark, timeout_s=8) == "2B*8"
    steps = {"play_ended", "muted", "room_joined"}
    wait_until(lambda: steps <= gateway.session(result["session"])["timeline"].keys(), timeout_s=5, what=str(steps))
    httpx.post(f"{gateway.url}/webrtc/close", json={"session_id": result["session"]}, trust_env=False)
    assert [order["status"] for order in result["orders"]] == ["queued", "playing", "stopped", "muted", "unmuted"]
    assert all(order["callId"] == result["id"] for order in result["orders"])
    assert {result[name]["path"] for name in ("started", "paused", "resumed", "stopped")} == {result["started"]["path"]}
    assert result["stopped"]["status"] == "stopping"
    assert (result["wrong"]["code"], result["wrong"]["reason"]) == (400, "missing_field")
    assert result["inRoom"] == {"room": "node", "callIds": [result["id"]]}
    assert result["unnamed"]["room"] not in ("", "node")
    assert (result["unknown"]["code"], result["unknown"]["reason"]) == (404, "call_not_found")


def test_refusals_carry_code_reason_and_session(gateway: ServerProcess) -> None:
    bad, gone, busy = node(
        """
        const client = new WebRTCSDPClient({ baseUrl: url });
        return [
          await failure(client.sendOffer("nonsense")),
          await failure(client.closeSession("never-was")),
          await failure(client.sendOffer(offer, { call: { to: "602", wait_for: "answer" } })),
        ];
        """,
        url=gateway.url,
        offer=OFFER,
    )
    assert (bad["code"], bad["reason"]) == (400, "invalid_sdp")
    assert bad["requestId"]
    assert (gone["code"], gone["reason"], gone["sessionId"]) == (404, "session_not_found", "never-was")
    assert (busy["code"], busy["reason"], busy["sipStatus"]) == (502, "busy", 486)


def test_no_reply_an_abort_and_a_time_out_are_told_apart() -> None:
    result = node(
        """
        const { createServer } = await import("node:http");
        const silent = createServer(() => {}).listen(0, "127.0.0.1");
        await new Promise((resolve) => silent.once("listening", resolve));
        const baseUrl = `http://127.0.0.1:${silent.address().port}`;
        const aborted = AbortSignal.abort();
        const reasons = [
          await failure(new WebRTCSDPClient({ baseUrl, timeoutMs: 50 }).getIceServers()),
          await failure(new WebRTCSDPClient({ baseUrl }).getIceServers({ signal: aborted })),
        ];
        silent.closeAllConnections();
        await new Promise((resolve) => silent.close(resolve));
        reasons.push(await failure(new WebRTCSDPClient({ baseUrl }).getIceServers()));
        return reasons.map(({ code, reason }) => [code, reason]);
        """
    )
    assert result == [[0, "timeout"], [0, "aborted"], [0, "network"]]


async def _page(browser: Browser, gateway: ServerProcess) -> Page:
    """A page of the gateway's origin with the SDK as a script tag."""
    page = await browser.new_page()
    await page.goto(f"{gateway.url}/health")
    await page.add_script_tag(url=f"{gateway.url}/sdk/webrtc-sdp-client.js")
    return page


@pytest.mark.asyncio(loop_scope="session")
async def test_a_session_connects_presses_keys_holds_and_closes(chromium: Browser, gateway: ServerProcess) -> None:
    page = await _page(chromium, gateway)
    result = await page.evaluate(
        """async () => {
            const events = [];
            const onEvent = ({ type }) => events.push(type);
            const session = await new WebRTCSDPClient().setupSession({ to: "echo", onEvent });
            await session.connected;
            await session.sendDtmf("12");
            const renegotiated = new Promise((resolve) =>
                session.addEventListener("event", ({ detail }) => detail.data.direction === "sendrecv" && resolve()));
            const holding = session.setDirection("inactive");
            await Promise.all([holding, session.negotiate(), session.negotiate()]);
            const held = session.pc.getTransceivers()[0].currentDirection;
            await session.setDirection("sendrecv");
            await renegotiated;
            const resumed = session.pc.getTransceivers()[0].currentDirection;
            await session.restartIce();
            await session.close();
            const tracks = session.microphone.getTracks().map(({ readyState }) => readyState);
            return { held, resumed, events, tracks, reason: session.closeReason };
        }"""
    )
    assert result["held"] == "inactive"
    assert result["resumed"] == "sendrecv"
    assert {"offer", "answered", "dtls", "renegotiated"} <= set(result["events"])
    assert result["reason"] == "normal_clearing"
    assert result["tracks"] == ["ended"]
    await page.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_far_ends_hang_up_closes_the_session_with_its_reason(
    chromium: Browser, gateway: ServerProcess
) -> None:
    page = await _page(chromium, gateway)
    reason = await page.evaluate(
        """async () => {
            const session = await new WebRTCSDPClient().setupSession({ to: "612", stream: false });
            return await new Promise((resolve) => session.addEventListener("closed", ({ detail }) => resolve(detail)));
        }"""
    )
    assert reason == "normal_clearing"
    await page.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_reloaded_page_goes_on_with_its_call(
    chromium: Browser, asterisk: Asterisk, own_server: Callable[..., ServerProcess]
) -> None:
    server = own_server({"session": {"resume_s": 10}}, asterisk=asterisk)  # however long the browser takes to reload
    page = await _page(chromium, server)
    call = """async () => {
        window.session = await new WebRTCSDPClient().setupSession({ to: "600", storageKey: "call" });
        await session.connected;
        return { id: session.id, resumed: session.resumed, callId: session.call.call_id };
    }"""
    before = await page.evaluate(call)
    await page.reload()
    await page.add_script_tag(url=f"{server.url}/sdk/webrtc-sdp-client.js")
    after = await page.evaluate(call)
    assert before["resumed"] is False
    assert after == before | {"resumed": True}
    await page.evaluate("session.close()")
    again = await page.evaluate(call)
    assert again["id"] != before["id"], "a call that was hung up is not resumed"
    await page.evaluate("session.close()")
    await page.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_closed_page_hangs_up(chromium: Browser, gateway: ServerProcess) -> None:
    page = await _page(chromium, gateway)
    await page.evaluate(
        "async () => (await new WebRTCSDPClient().setupSession({ to: 'echo' })).connected.then(() => null)"
    )
    assert len(gateway.open_sessions()) == 1
    await page.close(run_before_unload=False)
    # The fixture asserts that the session goes.
