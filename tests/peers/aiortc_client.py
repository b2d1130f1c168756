"""A WebRTC client without a browser: aiortc's RTCPeerConnection, a tone for a voice, and a record of what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import re
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import aioice.ice
import httpx
import numpy as np
import orjson
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpCodecCapability,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtp import RtpPacket
from av import AudioFrame

from . import audio
from .asterisk import Asterisk
from .rtp_recording import TELEPHONE_EVENT, Format, Received, RtpRecording
from .waiting import until

# These tests never leave the machine, and aioice leaves 127.0.0.1 out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

RATE = 8000
FRAME = 160
VOICE_HZ = 1000.0
VOICE_DBFS = -10.5
"""What a caller says unless told otherwise; a sine of amplitude 0.3."""
EVENTS = {8000: 126, 48000: 110}
"""Payload types of telephone-event by clock rate, as Chromium numbers them; aiortc offers none."""


class ToneTrack(AudioStreamTrack):
    """A continuous tone, or silence at 0 Hz, 20 ms a frame by the clock."""

    def __init__(self, frequency_hz: float, *, stereo: bool = False) -> None:
        super().__init__()
        self.frequency_hz = frequency_hz
        self._layout = "stereo" if stereo else "mono"
        self._sent = 0
        self._started = 0.0

    async def recv(self) -> AudioFrame:
        if self._sent == 0:
            self._started = time.monotonic()
        await asyncio.sleep(max(0.0, self._started + self._sent / RATE - time.monotonic()))
        time_s = (self._sent + np.arange(FRAME)) / RATE
        samples = (0.3 * 32767 * np.sin(2 * np.pi * self.frequency_hz * time_s)).astype(np.int16)
        if self._layout == "stereo":
            samples = np.repeat(samples, 2)
        frame = AudioFrame.from_ndarray(samples[None], layout=self._layout)
        frame.sample_rate = RATE
        frame.pts = self._sent
        frame.time_base = fractions.Fraction(1, RATE)
        self._sent += FRAME
        return frame


class _Keypad:
    """Puts telephone-events in the place of audio packets on their way out, as a phone does (RFC 4733 section 2.5)."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._slots: list[tuple[int, int, bool, bool]] = []  # event, duration in ms, marker, end
        self._done: asyncio.Event = asyncio.Event()
        self._timestamp = 0
        self.clock_rate_hz = 8000
        self.payload_types = EVENTS

    async def press(self, digit: str, duration_ms: int) -> None:
        event = "0123456789*#ABCD".index(digit)
        steps = list(range(20, duration_ms + 1, 20))
        self._done.clear()
        self._slots = [(event, step, step == 20, False) for step in steps]
        self._slots += [(event, steps[-1], False, True)] * 3
        await asyncio.wait_for(self._done.wait(), 10)

    async def send_rtp(self, data: bytes) -> None:
        is_rtcp = 64 <= data[1] & 0x7F <= 95
        if self._slots and not is_rtcp:
            event, duration_ms, marker, end = self._slots.pop(0)
            _, _, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
            if marker:
                self._timestamp = timestamp
            kind = self.payload_types[self.clock_rate_hz] | (0x80 if marker else 0)
            header = struct.pack("!BBHII", 0x80, kind, sequence, self._timestamp, ssrc)
            duration = duration_ms * self.clock_rate_hz // 1000
            data = header + struct.pack("!BBH", event, (0x80 if end else 0) | 10, duration)
            if not self._slots:
                self._done.set()
        await self._send(data)


def event_types_of(sdp: str) -> dict[int, int]:
    """The payload types of telephone-event by clock rate."""
    formats = formats_of(sdp).items()
    return {kind.clock_rate_hz: number for number, kind in formats if kind.name == TELEPHONE_EVENT}


def with_telephone_events(sdp: str, payload_types: Mapping[int, int] = EVENTS) -> str:
    """The same offer or answer with telephone-event for these clock rates."""
    lines = []
    for line in sdp.split("\r\n"):
        if line.startswith("m=audio"):
            line += "".join(f" {payload_type}" for payload_type in payload_types.values())
        lines.append(line)
        if line.startswith("a=rtcp-mux"):
            for rate, payload_type in payload_types.items():
                lines.append(f"a=rtpmap:{payload_type} {TELEPHONE_EVENT}/{rate}")
    return "\r\n".join(lines)


def formats_of(sdp: str) -> dict[int, Format]:
    """`a=rtpmap` lines by payload type."""
    found = re.findall(r"^a=rtpmap:(\d+) ([^/\s]+)/(\d+)", sdp, re.MULTILINE)
    return {int(number): Format(name, int(rate)) for number, name, rate in found}


