"""What must not harm a call, sent to a real engine while the call goes on: refused, counted where it belongs, unheard.

Each burst is a hundred datagrams for each 20 ms of speech, so a hundred times a peer's rate.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aioice import stun
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket

from sdpserver import _media

from .conversation import Conversation
from .plane import (
    EVENT_8000,
    PCMU,
    PROFILE_NAMES,
    Plane,
    Socket,
    master_key,
    rtp,
    session,
    wait_for,
)

if TYPE_CHECKING:
    from sdpserver._media import SrtpProfile

BURST = 100
TICKS = 50

PLAIN: bytes = rtp(1, 160).serialize()


def with_first(octet: int, packet: bytes = PLAIN) -> bytes:
    return bytes([octet]) + packet[1:]


NO_PACKETS: dict[str, bytes] = {
    "nothing": b"",
    **{f"{length} octets": PLAIN[:length] for length in range(1, 12)},
    "version 0": with_first(0x00),
    "version 3": with_first(0xC0),
    "more CSRC than packet": with_first(0x8F, PLAIN[:30]),
    "an extension longer than the packet": with_first(0x90, PLAIN[:12] + b"\xbe\xde\xff\xff" + PLAIN[12:]),
    "an extension cut in its header": with_first(0x90, PLAIN[:14]),
    "padding longer than the payload": with_first(0xA0, PLAIN[:-1] + b"\xff"),
    "padding of no octets": with_first(0xA0, PLAIN[:-1] + b"\x00"),
    "padding without a payload": with_first(0xA0, PLAIN[:12]),
}
"""No RTP, whoever sends it."""

RTCP_LIES: dict[str, bytes] = {
    "a length beyond the packet": b"\x80\xc9\xff\xff" + bytes(4),
    "more blocks than packet": b"\x9f\xc9\x00\x01" + bytes(4),
    "a sender report without its sender": b"\x80\xc8\x00\x01" + bytes(4),
    "half a word": b"\x80\xc9\x00\x01" + bytes(6),
    "another version in the second packet": b"\x80\xc9\x00\x01" + bytes(4) + b"\x00\xca\x00\x00",
}


def in_bursts(call: Conversation, send: Callable[[bytes], object], datagrams: Sequence[bytes]) -> int:
    """The call talks, and before each packet of it a burst of these comes. How many were sent."""
    endless = cycle(datagrams)
    for _ in range(TICKS):
        for datagram in islice(endless, BURST):
            send(datagram)
        call.speak()
    call.check()
    return TICKS * BURST


def resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_instrumented(plane: Plane) -> bool:
    return bool(plane.engine.build["sanitizer"])


def check_growth(plane: Plane, before: int, octets: int) -> None:
    if not is_instrumented(plane):  # AddressSanitizer keeps what was freed for a while
        assert resident_octets() - before < octets


def leg_counter(plane: Plane, leg: int, *names: str) -> int:
    stats = plane.stats(leg)
    return sum(stats[name] for name in names)  # type: ignore[literal-required]


def has(plane: Plane, leg: int, name: str, count: int) -> bool:
    return leg_counter(plane, leg, name) == count


def port_counter(plane: Plane, *names: str) -> int:
    counters = plane.engine.counters(0)
    return sum(counters[name] for name in names)


def checked(call: Conversation, count: int, what: Callable[[], int], name: str) -> None:
    """All of them were counted there, and nothing else was: the legs took the call's packets alone."""
    wait_for(lambda: what() == count, f"{count} {name}, not {what()}")
    for leg in (call.browser.leg, call.pbx.leg):
        assert call.plane.stats(leg)["packets_received"] == TICKS


# -- from the peers themselves


def test_what_is_no_packet_is_refused_from_an_rtp_peer(plane: Plane) -> None:
    call = Conversation.of(plane)
    sent = in_bursts(call, call.pbx.send, list(NO_PACKETS.values()))
    checked(call, sent, lambda: leg_counter(plane, call.pbx.leg, "dropped_malformed"), "malformed")


def test_what_is_no_packet_is_refused_from_a_browser(plane: Plane) -> None:
    call = Conversation.of(plane)
    sent = in_bursts(
        call, lambda datagram: call.browser.socket.send(datagram, call.browser.port), list(NO_PACKETS.values())
    )

    def refused() -> int:
        # Padding is looked at behind the tag, which these do not have.
        at_leg = leg_counter(plane, call.browser.leg, "dropped_malformed", "auth_failures")
        return at_leg + port_counter(plane, "malformed")

    checked(call, sent, refused, "refused")


