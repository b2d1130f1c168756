"""What a WebRTC client was sent, packet by packet, and how it sounds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from aiortc.rtp import RtpPacket

from . import audio
from .codecs import Decoder

TELEPHONE_EVENT = "telephone-event"


@dataclass(frozen=True, slots=True)
class Received:
    """`arrived_s` is `time.monotonic()`."""

    arrived_s: float
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool
    payload: bytes

    @classmethod
    def of(cls, packet: RtpPacket, arrived_s: float) -> Received:
        return cls(
            arrived_s,
            packet.payload_type,
            packet.sequence_number,
            packet.timestamp,
            packet.ssrc,
            bool(packet.marker),
            packet.payload,
        )


@dataclass(frozen=True, slots=True)
class Format:
    """`a=rtpmap` of the answer."""

    name: str
    clock_rate_hz: int


DECODED_BEFORE = 100
"""So many packets of what came before a part are decoded too: a decoder that begins in the midst of Opus swells."""


class RtpRecording:
    """Packets in the order of arrival. Played by their RTP timestamps, nothing concealed: what was lost is silence."""

    def __init__(self) -> None:
        self.formats: Mapping[int, Format] = {}
        self.packets: list[Received] = []
        self._before: list[Received] = []
        """That belong to the same stream, but not to this part of it."""

    def add(self, packet: Received) -> None:
        self.packets.append(packet)

    def since(self, at_s: float) -> RtpRecording:
        """What arrived from `at_s` on, `time.monotonic()`."""
        part = RtpRecording()
        part.formats = self.formats
        part.packets = [packet for packet in self.packets if packet.arrived_s >= at_s]
        part._before = [*self._before, *self.before(at_s).packets][-DECODED_BEFORE:]
        return part

    def before(self, at_s: float) -> RtpRecording:
        """What arrived before `at_s`."""
        part = RtpRecording()
        part.formats = self.formats
        part.packets = [packet for packet in self.packets if packet.arrived_s < at_s]
        return part

    @property
    def audio_packets(self) -> list[Received]:
        return [
            packet
            for packet in self.packets
            if (found := self.formats.get(packet.payload_type)) is not None and found.name != TELEPHONE_EVENT
        ]

    @property
    def codecs(self) -> set[str]:
        """The names of the codecs heard."""
        return {self.formats[packet.payload_type].name for packet in self.audio_packets}

    @property
    def idle_s(self) -> float:
        """Since the last audio packet."""
        packets = self.audio_packets
        return time.monotonic() - packets[-1].arrived_s if packets else float("inf")

    def pcm(self) -> tuple[audio.Pcm, int]:
        """The decoded audio on the timeline of its RTP timestamps, and its rate."""
        packets = self.audio_packets
        if not packets:
            return np.zeros(0), 8000
        assert len(self.codecs) == 1, f"the codec changed: {self.codecs}"
        assert len({packet.ssrc for packet in packets}) == 1, "the SSRC changed"
        form = self.formats[packets[0].payload_type]
        first = packets[0].timestamp
        decoder = Decoder(form.name)
        for packet in self._before:
            if (packet.payload_type, packet.ssrc) == (packets[0].payload_type, packets[0].ssrc):
                decoder.decode(packet.payload)
        # The RTP clock of G.722 is half its sampling rate (RFC 3551 section 4.5.2).
        per_tick = 2 if form.name == "G722" else 1
        pieces: list[tuple[int, audio.Pcm]] = []
        for packet in packets:
            offset = per_tick * ((packet.timestamp - first + 0x80000000) % 0x100000000 - 0x80000000)
            pieces.append((offset, decoder.decode(packet.payload)))
        start = min(offset for offset, _ in pieces)
        end = max(offset + len(samples) for offset, samples in pieces)
        rate = per_tick * form.clock_rate_hz
        assert end - start < 600 * rate, f"timestamps jump by {(end - start) / rate:.0f} s"
        line = np.zeros(end - start)
        for offset, samples in pieces:
            line[offset - start : offset - start + len(samples)] = samples
        return line, rate

    def drift_ms(self) -> float:
        """How much more time went by on the clock than in timestamps, from the first half second to the last."""
        packets = self.audio_packets
        if len(packets) < 60:
            return 0.0
        rate = self.formats[packets[0].payload_type].clock_rate_hz
        first = packets[0]
        late = [
            (packet.arrived_s - first.arrived_s)
            - ((packet.timestamp - first.timestamp + 0x80000000) % 0x100000000 - 0x80000000) / rate
            for packet in packets
        ]
        return float(np.median(late[-25:]) - np.median(late[:25])) * 1000

    @property
    def duration_s(self) -> float:
        """From the first timestamp to the last."""
        packets = self.audio_packets
        if not packets:
            return 0.0
        rate = self.formats[packets[0].payload_type].clock_rate_hz
        return float((packets[-1].timestamp - packets[0].timestamp) % 0x100000000) / rate

    def breaks(self) -> list[str]:
        """Where packets are missing, timestamps jump or nothing came for 60 ms: whose fault a gap is."""
        found = []
        packets = self.audio_packets
        for before, after in pairwise(packets):
            rate = self.formats[after.payload_type].clock_rate_hz
            lost = (after.sequence - before.sequence - 1) % 0x10000
            step_ms = ((after.timestamp - before.timestamp) % 0x100000000) / rate * 1000
            pause_ms = (after.arrived_s - before.arrived_s) * 1000
            if lost or step_ms > 60 or pause_ms > 60:
                at_s = before.arrived_s - packets[0].arrived_s
                found.append(f"{at_s:.2f} s: {lost} lost, timestamp +{step_ms:.0f} ms, pause {pause_ms:.0f} ms")
        return found

    def sender_pauses(self) -> list[str]:
        """Those of the breaks that the sender made, so that whoever relayed had nothing to send: no packet is missing,
        and timestamps say that as much time went by as nothing came."""
        pauses = []
        for before, after in pairwise(self.audio_packets):
            rate = self.formats[after.payload_type].clock_rate_hz
            step_ms = ((after.timestamp - before.timestamp) % 0x100000000) / rate * 1000
            pause_ms = (after.arrived_s - before.arrived_s) * 1000
            if (after.sequence - before.sequence) % 0x10000 == 1 and step_ms > 60 and abs(step_ms - pause_ms) < 20:
                pauses.append(f"{step_ms:.0f} ms")
        return pauses

    def check_tone(self, frequency_hz: float, *, min_duration_s: float = 1.0, **limits: float) -> audio.Tone:
        """Assert that this tone was heard, unbroken, and in real time."""
        pcm, rate = self.pcm()
        try:
            heard = audio.check_tone(pcm, rate, frequency_hz, min_duration_s=min_duration_s, **limits)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; breaks: {self.breaks()}") from None
        drift_ms = self.drift_ms()
        assert abs(drift_ms) < 300, f"the timestamps ran {drift_ms:.0f} ms away from the clock: {self.breaks()}"
        return heard

    def digits(self) -> str:
        """The telephone-events (RFC 4733) received, one character a press."""
        presses: dict[int, int] = {}
        for packet in self.packets:
            form = self.formats.get(packet.payload_type)
            if form is not None and form.name == TELEPHONE_EVENT:
                presses.setdefault(packet.timestamp, packet.payload[0])
        return "".join("0123456789*#ABCD"[event] for event in presses.values() if event < 16)