class Client:
    """One page's worth of a call: `await client.call(to=...)`, listen to `heard`, `await client.close()`.

    :param codec: `PCMU`, `PCMA`, `G722` or `opus` to offer only that one; None for all.
    :param frequency_hz: what it says; 0 for silence, None for no voice (it only listens).
    """

    def __init__(
        self,
        url: str,
        *,
        codec: str | None = None,
        frequency_hz: float | None = VOICE_HZ,
        events: bool = False,
        audio: bool = True,
    ) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=40, trust_env=False)
        self.heard = RtpRecording()
        self.answer: dict[str, Any] = {}
        self.connected_s = 0.0
        """From the offer's POST to DTLS done."""
        self.closed_at_s = 0.0
        """When the server's close_notify came, `time.monotonic()`."""
        self.events: list[tuple[float, dict[str, Any]]] = []
        """What came on the data channel `events`, with the time."""
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._closed = asyncio.Event()
        self._keypad: _Keypad | None = None
        # Stereo is what aiortc gives its Opus encoder; made from mono by libswresample it is 3 dB less.
        self.track = None if frequency_hz is None else ToneTrack(frequency_hz, stereo=codec == "opus")
        self.transceiver = None
        if audio:
            self.transceiver = self.pc.addTransceiver(
                self.track or "audio", direction="sendrecv" if self.track else "recvonly"
            )
            if codec is not None:
                self.transceiver.setCodecPreferences(_capabilities(codec))
        self.channel: RTCDataChannel | None = None
        if events:
            self.channel = self.pc.createDataChannel("events")
            self.channel.on("message", self._on_event)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def session_id(self) -> str:
        found: str = self.answer["session_id"]
        return found

    # -- signalling

    async def offer(self) -> str:
        """A new local offer, with what aiortc lacks."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return with_telephone_events(self.pc.localDescription.sdp)

    async def post_offer(self, body: dict[str, Any] | None = None, **call: Any) -> httpx.Response:
        """POST /webrtc/offer. `body` is laid over it, `call` is its member of that name."""
        request: dict[str, Any] = {"sdp": {"type": "offer", "sdp": await self.offer()}} | (body or {})
        if call:
            request["call"] = call
        return await self.http.post("/webrtc/offer", json=request)

    async def call(self, to: str | None = None, *, body: dict[str, Any] | None = None, **call: Any) -> None:
        """Offer, answer, ICE and DTLS."""
        started = time.monotonic()
        if to is not None:
            call["to"] = to
        response = await self.post_offer(body, **call)
        assert response.status_code == 200, response.text
        await self.accept(response.json())
        await self.wait_connected()
        self.connected_s = time.monotonic() - started

    async def accept(self, answer: dict[str, Any]) -> None:
        """Take an answer, a first one or one to a re-offer."""
        self.answer = answer
        sdp = answer["sdp"]["sdp"]
        self.heard.formats = formats_of(sdp)
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        self._tap()

    async def answer_to(self, offer: str) -> str:
        """Take an offer of the server's; our answer, for whatever carries it there."""
        self.heard.formats = formats_of(offer)
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        self._tap()
        assert self._keypad is not None
        rates = {8000, 48000} if "opus/48000" in self.pc.localDescription.sdp else {8000}
        types = {rate: number for rate, number in event_types_of(offer).items() if rate in rates}
        self._keypad.payload_types = types
        return with_telephone_events(self.pc.localDescription.sdp, types)

    async def reoffer(self, direction: str) -> None:
        """Change the direction of the audio, by the token of the session."""
        assert self.transceiver is not None
        self.transceiver.direction = direction
        tokens = {"session_id": self.session_id, "resume_token": self.answer["resume_token"]}
        response = await self.post_offer(tokens)
        assert response.status_code == 200, response.text
        await self.accept(response.json())

    async def wait_connected(self, timeout_s: float = 10.0) -> None:
        """DTLS done."""
        done = asyncio.Event()

        def look() -> None:
            if self.pc.connectionState in ("connected", "failed", "closed"):
                done.set()

        self.pc.on("connectionstatechange", look)
        look()
        try:
            await asyncio.wait_for(done.wait(), timeout_s)
        finally:
            self.pc.remove_listener("connectionstatechange", look)
        assert self.pc.connectionState == "connected", self.pc.connectionState

    async def describe(self) -> dict[str, Any]:
        """GET /webrtc/sessions/{id}."""
        response = await self.http.get(f"/webrtc/sessions/{self.session_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def wait_event(self, name: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """The data of the first event of this type on the channel `events`; `came_s` is when it came."""

        def found() -> list[tuple[float, dict[str, Any]]]:
            return [(at_s, event) for at_s, event in self.events if event["type"] == name]

        await until(lambda: bool(found()), timeout_s=timeout_s, what=f"the event {name}")
        at_s, event = found()[0]
        return {**event["data"], "came_s": at_s}

    async def wait_recording(self, told: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """The data of the last event `recording` that tells this: `started`, `stopped`, ..."""

        def found() -> list[dict[str, Any]]:
            events = [event["data"] for _, event in self.events if event["type"] == "recording"]
            return [data for data in events if data["state"] == told]

        await until(lambda: bool(found()), timeout_s=timeout_s, what=f"a recording that is {told}")
        return found()[-1]

    async def wait_step(self, name: str, *, timeout_s: float = 5.0) -> None:
        """Until the session's timeline has this step."""

        async def reached() -> bool:
            return name in (await self.describe())["timeline"]

        await until(reached, timeout_s=timeout_s, what=f"the step {name}")

    # -- media

    def _tap(self) -> None:
        """Listen in behind SRTP: what arrived, before any jitter buffer."""
        transport = self._dtls
        if transport is None or getattr(transport, "_tapped", False):
            return
        transport._tapped = True
        transport.on("statechange", self._on_dtls_state)
        router = transport._rtp_router
        route = router.route_rtp

        def tapped(packet: RtpPacket) -> Any:
            self.heard.add(Received.of(packet, time.monotonic()))
            return route(packet)

        router.route_rtp = tapped
        self._keypad = _Keypad(transport._send_rtp)
        transport._send_rtp = self._keypad.send_rtp

    @property
    def _dtls(self) -> Any:
        if self.transceiver is not None:
            return self.transceiver.sender.transport
        return self.pc.sctp.transport if self.pc.sctp else None

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed" and not self._closed.is_set():
            self.closed_at_s = time.monotonic()
            self._closed.set()

    def _on_event(self, message: str | bytes) -> None:
        self.events.append((time.monotonic(), orjson.loads(message)))

    async def wait_closed(self, timeout_s: float = 5.0) -> float:
        """The server's close_notify; the time at which it came."""
        await asyncio.wait_for(self._closed.wait(), timeout_s)
        return self.closed_at_s

    async def wait_audio(self, packets: int = 1, *, timeout_s: float = 5.0) -> None:
        """Until so many audio packets have come in all."""
        deadline = time.monotonic() + timeout_s
        while len(self.heard.audio_packets) < packets:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.heard.audio_packets)} of {packets} audio packets in {timeout_s} s")
            await asyncio.sleep(0.01)

    async def wait_tone(self, frequency_hz: float, *, timeout_s: float = 5.0) -> float:
        """Until the last 250 ms of what arrived are this tone, and steady; the time of it."""
        deadline = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            pcm, rate = self.heard.pcm()
            last = audio.cut(pcm, rate, max(0.0, len(pcm) / rate - 0.25))
            if self.heard.idle_s < 0.1 and audio.is_steady(last, rate, frequency_hz):
                return now
            if now > deadline:
                found = audio.measure(last, rate)
                raise TimeoutError(f"no steady {frequency_hz:.0f} Hz in {timeout_s} s, at last {found}")
            await asyncio.sleep(0.02)

    async def is_silent(self, duration_s: float = 0.3) -> bool:
        """Whether what comes in so much time is silence, as packets: without any, audio may be still on its way."""
        pcm, rate = (await self.wait(duration_s)).pcm()
        return len(pcm) > 2 / 3 * duration_s * rate and audio.level_dbfs(pcm) < audio.SILENCE_DBFS

    async def wait_silence(self, *, timeout_s: float = 2.0) -> None:
        await until(self.is_silent, timeout_s=timeout_s, what="silence")

    async def listen(self, duration_s: float) -> RtpRecording:
        """What is heard from now on: so much of it, or what came in so much time and 2 s."""
        started = time.monotonic()
        await asyncio.sleep(duration_s)
        with contextlib.suppress(TimeoutError):  # judged by what was heard
            await until(lambda: self.heard.since(started).duration_s >= duration_s, timeout_s=2, what="the rest of it")
        return self.heard.since(started)

    async def wait(self, duration_s: float) -> RtpRecording:
        """What is heard in so much time, where it may be nothing."""
        started = time.monotonic()
        await asyncio.sleep(duration_s)
        return self.heard.since(started)

    async def press(self, digits: str, *, duration_ms: int = 120, pause_ms: int = 100) -> None:
        """Keys of the phone's pad."""
        assert self._keypad is not None
        assert self.transceiver is not None
        self._keypad.clock_rate_hz = 48000 if self.sends == "opus" else 8000
        for digit in digits:
            await self._keypad.press(digit, duration_ms)
            await asyncio.sleep(pause_ms / 1000)

    @property
    def sends(self) -> str:
        """The codec that aiortc sends: the first of the answer that it has."""
        assert self.transceiver is not None
        name: str = self.transceiver._codecs[0].name
        return name

    # -- the end

    async def hang_up(self) -> None:
        """POST /webrtc/close."""
        response = await self.http.post("/webrtc/close", json={"session_id": self.session_id})
        assert response.status_code == 200, response.text

    async def vanish(self) -> None:
        """Close the sockets without a word, as a crashed browser does."""
        for transport in {self._dtls.transport}:
            await transport.stop()

    async def close(self) -> None:
        """Close the connection as a page does (close_notify), and free everything. Idempotent."""
        await self.pc.close()
        await self.http.aclose()


def _capabilities(codec: str) -> list[RTCRtpCodecCapability]:
    found = [
        capability
        for capability in RTCRtpSender.getCapabilities("audio").codecs
        if capability.mimeType.lower() == f"audio/{codec.lower()}"
    ]
    assert found, f"aiortc has no {codec}"
    return found


async def dial(client: Client, asterisk: Asterisk, to: str, **call: Any) -> str:
    """Call, and the name of Asterisk's channel."""
    mark = asterisk.ami.mark()
    await client.call(to, **call)
    return await asyncio.to_thread(asterisk.wait_channel, since=mark)
