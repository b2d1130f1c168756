"""RTCP of both legs, read and written by aiortc."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
)

from sdpserver import _media

from .plane import PROFILE_NAMES, Plane, RtpPeer, WebRtcPeer, rtp, wait_for

if TYPE_CHECKING:
    from sdpserver._media import SrtpProfile

INTERVAL_S = 0.2
NTP_1970 = 2_208_988_800


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane(report_interval_s=INTERVAL_S) as made:
        yield made


def ntp(at_s: float) -> int:
    return int((at_s + NTP_1970) * 2**32)


def report_of(compound: list[AnyRtcpPacket]) -> RtcpSrPacket | RtcpRrPacket:
    assert isinstance(compound[0], RtcpSrPacket | RtcpRrPacket), "a compound packet begins with a report"
    assert isinstance(compound[1], RtcpSdesPacket)
    return compound[0]


def cname_of(compound: list[AnyRtcpPacket]) -> bytes:
    sdes = compound[1]
    assert isinstance(sdes, RtcpSdesPacket)
    (chunk,) = sdes.chunks
    ((kind, name),) = chunk.items
    assert kind == 1
    return bytes(name)


def wait_block(peer: RtpPeer | WebRtcPeer) -> tuple[RtcpSrPacket | RtcpRrPacket, RtcpReceiverInfo]:
    """The next report with a block."""
    while True:
        report = report_of(peer.receive_rtcp())
        if report.reports:
            return report, report.reports[0]


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_both_legs_report_what_they_send_and_what_they_receive(plane: Plane, profile: SrtpProfile) -> None:
    browser, phone = plane.webrtc_leg(profile=profile), plane.rtp_leg()
    plane.bridge(browser, phone)
    peers: list[tuple[RtpPeer | WebRtcPeer, int]] = [(browser, 0xB0), (phone, 0xA0)]
    sent = {}
    for i in range(10):
        for peer, ssrc in peers:
            peer.send(rtp(1000 + i, 160 * i, ssrc=ssrc))
        sent = {ssrc: peer.receive() for peer, ssrc in peers}
    names = set()
    for peer, ssrc in peers:
        while True:
            compound = peer.receive_rtcp()
            report = report_of(compound)
            if isinstance(report, RtcpSrPacket) and report.sender_info.packet_count == 10:
                break
        last = sent[ssrc]
        assert report.ssrc == last.ssrc
        assert report.sender_info.octet_count == 1600
        now = time.time()
        age_s = now + NTP_1970 - report.sender_info.ntp_timestamp / 2**32
        assert -0.05 < age_s < 3
        since_last = (report.sender_info.rtp_timestamp - last.timestamp) % 2**32
        assert since_last < 3 * 8000
        (block,) = report.reports
        assert (block.ssrc, block.packets_lost, block.fraction_lost) == (ssrc, 0, 0)
        assert block.highest_sequence == 1009
        assert (block.lsr, block.dlsr) == (0, 0)
        names.add(cname_of(compound))
    assert len(names) == 2, "one CNAME for both legs would link them"
    assert all(len(name) >= 16 for name in names)
    assert plane.stats(browser.leg)["rtcp_sent"] >= 1


def test_a_leg_that_only_sends_reports_too(plane: Plane) -> None:
    """A browser that only listens wants sender reports as well."""
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    phone.send(rtp(1))
    browser.receive()
    report = report_of(browser.receive_rtcp())
    assert isinstance(report, RtcpSrPacket)
    assert report.reports == []


def test_a_leg_that_only_receives_sends_receiver_reports(plane: Plane) -> None:
    phone = plane.rtp_leg()
    phone.send(rtp(7, ssrc=5))
    report, block = wait_block(phone)
    assert isinstance(report, RtcpRrPacket)
    assert (block.ssrc, block.highest_sequence) == (5, 7)


def test_loss_is_counted_over_a_wrap_and_told_to_the_sender(plane: Plane) -> None:
    phone = plane.rtp_leg()
    for i in [0, 1, 2, 5, 6, 4, 9]:  # 3, 7 and 8 are missing
        phone.send(rtp(65533 + i, 160 * i, ssrc=5))
    wait_for(lambda: plane.stats(phone.leg)["packets_received"] == 7, "all")
    assert plane.stats(phone.leg)["packets_lost"] == 3
    _, block = wait_block(phone)
    assert block.packets_lost == 3
    assert block.highest_sequence == 65536 + 6
    assert block.fraction_lost == 3 * 256 // 10
    _, block = wait_block(phone)
    assert (block.packets_lost, block.fraction_lost) == (3, 0), "nothing was lost in the second interval"


def test_repeated_packets_make_the_loss_negative(plane: Plane) -> None:
    phone = plane.rtp_leg()
    for sequence in [1, 2, 2, 2]:
        phone.send(rtp(sequence))
    _, block = wait_block(phone)
    assert block.packets_lost == -2
    assert block.fraction_lost == 0


def test_jitter_is_that_of_rfc_3550(plane: Plane) -> None:
    """Timestamps that jump by 100 ms between packets sent at once: D is 800 units each time."""
    phone = plane.rtp_leg()
    for i in range(5):
        phone.send(rtp(i, 800 * i))
    expected = 0.0
    for _ in range(4):
        expected += (800 - expected) / 16
    _, block = wait_block(phone)
    assert block.jitter == pytest.approx(expected, rel=0.1)
    assert plane.stats(phone.leg)["jitter_ms"] == pytest.approx(expected / 8, rel=0.1)


def test_the_senders_report_comes_back_as_lsr_and_dlsr(plane: Plane) -> None:
    phone = plane.rtp_leg()
    phone.send(rtp(1, ssrc=5))
    wait_for(lambda: plane.stats(phone.leg)["packets_received"] == 1, "the packet")
    stamp = 0xE000_1234_5678_9ABC
    info = RtcpSenderInfo(ntp_timestamp=stamp, rtp_timestamp=160, packet_count=1, octet_count=160)
    sent_at = time.monotonic()
    phone.send_rtcp(RtcpSrPacket(ssrc=5, sender_info=info))
    while True:
        _, block = wait_block(phone)
        if block.lsr:
            break
    assert block.lsr == stamp >> 16 & 0xFFFFFFFF
    assert 0 <= block.dlsr / 65536 <= time.monotonic() - sent_at + 0.01


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_a_report_on_us_gives_loss_jitter_and_round_trip(plane: Plane, side: str) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    peer: RtpPeer | WebRtcPeer = browser if side == "browser" else phone
    plane.engine.set_source_tone(peer.leg, [])
    ours = peer.receive().ssrc
    assert plane.stats(peer.leg)["round_trip_ms"] == -1.0
    while not isinstance(report := report_of(peer.receive_rtcp()), RtcpSrPacket):
        pass
    # As if the peer had held it for 0.5 s and the way had taken 250 ms: the report is sent 0 to some ms after it came.
    lsr = (report.sender_info.ntp_timestamp >> 16) - round(0.75 * 65536) & 0xFFFFFFFF
    block = RtcpReceiverInfo(
        ssrc=ours, fraction_lost=1, packets_lost=-7, highest_sequence=1, jitter=80, lsr=lsr, dlsr=round(0.5 * 65536)
    )
    peer.send_rtcp(RtcpRrPacket(ssrc=5, reports=[block]), RtcpSdesPacket())
    wait_for(lambda: plane.stats(peer.leg)["rtcp_received"] == 1, "the report")
    stats = plane.stats(peer.leg)
    assert stats["remote_packets_lost"] == -7
    assert stats["remote_jitter_ms"] == 10.0
    assert 249 <= stats["round_trip_ms"] < 1000


def test_a_report_on_another_stream_changes_nothing(plane: Plane) -> None:
    phone = plane.rtp_leg()
    block = RtcpReceiverInfo(ssrc=99, fraction_lost=1, packets_lost=7, highest_sequence=1, jitter=80, lsr=1, dlsr=1)
    phone.send_rtcp(RtcpRrPacket(ssrc=5, reports=[block]))
    wait_for(lambda: plane.stats(phone.leg)["rtcp_received"] == 1, "the report")
    stats = plane.stats(phone.leg)
    assert (stats["remote_packets_lost"], stats["round_trip_ms"]) == (0, -1.0)


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_a_removed_leg_says_goodbye(plane: Plane, side: str) -> None:
    peer: RtpPeer | WebRtcPeer = plane.webrtc_leg() if side == "browser" else plane.rtp_leg()
    plane.engine.set_source_tone(peer.leg, [])
    ssrc = peer.receive().ssrc
    plane.engine.remove_leg(peer.leg)
    while not isinstance((compound := peer.receive_rtcp())[-1], RtcpByePacket):
        pass
    assert isinstance(bye := compound[-1], RtcpByePacket)
    assert bye.sources == [ssrc]
    report_of(compound)


def test_rtcp_from_elsewhere_is_dropped(plane: Plane) -> None:
    phone = plane.rtp_leg()
    plane.socket().send(bytes(RtcpRrPacket(ssrc=5)), phone.leg_port + 1)
    wait_for(lambda: plane.stats(phone.leg)["dropped_source"] == 1, "the stranger's")
    assert plane.stats(phone.leg)["rtcp_received"] == 0


def test_rtcp_may_be_multiplexed_with_rtp(plane: Plane) -> None:
    phone = plane.rtp_leg()
    plane.engine.set_rtp_remote(phone.leg, plane.ip, phone.rtp.port, phone.rtp.port, False)
    plane.engine.set_source_leg(phone.leg, phone.leg)
    plane.settle()
    phone.rtp.send(bytes(RtcpRrPacket(ssrc=5)), phone.leg_port)
    phone.send(rtp(1, payload=b"audio"))
    assert phone.receive().payload == b"audio"
    assert plane.stats(phone.leg)["rtcp_received"] == 1
    compound = phone.rtp.receive()
    assert compound[1] == 200, "reports come to the RTP port"


def test_rtcp_follows_the_learned_host_and_teaches_nothing_itself(plane: Plane) -> None:
    phone = plane.rtp_leg(learn=True)
    natted = plane.socket()
    phone.send_rtcp(RtcpRrPacket(ssrc=5))
    wait_for(lambda: plane.stats(phone.leg)["dropped_source"] == 1, "RTCP before any RTP")
    natted.send(rtp(1).serialize(), phone.leg_port)
    wait_for(lambda: plane.stats(phone.leg)["packets_received"] == 1, "the RTP")
    natted_rtcp = plane.socket()
    natted_rtcp.send(bytes(RtcpRrPacket(ssrc=5)), phone.leg_port + 1)
    wait_for(lambda: plane.stats(phone.leg)["rtcp_received"] == 1, "RTCP of the same host")
    assert natted_rtcp.receive()[1] == 201, "reports go where the peer's came from"
    phone.send_rtcp(RtcpRrPacket(ssrc=5))
    wait_for(lambda: plane.stats(phone.leg)["dropped_source"] == 2, "RTCP of another port, later")


def test_multiplexed_rtcp_teaches_a_learning_leg_nothing(plane: Plane) -> None:
    phone = plane.rtp_leg(connect=False)
    plane.engine.set_rtp_remote(phone.leg, plane.ip, phone.rtp.port, phone.rtp.port, True)
    plane.engine.set_source_leg(phone.leg, phone.leg)
    plane.settle()
    stranger, natted = plane.socket(), plane.socket()
    stranger.send(bytes(RtcpRrPacket(ssrc=5)), phone.leg_port)
    wait_for(lambda: plane.stats(phone.leg)["dropped_source"] == 1, "the stranger's RTCP")
    natted.send(rtp(1).serialize(), phone.leg_port)
    assert natted.receive()[1] == 0x80, "audio with a marker"
    assert natted.receive()[1] == 200, "and reports to the same port"


MALFORMED = [
    pytest.param(b"\x80\xc9\x00\x01\x00\x00", id="cut"),
    pytest.param(b"\x80\xc9\x00\x02\x00\x00\x00\x05", id="longer than the packet"),
    pytest.param(b"\x81\xc9\x00\x01\x00\x00\x00\x05", id="a block that is not there"),
    pytest.param(b"\x80\xc8\x00\x01\x00\x00\x00\x05", id="a sender report without the sender's part"),
    pytest.param(b"\x40\xc9\x00\x01\x00\x00\x00\x05", id="version 1"),
    pytest.param(bytes(RtcpRrPacket(ssrc=5)) + b"\x80\xc9", id="a second packet cut"),
]


@pytest.mark.parametrize("datagram", MALFORMED)
def test_malformed_rtcp_is_dropped_and_counted(plane: Plane, datagram: bytes) -> None:
    phone = plane.rtp_leg()
    phone.rtcp.send(datagram, phone.leg_port + 1)
    wait_for(lambda: plane.stats(phone.leg)["dropped_malformed"] == 1, "the refusal")
    assert plane.stats(phone.leg)["rtcp_received"] == 0


def test_replayed_and_forged_srtcp_is_dropped_and_counted(plane: Plane) -> None:
    browser = plane.webrtc_leg()
    datagram = browser.tx.protect_rtcp(bytes(RtcpRrPacket(ssrc=5)))
    browser.socket.send(datagram, browser.port)
    browser.socket.send(datagram, browser.port)
    browser.socket.send(browser.tx.protect_rtcp(bytes(RtcpRrPacket(ssrc=5)))[:-1] + b"\xff", browser.port)
    wait_for(lambda: plane.stats(browser.leg)["auth_failures"] == 1, "the forged one")
    stats = plane.stats(browser.leg)
    assert (stats["rtcp_received"], stats["replayed"]) == (1, 1)


def test_reports_are_spread_around_the_interval() -> None:
    """By their own time: when the test comes to read them is another matter."""
    interval_s = 0.4
    with Plane(report_interval_s=interval_s) as plane:
        phone = plane.rtp_leg()
        plane.engine.set_source_tone(phone.leg, [])
        times_s: list[float] = []
        while len(times_s) < 9:
            report = report_of(phone.receive_rtcp())
            assert isinstance(report, RtcpSrPacket)
            times_s.append(report.sender_info.ntp_timestamp / 2**32)
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert min(gaps_s) > 0.45 * interval_s
    assert max(gaps_s) < 1.5 * interval_s + 0.2
    assert max(gaps_s) - min(gaps_s) > 0.1 * interval_s, "not in step"


def test_silence_starts_anew_when_reports_come(plane: Plane) -> None:
    """RTCP alone keeps a call from timing out."""
    phone = plane.rtp_leg()
    plane.engine.set_timeouts(phone.leg, 0, 0.5)
    plane.settle()
    started = time.monotonic()
    while time.monotonic() < started + 0.8:
        phone.send_rtcp(RtcpRrPacket(ssrc=5))
        time.sleep(0.01)  # far less than the silence that is allowed, since a busy machine makes more of it
    assert plane.count(_media.MEDIA_TIMEOUT, phone.leg) == 0
    plane.wait(_media.MEDIA_TIMEOUT, phone.leg)
