"""ICE-lite on the shared port, with aioice's STUN for a peer."""

from __future__ import annotations

import struct
from functools import partial

import pytest
from aioice import stun

from sdpserver import _media

from .plane import Plane, WebRtcPeer, parse_stun, rtp, wait_for


def stun_failures(plane: Plane) -> int:
    return plane.engine.counters(0)["stun_failures"]


def has_received(plane: Plane, leg: int, packets: int) -> bool:
    return plane.stats(leg)["packets_received"] == packets


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def signed(peer: WebRtcPeer, attributes: bytes, *, message_type: int = 0x0001, pwd: str | None = None) -> bytes:
    """A message of our own making, with a right MESSAGE-INTEGRITY and no FINGERPRINT."""
    header = struct.pack("!HHI", message_type, len(attributes) + 24, 0x2112A442) + b"t" * 12
    digest = stun.message_integrity(header + attributes, (pwd or peer.remote[1]).encode())
    return header + attributes + attribute(0x0008, digest)


def username(peer: WebRtcPeer) -> bytes:
    return attribute(0x0006, f"{peer.remote[0]}:peer".encode())


def test_a_check_is_answered_with_the_address_seen_integrity_and_fingerprint(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    answer = peer.check()
    assert answer.message_class is stun.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("127.0.0.1", peer.socket.port)
    assert {"MESSAGE-INTEGRITY", "FINGERPRINT"} <= answer.attributes.keys()
    _, leg, _, data = plane.wait(_media.ICE_CONNECTED, peer.leg)
    assert (leg, data.decode()) == (peer.leg, peer.socket.address)
    assert plane.stats(peer.leg)["remote_address"] == peer.socket.address


def test_the_first_check_connects_also_without_use_candidate_and_only_once(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    for _ in range(3):
        peer.check(use_candidate=False)
    plane.wait(_media.ICE_CONNECTED, peer.leg)
    assert plane.count(_media.ICE_CONNECTED, peer.leg) == 0
    assert plane.count(_media.ICE_SELECTED, peer.leg) == 0


def test_a_check_without_fingerprint_is_taken(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    peer.socket.send(signed(peer, username(peer)), peer.port)
    assert parse_stun(peer.socket.receive(), peer.remote[1]).message_class is stun.Class.RESPONSE


def test_wrong_integrity_unknown_ufrag_and_no_integrity_are_met_with_silence_and_counted(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    without = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": f"{peer.remote[0]}:peer"})
    for datagram in (
        bytes(peer.request(remote=(peer.remote[0], "w" * 24))),
        bytes(peer.request(remote=("nobody", peer.remote[1]))),
        bytes(without),
    ):
        peer.socket.send(datagram, peer.port)
    wait_for(lambda: stun_failures(plane) == 3, "three refusals")
    assert peer.check().message_class is stun.Class.RESPONSE  # the first answer that came at all
    plane.wait(_media.ICE_CONNECTED, peer.leg)


def test_a_wrong_fingerprint_is_malformed(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    datagram = bytearray(bytes(peer.request()))
    datagram[-1] ^= 1
    peer.socket.send(bytes(datagram), peer.port)
    wait_for(lambda: plane.engine.counters(0)["malformed"] == 1, "the refusal")
    assert plane.count(_media.ICE_CONNECTED, peer.leg) == 0


def test_an_unknown_required_attribute_is_answered_with_420_that_names_it(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    peer.socket.send(signed(peer, username(peer) + attribute(0x7ABC, b"what") + attribute(0x7ABD, b"")), peer.port)
    data = peer.socket.receive()
    assert data[:2] == b"\x01\x11"
    assert data[8:20] == b"t" * 12
    attributes = {}
    at = 20
    while at < len(data):
        kind, length = struct.unpack("!HH", data[at : at + 4])
        attributes[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
    assert attributes[0x0009][:4] == bytes([0, 0, 4, 20])
    assert attributes[0x000A] == b"\x7a\xbc\x7a\xbd"
    assert {0x0008, 0x8028} <= attributes.keys()
    assert plane.count(_media.ICE_CONNECTED, peer.leg) == 0


def test_an_unknown_optional_attribute_changes_nothing(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    peer.socket.send(signed(peer, username(peer) + attribute(0xC057, b"\0\1\0\x0a")), peer.port)
    assert peer.socket.receive()[:2] == b"\x01\x01"


@pytest.mark.parametrize("use_candidate", [True, False])
def test_before_the_keys_use_candidate_moves_the_address_and_nothing_else_does(
    plane: Plane, use_candidate: bool
) -> None:
    peer = plane.webrtc_leg(profile=None)
    peer.check()
    other = plane.socket()
    peer.check(sender=other, use_candidate=use_candidate)
    if use_candidate:
        assert plane.wait(_media.ICE_SELECTED, peer.leg)[3].decode() == other.address
    plane.engine.send_dtls(peer.leg, b"\x16 a flight")
    assert (other if use_candidate else peer.socket).receive() == b"\x16 a flight"


def own_check(peer: WebRtcPeer, datagram: bytes) -> stun.Message:
    """The leg's own Binding request, read with the peer's password."""
    request = parse_stun(datagram, peer.LOCAL[1])
    assert request.message_class is stun.Class.REQUEST
    assert request.attributes["USERNAME"] == f"{peer.LOCAL[0]}:{peer.remote[0]}"
    assert "ICE-CONTROLLED" in request.attributes
    return request


def answer_to(request: stun.Message, pwd: str) -> bytes:
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
    answer.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 9)
    answer.add_message_integrity(pwd.encode())
    return bytes(answer)


def test_with_keys_the_address_moves_only_when_our_own_check_is_answered(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.set_source_tone(peer.leg, [])
    other = plane.socket()
    peer.check(sender=other)
    request = own_check(peer, other.receive())
    peer.receive()  # media still goes to the old address
    assert plane.count(_media.ICE_SELECTED, peer.leg) == 0
    assert plane.stats(peer.leg)["remote_address"] == peer.socket.address

    other.send(answer_to(request, "w" * 24), peer.port)  # a wrong password
    peer.socket.send(answer_to(request, peer.LOCAL[1]), peer.port)  # another address
    wrong = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    other.send(answer_to(wrong, peer.LOCAL[1]), peer.port)  # another transaction
    plane.settle()
    assert plane.stats(peer.leg)["remote_address"] == peer.socket.address

    other.send(answer_to(request, peer.LOCAL[1]), peer.port)
    assert plane.wait(_media.ICE_SELECTED, peer.leg)[3].decode() == other.address
    datagram = other.receive()
    while datagram[0] < 128:  # the check may have been sent again in between
        datagram = other.receive()
    peer.rx.unprotect(datagram)


def test_our_own_check_is_sent_again_and_then_given_up(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    other = plane.socket()
    peer.check(sender=other)
    requests = [own_check(peer, other.receive()) for _ in range(3)]
    assert len({request.transaction_id for request in requests}) == 1
    plane.engine.set_source_tone(peer.leg, [])
    peer.receive()
    assert plane.count(_media.ICE_SELECTED, peer.leg) == 0


def test_a_new_peer_password_is_used_for_our_own_check(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.set_remote_ice(peer.leg, "newfrag", "n" * 24)
    plane.settle()
    other = plane.socket()
    peer.check(sender=other)
    request = parse_stun(other.receive(), "n" * 24)
    assert request.attributes["USERNAME"] == f"newfrag:{peer.remote[0]}"


def unanswered_leg(plane: Plane, ufrag: str) -> WebRtcPeer:
    """A leg that has offered: what its peer is called is not known yet."""
    peer = plane.webrtc_leg(profile=None)
    plane.engine.remove_leg(peer.leg)
    peer.remote = (ufrag, "o" * 24)
    peer.leg = plane.engine.create_webrtc_leg(0, *peer.remote, "", "")
    plane.settle()
    return peer


def test_before_the_answer_checks_are_answered_and_dtls_is_handed_up(plane: Plane) -> None:
    peer = unanswered_leg(plane, "offer")
    wrong = stun_failures(plane)
    peer.socket.send(bytes(peer.request(remote=("offer", "x" * 24))), peer.port)
    wait_for(lambda: stun_failures(plane) == wrong + 1, "the refusal of a wrong password")
    assert peer.check().message_class is stun.Class.RESPONSE
    assert plane.wait(_media.ICE_CONNECTED, peer.leg)[3].decode() == peer.socket.address
    peer.socket.send(b"\x16 ClientHello", peer.port)
    assert plane.wait(_media.DTLS, peer.leg)[3] == b"\x16 ClientHello"


def test_before_the_answer_an_address_of_another_leg_is_not_taken_over(plane: Plane) -> None:
    """Only the peer's password, which comes with the answer, could prove whose it is."""
    holder = plane.webrtc_leg(profile=None)
    holder.check()
    peer = unanswered_leg(plane, "offer")
    assert peer.check(sender=holder.socket).message_class is stun.Class.RESPONSE
    holder.socket.send(b"\x16 the holder's", holder.port)
    assert plane.wait(_media.DTLS, holder.leg)[3] == b"\x16 the holder's"
    assert plane.count(_media.ICE_CONNECTED, peer.leg) == 0

    plane.engine.set_remote_ice(peer.leg, *peer.LOCAL)
    plane.settle()
    peer.check(sender=holder.socket)
    request = own_check(peer, holder.socket.receive())
    holder.socket.send(answer_to(request, peer.LOCAL[1]), peer.port)
    assert plane.wait(_media.ICE_CONNECTED, peer.leg)[3].decode() == holder.socket.address


def test_media_from_an_address_that_passed_a_check_is_taken_before_the_move(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    other = plane.socket()
    peer.check(sender=other)
    peer.send(rtp(1), sender=other)
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 1, "the packet")


def test_only_a_few_addresses_are_remembered_and_the_selected_one_always(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    others = [plane.socket() for _ in range(6)]
    for other in others:
        peer.check(sender=other, use_candidate=False)
    peer.send(rtp(1), sender=others[0])
    wait_for(lambda: plane.engine.counters(0)["unknown_source"] == 1, "the oldest to be a stranger")
    peer.send(rtp(2))
    peer.send(rtp(3), sender=others[-1])
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 2, "the selected and the newest")


def test_after_a_restart_the_old_credentials_last_until_the_first_check_on_the_new(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    old, new = peer.remote, ("restarted", "r" * 24)
    plane.engine.restart_ice(peer.leg, *new, "peer2", "q" * 24)
    plane.settle()
    assert peer.check(remote=old).message_class is stun.Class.RESPONSE
    assert peer.check(remote=new).message_class is stun.Class.RESPONSE
    before = stun_failures(plane)
    peer.socket.send(bytes(peer.request(remote=old)), peer.port)
    wait_for(lambda: stun_failures(plane) == before + 1, "the old credentials to be refused")
    peer.send(rtp(1))  # the association lives on
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 1, "media")


def test_a_second_restart_takes_the_place_of_one_that_nobody_followed(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.restart_ice(peer.leg, "second", "s" * 24, "peer2", "q" * 24)
    plane.engine.restart_ice(peer.leg, "third", "t" * 24, "peer3", "q" * 24)
    plane.settle()
    before = stun_failures(plane)
    peer.socket.send(bytes(peer.request(remote=("second", "s" * 24))), peer.port)
    wait_for(lambda: stun_failures(plane) == before + 1, "the second's refusal")
    assert peer.check(remote=("third", "t" * 24)).message_class is stun.Class.RESPONSE


def test_a_restart_from_a_new_address_moves_there_once_our_check_is_answered(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.restart_ice(peer.leg, "restarted", "r" * 24, "peer2", "q" * 24)
    plane.settle()
    other = plane.socket()
    peer.check(sender=other, remote=("restarted", "r" * 24), use_candidate=False)
    request = parse_stun(other.receive(), "q" * 24)
    assert request.attributes["USERNAME"] == "peer2:restarted"
    other.send(answer_to(request, "q" * 24), peer.port)
    assert plane.wait(_media.ICE_SELECTED, peer.leg)[3].decode() == other.address


def test_a_restart_that_repeats_the_ufrag_keeps_the_leg_within_reach(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.restart_ice(peer.leg, peer.remote[0], "r" * 24, "peer2", "q" * 24)
    plane.settle()
    for _ in range(2):
        assert peer.check(remote=(peer.remote[0], "r" * 24)).message_class is stun.Class.RESPONSE


def test_a_removed_leg_answers_no_more(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    plane.engine.remove_leg(peer.leg)
    plane.settle()
    before = stun_failures(plane)
    peer.socket.send(bytes(peer.request()), peer.port)
    peer.send(rtp(1))
    wait_for(lambda: stun_failures(plane) == before + 1, "the refusal")
    wait_for(lambda: plane.engine.counters(0)["unknown_source"] == 1, "the stranger")


def test_an_address_goes_to_another_leg_once_that_ones_check_to_it_is_answered(plane: Plane) -> None:
    """A page that was reloaded may come back from the same port."""
    old = plane.webrtc_leg()
    new = plane.webrtc_leg(profile=None)
    new.check(sender=old.socket)
    assert plane.count(_media.ICE_CONNECTED, new.leg) == 0
    request = own_check(new, old.socket.receive())
    old.socket.send(answer_to(request, new.LOCAL[1]), new.port)
    assert plane.wait(_media.ICE_CONNECTED, new.leg)[3].decode() == old.socket.address
    old.socket.send(b"\x16 a flight", new.port)
    assert plane.wait(_media.DTLS, new.leg)[3] == b"\x16 a flight"
    plane.engine.remove_leg(old.leg)
    plane.settle()
    old.socket.send(b"\x16 another", new.port)
    assert plane.wait(_media.DTLS, new.leg)[3] == b"\x16 another"


def test_a_caller_who_forges_the_address_of_another_does_not_get_it(plane: Plane) -> None:
    """Whoever has a leg can make checks on it, with any source address."""
    victim, thief = plane.webrtc_leg(), plane.webrtc_leg()
    for sequence in range(1, 6):
        victim.socket.send(bytes(thief.request()), thief.port)  # as if it came from there
        victim.send(rtp(sequence))
        wait_for(partial(has_received, plane, victim.leg, sequence), "the victim's packet")
    while stun.parse_message(datagram := victim.socket.receive()).message_class is not stun.Class.REQUEST:
        pass  # answers to what was forged
    check = own_check(thief, datagram)
    victim.socket.send(answer_to(check, "w" * 24), victim.port)  # by a browser that knows nothing of it
    thief.socket.send(answer_to(check, thief.LOCAL[1]), thief.port)  # not from there
    plane.settle()
    victim.send(rtp(6))
    wait_for(lambda: plane.stats(victim.leg)["packets_received"] == 6, "the victim's packet")
    assert plane.stats(thief.leg)["auth_failures"] == 0
    assert plane.stats(thief.leg)["remote_address"] == thief.socket.address
    assert plane.count(_media.ICE_SELECTED, thief.leg) == 0


def test_a_caller_who_forges_an_address_before_its_owner_comes_loses_it_to_the_owner(plane: Plane) -> None:
    thief = plane.webrtc_leg(profile=None)
    owner = plane.webrtc_leg(profile=None)
    thief.check(sender=owner.socket)
    plane.wait(_media.ICE_CONNECTED, thief.leg)
    owner.check()
    owner.socket.send(answer_to(own_check(owner, owner.socket.receive()), owner.LOCAL[1]), owner.port)
    plane.wait(_media.ICE_CONNECTED, owner.leg)
    plane.set_keys(owner, "AEAD_AES_128_GCM")
    thief.check(sender=owner.socket)
    owner.send(rtp(1))
    wait_for(lambda: plane.stats(owner.leg)["packets_received"] == 1, "the owner's packet")


def test_forged_answers_are_counted(plane: Plane) -> None:
    peer = plane.webrtc_leg()
    before = stun_failures(plane)
    forged = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    peer.socket.send(bytes(forged), peer.port)
    wait_for(lambda: stun_failures(plane) == before + 1, "the forged answer")
    plane.socket().send(bytes(forged), peer.port)
    wait_for(lambda: plane.engine.counters(0)["unknown_source"] == 1, "a stranger's answer")


def test_dtls_is_handed_up_only_from_an_address_that_has_passed_a_check(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    peer.socket.send(b"\x16 too early", peer.port)
    wait_for(lambda: plane.engine.counters(0)["unknown_source"] == 1, "the stranger")
    peer.check()
    other = plane.socket()
    peer.check(sender=other, use_candidate=False)
    other.send(b"\x16 in time", peer.port)
    assert plane.wait(_media.DTLS, peer.leg)[3] == b"\x16 in time"
    assert plane.count(_media.DTLS, peer.leg) == 0
    plane.engine.send_dtls(peer.leg, b"\x16 answer")
    assert peer.socket.receive() == b"\x16 answer", "answers go to the selected address"


def test_a_peer_that_floods_with_dtls_takes_neither_the_memory_nor_the_place_of_another(plane: Plane) -> None:
    flooding, other = plane.webrtc_leg(profile=None), plane.webrtc_leg(profile=None)
    flooding.check()
    other.check()
    for i in range(100):
        flooding.socket.send(b"\x16" + bytes([i]), flooding.port)
    wait_for(lambda: plane.engine.counters(0)["dtls"] == 100, "the flood")
    other.socket.send(b"\x16 hello", other.port)
    assert plane.wait(_media.DTLS, other.leg)[3] == b"\x16 hello"
    assert plane.count(_media.DTLS, flooding.leg) == 64
    assert plane.engine.counters(0)["dtls_dropped"] == 36
    flooding.socket.send(b"\x16 again", flooding.port)
    while plane.wait(_media.DTLS, flooding.leg)[3] != b"\x16 again":
        pass


def test_dtls_is_dropped_while_there_is_no_address_to_send_it_to(plane: Plane) -> None:
    peer = plane.webrtc_leg(profile=None)
    plane.engine.send_dtls(peer.leg, b"\x16 too early")
    plane.settle()
    peer.check()
    plane.engine.send_dtls(peer.leg, b"\x16 in time")
    assert peer.socket.receive() == b"\x16 in time"


def test_ipv6() -> None:
    with Plane(ip="::1") as plane:
        peer = plane.webrtc_leg()
        plane.engine.set_source_leg(peer.leg, peer.leg)
        plane.settle()
        assert plane.stats(peer.leg)["remote_address"] == f"::1 {peer.socket.port}"
        assert peer.check().attributes["XOR-MAPPED-ADDRESS"] == ("::1", peer.socket.port)
        peer.send(rtp(7, payload=b"six"))
        assert peer.receive().payload == b"six"