@pytest.mark.parametrize("length", [2049, 9000, 65000])
def test_a_datagram_that_no_path_would_carry_whole_is_refused(plane: Plane, length: int) -> None:
    call = Conversation.of(plane)
    huge = PLAIN + bytes(length - len(PLAIN))
    for _ in range(TICKS):
        call.pbx.send(huge)
        call.browser.socket.send(huge, call.browser.port)
        call.speak()
    call.check()
    checked(call, 2 * TICKS, lambda: port_counter(plane, "malformed"), "malformed")


def test_packets_over_1500_octets_that_fit_are_taken_and_the_call_goes_on(plane: Plane) -> None:
    call = Conversation.of(plane)
    for i in range(5):
        call.pbx.send(rtp(i, 1600 * i, payload=bytes(1600)))
    wait_for(partial(has, plane, call.pbx.leg, "packets_received", 5), "the long packets")
    for _ in range(10):  # until the last of them is over
        call.speak()
    call.from_browser.heard.clear()
    call.from_pbx.heard.clear()
    for _ in range(TICKS):
        call.speak()
    call.check()


@pytest.mark.parametrize("octets", [with_first(0xA0, PLAIN[:-1] + b"\xff"), with_first(0xA0, PLAIN[:-1] + b"\x00")])
def test_padding_that_lies_behind_a_right_tag_is_refused(plane: Plane, octets: bytes) -> None:
    call = Conversation.of(plane)
    for sequence in range(2000, 2000 + TICKS):
        call.browser.send(octets[:2] + sequence.to_bytes(2, "big") + octets[4:])
        call.speak()
    call.check()
    checked(call, TICKS, lambda: leg_counter(plane, call.browser.leg, "dropped_malformed"), "malformed")


def test_rtcp_that_lies_is_refused_from_both_peers(plane: Plane) -> None:
    call = Conversation.of(plane)
    refused = 0
    for _ in range(TICKS):
        for lie in islice(cycle(RTCP_LIES.values()), BURST):
            call.pbx.rtcp.send(lie, call.pbx.leg_port + 1)
            refused += 1
        call.speak()
        wait_for(partial(has, plane, call.pbx.leg, "dropped_malformed", refused), "the peer's lies")
    call.check()
    for lie in RTCP_LIES.values():
        call.browser.socket.send(call.browser.tx.protect_rtcp(lie), call.browser.port)
    refused = len(RTCP_LIES)
    wait_for(partial(has, plane, call.browser.leg, "dropped_malformed", refused), "the browser's lies")
    assert plane.stats(call.pbx.leg)["rtcp_received"] == plane.stats(call.browser.leg)["rtcp_received"] == 0


def test_reports_on_streams_of_others_and_impossible_figures_change_no_figure(plane: Plane) -> None:
    call = Conversation.of(plane)
    call.speak()
    nobody = RtcpReceiverInfo(
        ssrc=0xDEAD, fraction_lost=255, packets_lost=-1, highest_sequence=0xFFFFFFFF, jitter=0xFFFFFFFF, lsr=1, dlsr=1
    )
    before = plane.stats(call.pbx.leg)
    for _ in range(BURST):
        call.pbx.send_rtcp(RtcpRrPacket(ssrc=0xA0, reports=[nobody] * 31))
    wait_for(lambda: plane.stats(call.pbx.leg)["rtcp_received"] == BURST, "the reports")
    after = plane.stats(call.pbx.leg)
    for figure in ("remote_packets_lost", "remote_jitter_ms", "round_trip_ms", "packets_lost", "jitter_ms"):
        assert after[figure] == before[figure], figure


def test_telephone_events_that_lie_are_not_heard(plane: Plane) -> None:
    browser, pbx = plane.webrtc_leg([PCMU, EVENT_8000]), plane.rtp_leg([PCMU, EVENT_8000])
    call = Conversation(plane, browser, pbx)
    lies = [b"", b"\x05", b"\x05\x0a", b"\x05\x0a\x00", b"\xff\xff\xff\xff", b"\x05\x8a\xff\xff" * 100]
    rng = random.Random(8)
    for i in range(TICKS):
        for lie in lies:
            call.pbx.send(rtp(3000 + i, rng.getrandbits(32), payload=lie, payload_type=101, ssrc=rng.getrandbits(32)))
        call.speak()
    call.check()


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_new_ssrc_with_each_packet_takes_no_memory_and_ends_with_the_packets(
    plane: Plane,
    profile: SrtpProfile,
) -> None:
    call = Conversation(plane, plane.webrtc_leg([PCMU], profile=profile), plane.rtp_leg([PCMU]))
    rng = random.Random(9)
    for _ in range(20):
        for _ in range(BURST):
            packet = rtp(rng.getrandbits(16), rng.getrandbits(32), payload=b"\xff" * 8, ssrc=rng.getrandbits(32))
            call.browser.send(packet)
            call.pbx.send(packet)
        call.speak()  # also takes what was passed on
    before = resident_octets()
    call.from_browser.heard.clear()
    call.from_pbx.heard.clear()
    for _ in range(TICKS):
        call.speak()
    call.check()
    check_growth(plane, before, 1 << 20)


