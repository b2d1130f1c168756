"""Chromium as a caller: Debian's own, headless, with a 1 kHz tone for a microphone, judged by the audio it plays."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route, async_playwright
from playwright.async_api import Error as PlaywrightError

from . import audio
from .asterisk import Asterisk

EXECUTABLE = "/usr/bin/chromium"
MICROPHONE_HZ = 1000.0
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
]
PAGE = "__caller__"
EMPTY_PAGE = "<!doctype html>"
HEARD_HZ = """async (track) => {
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 8192 });
    new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(analyser);
    const bins = new Float32Array(analyser.frequencyBinCount);
    for (let tries = 0; tries < 100; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        analyser.getFloatFrequencyData(bins);
        const peak = bins.indexOf(Math.max(...bins));
        if (tries > 5 && bins[peak] > -50) return (peak * context.sampleRate) / analyser.fftSize;
    }
    return 0;
}"""
"""The loudest frequency of a track, 0 if it is silent for 5 s."""
SCRIPT = Path(__file__).with_name("chromium_page.js")


def microphone(path: Path) -> Path:
    """The file that the fake microphone plays in a loop: whole periods, so that the loop has no seam."""
    audio.write_wav(path, audio.sine(MICROPHONE_HZ, 10, 48000), 48000)
    return path


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """One Chromium; its pages are cheap."""
    with tempfile.TemporaryDirectory(prefix="chromium-") as folder:
        tone = microphone(Path(folder) / "tone.wav")
        async with async_playwright() as playwright:
            process = await playwright.chromium.launch(
                executable_path=EXECUTABLE, args=[*FLAGS, f"--use-file-for-fake-audio-capture={tone}"]
            )
            try:
                yield process
            finally:
                await process.close()


class Caller:
    """A page of the gateway's own origin that makes one call at a time."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.answer: dict[str, Any] = {}

    async def open(self) -> None:
        """Load the page; the server itself has no such page, so it is put in on the way."""

        async def fulfill(route: Route) -> None:
            script = f"<script>{SCRIPT.read_text()}</script>"
            page = f"<!doctype html><meta charset=utf-8><audio autoplay muted></audio>{script}"
            await route.fulfill(content_type="text/html", body=page)

        await self.page.route(f"{self.url}/{PAGE}", fulfill)
        await self.page.goto(f"{self.url}/{PAGE}")

    async def call(self, to: str | None = None, *, codec: str | None = None, **call: Any) -> dict[str, Any]:
        """Offer, answer, connected. The page's own times in ms: `connected_ms`, from the POST.

        :param codec: what is offered beside telephone-event, several in the order of preference: "red opus".
        """
        if to is not None:
            call["to"] = to
        self.answer = await self.page.evaluate("options => call(options)", {"codec": codec, "body": {"call": call}})
        return self.answer

    async def resume(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Take a session over that an earlier page of it made."""
        body = {"session_id": answer["session_id"], "resume_token": answer["resume_token"]}
        self.answer = await self.page.evaluate("options => call(options)", {"codec": None, "body": body})
        return self.answer

    async def reoffer(self, *, direction: str = "sendrecv", ice_restart: bool = False) -> dict[str, Any]:
        """Another offer of the same connection."""
        options = {"direction": direction, "iceRestart": ice_restart}
        self.answer = await self.page.evaluate("options => reoffer(options)", options)
        return self.answer

    async def mute(self, muted: bool) -> None:
        await self.page.evaluate("muted => mute(muted)", muted)

    async def press(self, digits: str) -> None:
        """Keys, by RTCDTMFSender; returns when the last one is out."""
        await self.page.evaluate("digits => press(digits)", digits)

    async def heard(self, start_s: float = 0.0) -> tuple[audio.Pcm, int]:
        """What the page played since `start_s` of its recording, and the rate."""
        recording = await self.page.evaluate("start => recording(start)", start_s)
        return audio.from_float32_base64(recording["pcm"]), recording["rate"]

    async def position_s(self) -> float:
        """Where its recording is."""
        found: float = await self.page.evaluate("position()")
        return found

    async def listen(self, duration_s: float) -> tuple[audio.Pcm, int]:
        """What it plays from now on, for so long of its own time."""
        start_s = await self.position_s()
        await self.page.wait_for_function(
            "end => position() >= end", arg=start_s + duration_s, polling=50, timeout=(duration_s + 10) * 1000
        )
        return await self.heard(start_s)

    async def wait_tone(self, frequency_hz: float, *, timeout_s: float = 5.0) -> float:
        """Until the last 250 ms it played are this tone, and steady; `time.monotonic()`."""
        deadline = time.monotonic() + timeout_s
        while True:
            pcm, rate = await self.heard(max(0.0, await self.position_s() - 0.25))
            if audio.is_steady(pcm, rate, frequency_hz):
                return time.monotonic()
            if time.monotonic() > deadline:
                found = audio.measure(pcm, rate)
                raise TimeoutError(f"no steady {frequency_hz:.0f} Hz in {timeout_s} s, at last {found}")
            await self.page.wait_for_timeout(20)

    async def state(self) -> dict[str, Any]:
        """Connection state, statistics of the inbound audio, and the events with the page's time in ms."""
        found: dict[str, Any] = await self.page.evaluate("state()")
        return found

    async def wait_state(self, expression: str, *, timeout_s: float = 5.0) -> None:
        """A JavaScript condition on `pc`, `events` and so on."""
        await self.page.wait_for_function(expression, polling=10, timeout=timeout_s * 1000)

    async def hang_up(self) -> None:
        """POST /webrtc/close."""
        await self.page.evaluate("hangUp()")

    async def close(self) -> None:
        """Close the page: the browser says close_notify."""
        await self.page.close()
        assert not self.errors, self.errors


@contextlib.asynccontextmanager
async def caller(process: Browser, url: str) -> AsyncIterator[Caller]:
    """A page that is closed at the end."""
    context = await process.new_context()
    page = Caller(await context.new_page(), url)
    try:
        await page.open()
        yield page
        await page.close()
    finally:
        # A context that is closed with its pages does not let them say close_notify.
        with contextlib.suppress(PlaywrightError):  # closed already, or it has no connection
            await page.page.evaluate("pc.close()")
        await context.close()


async def hear_each_other(page: Caller, pbx: Asterisk, channel: str, frequency_hz: float = MICROPHONE_HZ) -> None:
    """For 1.5 s the page hears this tone, and the channel the page's microphone."""
    await page.wait_tone(frequency_hz)
    recording = pbx.record(channel)
    pcm, rate = await page.listen(1.5)
    there = await asyncio.to_thread(recording.stop)
    audio.check_tone(pcm, rate, frequency_hz, min_duration_s=1.4)
    audio.check_tone(*there, MICROPHONE_HZ, min_duration_s=1.2)


@contextlib.asynccontextmanager
async def own_page(process: Browser, script: str) -> AsyncIterator[Page]:
    """An empty page that has run `script`."""
    context = await process.new_context()
    try:
        page = await context.new_page()
        # A secure context, which getUserMedia asks for, without a server.
        await page.route("http://localhost/", lambda route: route.fulfill(content_type="text/html", body=EMPTY_PAGE))
        await page.goto("http://localhost/")
        await page.evaluate(script)
        yield page
    finally:
        await context.close()
