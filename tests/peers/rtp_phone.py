"""The media of a plain SIP phone: an RTP socket that says a tone in PCMU and records what it hears."""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from types import TracebackType
from typing import Self, cast

import av
import numpy as np

from . import audio
from .rtp_recording import TELEPHONE_EVENT, Format, Received, RtpRecording

FRAME = 160


def encode_ulaw(pcm: audio.Pcm) -> bytes:
    """By FFmpeg, 8 kHz mono."""
    encoder = av.CodecContext.create("pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = av.AudioFormat("s16"), av.AudioLayout("mono"), 8000
    frame = av.AudioFrame.from_ndarray((pcm[None] * 32767).astype(np.int16), layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


class RtpPhone(asyncio.DatagramProtocol):
    """Listens from `open` on; `talk` and `hush` start and stop its voice."""

    def __init__(self) -> None:
        self.heard = RtpRecording()
        self.heard.formats = {0: Format("PCMU", 8000), 101: Format(TELEPHONE_EVENT, 8000)}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._voice: asyncio.Task[None] | None = None
        self._ssrc, self._sequence, self._timestamp = secrets.randbits(32), secrets.randbits(15), secrets.randbits(31)

    @classmethod
    async def open(cls) -> Self:
        _, phone = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        return phone

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) < 12 or 64 <= data[1] & 0x7F <= 95:
            return  # RTCP
        _, kind, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
        self.heard.add(Received(time.monotonic(), kind & 0x7F, sequence, timestamp, ssrc, bool(kind & 0x80), data[12:]))

    def talk(self, to_port: int, frequency_hz: float) -> None:
        """A steady tone to this port until `hush`."""
        assert self._voice is None
        self._voice = asyncio.create_task(self._talk(to_port, frequency_hz))

    async def hush(self) -> None:
        """Silence; not even packets."""
        if self._voice is not None:
            self._voice.cancel()
            await asyncio.wait([self._voice])
            self._voice = None

    async def _talk(self, to_port: int, frequency_hz: float) -> None:
        assert self._transport is not None
        # A second of whole periods.
        second = encode_ulaw(audio.sine(round(frequency_hz), 1, 8000))
        started, sent, marker = time.monotonic(), 0, 0x80
        while True:
            header = struct.pack("!BBHII", 0x80, marker, self._sequence, self._timestamp, self._ssrc)
            start = sent * FRAME % 8000
            self._transport.sendto(header + second[start : start + FRAME], ("127.0.0.1", to_port))
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
            sent, marker = sent + 1, 0
            await asyncio.sleep(max(0.0, started + sent * 0.02 - time.monotonic()))
