"""The media of a plain SIP phone: an RTP socket that says a tone in PCMU and records what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from types import TracebackType
from typing import Self, cast

import pylibsrtp

from . import audio
from .codecs import encode_g711
from .rtp_recording import TELEPHONE_EVENT, Format, Received, RtpRecording

FRAME = 160
SRTP = {
    "AES_CM_128_HMAC_SHA1_80": (pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AEAD_AES_256_GCM": (pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
}
"""Suites of a=crypto: pylibsrtp's number, octets of key and salt."""


class RtpPhone(asyncio.DatagramProtocol):
    """Listens from `open` on; `talk` and `hush` start and stop its voice."""

    def __init__(self) -> None:
        self.heard = RtpRecording()
        self.heard.formats = {0: Format("PCMU", 8000), 101: Format(TELEPHONE_EVENT, 8000)}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._voice: asyncio.Task[None] | None = None
        self.undeciphered = 0
        """Packets whose tag was wrong."""
        self._protect: pylibsrtp.Session | None = None
        self._unprotect: list[pylibsrtp.Session] = []
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
        if self._unprotect:
            data = self._opened(data)
        if not data:
            return
        _, kind, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
        self.heard.add(Received(time.monotonic(), kind & 0x7F, sequence, timestamp, ssrc, bool(kind & 0x80), data[12:]))

    def secure(self, suite: str, *, send_key: bytes, receive_key: bytes) -> None:
        """SRTP from now on; what still comes with the keys before is understood."""
        profile, _ = SRTP[suite]
        outbound, inbound = pylibsrtp.Policy.SSRC_ANY_OUTBOUND, pylibsrtp.Policy.SSRC_ANY_INBOUND
        self._protect = pylibsrtp.Session(pylibsrtp.Policy(key=send_key, ssrc_type=outbound, srtp_profile=profile))
        newest = pylibsrtp.Session(pylibsrtp.Policy(key=receive_key, ssrc_type=inbound, srtp_profile=profile))
        self._unprotect = [newest, *self._unprotect[:1]]

    def _opened(self, data: bytes) -> bytes:
        for session in self._unprotect:
            with contextlib.suppress(pylibsrtp.Error):
                return bytes(session.unprotect(data))
        self.undeciphered += 1
        return b""

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
        second = encode_g711("PCMU", audio.sine(round(frequency_hz), 1, 8000))
        started, sent, marker = time.monotonic(), 0, 0x80
        while True:
            header = struct.pack("!BBHII", 0x80, marker, self._sequence, self._timestamp, self._ssrc)
            start = sent * FRAME % 8000
            packet = header + second[start : start + FRAME]
            self._transport.sendto(self._protect.protect(packet) if self._protect else packet, ("127.0.0.1", to_port))
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
            sent, marker = sent + 1, 0
            await asyncio.sleep(max(0.0, started + sent * 0.02 - time.monotonic()))
