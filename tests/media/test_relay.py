"""Packets from leg to leg: numbers rewritten, payloads kept, lies dropped and counted."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from aiortc.rtp import RtpPacket

from sdpserver import _media

from .plane import (
    COMFORT_NOISE,
    EVENT_8000,
    OPUS,
    PCMA,
    PCMU,
    PROFILE_NAMES,
    Plane,
    RtpPeer,
    Socket,
    rtp,
    wait_for,
)

if TYPE_CHECKING:
    from sdpserver._media import SrtpProfile


def dropped(plane: Plane, leg: int, kind: str, count: int = 1) -> None:
    wait_for(lambda: dict(plane.stats(leg))[kind] == count, f"{count} {kind}")


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_audio_goes_both_ways_between_srtp_and_rtp(plane: Plane, profile: SrtpProfile) -> None:
    browser, phone = plane.webrtc_leg(profile=profile), plane.rtp_leg()
    plane.bridge(browser, phone)
    for i in range(20):
        up, down = bytes([i]) * 160, bytes([255 - i]) * 160
        browser.send(rtp(i, 160 * i, payload=up))
        phone.send(rtp(500 + i, 9000 + 160 * i, payload=down, ssrc=77))
        assert phone.receive().payload == up
        assert browser.receive().payload == down
    for leg in (browser.leg, phone.leg):
        stats = plane.stats(leg)
        assert (stats["packets_received"], stats["packets_sent"]) == (20, 20)
        assert (stats["octets_received"], stats["octets_sent"]) == (3200, 3200)
        assert (stats["codec_received"], stats["codec_sent"], stats["conversion"]) == ("PCMU", "PCMU", "relay")
        assert stats["packets_lost"] == 0
    assert plane.wait(_media.FIRST_RTP_RECEIVED, browser.leg)[3] == b"PCMU"
    assert plane.wait(_media.FIRST_RTP_SENT, browser.leg)[3] == b"PCMU"
    assert plane.count(_media.FIRST_RTP_RECEIVED, browser.leg) == 0


def test_a_leg_has_an_ssrc_of_its_own_and_keeps_sequence_and_timestamp_steps(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    steps = [(0, 0), (1, 160), (2, 320), (5, 800), (6, 1120), (7, 1280)]
    received = []
    for sequence, timestamp in steps:
        browser.send(rtp(0xFFFE + sequence, 0xFFFFFF00 + timestamp, ssrc=0xBEEF))
        received.append(phone.receive())
    first = received[0]
    assert first.marker == 1
    assert not any(packet.marker for packet in received[1:])
    assert first.ssrc != 0xBEEF
    assert {packet.ssrc for packet in received} == {first.ssrc}
    assert [
        ((packet.sequence_number - first.sequence_number) % 65536, (packet.timestamp - first.timestamp) % 2**32)
        for packet in received
    ] == steps


def test_sequence_numbers_start_below_2_to_the_15() -> None:
    """RFC 3711 section 3.3.1: so that losing the first packets cannot confuse a receiver's rollover counter."""
    with Plane() as plane:
        for _ in range(12):
            phone = plane.rtp_leg() if plane.engine.counters(0)["legs"] < 8 else None
            if phone is None:
                break
            plane.engine.set_source_leg(phone.leg, phone.leg)
            plane.settle()
            phone.send(rtp(0xF000))
            assert phone.receive().sequence_number <= 0x8000


def test_payload_types_are_those_of_each_leg(plane: Plane) -> None:
    """We send with the type that the peer wants, and know what comes by the type that we gave."""
    browser = plane.webrtc_leg([("PCMU", 8000, 96, 97)])
    phone = plane.rtp_leg([("PCMU", 8000, 0, 0)])
    plane.bridge(browser, phone)
    browser.send(rtp(payload_type=97))
    assert phone.receive().payload_type == 0
    phone.send(rtp(payload_type=0))
    assert browser.receive().payload_type == 96
    browser.send(rtp(1001, payload_type=96))
    dropped(plane, browser.leg, "dropped_payload_type")


