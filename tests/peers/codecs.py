"""Payloads and what they sound like, by the codec's name in SDP: G.711 by the formulas of `audio`, else by FFmpeg."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import av
import numpy as np

from . import audio

_G711 = {"PCMU": audio.decode_ulaw, "PCMA": audio.decode_alaw}
_FFMPEG = {"opus": ("libopus", 48000), "G722": ("g722", 16000)}


class Decoder:
    """Of the packets of one stream, whose codec has a memory. `rate_hz` is that of the samples."""

    def __init__(self, codec: str) -> None:
        self._codec, self._context = codec, None
        self.rate_hz = 8000
        if codec not in _G711:
            name, self.rate_hz = _FFMPEG[codec]
            context: Any = av.CodecContext.create(name, "r")
            context.format, context.layout, context.sample_rate = "s16", "mono", self.rate_hz
            self._context = context

    def decode(self, payload: bytes) -> audio.Pcm:
        """The samples of one packet."""
        if self._context is None:
            return _G711[self._codec](payload)
        frames = [audio.from_int16(frame.to_ndarray().tobytes()) for frame in self._context.decode(av.Packet(payload))]
        return np.concatenate(frames) if frames else np.zeros(0)


def decode(codec: str, payloads: Iterable[bytes]) -> tuple[audio.Pcm, int]:
    """What these packets sound like one after the other, and the rate in Hz."""
    decoder = Decoder(codec)
    return np.concatenate([np.zeros(0), *map(decoder.decode, payloads)]), decoder.rate_hz


def encode_g711(codec: str, pcm: audio.Pcm) -> bytes:
    """The octet whose value is nearest, found among all 256 of the decoder's; 0 is 0xFF in PCMU."""
    values = _G711[codec](bytes(range(256)))
    order = np.argsort(values, kind="stable")
    places = np.searchsorted((values[order][1:] + values[order][:-1]) / 2, pcm, side="right")
    return order[places].astype(np.uint8).tobytes()


def encode_opus(
    pcm: audio.Pcm,
    rate_hz: int,
    *,
    frame_ms: int = 20,
    layout: str = "mono",
    bitrate_bps: int = 48_000,
    application: str = "audio",
    expected_loss_percent: int = 0,
) -> list[bytes]:
    """A packet for each whole frame, with in-band FEC if loss is expected (RFC 6716 section 2.1.7).

    :param layout: `stereo` has the same in both channels.
    """
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate_hz, layout, "s16", bitrate_bps
    encoder.options = {"application": application, "frame_duration": str(frame_ms)}
    if expected_loss_percent:
        encoder.options |= {"fec": "1", "packet_loss": str(expected_loss_percent)}
    packets = []
    size = rate_hz * frame_ms // 1000
    samples = (pcm * 32767).astype(np.int16)
    for start in range(0, len(samples) - size + 1, size):
        part = np.repeat(samples[start : start + size], 2 if layout == "stereo" else 1)
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def tone_packets(codec: str, frequency_hz: float, duration_s: float, *, amplitude: float = 0.3) -> list[bytes]:
    """A sine in packets of 20 ms of PCMU, PCMA or Opus."""
    if codec == "opus":
        return encode_opus(audio.sine(frequency_hz, duration_s, 48000, amplitude=amplitude), 48000)
    octets = encode_g711(codec, audio.sine(frequency_hz, duration_s, 8000, amplitude=amplitude))
    return [octets[start : start + 160] for start in range(0, len(octets), 160)]