# -- replay, wrong keys, rollover


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_replays_and_wrong_keys_are_refused_before_and_after_a_rollover(
    plane: Plane,
    profile: SrtpProfile,
) -> None:
    browser = plane.webrtc_leg([PCMU], profile=profile)
    call = Conversation(plane, browser, plane.rtp_leg([PCMU]), sequence=0xFFF0)
    stranger = session(profile, master_key(profile), outbound=True)
    forged = [stranger.protect(rtp(300 + i, ssrc=0xB0).serialize()) for i in range(BURST)]
    recorded: list[bytes] = []
    send = browser.send

    def recording(packet: bytes, sender: Socket | None = None) -> bytes:
        recorded.append(send(packet, sender))
        return recorded[-1]

    browser.send = recording  # type: ignore[method-assign, assignment]
    replayed = 0
    for _ in range(200):  # past the rollover after 16, and past the window of 128
        call.speak()
        for datagram in (recorded[0], recorded[len(recorded) // 2], recorded[-1]):
            browser.socket.send(datagram, browser.port)
            replayed += 1
    for datagram in forged:
        browser.socket.send(datagram, browser.port)
    call.speak()
    call.check()
    wait_for(lambda: plane.stats(browser.leg)["auth_failures"] == BURST, "the forged ones")
    assert plane.stats(browser.leg)["replayed"] == replayed
    assert plane.stats(browser.leg)["packets_received"] == 201


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("lost", [1, 40, 2900])
def test_a_rollover_is_passed_with_loss_around_it(
    plane: Plane,
    profile: SrtpProfile,
    lost: int,
) -> None:
    call = Conversation(plane, plane.webrtc_leg([PCMU], profile=profile), plane.rtp_leg([PCMU]), sequence=0xFFF0)
    for _ in range(10):
        call.speak()
    for voice in (call.from_browser, call.from_pbx):
        voice.sequence += lost
    for _ in range(TICKS):
        call.speak()
    call.check()
    for leg in (call.browser.leg, call.pbx.leg):
        stats = plane.stats(leg)
        assert (stats["packets_received"], stats["auth_failures"], stats["replayed"]) == (TICKS + 10, 0, 0)
        assert stats["packets_lost"] == lost


# -- from strangers, and without proof


def strange_datagrams() -> list[bytes]:
    check = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    check.attributes["USERNAME"] = "leg1:peer"
    check.add_message_integrity(b"w" * 24)
    report = bytes(RtcpRrPacket(ssrc=1, reports=[]))
    return [PLAIN, report, b"\x16\xfe\xfd" + os.urandom(200), bytes(check), b"\xff" * 40, b"", *NO_PACKETS.values()]


def test_a_stranger_on_the_shared_port_changes_nothing_and_hears_nothing(plane: Plane) -> None:
    call = Conversation.of(plane)
    stranger = plane.socket()
    plane.wait(_media.ICE_CONNECTED, call.browser.leg)
    timers = port_counter(plane, "timers")
    sent = in_bursts(call, lambda datagram: stranger.send(datagram, call.browser.port), strange_datagrams())
    checked(call, sent, lambda: port_counter(plane, "unknown_source", "malformed", "stun_failures"), "refused")
    stats = plane.stats(call.browser.leg)
    assert stats["remote_address"] == call.browser.socket.address
    assert stats["auth_failures"] == stats["dropped_malformed"] == stats["dropped_source"] == 0
    assert port_counter(plane, "timers") <= timers + 8, "each leg's own, for its reports"
    assert stranger.silent()
    plane.settle()
    assert [event for event in plane.events if event[0] in (_media.DTLS, _media.ICE_SELECTED)] == []


def test_a_stranger_on_an_rtp_legs_ports_changes_nothing_and_hears_nothing(plane: Plane) -> None:
    call = Conversation.of(plane)
    stranger = plane.socket()
    plane.engine.set_timeouts(call.pbx.leg, 0, 1e6)

    def send(datagram: bytes) -> None:
        stranger.send(datagram, call.pbx.leg_port)
        stranger.send(datagram, call.pbx.leg_port + 1)

    sent = 2 * in_bursts(call, send, strange_datagrams())
    checked(call, sent, lambda: leg_counter(plane, call.pbx.leg, "dropped_source"), "of a wrong source")
    stats = plane.stats(call.pbx.leg)
    assert stats["remote_address"] == call.pbx.rtp.address
    assert stats["rtcp_received"] == stats["dropped_malformed"] == stats["packets_lost"] == 0
    assert stranger.silent()


def test_a_stranger_does_not_keep_a_dead_call_alive(plane: Plane) -> None:
    pbx = plane.rtp_leg([PCMU])
    stranger = plane.socket()
    plane.engine.set_timeouts(pbx.leg, 0, 0.3)
    for _ in range(BURST):
        stranger.send(PLAIN, pbx.leg_port)
    ended = plane.wait(_media.MEDIA_TIMEOUT, pbx.leg)
    assert ended[1] == pbx.leg
    wait_for(lambda: plane.stats(pbx.leg)["dropped_source"] == BURST, "the stranger's packets")


def test_only_before_the_lock_does_first_packet_learning_let_a_stranger_in(plane: Plane) -> None:
    call = Conversation(plane, plane.webrtc_leg([PCMU]), plane.rtp_leg([PCMU], learn=True))
    stranger = plane.socket()
    for junk in (b"", PLAIN[:11], with_first(0x00), rtp(payload_type=99).serialize()):
        stranger.send(junk, call.pbx.leg_port)
    plane.settle()
    assert plane.stats(call.pbx.leg)["remote_address"] == call.pbx.rtp.address, "what is no packet teaches nothing"
    call.speak()  # locks
    locked_at = plane.stats(call.pbx.leg)["dropped_source"]
    sent = in_bursts(call, lambda datagram: stranger.send(datagram, call.pbx.leg_port), strange_datagrams())
    wait_for(lambda: plane.stats(call.pbx.leg)["dropped_source"] == locked_at + sent, "the strangers to be refused")
    assert plane.stats(call.pbx.leg)["remote_address"] == call.pbx.rtp.address


def test_checks_with_a_wrong_integrity_are_met_with_silence_however_many(plane: Plane) -> None:
    call = Conversation.of(plane)
    forged = [bytes(call.browser.request(remote=(call.browser.remote[0], "w" * 24))) for _ in range(10)]
    stranger = plane.socket()

    def send(datagram: bytes) -> None:
        stranger.send(datagram, call.browser.port)
        call.browser.socket.send(datagram, call.browser.port)

    sent = 2 * in_bursts(call, send, forged)
    checked(call, sent, lambda: port_counter(plane, "stun_failures"), "failed checks")
    assert stranger.silent()


def test_client_hellos_of_the_unproved_never_reach_python(plane: Plane) -> None:
    call = Conversation.of(plane)
    strangers = [plane.socket() for _ in range(5)]
    hello = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0" + struct.pack("!H", 180) + b"\x01" + os.urandom(179)
    senders = cycle(strangers)
    sent = in_bursts(call, lambda datagram: next(senders).send(datagram, call.browser.port), [hello])
    checked(call, sent, lambda: port_counter(plane, "unknown_source"), "of nobody")
    assert port_counter(plane, "dtls") == 0
    assert all(stranger.silent(0.01) for stranger in strangers)


# -- all of it


@pytest.mark.timeout(240)
def test_a_million_hostile_datagrams_leave_the_memory_as_it_was(plane: Plane) -> None:
    call = Conversation.of(plane)
    stranger = plane.socket()
    total = 100_000 if is_instrumented(plane) else 1_000_000
    sealed = call.browser.send(rtp(1, ssrc=0xB0))
    hostile = [*strange_datagrams(), *RTCP_LIES.values(), sealed]
    hostile = [datagram for datagram in hostile if datagram[:1] != b"\x16"]  # DTLS of the proved is Python's to read
    sent = warm = 0
    for i, datagram in enumerate(cycle(hostile)):
        for _ in range(50):
            stranger.send(datagram, call.browser.port)
            stranger.send(datagram, call.pbx.leg_port)
            call.browser.socket.send(datagram, call.browser.port)
            call.pbx.send(datagram)
        sent += 200
        call.speak()
        if i == total // 2000:
            warm = resident_octets()
        if sent >= total:
            break
    check_growth(plane, warm, 4 << 20)  # before the judging of what was heard, which takes megabytes of its own
    call.check()
    received = port_counter(plane, "packets_received")
    assert received + port_counter(plane, "kernel_drops") >= sent
