"""The server under test with a SIP answerer behind it, and calls through both. All processes are ours, on loopback."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from peers.server import ServerProcess

from .http_client import HttpClient, Reply
from .loadgen import Endpoint, Loadgen
from .sdp import parse_webrtc_answer, webrtc_offer


class CallError(Exception):
    """The server refused an offer, or no INVITE came of it."""


class SipAnswerer:
    """`loadtests.sip_uas` in a process."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._process: asyncio.subprocess.Process | None = None
        self._invited: dict[int, asyncio.Future[tuple[str, int]]] = {}
        self._counts: asyncio.Future[dict[str, int]] | None = None
        self.port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtests.sip_uas", self._codec),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = msgspec.json.decode(await asyncio.wait_for(self._process.stdout.readline(), 10))["port"]
        self._reader = asyncio.create_task(self._read(), name="SIP answerer output")

    async def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 5)
        await self._reader

    def expect(self, number: int) -> asyncio.Future[tuple[str, int]]:
        """Where the INVITE that calls this number wants its audio."""
        future: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._invited[number] = future
        return future

    async def counts(self) -> dict[str, int]:
        """SIP requests seen by method, and retransmissions."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._counts = asyncio.get_running_loop().create_future()
        self._process.stdin.write(b"counts\n")
        return await asyncio.wait_for(self._counts, 5)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = msgspec.json.decode(line)
            if "counts" in message:
                assert self._counts is not None
                self._counts.set_result(message["counts"])
                continue
            future = self._invited.pop(message["called"], None)
            if future is not None and not future.done():
                future.set_result((message["ip"], message["rtp_port"]))


@dataclass(slots=True, kw_only=True)
class Call:
    """A call through the gateway. Times are of `time.monotonic_ns`, durations in ns."""

    session_id: str
    a: Endpoint
    b: Endpoint | None
    offered_ns: int
    answer_took_ns: int
    connected_ns: int = 0


class Gateway:
    """`async with Gateway() as gateway: await gateway.call(...)`"""

    def __init__(self, *, tables: Mapping[str, Any] | None = None, sip_codec: str = "PCMU") -> None:
        self._tables = dict(tables or {})
        self._answerer = SipAnswerer(sip_codec)

    async def __aenter__(self) -> Gateway:
        await self._answerer.start()
        self._server = ServerProcess(
            {
                "trunks": [{"name": "bench", "server": f"127.0.0.1:{self._answerer.port}"}],
                "routes": [{"match": "^[0-9]+$", "trunk": "bench"}],
                "log": {"level": "warning"},
                **self._tables,
            }
        )
        try:
            await asyncio.to_thread(self._server.start)
        except BaseException:
            self._server.close()
            await self._answerer.stop()
            raise
        self.http = HttpClient("127.0.0.1", self._server.http_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.http.close()
        try:
            if self._server.process is not None:
                self._server.process.terminate()
                await asyncio.to_thread(self._server.process.wait, 10)
        finally:
            self._server.close()
            await self._answerer.stop()

    @property
    def pid(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def log(self) -> str:
        return self._server.log

    async def sip_counts(self) -> dict[str, int]:
        return await self._answerer.counts()

    async def offer(self, sdp: str, **call: object) -> Reply:
        """POST /webrtc/offer. Raises CallError unless 200."""
        reply = await self.http.post("/webrtc/offer", {"sdp": {"type": "offer", "sdp": sdp}, "call": call})
        if reply.status != 200:
            raise CallError(f"{reply.status} {reply.body}")
        return reply

    async def close_session(self, session_id: str) -> Reply:
        reply = await self.http.post("/webrtc/close", {"session_id": session_id})
        if reply.status != 200:
            raise CallError(f"close: {reply.status} {reply.body}")
        return reply

    def connect(self, loadgen: Loadgen, endpoint: Endpoint, reply: Reply, profile: str) -> None:
        """ICE and DTLS toward what the answer says; `loadgen.wait(endpoint.id, "connected")` tells the end."""
        answer = parse_webrtc_answer(reply.body["sdp"]["sdp"])
        loadgen.send(
            "connect",
            id=endpoint.id,
            profile=profile,
            ip=answer.ip,
            port=answer.port,
            ufrag=answer.ufrag,
            pwd=answer.pwd,
            fingerprint=answer.fingerprint,
        )

    async def call(
        self,
        loadgen: Loadgen,
        *,
        group: str,
        profile: str,
        codec_a: str = "PCMU",
        codec_b: str = "PCMU",
        autostart: bool = False,
    ) -> Call:
        """A whole call: HTTP offer, INVITE, 200, ICE, DTLS; returns when both ends can send."""
        a, b = await loadgen.call(group=group, codec_a=codec_a, codec_b=codec_b, autostart=autostart)
        invited = self._answerer.expect(b.port)
        reply = await self.offer(webrtc_offer(a, codec_a), to=str(b.port))
        call = Call(
            session_id=reply.body["session_id"], a=a, b=b, offered_ns=reply.sent_ns, answer_took_ns=reply.took_ns
        )
        self.connect(loadgen, a, reply, profile)
        try:
            ip, port = await asyncio.wait_for(invited, 10)
        except TimeoutError:
            raise CallError("no INVITE came within 10 s") from None
        loadgen.send("remote", id=b.id, ip=ip, port=port)
        call.connected_ns = await loadgen.wait(a.id, "connected")
        return call

    async def echo_call(self, loadgen: Loadgen, *, group: str, profile: str, autostart: bool = True) -> Call:
        """A call to the built-in `echo`, connected."""
        a = await loadgen.endpoint(group=group, autostart=autostart)
        reply = await self.offer(webrtc_offer(a), to="echo")
        call = Call(
            session_id=reply.body["session_id"], a=a, b=None, offered_ns=reply.sent_ns, answer_took_ns=reply.took_ns
        )
        self.connect(loadgen, a, reply, profile)
        call.connected_ns = await loadgen.wait(a.id, "connected")
        return call

    async def hang_up(self, loadgen: Loadgen, call: Call) -> None:
        """POST /webrtc/close, and the endpoints are gone."""
        await self.close_session(call.session_id)
        for endpoint in (call.a, call.b):
            if endpoint is not None:
                loadgen.remove(endpoint.id)


def ms(ns: float) -> float:
    return ns / 1e6


def now_ns() -> int:
    return time.monotonic_ns()
