"""RTCP-XR (RFC 3611) from a peer, and RTCP that is for video: taken, answered or ignored, and never trusted."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator

import pylibsrtp
import pytest
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket
from peers import voip_metrics as peer_metrics

from .plane import Plane, RtpPeer, WebRtcPeer, wait_for

INTERVAL_S = 0.2
PEER = 5


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane(report_interval_s=INTERVAL_S) as made:
        yield made


def packet(kind: int, body: bytes, *, count: int = 0, padding: int = 0) -> bytes:
    """One RTCP packet; `padding` octets are added to a body of whole words."""
    if padding:
        body += bytes(padding - 1) + bytes([padding])
    assert len(body) % 4 == 0
    return struct.pack("!BBH", 0x80 | (0x20 if padding else 0) | count, kind, len(body) // 4) + body


def block(kind: int, content: bytes, *, words: int | None = None) -> bytes:
    """`words` is what the length says, if not the truth."""
    return struct.pack("!BBH", kind, 0, len(content) // 4 if words is None else words) + content


def extended(*blocks: bytes) -> bytes:
    return packet(207, struct.pack("!I", PEER) + b"".join(blocks))


def voip_metrics(ssrc: int) -> bytes:
    return block(7, peer_metrics.content(ssrc))


REFERENCE_TIME = block(4, struct.pack("!II", 0xE000_1234, 0x5678_9ABC))
RECEIVER_REPORT = bytes(RtcpRrPacket(ssrc=PEER))


def sending_leg(plane: Plane, side: str) -> tuple[RtpPeer | WebRtcPeer, int]:
    """A peer whose leg sends silence, and the SSRC that it does it with."""
    peer: RtpPeer | WebRtcPeer = plane.webrtc_leg() if side == "browser" else plane.rtp_leg()
    plane.engine.set_source_tone(peer.leg, [])
    return peer, peer.receive().ssrc


def send(peer: RtpPeer | WebRtcPeer, datagram: bytes) -> None:
    if isinstance(peer, WebRtcPeer):
        peer.socket.send(peer.tx.protect_rtcp(datagram), peer.port)
    else:
        peer.rtcp.send(datagram, peer.leg_port + 1)


def receive_raw(peer: RtpPeer | WebRtcPeer) -> bytes:
    """The next compound packet in the clear. aiortc knows no extended reports, so it is taken apart here."""
    if isinstance(peer, RtpPeer):
        return peer.rtcp.receive()
    while 64 <= (datagram := peer.socket.receive())[1] & 0x7F < 96:
        return peer.rx.unprotect_rtcp(datagram)
    return receive_raw(peer)


def packets_of(compound: bytes) -> dict[int, bytes]:
    found = {}
    while compound:
        length = 4 + 4 * int.from_bytes(compound[2:4])
        assert length <= len(compound)
        found[compound[1]] = compound[:length]
        compound = compound[length:]
    return found


def wait_reports(plane: Plane, leg: int, count: int) -> None:
    wait_for(lambda: plane.stats(leg)["reports_received"] == count, "the report")


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_a_voip_metrics_block_on_our_stream_is_read(plane: Plane, side: str) -> None:
    peer, ours = sending_leg(plane, side)
    assert plane.stats(peer.leg)["voip_metrics"] is None
    send(peer, RECEIVER_REPORT + extended(voip_metrics(99), block(250, b"what is yet to come!"), voip_metrics(ours)))
    wait_for(lambda: plane.stats(peer.leg)["rtcp_received"] == 1, "the report")
    assert plane.stats(peer.leg)["voip_metrics"] == peer_metrics.METRICS


def test_a_voip_metrics_block_on_another_stream_is_not_ours(plane: Plane) -> None:
    peer, ours = sending_leg(plane, "phone")
    send(peer, RECEIVER_REPORT + extended(voip_metrics(ours ^ 1)))
    wait_for(lambda: plane.stats(peer.leg)["rtcp_received"] == 1, "the report")
    assert plane.stats(peer.leg)["voip_metrics"] is None


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_a_reference_time_comes_back_with_how_long_it_was_held(plane: Plane, side: str) -> None:
    """So a peer that only listens learns the round trip, once for each time that it asks."""
    peer, ours = sending_leg(plane, side)
    sent_at = time.monotonic()
    send(peer, RECEIVER_REPORT + extended(REFERENCE_TIME))
    while 207 not in (found := packets_of(receive_raw(peer))):
        assert time.monotonic() - sent_at < 10 * INTERVAL_S
    held_s = time.monotonic() - sent_at
    assert list(found)[-1] == 207, "after the report and the CNAME"
    ssrc, kind, words, asked_by, reference, delay = struct.unpack("!IHHIII", found[207][4:])
    assert (ssrc, kind, words) == (ours, 5 << 8, 3)
    assert (asked_by, reference) == (PEER, 0x1234_5678)
    assert 0 <= delay / 65536 <= held_s
    assert 207 not in packets_of(receive_raw(peer))


LIES = [
    pytest.param(packet(207, b""), id="no SSRC"),
    pytest.param(extended(block(7, bytes(32), words=9)), id="a block longer than its packet"),
    pytest.param(extended(block(250, bytes(4), words=0xFFFF)), id="an unknown block longer than its packet"),
    pytest.param(extended(block(7, bytes(28))), id="VoIP metrics too short"),
    pytest.param(extended(block(7, bytes(36))), id="VoIP metrics too long"),
    pytest.param(extended(block(4, bytes(4))), id="half a reference time"),
    pytest.param(extended(block(5, bytes(8))), id="two thirds of a DLRR"),
    pytest.param(extended(REFERENCE_TIME, block(1, b"", words=1)), id="a second block cut"),
    pytest.param(packet(201, bytes(4), padding=4)[:-1] + b"\x00", id="padding of 0"),
    pytest.param(packet(201, bytes(4), padding=4)[:-1] + b"\x03", id="padding of 3"),
    pytest.param(packet(201, bytes(4), padding=4)[:-1] + b"\x0c", id="more padding than packet"),
    pytest.param(packet(201, bytes(4) + bytes(20), count=1, padding=4), id="padding in place of a block's end"),
    pytest.param(packet(201, bytes(4), padding=4) + RECEIVER_REPORT, id="padding before the last packet"),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_length_is_malformed_and_changes_nothing(plane: Plane, lie: bytes) -> None:
    peer, _ = sending_leg(plane, "phone")
    send(peer, lie)
    wait_for(lambda: plane.stats(peer.leg)["dropped_malformed"] == 1, "the refusal")
    stats = plane.stats(peer.leg)
    assert (stats["rtcp_received"], stats["voip_metrics"]) == (0, None)


FEEDBACK = [
    pytest.param(bytes(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=PEER, media_ssrc=9, lost=[1, 2, 700])), id="NACK"),
    pytest.param(bytes(RtcpPsfbPacket(fmt=1, ssrc=PEER, media_ssrc=9)), id="PLI"),
    pytest.param(bytes(RtcpPsfbPacket(fmt=4, ssrc=PEER, media_ssrc=0, fci=bytes(8))), id="FIR"),
    pytest.param(bytes(RtcpPsfbPacket(fmt=15, ssrc=PEER, media_ssrc=0, fci=b"REMB" + bytes(8))), id="REMB"),
    pytest.param(packet(205, struct.pack("!IIHHI", PEER, 9, 1, 1, 0) + bytes(4), count=15), id="transport-cc"),
    pytest.param(packet(204, struct.pack("!I", PEER) + b"name" + bytes(8)), id="APP"),
    pytest.param(packet(201, struct.pack("!I", PEER), padding=8), id="a padded report"),
]


@pytest.mark.parametrize("side", ["browser", "phone"])
@pytest.mark.parametrize("feedback", FEEDBACK)
def test_feedback_that_audio_has_no_use_for_is_ignored(plane: Plane, feedback: bytes, side: str) -> None:
    peer, _ = sending_leg(plane, side)
    before = plane.stats(peer.leg)
    send(peer, feedback)  # alone, as a reduced-size packet (RFC 5506)
    wait_for(lambda: plane.stats(peer.leg)["rtcp_received"] == 1, "it")
    stats = plane.stats(peer.leg)
    assert (stats["dropped_malformed"], stats["auth_failures"]) == (0, 0)
    assert stats["reports_received"] == before["reports_received"] == 0


def test_what_an_encoder_should_expect_rises_at_once_and_falls_slowly(plane: Plane) -> None:
    peer, ours = sending_leg(plane, "phone")
    seen = []
    for number, fraction in enumerate([0, 64, 64, 0, 0, 0, 0], 1):
        info = RtcpReceiverInfo(
            ssrc=ours, fraction_lost=fraction, packets_lost=5, highest_sequence=1, jitter=0, lsr=0, dlsr=0
        )
        peer.send_rtcp(RtcpRrPacket(ssrc=PEER, reports=[info]))
        wait_reports(plane, peer.leg, number)
        stats = plane.stats(peer.leg)
        assert stats["remote_fraction_lost"] == fraction / 256
        seen.append(stats["expected_loss"])
    assert seen[:3] == [0, 0.125, 0.1875]
    assert seen[3:] == pytest.approx([0.1875 * 0.75**i for i in range(1, 5)])


def test_a_new_stream_of_ours_keeps_what_was_lost_of_the_old_one(plane: Plane) -> None:
    """New keys bring a new SSRC, and the peer counts from 0 again."""
    browser = plane.webrtc_leg()
    plane.engine.set_source_tone(browser.leg, [])

    def report(ssrc: int, lost: int, number: int) -> None:
        info = RtcpReceiverInfo(
            ssrc=ssrc, fraction_lost=0, packets_lost=lost, highest_sequence=1, jitter=0, lsr=0, dlsr=0
        )
        browser.send_rtcp(RtcpRrPacket(ssrc=PEER, reports=[info]))
        wait_reports(plane, browser.leg, number)

    report(browser.receive().ssrc, 7, 1)
    plane.set_keys(browser, "AEAD_AES_128_GCM")
    ours = 0
    while not ours:
        with contextlib.suppress(pylibsrtp.Error):  # what was on its way is under the old keys
            ours = browser.receive().ssrc
    report(ours, 2, 2)
    assert plane.stats(browser.leg)["remote_packets_lost"] == 9
