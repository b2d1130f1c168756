"""Speech through a network that loses and delays packets, and how it sounds at the far end.

The voice is espeak-ng's, the network is made here from a seed, and the judge is PESQ (ITU-T P.862, narrowband, its raw
score mapped to MOS-LQO by P.862.1), which compares what a receiver plays with what was said.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import io
import random
import socket
import struct
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av
import numpy as np
from pesq import pesq

from . import audio
from .codecs import encode_opus
from .voices import espeak_ng

if TYPE_CHECKING:
    from sdpserver import _media

RATE_HZ = 8000
FRAME_S = 0.02
OPUS_CLOCK_HZ = 48000
OPUS, PCMU = ("opus", OPUS_CLOCK_HZ, 111, 111), ("PCMU", RATE_HZ, 0, 0)
IN_TIME = 0.98
"""The receiver of our model waits as long as this share of its packets needs: it knows in advance what a good adaptive
buffer finds out. So a server is judged by what it sends, not by how much delay it passes on."""

SENTENCES = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well. These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls. The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us. A large size in stockings is hard to sell.",
    "The boy was there when the sun rose. A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring. Kick the ball straight and follow through.",
    "Help the woman get back to her feet. A pot of tea helps to pass the evening.",
)
"""The first lists of the Harvard sentences (IEEE Recommended Practice for Speech Quality Measurements, 1969)."""


@functools.cache
def say(text: str, rate_hz: int = RATE_HZ) -> audio.Pcm:
    """espeak-ng's voice, with half a second of silence on both sides, at -26 dBov as P.800 has its speech."""
    spoken_wav = espeak_ng("-v", "en-gb", "-s", "150", "--stdout", text)
    with wave.open(io.BytesIO(spoken_wav[:40] + struct.pack("<I", len(spoken_wav) - 44) + spoken_wav[44:])) as spoken:
        source_hz = spoken.getframerate()
        samples = np.frombuffer(spoken.readframes(spoken.getnframes()), np.int16)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = source_hz
    parts = [part.to_ndarray().reshape(-1) for part in [*resampler.resample(frame), *resampler.resample(None)]]
    pcm = audio.from_int16(np.concatenate(parts).astype(np.int16).tobytes())
    loud = pcm[np.abs(pcm) > 0.01]
    pcm *= 10 ** (-26 / 20) / np.sqrt(np.mean(loud**2))
    quiet = np.zeros(rate_hz // 2)
    whole = np.concatenate((quiet, pcm, quiet))
    clipped: audio.Pcm = np.clip(whole[: len(whole) // (rate_hz // 50) * (rate_hz // 50)], -1, 1)
    return clipped


def packets(text: str, *, expected_loss_percent: int = 0) -> list[bytes]:
    """The sentence as Opus of 24 kb/s, as a browser sends speech; with in-band FEC if loss is expected."""
    return encode_opus(
        say(text), RATE_HZ, bitrate_bps=24_000, application="voip", expected_loss_percent=expected_loss_percent
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What netem's `loss` and `delay 60ms 40ms` do: independent losses, delays spread evenly, packets that overtake."""

    loss: float = 0.0
    jitter_s: float = 0.0
    seed: int = 0

    def arrivals(self, count: int) -> list[tuple[float, int]]:
        """(seconds after the start, packet), in the order of arrival, without the lost ones."""
        dice = random.Random(self.seed)
        came = []
        for i in range(count):
            lost = dice.random() < self.loss
            late_s = dice.uniform(0, 2 * self.jitter_s)
            if not lost:
                came.append((i * FRAME_S + late_s, i))
        return sorted(came)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An RTP packet of PCMU as it came out."""

    at_s: float
    sequence: int
    timestamp: int
    payload: bytes


def played(packets: Sequence[Heard]) -> audio.Pcm:
    """What a receiver plays: each packet at its timestamp, silence where none came in time (see `IN_TIME`)."""
    if not packets:
        return np.zeros(1)
    offsets = [(packet.timestamp - packets[0].timestamp + 2**31) % 2**32 - 2**31 for packet in packets]
    needed_s = sorted(packet.at_s - offset / RATE_HZ for packet, offset in zip(packets, offsets, strict=True))
    anchor_s = needed_s[min(int(IN_TIME * len(needed_s)), len(needed_s) - 1)]
    start = min(offsets)
    places: dict[int, bytes] = {}
    for packet, offset in zip(packets, offsets, strict=True):
        if packet.at_s - offset / RATE_HZ <= anchor_s:
            places.setdefault(offset - start, packet.payload)
    end = max(offset + len(payload) for offset, payload in places.items())
    pcm = np.zeros(min(end, 60 * RATE_HZ))
    for offset, payload in places.items():
        part = audio.decode_ulaw(payload)[: max(len(pcm) - offset, 0)]
        pcm[offset : offset + len(part)] = part
    return pcm


def mos_lqo(said: audio.Pcm, heard: audio.Pcm) -> float:
    """1 to 4.55. Time is aligned by PESQ itself."""
    return float(pesq(RATE_HZ, said.astype(np.float32), heard.astype(np.float32), "nb"))


class Talker:
    """One call: Opus packets to `to` as the network has them, and PCMU that comes back to the `ear`."""

    def __init__(self, packets: Sequence[bytes], network: Network, *, payload_type: int = 111) -> None:
        self.arrivals = network.arrivals(len(packets))
        self.packets = packets
        self.payload_type = payload_type
        dice = random.Random(network.seed)
        self.ssrc, self.sequence, self.timestamp = dice.getrandbits(32), dice.getrandbits(15), dice.getrandbits(31)
        self.mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for each in (self.mouth, self.ear):
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        self.to: tuple[str, int] = ("", 0)
        self.heard: list[Heard] = []

    def close(self) -> None:
        self.mouth.close()
        self.ear.close()

    def datagram(self, index: int) -> bytes:
        marker = 0x80 if index == 0 else 0
        sequence = (self.sequence + index) % 65536
        timestamp = (self.timestamp + index * OPUS_CLOCK_HZ // 50) % 2**32
        header = struct.pack("!BBHII", 0x80, marker | self.payload_type, sequence, timestamp, self.ssrc)
        return header + self.packets[index]

    def listen(self, now_s: float) -> None:
        """Take what has come."""
        while True:
            try:
                data = self.ear.recv(2048)
            except BlockingIOError:
                return
            if len(data) <= 12 or data[1] & 0x7F != 0:
                continue
            _, _, sequence, timestamp, _ = struct.unpack("!BBHII", data[:12])
            self.heard.append(Heard(at_s=now_s, sequence=sequence, timestamp=timestamp, payload=data[12:]))


def talk(talkers: Sequence[Talker], *, drain_s: float = 0.4) -> None:
    """All of them at once, in real time, each a little after the one before as callers are."""
    start_s = time.monotonic()
    spread_s = FRAME_S / max(len(talkers), 1)
    due = [(at_s + n * spread_s, n, index) for n, talker in enumerate(talkers) for at_s, index in talker.arrivals]
    heapq.heapify(due)
    end_s = max(at_s for at_s, _, _ in due) + drain_s
    while (now_s := time.monotonic() - start_s) < end_s:
        while due and due[0][0] <= now_s:
            _, n, index = heapq.heappop(due)
            talkers[n].mouth.sendto(talkers[n].datagram(index), talkers[n].to)
        for talker in talkers:
            talker.listen(now_s)
        pause_s = min(due[0][0] - now_s if due else end_s, 0.001)
        if pause_s > 0:
            time.sleep(pause_s)


@contextlib.contextmanager
def talkers(network: Network, *, expected_loss_percent: int = 0) -> Iterator[list[Talker]]:
    """One for each sentence, through the same network with a seed of its own; closed at the end."""
    with contextlib.ExitStack() as stack:
        made = []
        for seed, sentence in enumerate(SENTENCES):
            sent = packets(sentence, expected_loss_percent=expected_loss_percent)
            made.append(Talker(sent, replace(network, seed=seed)))
            stack.callback(made[-1].close)
        yield made


def connect(engine: _media.Engine, talker: Talker) -> None:
    """A pair of RTP legs in an engine on loopback for what this talker says: Opus in, PCMU out."""
    legs = []
    for codec, peer in ((OPUS, talker.mouth), (PCMU, talker.ear)):
        leg, port = engine.create_rtp_leg(0)
        engine.set_codecs(leg, [codec])
        remote = peer.getsockname()[1]
        engine.set_rtp_remote(leg, "127.0.0.1", remote, remote, False)
        legs.append((leg, port))
    (browser, browser_port), (phone, _) = legs
    engine.set_source_leg(phone, browser)
    talker.to = ("127.0.0.1", browser_port)


def scores(spoken: Sequence[Talker]) -> list[float]:
    """MOS-LQO of what was heard of each of `talkers`."""
    return [mos_lqo(say(sentence), played(talker.heard)) for sentence, talker in zip(SENTENCES, spoken, strict=True)]
