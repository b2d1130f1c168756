"""Userspace rtpengine as the yardstick: its process, and its ng control protocol (bencode over UDP)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .loadgen import Loadgen
from .sdp import rtp_address, rtp_sdp, sdes_key

OPUS_BITRATE_BPS, OPUS_COMPLEXITY = 16_000, 3
"""What the gateway's defaults are too, so that both do the same work."""
SHIM = Path(__file__).with_name("opus_complexity.c")

KEY_OCTETS = {"AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44, "AES_CM_128_HMAC_SHA1_80": 30}


class RtpengineError(Exception):
    """It is not there, does not start, or refused a command."""


def bencode(value: object) -> bytes:
    """str, bytes, int, list and dict (BEP 3; keys sorted)."""
    match value:
        case str():
            return bencode(value.encode())
        case bytes():
            return b"%d:%b" % (len(value), value)
        case int():
            return b"i%de" % value
        case list():
            return b"l" + b"".join(bencode(item) for item in value) + b"e"
        case dict():
            pairs = sorted((key.encode(), item) for key, item in value.items())
            return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"
    raise TypeError(f"{type(value).__name__} has no bencode form")


def bdecode(text: bytes) -> Any:
    """One value; strings come back as str. Raises ValueError."""
    value, end = _bdecode(text, 0)
    if end != len(text):
        raise ValueError("something follows the value")
    return value


def _bdecode(text: bytes, at: int) -> tuple[Any, int]:
    kind = text[at : at + 1]
    if kind == b"i":
        end = text.index(b"e", at)
        return int(text[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while text[at : at + 1] != b"e":
            item, at = _bdecode(text, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2], strict=True))), at + 1
    colon = text.index(b":", at)
    end = colon + 1 + int(text[at:colon])
    if end > len(text):
        raise ValueError("a string runs past the end")
    return text[colon + 1 : end].decode(), end


def version() -> str:
    """Of the program that is installed. Raises RtpengineError."""
    if shutil.which("rtpengine") is None:
        raise RtpengineError("rtpengine is missing: run `make bench`, which installs it")
    done = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().removeprefix("Version: ")


class _Replies(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Any]] = {}

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        cookie, _, body = data.partition(b" ")
        future = self.waiting.pop(cookie.decode(), None)
        if future is not None and not future.done():
            future.set_result(bdecode(body))


class Rtpengine:
    """A process of its own on loopback, without the kernel module. `threads`: its packet threads."""

    def __init__(self, *, ports: tuple[int, int], threads: int | None = None) -> None:
        self._ports, self._threads = ports, threads
        self._process: asyncio.subprocess.Process | None = None
        self._cookies = itertools.count(1)
        self._folder = tempfile.mkdtemp(prefix="rtpengine-")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Rtpengine:
        program = shutil.which("rtpengine")
        if program is None:
            raise RtpengineError("rtpengine is missing: run `make bench`, which installs it")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {
            "table": -1,
            "interface": "127.0.0.1",
            "listen-ng": f"127.0.0.1:{port}",
            "port-min": self._ports[0],
            "port-max": self._ports[1],
            "log-level": 3,
            "pidfile": f"{self._folder}/pid",
        }
        if self._threads:
            options["num-threads"] = self._threads
        arguments = [f"--{name}={value}" for name, value in options.items()]
        shim = await asyncio.to_thread(self._build_shim)
        environment = {**os.environ, "LD_PRELOAD": str(shim), "OPUS_COMPLEXITY": str(OPUS_COMPLEXITY)}
        log = (Path(self._folder) / "log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                program,
                "--config-file=none",
                "--foreground",
                "--log-stderr",
                *arguments,
                stdout=log,
                stderr=log,
                env=environment,
            )
        loop = asyncio.get_running_loop()
        self._transport, self._protocol = await loop.create_datagram_endpoint(_Replies, remote_addr=("127.0.0.1", port))
        for _ in range(50):  # a refused datagram is silent: ask until it answers
            with contextlib.suppress(TimeoutError):
                await self.command({"command": "ping"}, timeout_s=0.2)
                return self
            if self._process.returncode is not None:
                break
        text = (Path(self._folder) / "log").read_text(errors="replace")
        await self.__aexit__()
        raise RtpengineError(f"rtpengine does not start:\n{text[-2000:]}")

    def _build_shim(self) -> Path:
        target = Path(self._folder) / "opus_complexity.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", target, SHIM, "-ldl"], check=True)
        return target

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def command(self, message: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
        """Raises RtpengineError when refused, TimeoutError."""
        cookie = str(next(self._cookies))
        future = self._protocol.waiting[cookie] = asyncio.get_running_loop().create_future()
        self._transport.sendto(cookie.encode() + b" " + bencode(message))
        try:
            reply: dict[str, Any] = await asyncio.wait_for(future, timeout_s)
        finally:
            self._protocol.waiting.pop(cookie, None)
        if reply["result"] not in ("ok", "pong"):
            raise RtpengineError(str(reply))
        return reply

    async def call(
        self, loadgen: Loadgen, *, group: str, profile: str, codec_a: str = "PCMU", codec_b: str = "PCMU"
    ) -> None:
        """A call of two of the generator's endpoints through it: SRTP by SDES on one side, RTP on the other."""
        a, b = await loadgen.call(group=group, codec_a=codec_a, codec_b=codec_b)
        our_key = os.urandom(KEY_OCTETS[profile])
        offer: dict[str, Any] = {
            "command": "offer",
            "call-id": f"{group}-{a.id}",
            "from-tag": "a",
            "sdp": rtp_sdp(a.port, codec_a, crypto=(profile, our_key)),
            "transport-protocol": "RTP/AVP",
            "ICE": "remove",
            "replace": ["origin"],
        }
        if codec_a != codec_b:
            offer["codec"] = {"transcode": [codec_b], "mask": [codec_a], "set": [f"opus/48000/2/{OPUS_BITRATE_BPS}"]}
        to_b = (await self.command(offer))["sdp"]
        answer = {
            "command": "answer",
            "call-id": offer["call-id"],
            "from-tag": "a",
            "to-tag": "b",
            "sdp": rtp_sdp(b.port, codec_b),
            "ICE": "remove",
            "replace": ["origin"],
        }
        to_a = (await self.command(answer))["sdp"]
        ip, port = rtp_address(to_b)
        loadgen.send("remote", id=b.id, ip=ip, port=port)
        ip, port = rtp_address(to_a)
        loadgen.send(
            "remote",
            id=a.id,
            ip=ip,
            port=port,
            profile=profile,
            send_key=our_key.hex(),
            receive_key=sdes_key(to_a, profile).hex(),
        )