def test_a_sender_may_change_among_the_negotiated_types_at_any_packet(plane: Plane) -> None:
    a, b = plane.rtp_leg([PCMU, PCMA, OPUS]), plane.rtp_leg([PCMA, PCMU, OPUS])
    plane.bridge(a, b)
    types = [0, 8, 111, 111, 0, 8]
    for i, payload_type in enumerate(types):
        a.send(rtp(i, payload_type=payload_type, payload=b"\xfc\xff\xfe" if payload_type == 111 else b"x" * 160))
    assert [b.receive().payload_type for _ in types] == types
    assert plane.stats(b.leg)["conversion"] == "relay"


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_csrc_header_extension_and_padding_are_stripped(plane: Plane, profile: SrtpProfile) -> None:
    browser, phone = plane.webrtc_leg(profile=profile), plane.rtp_leg()
    plane.bridge(browser, phone)
    fixed = struct.pack("!BBHLL", 0xB2, 0, 1, 2, 3)  # padding, extension, two CSRC
    extension = b"\xbe\xde\x00\x01\x10\xff\x00\x00"
    datagram = fixed + b"csrccsrc" + extension + b"voice" + b"\0\0\3"
    browser.send(datagram)
    datagram = phone.rtp.receive()
    assert datagram[0] == 0x80
    assert datagram[12:] == b"voice"


