"""Writes what the fuzzer begins with: real packets of aioice and aiortc, framed as each harness reads them.

    .venv/bin/python native/fuzz/make_seeds.py FOLDER

`scripts/fuzz --seeds` runs it, leaves out what adds nothing, and keeps the rest in native/fuzz/corpus.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from aioice import stun
from aiortc.codecs.opus import OpusEncoder
from aiortc.rtp import (
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
)
from av import AudioFrame

OUR_SSRC = 0x53445021  # rtcp.cpp
PEER_SSRC = 0xCAFE


def framed(octets: bytes) -> bytes:
    return struct.pack("!H", len(octets)) + octets


# -- RTP

# What Chromium sends: audio level, absolute send time, transport-wide sequence number, mid (RFC 8285, one-byte form).
CHROMIUM_EXTENSION = bytes.fromhex("bede 0003 1085 22 1a2b3c 31 0007 40 30 000000".replace(" ", ""))
OPUS_SILENCE = bytes.fromhex("f8fffe")


def rtp_packet(sequence: int, timestamp: int, payload: bytes, payload_type: int = 0, marker: int = 0) -> bytes:
    packet = RtpPacket(
        payload_type=payload_type,
        marker=marker,
        sequence_number=sequence & 0xFFFF,
        timestamp=timestamp & 0xFFFFFFFF,
        ssrc=PEER_SSRC,
        payload=payload,
    )
    serialized: bytes = packet.serialize()
    return serialized


def with_csrc(packet: bytes, count: int) -> bytes:
    return bytes([packet[0] | count]) + packet[1:12] + b"CSRC" * count + packet[12:]


def with_extension(packet: bytes, extension: bytes = CHROMIUM_EXTENSION) -> bytes:
    return bytes([packet[0] | 0x10]) + packet[1:12] + extension + packet[12:]


def with_padding(packet: bytes, octets: int) -> bytes:
    return bytes([packet[0] | 0x20]) + packet[1:] + bytes(octets - 1) + bytes([octets])


def shapes() -> Iterator[bytes]:
    """RTP packets of each shape, and lies."""
    plain = rtp_packet(1000, 160_000, b"\xd5" * 16)
    yield plain
    yield rtp_packet(1001, 160_160, b"\x7f" * 16, payload_type=8, marker=1)
    yield with_extension(rtp_packet(1002, 960_000, OPUS_SILENCE, payload_type=111))
    yield with_csrc(rtp_packet(1003, 160_480, b"\xd5" * 8), 2)
    yield with_csrc(plain[:12], 15)[:40]  # says more than it has
    yield with_padding(rtp_packet(1004, 160_640, b"\xd5" * 8), 4)
    yield with_padding(plain, 1)[:-1] + b"\xff"  # more padding than packet
    yield with_extension(plain, bytes.fromhex("bedeffff"))
    yield rtp_packet(1005, 160_800, b"")
    yield rtp_packet(1006, 160_960, b"\x40", payload_type=13)
    yield plain[:11]


def stream(start: int, steps: Iterable[int], clock_step: int = 160, payload_type: int = 0) -> Iterator[bytes]:
    sequence, timestamp = start, start * 160
    for step in steps:
        sequence += step
        timestamp += step * clock_step
        yield rtp_packet(sequence, timestamp, b"\xd5" * 8, payload_type)


def press(event: int, timestamp: int, durations: Iterable[int], ends: int = 3) -> Iterator[bytes]:
    """The payloads of one press (RFC 4733 section 2.5)."""
    last = 0
    for last in durations:
        yield struct.pack("!BBH", event, 10, last)
    for _ in range(ends):
        yield struct.pack("!BBH", event, 0x80 | 10, last)


def press_packets(event: int, sequence: int, timestamp: int, payload_type: int = 101) -> Iterator[bytes]:
    for i, payload in enumerate(press(event, timestamp, range(160, 1600, 160))):
        yield rtp_packet(sequence + i, timestamp, payload, payload_type, marker=int(i == 0))


def rtp_seeds() -> Iterator[tuple[str, bytes]]:
    def records(packets: Iterable[bytes], choices: int = 0) -> bytes:
        return b"".join(bytes([choices, 20]) + framed(packet) for packet in packets)

    for i, packet in enumerate(shapes()):
        yield f"shape-{i}", records([packet])
    yield "stream", records(stream(1000, [1] * 8))
    yield "wrap", records(stream(0xFFFC, [1] * 8))
    yield "loss-and-reordering", records(stream(1000, [1, 3, -1, -1, 3, 1, 0, 1]))
    yield "restart", records([*stream(1000, [1, 1]), *stream(40_000, [1, 1, 1])])
    yield "lone-stray", records([*stream(1000, [1, 1]), *stream(40_000, [1]), *stream(1002, [1, 1])])
    yield "to-another-clock", records(stream(1000, [1] * 4), 0x04 | 0x80)
    yield "other-source", records(stream(1000, [1] * 3)) + records(stream(7000, [1] * 3), 0x10)
    yield "skipped", records(stream(1000, [1, 1])) + records(stream(1002, [1]), 0x20) + records(stream(1003, [1]))
    yield "detached", records(stream(1000, [1, 1])) + records(stream(1002, [1, 1]), 0x40)


# -- RTCP


def block(ssrc: int, lost: int = 3) -> RtcpReceiverInfo:
    return RtcpReceiverInfo(
        ssrc=ssrc, fraction_lost=25, packets_lost=lost, highest_sequence=66_000, jitter=45, lsr=0x12345678, dlsr=0x8000
    )


def sender_report(*blocks: RtcpReceiverInfo) -> RtcpSrPacket:
    info = RtcpSenderInfo(ntp_timestamp=0xE1B7_6A3C_8000_0000, rtp_timestamp=160_000, packet_count=50, octet_count=8000)
    return RtcpSrPacket(ssrc=PEER_SSRC, sender_info=info, reports=list(blocks))


def compounds() -> Iterator[bytes]:
    name = RtcpSdesPacket(chunks=[RtcpSourceInfo(ssrc=PEER_SSRC, items=[(1, b"user@host")])])
    bye = RtcpByePacket(sources=[PEER_SSRC])
    nack = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=PEER_SSRC, media_ssrc=OUR_SSRC, lost=[12, 13])

    def compound(*packets: AnyRtcpPacket) -> bytes:
        return b"".join(map(bytes, packets))

    yield compound(sender_report(block(OUR_SSRC)), name)
    yield compound(RtcpRrPacket(ssrc=PEER_SSRC, reports=[block(OUR_SSRC, lost=-1)]), name)
    yield compound(RtcpRrPacket(ssrc=PEER_SSRC, reports=[block(7), block(OUR_SSRC), block(9)]), name, bye)
    yield compound(RtcpRrPacket(ssrc=PEER_SSRC, reports=[]), nack)
    yield compound(sender_report())
    # RFC 3611: a receiver reference time, and voice quality figures of our stream.
    reference = struct.pack("!BBHII", 4, 0, 2, 0xE1B76A3C, 0x80000000)
    voip = struct.pack("!BBHI", 7, 0, 8, OUR_SSRC) + bytes(range(28))
    yield (
        compound(RtcpRrPacket(ssrc=PEER_SSRC, reports=[]))
        + struct.pack("!BBHI", 0x80, 207, (4 + len(reference) + len(voip)) // 4, PEER_SSRC)
        + reference
        + voip
    )
    # Lies: a count of blocks and a length that the packet does not have, and a length of nothing.
    yield b"\x9f\xc9\x00\x01" + struct.pack("!I", PEER_SSRC)
    yield b"\x80\xc8\xff\xff" + bytes(24)
    yield b"\x80\xca\x00\x00" * 3


def rtcp_seeds() -> Iterator[tuple[str, bytes]]:
    for i, packet in enumerate(compounds()):
        yield f"compound-{i}", bytes([0, 20]) + framed(packet)
        yield f"answered-{i}", bytes([0x0F, 20]) + framed(packet)
    yield "all", b"".join(bytes([i, 200]) + framed(packet) for i, packet in enumerate(compounds()))


# -- STUN


def binding(key: bytes, *, ufrag: str = "leg0", message_class: stun.Class = stun.Class.REQUEST) -> stun.Message:
    message = stun.Message(
        message_method=stun.Method.BINDING, message_class=message_class, transaction_id=b"transaction!"
    )
    if message_class is stun.Class.REQUEST:
        message.attributes["USERNAME"] = f"{ufrag}:peer"
        message.attributes["PRIORITY"] = 1845501695
        message.attributes["ICE-CONTROLLING"] = 7
        message.attributes["USE-CANDIDATE"] = None
    else:
        message.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 5000)
    message.add_message_integrity(key)
    message.add_fingerprint()
    return message


PWD = b"the password of the leg."
PRIORITY = bytes.fromhex("00240004 6e7f1eff")
CONTROLLING = bytes.fromhex("802a0008 0000000000000007")
USE_CANDIDATE = bytes.fromhex("00250000")
NETWORK_INFO = bytes.fromhex("c0570004 00010032")  # GOOG_NETWORK_INFO
UNKNOWN = bytes.fromhex("00260000 7fff0001 00000000")


def stun_seeds() -> Iterator[tuple[str, bytes]]:
    def record(what: int, data: bytes = b"", source: int = 0) -> bytes:
        return bytes([what, source]) + framed(data)

    secured = 0x40
    yield "request", record(0, bytes(binding(PWD)))
    yield "wrong-password", record(0, bytes(binding(b"x" * 24)))
    yield "response", record(0, bytes(binding(PWD, message_class=stun.Class.RESPONSE)))
    yield "indication", record(0, bytes(binding(PWD, message_class=stun.Class.INDICATION)))
    yield "error", record(0, bytes(binding(PWD, message_class=stun.Class.ERROR)))
    check = PRIORITY + CONTROLLING + NETWORK_INFO
    yield "check", record(1, check)
    yield "nominated", record(1, check) + record(1, check + USE_CANDIDATE)
    yield "unknown-attributes", record(1, UNKNOWN * 5)
    yield "from-ipv6", record(1, check, source=0x80)
    yield "five-addresses", b"".join(record(1, check, source=i) for i in range(6))
    yield (
        "moved",
        record(1, check, secured) + record(1, check + USE_CANDIDATE, secured | 1) + record(4, b"", secured | 1),
    )
    yield "contested", record(1, check, 0x20) + record(4, b"", 0x20) + record(1, check, 0x20)
    yield "move-given-up", record(1, check, secured) + record(1, USE_CANDIDATE, secured | 1) + record(4, b"", 2) * 6
    yield "restarted", record(1, check) + record(5) + record(1, check) + record(2, check, 3) + record(1, check)
    yield (
        "restarted-and-moved",
        record(1, check, secured) + record(5) + record(2, check, secured | 3) + record(4, b"", 3),
    )
    yield (
        "forged-answer",
        record(1, check, secured) + record(1, USE_CANDIDATE, secured | 1) + record(3, b"", secured | 1),
    )


# -- telephone events


def telephone_event_seeds() -> Iterator[tuple[str, bytes]]:
    def records(timestamp: int, payloads: Iterable[bytes], rates: int = 0) -> bytes:
        return b"".join(bytes([rates]) + struct.pack("!I", timestamp) + framed(payload) for payload in payloads)

    one = records(1600, press(5, 1600, range(160, 1600, 160)))
    yield "press", one
    yield "two-presses", one + records(4800, press(5, 4800, [160, 320]))
    yield "to-48000", records(1600, press(1, 1600, range(160, 1600, 160)), 0x04)
    yield "to-8000", records(1600, press(1, 1600, range(960, 9600, 960)), 0x01)
    yield "segments", records(0, press(9, 0, [0xFFFF], ends=0)) + records(0xFFFF, press(9, 0xFFFF, [160, 320]), 0x04)
    yield "late", records(4800, press(1, 4800, [160])) + records(1600, press(2, 1600, [160]))
    yield "too-short", records(0, [b"\x05\x0a\x00"])
    yield "redundant", records(0, [b"\x05\x0a\x00\xa0" * 2])


# -- SRTP


def srtp_seeds() -> Iterator[tuple[str, bytes]]:
    def record(what: int, data: bytes, rollovers: int = 0) -> bytes:
        return bytes([what, rollovers]) + framed(data)

    for profile in range(4):
        first = bytes([profile])
        yield f"sealed-{profile}", first + b"".join(record(1, packet) for packet in shapes())
        yield (
            f"rollover-{profile}",
            first + b"".join(record(1, packet, int(i > 2)) for i, packet in enumerate(stream(0xFFFC, [1] * 6))),
        )
        yield f"sent-{profile}", first + b"".join(record(4, packet) for packet in shapes())
        yield f"rtcp-{profile}", first + b"".join(record(3, packet) for packet in compounds())
        yield f"strange-{profile}", first + record(0, next(shapes())) + record(2, next(compounds()))


# -- redundant audio and the playout


def red_payload(primary: bytes, *copies: tuple[int, bytes], payload_type: int = 111) -> bytes:
    headers = b"".join(
        struct.pack("!I", (0x80 | payload_type) << 24 | offset << 10 | len(data)) for offset, data in copies
    )
    return headers + bytes([payload_type]) + b"".join(data for _, data in copies) + primary


def red_seeds() -> Iterator[tuple[str, bytes]]:
    yield "one", red_payload(OPUS_SILENCE, (960, OPUS_SILENCE))
    yield "two", red_payload(b"\xd5" * 8, (320, b"\x55" * 8), (160, b"\x54" * 8), payload_type=8)
    yield "primary-alone", red_payload(OPUS_SILENCE)
    yield "empty-copy", red_payload(OPUS_SILENCE, (960, b""))
    yield "cut", red_payload(OPUS_SILENCE, (960, b"\0" * 40))[:20]
    yield "many", red_payload(b"", *[(160 * i, b"x") for i in range(9, 0, -1)])


def opus_speech() -> list[bytes]:
    """Frames of 20 ms from the encoder that aiortc uses, of a voice-like buzz."""
    samples = np.zeros(960 * 12)
    for harmonic in range(1, 20):
        samples += np.sin(2 * np.pi * 120 * harmonic * np.arange(len(samples)) / 48000) / harmonic
    pcm = (samples * 4000).astype("<i2")
    encoder = OpusEncoder()
    frames: list[bytes] = []
    for i in range(12):
        frame = AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(pcm[960 * i : 960 * (i + 1)].tobytes())
        frame.sample_rate, frame.pts, frame.time_base = 48000, 960 * i, Fraction(1, 48000)
        frames += encoder.encode(frame)[0]
    return frames


def playout_seeds() -> Iterator[tuple[str, bytes]]:
    pcmu, pcma, g722, opus, noise, red = range(6)

    def record(what: int, sequence: int, timestamp: int, payload: bytes, steps: int = 2) -> bytes:
        return struct.pack("!BBHI", what, steps, sequence & 0xFFFF, timestamp & 0xFFFFFFFF) + framed(payload)

    def g711(order: Iterable[int], codec: int = pcmu, steps: int = 2) -> bytes:
        return b"".join(record(codec, i, 160 * i, b"\xd5\x2a" * 80, steps) for i in order)

    yield "pcmu", g711(range(1000, 1010))
    yield "pcma-lost", g711([1000, 1001, 1004, 1005, 1009, 1010], pcma, 4)
    yield "reordered", g711([1000, 1003, 1001, 1002, 1002, 1006, 1004])
    yield "wrapping", g711(range(0xFFFC, 0x10004))
    yield "burst", g711(range(1000, 1030), steps=0)
    yield "g722", g711(range(1000, 1008), g722)
    yield "noise", g711(range(1000, 1004)) + record(noise, 1004, 160 * 1004, b"\x40\x10", 8) + g711(range(1010, 1014))
    speech = opus_speech()
    yield "opus", b"".join(record(opus, i, 960 * i, one) for i, one in enumerate(speech))
    yield "opus-lost", b"".join(record(opus, i, 960 * i, one) for i, one in enumerate(speech) if i % 3)
    yield (
        "opus-dtx",
        record(opus, 1, 960, speech[0]) + record(opus, 2, 1920, b"\xf8", 6) + record(opus, 3, 9600, speech[1]),
    )
    yield (
        "red",
        b"".join(record(red, i, 960 * i, red_payload(speech[i], (960, speech[i - 1]))) for i in (1, 2, 4, 6, 7)),
    )
    yield "codec-changes", g711(range(1000, 1003)) + record(opus, 1003, 960 * 1003, speech[0]) + g711([1004], pcma)
    yield "rate-changes", g711([1000, 1001]) + record(0x80, 1002, 160 * 1002, b"\xd5" * 160) + g711([1003])
    yield "odd-lengths", b"".join(record(pcmu, i, 160 * i, b"\xd5" * (37 * i)) for i in range(8))
    yield "far", record(pcmu, 1, 160, b"\xd5" * 160) + record(pcmu, 2, 1 << 31, b"\xd5" * 160, 0x8F)


# -- the port


def port_seeds() -> Iterator[tuple[str, bytes]]:
    raw, stranger, check, answer, rtp, rtcp, own, command = range(8)

    def record(what: int, data: bytes = b"", who: int = 0, ms: int = 20) -> bytes:
        return bytes([what, who, ms]) + framed(data)

    def speak(packets: Iterable[bytes], who: int = 0) -> bytes:
        return b"".join(record(rtp, packet, who) for packet in packets)

    connect = record(check, PRIORITY) + record(check, PRIORITY, who=1 | 2 << 1)  # leg 1 from host 0, leg 2 from host 2
    second = 1 | 2 << 1
    yield (
        "call",
        connect + speak(stream(1000, [1] * 6)) + b"".join(record(own, packet) for packet in stream(2000, [1] * 6)),
    )
    yield "echo", connect + speak(stream(1000, [1] * 6), second)
    yield "shapes", connect + speak(shapes())
    yield "press", connect + speak(stream(1000, [1, 1])) + speak(press_packets(5, 1003, 160_480))
    yield "press-back", connect + b"".join(record(own, packet) for packet in press_packets(7, 1, 160))
    yield "reports", connect + speak(stream(1000, [1])) + b"".join(record(rtcp, one) for one in compounds())
    yield "own-reports", connect + b"".join(record(own, one, 0x80) for one in compounds())
    yield (
        "moved",
        connect + record(check, USE_CANDIDATE, who=1 << 1) + record(answer, who=1 << 1) + speak(stream(1, [1])),
    )
    yield (
        "move-not-answered",
        connect + record(check, USE_CANDIDATE, who=1 << 1) + record(answer, who=3 << 1, ms=250) * 4,
    )
    yield "same-address", connect + record(check, PRIORITY, who=1) + speak(stream(1, [1, 1])) + speak(stream(5, [1]), 1)
    yield (
        "same-address-proved",
        connect + record(check, PRIORITY, who=1) + record(answer, who=1) + speak(stream(1, [1]), 1),
    )
    yield "restarted", connect + record(command, bytes([7, 0])) + record(check, PRIORITY)
    yield "dtls", connect + record(raw, b"\x16\xfe\xfd a flight") + record(stranger, b"\x16\xfe\xfd a flight")
    strange = [*shapes(), *compounds(), bytes(binding(PWD)), b"", b"\x16", b"\x80", b"\xff" * 40]
    yield "strangers", connect + b"".join(record(stranger, packet) for packet in strange)
    yield "strangers-rtp", connect + b"".join(record(own, packet, 0x40) for packet in strange)
    transcoded = record(command, bytes([1, 3 << 2])) + record(command, bytes([1, 2]))  # leg 1: Opus, leg 3: G.711
    yield (
        "transcoded",
        connect
        + transcoded
        + speak(rtp_packet(i, 960 * i, OPUS_SILENCE, payload_type=111) for i in range(4))
        + b"".join(record(own, packet) for packet in stream(2000, [1] * 3)),
    )
    yield "tone", connect + record(command, bytes([4, 0])) + record(command, bytes([12, 1]), ms=200) * 3
    yield "played", connect + record(command, bytes([8, 0])) + record(raw, ms=250) * 2 + record(command, bytes([9, 0]))
    yield (
        "recorded",
        connect + record(command, bytes([10, 0])) + speak(stream(1000, [1] * 6)) + record(command, bytes([11, 0])),
    )
    yield "learned", connect + record(command, bytes([5, 0x10])) + record(own, next(shapes()), 0x40)
    yield (
        "held",
        connect + record(command, bytes([0, 0x10])) + speak(stream(1, [1])) + record(command, bytes([0, 0x30])),
    )
    yield "keyed-anew", connect + speak(stream(9, [1])) + record(command, bytes([6, 0])) + speak(stream(9, [1]))


SEEDS = {
    "rtp": rtp_seeds,
    "rtcp": rtcp_seeds,
    "stun": stun_seeds,
    "telephone_event": telephone_event_seeds,
    "srtp": srtp_seeds,
    "red": red_seeds,
    "playout": playout_seeds,
    "port": port_seeds,
}


def main(folder: Path) -> None:
    for harness, seeds in SEEDS.items():
        target = folder / harness
        target.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (target / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
