"""Firefox ESR, headless, with a tone for a microphone. Its page asks the test for what it needs."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from . import audio

PREFS = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.gmp-manager.updateEnabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "toolkit.telemetry.enabled": False,
}

_PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
const post = async (path, body) => (await fetch(path, {method: "POST", body: JSON.stringify(body ?? null)})).json();

// 1.5 s of it. An AudioContext does not run here, for want of a sound card.
async function heard(stream) {
  const recorder = new MediaRecorder(stream, {mimeType: "audio/ogg;codecs=opus"});
  const found = new Promise(done => { recorder.ondataavailable = ({data}) => done(data); });
  recorder.start();
  setTimeout(() => recorder.stop(), 1500);
  const octets = new Uint8Array(await (await found).arrayBuffer());
  return btoa(String.fromCharCode(...octets));
}

SCRIPT

main().catch(error => [String(error)]).then(results => post("/results", results));
</script>"""


def page_of(script: str) -> str:
    """A page that posts to /results what the script's `main()` returns, or in a list why it failed.

    The script has `post(path, body)`, and `heard(stream)`, a recording for `tone_of` in base64.
    """
    return _PAGE.replace("SCRIPT", script)


@asynccontextmanager
async def served(reply: Callable[[str, Any], Awaitable[Any]], page: Callable[[], str]) -> AsyncIterator[str]:
    """An HTTP server for the page; `reply(path, body)` answers its POSTs. Yields the URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        if method == "GET":
            kind, body = "text/html", page().encode()
        else:
            length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:"))
            kind = "application/json"
            body = json.dumps(await reply(path, json.loads(await reader.readexactly(length)))).encode()
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@asynccontextmanager
async def firefox(url: str) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as profile:
        prefs = "\n".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFS.items())
        await asyncio.to_thread((Path(profile) / "user.js").write_text, prefs)
        process = await asyncio.create_subprocess_exec(
            "firefox-esr",
            "--headless",
            "--no-remote",
            "--profile",
            profile,
            url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


def tone_of(ogg: bytes) -> audio.Tone:
    """What a recording by its MediaRecorder has."""
    with av.open(io.BytesIO(ogg), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    pcm = np.concatenate(frames, axis=1)
    return audio.measure(pcm.mean(axis=0), rate)
