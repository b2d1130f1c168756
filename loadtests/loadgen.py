"""The traffic generator (`native/loadgen`), as Python drives it: built on demand, one line a command.

It runs in a process of its own so that what it costs is not counted as the server's. Times are of
CLOCK_MONOTONIC in ns, the clock of `time.monotonic_ns`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_BUILD = ROOT / "build" / "loadgen"


class LoadgenError(Exception):
    """The generator could not be built or started, ended, or one of its endpoints failed."""


def build(folder: Path = DEFAULT_BUILD) -> Path:
    """Compile the generator, or do nothing when it is up to date. Returns the executable. Raises LoadgenError."""
    if not shutil.which("cmake"):
        raise LoadgenError("cmake is missing: run `make bench`, which installs it")
    configured = (folder / "CMakeCache.txt").exists()
    commands = [] if configured else [["cmake", "-S", str(ROOT / "native" / "loadgen"), "-B", str(folder)]]
    for command in [*commands, ["cmake", "--build", str(folder), "--parallel", "2"]]:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise LoadgenError(f"the generator cannot be built:\n{done.stdout[-4000:]}")
    return folder / "sdp_loadgen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One UDP socket of the generator, and what a peer must know of it."""

    id: int
    port: int
    ufrag: str
    pwd: str
    fingerprint: str  # SHA-256, of its DTLS certificate


class Loadgen:
    """A running generator. `async with await Loadgen.start() as loadgen: ...`"""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._replies: dict[tuple[str, int | str], asyncio.Future[dict[str, Any]]] = {}
        self._failed: dict[int, str] = {}
        self._seen: dict[tuple[int, str], int] = {}
        self._errors: list[str] = []
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(), name="loadgen output")

    @classmethod
    async def start(cls, executable: Path | None = None) -> Loadgen:
        """Build if needed, and start. Raises LoadgenError."""
        path = executable or await asyncio.to_thread(build)
        process = await asyncio.create_subprocess_exec(
            str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20
        )
        loadgen = cls(process)
        await asyncio.wait_for(loadgen._ready, 10)
        return loadgen

    async def __aenter__(self) -> Loadgen:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """Close all endpoints (close_notify) and end the process. Idempotent."""
        if self._process.returncode is None:
            with contextlib.suppress(ConnectionError):
                self.send("quit")
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader

    def send(self, verb: str, **arguments: object) -> None:
        """One command; `generator.cpp` lists them."""
        assert self._process.stdin is not None
        words = [verb, *(f"{key}={value}" for key, value in arguments.items())]
        self._process.stdin.write((" ".join(words) + "\n").encode())

    async def endpoint(
        self, *, group: str, side: str = "a", codec: str = "PCMU", stamped: bool = True, autostart: bool = False
    ) -> Endpoint:
        """A party that receives its own packets (echo). side: "a" has SRTP, "b" is plain.
        stamped: packets carry a time stamp, which only a relay hands through; otherwise audio."""
        number = next(self._ids)
        return await self._make(number, number, group, side, codec, stamped, autostart)

    async def call(
        self, *, group: str, codec_a: str = "PCMU", codec_b: str = "PCMU", autostart: bool = False
    ) -> tuple[Endpoint, Endpoint]:
        """Both parties of a call: one with SRTP, one without. Stamped if both speak one codec."""
        a, b = next(self._ids), next(self._ids)
        stamped = codec_a == codec_b
        return (
            await self._make(a, b, group, "a", codec_a, stamped, autostart),
            await self._make(b, a, group, "b", codec_b, stamped, autostart),
        )

    async def _make(
        self, number: int, pair: int, group: str, side: str, codec: str, stamped: bool, autostart: bool
    ) -> Endpoint:
        reply = await self._ask(
            ("endpoint", number),
            "endpoint",
            id=number,
            pair=pair,
            group=group,
            side=side,
            codec=codec,
            payload="stamp" if stamped else "audio",
            autostart=int(autostart),
        )
        return Endpoint(
            id=number, port=reply["port"], ufrag=reply["ufrag"], pwd=reply["pwd"], fingerprint=reply["fingerprint"]
        )

    async def wait(self, endpoint: int, event: str, timeout_s: float = 12.0) -> int:
        """When `event` ("ice", "connected", "first_rtp", "closed") came. Raises LoadgenError, TimeoutError."""
        if (seen := self._seen.get((endpoint, event))) is not None:
            return seen
        if endpoint in self._failed:
            raise LoadgenError(self._failed[endpoint])
        key = (event, endpoint)
        future = self._replies.setdefault(key, asyncio.get_running_loop().create_future())
        try:
            return int((await asyncio.wait_for(asyncio.shield(future), timeout_s))["at_ns"])
        finally:
            self._replies.pop(key, None)

    def remove(self, endpoint: int) -> None:
        """close_notify, and the socket is closed."""
        self.send("remove", id=endpoint)
        self._failed.pop(endpoint, None)
        for key in [key for key in self._seen if key[0] == endpoint]:
            del self._seen[key]

    async def stats(self, group: str) -> dict[str, Any]:
        """Counts since `reset`, by side; delays in us of what that side received."""
        return await self._ask(("stats", group), "stats", group=group)

    async def _ask(self, key: tuple[str, int | str], verb: str, **arguments: object) -> dict[str, Any]:
        future = self._replies[key] = asyncio.get_running_loop().create_future()
        self.send(verb, **arguments)
        try:
            reply: dict[str, Any] = await asyncio.wait_for(future, 10)
        finally:
            self._replies.pop(key, None)
        if self._errors:
            raise LoadgenError("; ".join(self._errors))
        return reply

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = msgspec.json.decode(line)
            if "reply" in message:
                self._resolve((message["reply"], message.get("id", message.get("group"))), message)
            elif message["event"] == "ready":
                self._ready.set_result(None)
            elif message["event"] == "error":
                self._errors.append(f"{message['error']} ({message['command']})")
            else:
                self._on_event(message)
        gone = LoadgenError("the generator has ended")
        for future in self._replies.values():
            if not future.done():
                future.set_exception(gone)
                future.exception()  # whoever waits sees it; nobody else needs to
        if not self._ready.done():
            self._ready.set_exception(gone)

    def _resolve(self, key: tuple[str, int | str], message: dict[str, Any]) -> None:
        future = self._replies.get(key)
        if future is not None and not future.done():
            future.set_result(message)

    def _on_event(self, message: dict[str, Any]) -> None:
        endpoint, event = message["id"], message["event"]
        if event == "failed":
            self._failed[endpoint] = message["error"]
            for (_, waiting), future in self._replies.items():
                if waiting == endpoint and not future.done():
                    future.set_exception(LoadgenError(message["error"]))
            return
        self._seen.setdefault((endpoint, event), message["at_ns"])
        self._resolve((event, endpoint), message)