LIES = [
    pytest.param(b"\x80\x00\x00\x01" + bytes(7), id="shorter than a header"),
    pytest.param(b"\x40\x00\x00\x01" + bytes(20), id="version 1"),
    pytest.param(b"\x8f\x00\x00\x01" + bytes(20), id="CSRC list past the end"),
    pytest.param(b"\x90\x00\x00\x01" + bytes(9), id="extension header past the end"),
    pytest.param(b"\x90\x00\x00\x01" + bytes(10) + b"\x00\x09" + bytes(4), id="extension past the end"),
    pytest.param(b"\xa0\x00\x00\x01" + bytes(8) + b"voice\x00", id="padding of 0"),
    pytest.param(b"\xa0\x00\x00\x01" + bytes(8) + b"voice\x07", id="padding past the start"),
    pytest.param(b"\xa0\x00\x00\x01" + bytes(8), id="padding without any"),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_packet_that_lies_about_itself_is_dropped_and_counted(plane: Plane, lie: bytes) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    a.send(lie)
    dropped(plane, a.leg, "dropped_malformed")
    a.send(rtp(payload=b"true"))
    assert b.receive().payload == b"true"
    assert plane.stats(a.leg)["packets_received"] == 1


def test_late_and_repeated_packets_stay_what_they_are(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    order = [10, 11, 13, 12, 12, 14, 9, 15]
    for sequence in order:
        a.send(rtp(sequence, 160 * sequence, payload=bytes([sequence])))
    received = [b.receive() for _ in order]
    assert [packet.payload[0] for packet in received] == order
    first = received[0]
    assert [(packet.sequence_number - first.sequence_number + 10) % 65536 for packet in received] == order
    assert [((packet.timestamp - first.timestamp) % 2**32 // 160 + 10) % 2**32 for packet in received[:6]] == order[:6]


def test_repeated_srtp_is_dropped_and_counted(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    datagram = browser.send(rtp(1))
    browser.socket.send(datagram, browser.port)
    browser.socket.send(datagram[:-1] + bytes([datagram[-1] ^ 1]), browser.port)
    browser.send(rtp(2, payload=b"next"))
    phone.receive()
    assert phone.receive().payload == b"next"
    stats = plane.stats(browser.leg)
    assert (stats["replayed"], stats["auth_failures"], stats["packets_received"]) == (2, 0, 2)


def test_a_wrong_tag_is_dropped_and_counted(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    browser.socket.send(rtp(1, payload=bytes(40)).serialize(), browser.port)
    browser.send(rtp(1, payload=b"true"))
    assert phone.receive().payload == b"true"
    assert plane.stats(browser.leg)["auth_failures"] == 1


def test_media_before_the_keys_is_neither_taken_nor_sent(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(profile=None), plane.rtp_leg()
    browser.check()
    plane.bridge(browser, phone)
    browser.socket.send(rtp(1).serialize(), browser.port)
    phone.send(rtp(1))
    wait_for(lambda: plane.stats(phone.leg)["packets_received"] == 1, "the phone's packet")
    plane.settle()
    assert plane.stats(browser.leg)["packets_received"] == 0
    plane.set_keys(browser, "AEAD_AES_128_GCM")
    phone.send(rtp(2, payload=b"now"))
    packet = browser.receive()  # the first thing that comes at all
    assert (packet.payload, packet.marker) == (b"now", 1)


def test_new_keys_begin_a_new_stream(plane: Plane) -> None:
    browser = plane.webrtc_leg()
    plane.engine.set_source_leg(browser.leg, browser.leg)
    plane.settle()
    browser.send(rtp(1))
    before = browser.receive()
    plane.set_keys(browser, "AES_CM_128_HMAC_SHA1_80")
    browser.send(rtp(1))  # its old number under the new key
    after = browser.receive()
    assert after.ssrc != before.ssrc
    assert plane.stats(browser.leg)["replayed"] == 0


def test_a_new_ssrc_goes_on_by_one_in_sequence_and_forward_in_time(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    a.send(rtp(100, 5000, ssrc=1))
    last = b.receive()
    a.send(rtp(60_000, 4_000_000_000, ssrc=2))
    packet = b.receive()
    assert packet.ssrc == last.ssrc
    assert packet.sequence_number == last.sequence_number + 1
    assert 160 <= (packet.timestamp - last.timestamp) % 2**32 < 8000
    assert packet.marker == 1


def test_a_sender_that_starts_anew_is_followed_from_its_second_packet(plane: Plane) -> None:
    """RFC 3550 appendix A.1: one packet far away may be a stray."""
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    a.send(rtp(100, payload=b"a"))
    a.send(rtp(30_000, payload=b"stray"))
    a.send(rtp(101, payload=b"b"))
    first, second = b.receive(), b.receive()
    assert (first.payload, second.payload) == (b"a", b"b")
    assert second.sequence_number == first.sequence_number + 1
    a.send(rtp(40_000, payload=b"c"))
    a.send(rtp(40_001, payload=b"d"))
    third = b.receive()
    assert third.payload == b"d"
    assert third.sequence_number == second.sequence_number + 1
    assert third.marker == 1


@pytest.mark.parametrize("jump", [1_342_000_000, 3_000_000_000, 8000 * 3, -8000])
def test_timestamps_that_jump_in_sequence_go_on_by_the_time_that_has_passed(plane: Plane, jump: int) -> None:
    """As after a transfer in a PBX that keeps its SSRC: a browser would wait for audio of so much later."""
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    for i in (0, 1, 2, 4):
        a.send(rtp(100 + i, 160_000 + 160 * i))
    first, *_, last = [b.receive() for _ in range(4)]
    for i in (5, 7):
        a.send(rtp(100 + i, 160_000 + 160 * i + jump))
    a.send(rtp(103, 160_000 + 160 * 3))  # of the clock before: late, and nowhere to be put
    a.send(rtp(106, 160_000 + 160 * 6 + jump))
    after = [b.receive() for _ in range(3)]
    assert [(packet.sequence_number - first.sequence_number) % 65536 for packet in after] == [5, 7, 6]
    assert [packet.marker for packet in after] == [1, 0, 0]
    assert 160 <= (after[0].timestamp - last.timestamp) % 2**32 < 8000
    assert [(packet.timestamp - after[0].timestamp) % 2**32 for packet in after] == [0, 320, 160]


def test_a_press_whose_packets_have_the_time_of_its_start_is_no_jump(plane: Plane) -> None:
    """Its sender goes on with audio meanwhile."""
    a, b = plane.rtp_leg([PCMU, EVENT_8000]), plane.rtp_leg([PCMU, EVENT_8000])
    plane.bridge(a, b)
    a.send(rtp(100, 160_000))
    first = b.receive()
    for i in range(1, 6):
        press = bytes([5, 10]) + (320 * i).to_bytes(2, "big")
        a.send(rtp(99 + 2 * i, 160_160, payload=press, payload_type=101))
        a.send(rtp(100 + 2 * i, 160_000 + 160 * i))
    received = [b.receive() for _ in range(10)]
    assert [(packet.sequence_number - first.sequence_number) % 65536 for packet in received] == list(range(1, 11))
    offsets = [(packet.timestamp - first.timestamp) % 2**32 for packet in received]
    assert offsets[0::2] == [160] * 5
    assert offsets[1::2] == [160 * i for i in range(1, 6)]


def test_a_change_of_source_is_a_new_talk_in_the_same_stream(plane: Plane) -> None:
    a, b, listener = plane.rtp_leg(), plane.rtp_leg(), plane.rtp_leg()
    plane.engine.set_source_leg(listener.leg, a.leg)
    plane.settle()
    a.send(rtp(1, payload=b"a"))
    first = listener.receive()
    plane.engine.set_source_leg(listener.leg, b.leg)
    plane.settle()
    a.send(rtp(2, payload=b"a"))
    b.send(rtp(9000, 77, payload=b"b"))
    second = listener.receive()
    assert second.payload == b"b"
    assert (second.ssrc, second.sequence_number, second.marker) == (first.ssrc, first.sequence_number + 1, 1)


def test_several_legs_may_send_what_one_receives(plane: Plane) -> None:
    speaker = plane.rtp_leg()
    listeners = [plane.rtp_leg() for _ in range(3)]
    for listener in listeners:
        plane.engine.set_source_leg(listener.leg, speaker.leg)
    plane.settle()
    speaker.send(rtp(payload=b"all"))
    assert [listener.receive().payload for listener in listeners] == [b"all"] * 3


def test_echo_gives_back_what_was_said(plane: Plane) -> None:
    browser = plane.webrtc_leg([OPUS, PCMU, EVENT_8000])
    plane.engine.set_source_leg(browser.leg, browser.leg)
    plane.settle()
    for i, (payload_type, payload) in enumerate([(111, b"\xfc\xff\xfe"), (0, b"x" * 160), (101, b"\x05\x0a\x00\xa0")]):
        browser.send(rtp(i, payload_type=payload_type, payload=payload))
        packet = browser.receive()
        assert (packet.payload_type, packet.payload) == (payload_type, payload)
        assert packet.ssrc != 0x1234


def test_what_a_peer_may_send_and_does_not_take_is_heard_and_not_sent(plane: Plane) -> None:
    one = plane.webrtc_leg([("PCMU", 8000, None, 0), ("telephone-event", 8000, None, 101), PCMA])
    other = plane.rtp_leg([PCMU, EVENT_8000])
    plane.bridge(one, other)
    one.send(rtp(1, payload_type=0, payload=b"\xff" * 160))
    assert (packet := other.receive()).payload_type == 0
    assert packet.payload == b"\xff" * 160
    other.send(rtp(1, payload_type=0, payload=b"\xff" * 160))
    assert (packet := one.receive()).payload_type == 8
    assert packet.payload == b"\xd5" * 160
    one.send(rtp(2, payload_type=101, payload=b"\x05\x8a\x00\xa0"))
    assert other.receive().payload_type == 101
    plane.engine.set_source_leg(one.leg, one.leg)
    plane.settle()
    one.send(rtp(3, payload_type=0, payload=b"\xff" * 160))
    assert one.receive().payload_type == 8


def test_comfort_noise_passes_as_it_is_between_legs_that_both_have_it(plane: Plane) -> None:
    a, with_it = plane.rtp_leg([PCMU, COMFORT_NOISE]), plane.rtp_leg([PCMU, COMFORT_NOISE])
    plane.bridge(a, with_it)
    a.send(rtp(1, payload=b"a"))
    a.send(rtp(2, payload_type=13, payload=b"\x40"))
    a.send(rtp(3, payload=b"b"))
    assert [with_it.receive().payload_type for _ in range(3)] == [0, 13, 0]


def test_a_leg_without_comfort_noise_gets_audio_instead_in_one_sequence(plane: Plane) -> None:
    a, without = plane.rtp_leg([PCMU, COMFORT_NOISE]), plane.rtp_leg()
    plane.bridge(a, without)
    a.send(rtp(1, 160, payload=b"a" * 160))
    a.send(rtp(2, 320, payload_type=13, payload=b"\x40"))
    received = [without.receive() for _ in range(3)]
    a.send(rtp(3, 960, payload=b"b" * 160))
    while received[-1].payload != b"b" * 160:
        received.append(without.receive())
    first = received[0].sequence_number
    assert [(packet.sequence_number - first) % 65536 for packet in received] == list(range(len(received)))
    assert {len(packet.payload) for packet in received} == {160}


def test_a_keep_alive_without_audio_is_not_passed_on(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    a.send(rtp(1, payload=b"a"))
    a.send(rtp(2, payload=b""))
    a.send(rtp(3, payload=b"b"))
    assert b.receive().sequence_number + 1 == b.receive().sequence_number


def test_direction(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    plane.engine.set_direction(a.leg, True, False)
    plane.settle()
    a.send(rtp(1))
    dropped(plane, a.leg, "dropped_direction")
    assert plane.stats(a.leg)["packets_received"] == 0
    b.send(rtp(1, payload=b"down"))
    assert a.receive().payload == b"down"

    plane.engine.set_direction(a.leg, False, True)
    plane.settle()
    b.send(rtp(2))
    wait_for(lambda: plane.stats(b.leg)["packets_received"] == 2, "the packet that is not passed on")
    a.send(rtp(2, payload=b"up"))
    assert b.receive().payload == b"up"
    assert plane.stats(a.leg)["packets_sent"] == 1

    plane.engine.set_direction(a.leg, True, True)
    plane.settle()
    b.send(rtp(3, 160_000 + 8000, payload=b"again"))
    packet = a.receive()
    assert (packet.payload, packet.marker) == (b"again", 1)


def test_a_removed_source_falls_silent_and_the_leg_lives_on(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    plane.engine.remove_leg(a.leg)
    plane.settle()
    b.send(rtp(1))
    wait_for(lambda: plane.stats(b.leg)["packets_received"] == 1, "the packet")
    plane.engine.set_source_leg(b.leg, b.leg)
    plane.settle()
    b.send(rtp(2, payload=b"echo"))
    assert b.receive().payload == b"echo"


def test_a_burst_from_one_peer_passes_at_once_and_in_order(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    for i in range(200):
        a.send(rtp(i, 160 * i, payload=i.to_bytes(2, "big")))
    assert [int.from_bytes(b.receive().payload, "big") for _ in range(200)] == list(range(200))


# -- whose packets are taken


def test_packets_from_elsewhere_than_the_signalled_address_are_dropped(plane: Plane) -> None:
    a, b = plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    a.send(rtp(1, payload=b"forged"), sender=plane.socket())
    dropped(plane, a.leg, "dropped_source")
    a.send(rtp(2, payload=b"true"))
    assert b.receive().payload == b"true"


def test_before_the_address_is_known_nothing_is_taken_or_sent(plane: Plane) -> None:
    a = plane.rtp_leg(connect=False)
    plane.engine.set_source_leg(a.leg, a.leg)
    plane.settle()
    a.send(rtp(1))
    dropped(plane, a.leg, "dropped_source")


def test_a_learning_leg_takes_the_first_rtp_of_a_right_type_and_locks_on_its_address(plane: Plane) -> None:
    a = plane.rtp_leg(learn=True)
    plane.engine.set_source_leg(a.leg, a.leg)
    plane.settle()
    natted, stranger = plane.socket(), plane.socket()
    stranger.send(b"\x00 no RTP at all", a.leg_port)
    stranger.send(rtp(1, payload_type=99).serialize(), a.leg_port)
    wait_for(lambda: plane.stats(a.leg)["dropped_payload_type"] == 1, "the wrong type")
    natted.send(rtp(1, payload=b"first").serialize(), a.leg_port)
    assert natted.receive()[12:] == b"first"
    assert plane.stats(a.leg)["remote_address"] == natted.address
    a.send(rtp(2, payload=b"too late"))
    stranger.send(rtp(2, payload=b"too late").serialize(), a.leg_port)
    dropped(plane, a.leg, "dropped_source", 2)
    natted.send(rtp(2, payload=b"second").serialize(), a.leg_port)
    assert natted.receive()[12:] == b"second"


def test_what_was_learned_outlives_a_re_invite_that_repeats_the_address_but_not_a_new_one(plane: Plane) -> None:
    a = plane.rtp_leg(learn=True)
    plane.engine.set_source_leg(a.leg, a.leg)
    plane.settle()
    natted = plane.socket()
    natted.send(rtp(1, payload=b"first").serialize(), a.leg_port)
    natted.receive()
    plane.engine.set_rtp_remote(a.leg, plane.ip, a.rtp.port, a.rtcp.port, True)
    plane.settle()
    assert plane.stats(a.leg)["remote_address"] == natted.address
    moved = RtpPeer()
    try:
        plane.engine.set_rtp_remote(a.leg, plane.ip, moved.rtp.port, moved.rtcp.port, False)
        plane.settle()
        natted.send(rtp(2).serialize(), a.leg_port)
        dropped(plane, a.leg, "dropped_source")
        moved.leg_port = a.leg_port
        moved.send(rtp(3, payload=b"moved"))
        assert moved.receive().payload == b"moved"
    finally:
        moved.close()


def test_port_0_stops_sending_also_for_a_learning_leg(plane: Plane) -> None:
    a, b = plane.rtp_leg(learn=True), plane.rtp_leg()
    plane.bridge(a, b)
    plane.engine.set_rtp_remote(a.leg, plane.ip, 0, 0, True)
    plane.settle()
    a.send(rtp(1))
    dropped(plane, a.leg, "dropped_source")
    b.send(rtp(1))
    wait_for(lambda: plane.stats(b.leg)["packets_received"] == 1, "the packet that goes nowhere")
    plane.settle()
    assert plane.stats(a.leg)["packets_sent"] == 0


def test_a_leg_on_ipv4_refuses_an_ipv6_peer(plane: Plane) -> None:
    a = plane.rtp_leg(connect=False)
    with pytest.raises(ValueError, match="IPv6"):
        plane.engine.set_rtp_remote(a.leg, "::1", 4000, 4001, False)


def test_ipv6_both_ways_and_ipv4_on_a_dual_stack_socket() -> None:
    with Plane(ip="::1") as plane:
        a, b = plane.rtp_leg(), plane.rtp_leg()
        plane.bridge(a, b)
        a.send(rtp(payload=b"six"))
        assert b.receive().payload == b"six"
        assert plane.stats(a.leg)["remote_address"] == f"::1 {a.rtp.port}"
    with Plane(ip="::") as plane:
        leg, port = plane.engine.create_rtp_leg(0)
        plane.engine.set_codecs(leg, [PCMU])
        peer = Socket("127.0.0.1")
        try:
            plane.engine.set_rtp_remote(leg, "127.0.0.1", peer.port, peer.port, False)
            plane.engine.set_source_leg(leg, leg)
            plane.settle()
            peer.send(rtp(payload=b"four").serialize(), port)
            assert peer.receive()[12:] == b"four"
            assert plane.stats(leg)["remote_address"] == peer.address
        finally:
            peer.close()


# -- noise


def test_a_flood_of_noise_on_every_port_is_counted_and_calls_go_on(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    rng = random.Random(3)
    stranger = plane.socket()
    noise = [rng.randbytes(rng.choice([0, 1, 2, 3, 7, 8, 11, 12, 13, 20, 21, 60, 200, 1400])) for _ in range(500)]

    def waiting() -> int:
        return sent - plane.engine.counters(0)["packets_received"]

    sent = plane.engine.counters(0)["packets_received"]
    for datagram in noise:
        for port, own in (
            (browser.port, browser.socket),
            (phone.leg_port, phone.rtp),
            (phone.leg_port + 1, phone.rtcp),
        ):
            stranger.send(datagram, port)
            own.send(datagram, port)
            sent += 2
        wait_for(lambda: waiting() < 60, "the worker")  # not more than the sockets hold
    # Sent last, so what came before has been looked at when it arrives.
    browser.send(rtp(1, payload=b"up"))
    phone.send(rtp(1, payload=b"down", ssrc=9))
    packet = phone.receive()
    while packet.payload != b"up":  # noise may be RTP by chance
        packet = phone.receive()
    wait_for(lambda: plane.stats(phone.leg)["packets_received"] > 0, "the phone's packet")
    counters = plane.engine.counters(0)
    assert counters["malformed"] > 100
    assert counters["unknown_source"] > 50
    assert plane.stats(phone.leg)["dropped_malformed"] > 100
    assert plane.stats(phone.leg)["dropped_source"] == 1000
    assert plane.stats(browser.leg)["auth_failures"] + plane.stats(browser.leg)["dropped_malformed"] > 50
    assert plane.stats(browser.leg)["packets_received"] == 1


def test_a_datagram_longer_than_any_is_cut_and_dropped(plane: Plane) -> None:
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    before = plane.engine.counters(0)["malformed"]
    browser.socket.send(rtp(payload=bytes(3000)).serialize(), browser.port)
    phone.send(rtp(payload=bytes(3000)))
    wait_for(lambda: plane.engine.counters(0)["malformed"] == before + 2, "both")


def test_the_longest_datagram_that_is_taken_is_relayed_whole(plane: Plane) -> None:
    browser, a, b = plane.webrtc_leg(), plane.rtp_leg(), plane.rtp_leg()
    plane.bridge(a, b)
    payload = random.Random(4).randbytes(2048 - 12)
    a.send(rtp(1, payload=payload))
    assert b.receive().payload == payload
    plane.engine.set_source_leg(browser.leg, a.leg)
    plane.settle()
    a.send(rtp(2, payload=payload))
    assert len(browser.socket.receive()) == 2048 + 16


def test_rtp_that_is_rtcp_by_its_type_is_not_relayed_on_the_shared_port(plane: Plane) -> None:
    """RFC 5761 section 4: 64 to 95 are RTCP's."""
    browser, phone = plane.webrtc_leg(), plane.rtp_leg()
    plane.bridge(browser, phone)
    browser.send(RtpPacket(payload_type=72, sequence_number=1, payload=b"x" * 20).serialize())
    browser.send(rtp(2, payload=b"audio"))
    assert phone.receive().payload == b"audio"
