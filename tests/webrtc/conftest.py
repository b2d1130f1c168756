"""A media plane and a WebRTC plane of a test's own, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sdpserver.config import Config, WebRtc
from sdpserver.media import MediaPlane
from sdpserver.sdp import Codec, Direction, audio_codecs
from sdpserver.webrtc import DataChannel, WebRtcEvent, WebRtcLeg, WebRtcPlane, aiortc_private, parse_offer

LIKED = audio_codecs(["PCMU", "PCMA", "opus"])


FINGERPRINT = ":".join(["AB"] * 32)
OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtcp-mux\r\n"
    f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 22}\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
)
"""The smallest one."""


class Gateway:
    """Legs at `echo`, their tasks and what they report."""

    def __init__(self, bind: str = "127.0.0.1") -> None:
        config = Config(webrtc=WebRtc(bind=bind, port=0))
        self.media = MediaPlane(config)
        self.media.start()
        self.plane = WebRtcPlane(config, self.media)
        self.leg: WebRtcLeg
        self.task: asyncio.Task[None]
        self.events: list[tuple[WebRtcEvent, str]] = []
        self.channels: list[DataChannel] = []
        self._changed = asyncio.Event()
        self._tasks: list[tuple[WebRtcLeg, asyncio.Task[None]]] = []

    def answer(self, sdp: str, codecs: list[Codec] = LIKED) -> str:
        """A leg for an offer, running and echoing; `leg` is the last one."""
        leg = self._begin(self.plane.create_leg(parse_offer(sdp), codecs=codecs))
        if leg.codecs:
            leg.media.send_from(leg.media)
        return leg.answer

    def leg_with_offer(self, codecs: list[Codec] = LIKED, *, direction: Direction = Direction.SENDRECV) -> WebRtcLeg:
        """A leg that waits for an answer, running, and echoes once it has it."""
        leg = self._begin(self.plane.create_offer(codecs=codecs, direction=direction))
        leg.media.send_from(leg.media)
        return leg

    def _begin(self, leg: WebRtcLeg) -> WebRtcLeg:
        self.leg = leg
        leg.on_event = self._on_event
        leg.on_channel = self._on_channel
        self.task = asyncio.get_running_loop().create_task(leg.run())
        self._tasks.append((leg, self.task))
        return leg

    def _on_event(self, event: WebRtcEvent, detail: str) -> None:
        self.events.append((event, detail))
        self._changed.set()

    def _on_channel(self, channel: DataChannel) -> None:
        self.channels.append(channel)
        channel.on_message = channel.send

    def count(self, event: WebRtcEvent) -> int:
        return sum(found is event for found, _ in self.events)

    async def wait(self, event: WebRtcEvent, *, count: int = 1, timeout_s: float = 5.0) -> str:
        """Until `event` has come so often; its last detail."""
        async with asyncio.timeout(timeout_s):
            while self.count(event) < count:
                self._changed.clear()
                await self._changed.wait()
        return next(detail for found, detail in reversed(self.events) if found is event)

    def forget(self) -> None:
        """Let go of all legs, which the test has closed."""
        self._tasks.clear()
        self.channels.clear()
        del self.leg, self.task

    async def close(self) -> None:
        for leg, task in self._tasks:
            await leg.close()
            async with asyncio.timeout(2):
                await task
        assert self.media.legs == 0
        self.media.close()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Gateway]:
    found = Gateway()
    yield found
    await found.close()


@pytest_asyncio.fixture
async def gateway_on_all_addresses() -> AsyncIterator[Gateway]:
    """As the default configuration binds; what is sent to an address of this machine stays in it."""
    found = Gateway("0.0.0.0")
    yield found
    await found.close()


@pytest.fixture
def slow_resending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flight is taken for lost after a second: on a busy machine a browser may need more than 100 ms to answer it."""
    monkeypatch.setattr(aiortc_private, "RESEND_AFTER_S", (1.0,))


@pytest_asyncio.fixture(loop_scope="session")
async def gateway_for_chromium() -> AsyncIterator[Gateway]:
    """On the loop of the browser."""
    found = Gateway()
    yield found
    await found.close()
