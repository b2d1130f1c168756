"""SRTP on legs with sockets of their own: every suite, keys that change in a call, and back to plain RTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pylibsrtp
import pytest
from aiortc.rtp import RtcpPacket, RtcpRrPacket, RtpPacket

from sdpserver import _media_testing as testing

from .plane import PROFILE_NAMES, Plane, RtpPeer, master_key, rtp, session, wait_for

if TYPE_CHECKING:
    from sdpserver._media import SrtpProfile

SHA1_80: SrtpProfile = "AES_CM_128_HMAC_SHA1_80"
GCM: SrtpProfile = "AEAD_AES_128_GCM"


class Keys:
    """One association: what the peer sends and hears with."""

    def __init__(self, profile: SrtpProfile) -> None:
        self.profile = profile
        self.ours, self.theirs = master_key(profile), master_key(profile)
        self.tx = session(profile, self.theirs, outbound=True)
        self.rx = session(profile, self.ours, outbound=False)

    def give(self, plane: Plane, peer: RtpPeer) -> None:
        plane.engine.set_srtp(peer.leg, self.profile, self.ours, self.theirs)
        plane.settle()

    def send(self, peer: RtpPeer, packet: RtpPacket) -> None:
        peer.send(self.tx.protect(packet.serialize()))

    def receive(self, peer: RtpPeer) -> RtpPacket:
        return RtpPacket.parse(self.rx.unprotect(peer.rtp.receive()))


Echo = tuple[Plane, RtpPeer]


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Plane() as plane:
        peer = plane.rtp_leg()
        plane.engine.set_source_leg(peer.leg, peer.leg)
        yield plane, peer


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_audio_goes_both_ways_in_every_suite(echo: Echo, profile: SrtpProfile) -> None:
    plane, peer = echo
    keys = Keys(profile)
    keys.give(plane, peer)
    for sequence in range(1000, 1010):
        keys.send(peer, rtp(sequence, payload=bytes([sequence & 0xFF]) * 160))
        assert keys.receive(peer).payload == bytes([sequence & 0xFF]) * 160
    assert plane.stats(peer.leg)["auth_failures"] == 0


@pytest.mark.parametrize("multiplexed", [True, False])
@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_reports_go_both_ways_in_every_suite(profile: SrtpProfile, multiplexed: bool) -> None:
    """Also of AES_CM_128_HMAC_SHA1_32, whose SRTCP has the 80-bit tag (RFC 4568 section 6.2.2)."""
    with Plane(report_interval_s=0.02) as plane:
        peer = plane.rtp_leg(connect=False)
        socket = peer.rtp if multiplexed else peer.rtcp
        plane.engine.set_rtp_remote(peer.leg, plane.ip, peer.rtp.port, socket.port, False)
        keys = Keys(profile)
        keys.give(plane, peer)
        keys.send(peer, rtp(1000))
        report = socket.receive()
        assert [type(packet) for packet in RtcpPacket.parse(keys.rx.unprotect_rtcp(report))][:1] == [RtcpRrPacket]
        tag = 16 if "GCM" in profile else 10
        plain = len(keys.rx.unprotect_rtcp(socket.receive()))
        assert len(socket.receive()) == plain + 4 + tag
        sealed = keys.tx.protect_rtcp(bytes(RtcpRrPacket(ssrc=0x1234)))
        socket.send(sealed, peer.leg_port + (not multiplexed))
        wait_for(lambda: plane.stats(peer.leg)["rtcp_received"] == 1, "the peer's report")


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_change_of_keys_loses_nothing_that_was_on_its_way(echo: Echo, profile: SrtpProfile) -> None:
    plane, peer = echo
    old, new = Keys(GCM), Keys(profile)
    old.give(plane, peer)
    old.send(peer, rtp(1000))
    before = old.receive(peer)
    late = [rtp(sequence, payload=b"old" * 50) for sequence in range(1001, 1006)]
    new.give(plane, peer)
    for packet in late:
        old.send(peer, packet)
        heard = new.receive(peer)
        assert heard.payload == packet.payload
        assert heard.ssrc != before.ssrc, "a new key stream for a new SSRC"
    new.send(peer, rtp(1006, payload=b"new" * 50))
    assert new.receive(peer).payload == b"new" * 50
    stats = plane.stats(peer.leg)
    assert (stats["packets_received"], stats["packets_lost"], stats["auth_failures"]) == (7, 0, 0)


def test_old_keys_are_good_for_a_hundred_packets_and_no_more(echo: Echo) -> None:
    plane, peer = echo
    old, new = Keys(GCM), Keys(GCM)
    old.give(plane, peer)
    new.give(plane, peer)
    for sequence in range(1000, 1100):
        old.send(peer, rtp(sequence))
        new.receive(peer)
    old.send(peer, rtp(1100))
    new.send(peer, rtp(1101, payload=b"\x55" * 160))
    assert new.receive(peer).payload == b"\x55" * 160
    assert plane.stats(peer.leg)["auth_failures"] == 1


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("profile", [GCM, SHA1_80])
def test_new_keys_may_keep_the_rollover_counter_or_not(echo: Echo, profile: SrtpProfile, goes_on: bool) -> None:
    """RFC 3711 section 3.3.1 has it go on; libsrtp, made anew for the new key, begins with 0."""
    plane, peer = echo
    old, new = Keys(profile), Keys(profile)
    old.give(plane, peer)
    for sequence in range(0xFFF0, 0x10010):
        old.send(peer, rtp(sequence))
        old.receive(peer)
    new.give(plane, peer)
    cipher = testing.Cipher(profile, *trimmed(profile, new.theirs))
    for sequence in range(0x10010, 0x10020):
        plain = rtp(sequence, payload=bytes([sequence & 0xFF]) * 160).serialize()
        peer.send(cipher.seal(plain, sequence if goes_on else sequence & 0xFFFF))
        assert new.receive(peer).payload == plain[12:]
    assert plane.stats(peer.leg)["auth_failures"] == 0


def trimmed(profile: SrtpProfile, master: bytes) -> tuple[bytes, bytes, bytes]:
    encryption, authentication, salt = testing.derive(profile, master)
    return encryption, (b"" if "GCM" in profile else authentication), salt


def test_back_to_plain_rtp_loses_nothing_that_was_on_its_way(echo: Echo) -> None:
    plane, peer = echo
    keys = Keys(GCM)
    keys.give(plane, peer)
    keys.send(peer, rtp(1000))
    ssrc = keys.receive(peer).ssrc
    plane.engine.clear_srtp(peer.leg)
    plane.settle()
    keys.send(peer, rtp(1001, payload=b"sealed" * 20))
    assert peer.receive().payload == b"sealed" * 20
    peer.send(rtp(1002, payload=b"plain" * 20))
    heard = peer.receive()
    assert (heard.payload, heard.ssrc) == (b"plain" * 20, ssrc)
    assert plane.stats(peer.leg)["auth_failures"] == 0


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_wrong_key_is_counted_and_teaches_no_address(profile: SrtpProfile) -> None:
    with Plane() as plane:
        peer = plane.rtp_leg(learn=True)
        stranger = plane.socket()
        keys = Keys(profile)
        keys.give(plane, peer)
        peer.send(Keys(profile).tx.protect(rtp(1000).serialize()), stranger)
        peer.send(rtp(1000), stranger)
        wait_for(lambda: plane.stats(peer.leg)["auth_failures_in_a_row"] == 2, "both to be refused")
        keys.send(peer, rtp(1000))
        wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 1, "the peer's own")
        stats = plane.stats(peer.leg)
        assert stats["remote_address"] == peer.rtp.address
        assert (stats["auth_failures"], stats["auth_failures_in_a_row"]) == (2, 0)


def test_a_replayed_packet_is_counted(echo: Echo) -> None:
    plane, peer = echo
    keys = Keys(GCM)
    keys.give(plane, peer)
    sealed = keys.tx.protect(rtp(1000).serialize())
    for _ in range(3):
        peer.send(sealed)
    wait_for(lambda: plane.stats(peer.leg)["replayed"] == 2, "the copies to be refused")
    assert plane.stats(peer.leg)["packets_received"] == 1


def test_nothing_leaves_in_the_clear_once_there_are_keys(echo: Echo) -> None:
    plane, peer = echo
    keys = Keys(SHA1_80)
    plane.engine.set_source_tone(peer.leg, [440.0])
    plain = [RtpPacket.parse(peer.rtp.receive()) for _ in range(2)]
    assert all(len(packet.payload) == 160 for packet in plain)
    keys.give(plane, peer)
    while not peer.rtp.silent(0):
        peer.rtp.receive()
    for _ in range(3):
        datagram = peer.rtp.receive()
        assert len(RtpPacket.parse(keys.rx.unprotect(datagram)).payload) == 160
        with pytest.raises(pylibsrtp.Error):
            session(SHA1_80, keys.theirs, outbound=False).unprotect(datagram)


def test_a_webrtc_leg_has_no_plain_rtp() -> None:
    with Plane() as plane:
        with pytest.raises(ValueError, match="WebRTC"):
            plane.engine.clear_srtp(plane.webrtc_leg().leg)
        with pytest.raises(KeyError):
            plane.engine.clear_srtp(99)
