"""SRTP on OpenSSL against the RFCs' vectors and against libsrtp, as pylibsrtp brings it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pylibsrtp
import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpserver import _media_testing as testing

from .plane import PROFILE_NAMES, master_key, rtp, session

if TYPE_CHECKING:
    from sdpserver._media import SrtpProfile

# RFC 7714 section 16: one packet, one salt, ROC 0.
GCM_PLAIN = bytes.fromhex(
    "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573"
)
GCM_SALT = bytes.fromhex("51756964 2070726f 2071756f")
GCM_INDEX = 0xF17B
GCM_SEALED: list[tuple[SrtpProfile, int, str]] = [
    (
        "AEAD_AES_128_GCM",  # section 16.1.1
        16,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf"
        "8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    ),
    (
        "AEAD_AES_256_GCM",  # section 16.2.1
        32,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799"
        "b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    ),
]


@pytest.mark.parametrize("own_gcm", [True, False])
@pytest.mark.parametrize(("profile", "key_length", "sealed"), GCM_SEALED)
def test_gcm_gives_the_packets_of_rfc_7714_section_16(
    profile: SrtpProfile, key_length: int, sealed: str, own_gcm: bool
) -> None:
    cipher = testing.Cipher(profile, bytes(range(key_length)), b"", GCM_SALT, own_gcm)
    assert cipher.seal(GCM_PLAIN, GCM_INDEX) == bytes.fromhex(sealed)
    assert cipher.open(bytes.fromhex(sealed), GCM_INDEX) == GCM_PLAIN
    assert cipher.open(bytes.fromhex(sealed), GCM_INDEX + 0x10000) is None, "another rollover counter"


@pytest.mark.parametrize(("profile", "key_length"), [("AEAD_AES_128_GCM", 16), ("AEAD_AES_256_GCM", 32)])
def test_our_gcm_and_that_of_openssl_agree_on_every_length(profile: SrtpProfile, key_length: int) -> None:
    rng = random.Random(7714)
    for length in [*range(200), *range(200, 2000, 61), 2000]:
        keys = rng.randbytes(key_length), b"", rng.randbytes(12)
        own, openssl = testing.Cipher(profile, *keys, True), testing.Cipher(profile, *keys, False)
        csrc = rng.randrange(16)
        plain = bytes([0x80 | csrc, 0]) + rng.randbytes(10 + 4 * csrc + length)
        index = rng.getrandbits(48)
        sealed = own.seal(plain, index)
        assert sealed == openssl.seal(plain, index)
        assert own.open(sealed, index) == openssl.open(sealed, index) == plain
        place = rng.randrange(1 + 3 * (csrc > 0), len(sealed))
        forged = sealed[:place] + bytes([sealed[place] ^ 1 << rng.randrange(8)]) + sealed[place + 1 :]
        assert own.open(forged, index) is None


def test_counter_mode_gives_the_key_stream_of_rfc_3711_appendix_b_2() -> None:
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    salt = bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")
    cipher = testing.Cipher("AES_CM_128_HMAC_SHA1_80", key, bytes(20), salt)
    header = bytes([0x80, 0]) + bytes(10)  # SSRC and sequence number 0, as the appendix has them
    sealed = cipher.seal(header + bytes(48), 0)
    assert sealed[12:60] == bytes.fromhex(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"
    )


def test_session_keys_are_those_of_rfc_3711_appendix_b_3() -> None:
    master = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6")
    encryption, authentication, salt = testing.derive("AES_CM_128_HMAC_SHA1_80", master)
    assert encryption[:16] == bytes.fromhex("C61E7A93744F39EE10734AFE3FF7A087")
    assert salt == bytes.fromhex("30CBBC08863D8C85D49DB34A9AE1")
    assert authentication == bytes.fromhex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")


def packet(rng: random.Random, sequence: int, ssrc: int) -> bytes:
    """Anything that RTP allows: CSRC, header extension, padding, an empty payload."""
    csrc = [rng.getrandbits(32) for _ in range(rng.choice([0, 0, 1, 15]))]
    extension = rng.choice([b"", b"", b"\xbe\xde\x00\x02" + rng.randbytes(8), b"\x10\x00\x00\x00"])
    payload = rng.randbytes(rng.choice([0, 1, 15, 16, 17, 160, 480, 1200]))
    padding = rng.choice([0, 0, 4])
    first = 0x80 | (0x10 if extension else 0) | (0x20 if padding else 0) | len(csrc)
    return (
        bytes([first, rng.getrandbits(8)])
        + (sequence & 0xFFFF).to_bytes(2, "big")
        + rng.randbytes(4)
        + ssrc.to_bytes(4, "big")
        + b"".join(source.to_bytes(4, "big") for source in csrc)
        + extension
        + payload
        + (bytes(padding - 1) + bytes([padding]) if padding else b"")
    )


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_what_we_seal_libsrtp_opens_and_the_other_way_round_over_two_rollovers(profile: SrtpProfile) -> None:
    rng = random.Random(profile)
    master = master_key(profile)
    ours, theirs = testing.Sender(profile, master), session(profile, master, outbound=True)
    our_ear, their_ear = testing.Receiver(profile, master), session(profile, master, outbound=False)
    sequence = 0x7F00
    for _ in range(3000):
        plain = packet(rng, sequence, 0xCAFE)
        sealed = ours.protect(plain)
        assert sealed == theirs.protect(plain)
        assert their_ear.unprotect(sealed) == plain
        assert our_ear.unprotect(sealed) == ("ok", plain)
        sequence += rng.choice([1, 1, 2, 60, 180])
    assert sequence > 2 * 0x10000


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_the_rollover_counter_goes_on_past_16_bits_with_loss_all_the_way(profile: SrtpProfile) -> None:
    """The index has 48 bits: 65,536 rollovers are a call of years, or of a peer that skips as far as it may."""
    master = master_key(profile)
    ours, theirs = testing.Sender(profile, master), session(profile, master, outbound=True)
    receiver = testing.Receiver(profile, master)
    sequence = 0
    while sequence >> 16 < 0x10002:
        plain = rtp(sequence, payload=b"").serialize()
        sealed = ours.protect(plain)
        assert receiver.unprotect(sealed) == ("ok", plain), sequence
        assert theirs.protect(plain) == sealed, sequence
        sequence += 0x7FFF
    assert receiver.unprotect(sealed)[0] == "repeated"


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_reordered_packets_around_a_rollover_are_opened_once_each(profile: SrtpProfile) -> None:
    master = master_key(profile)
    sender = session(profile, master, outbound=True)
    plain = [rtp(sequence).serialize() for sequence in range(0xFFC0, 0x10040)]
    sealed = [sender.protect(one) for one in plain]
    order = list(range(len(sealed)))
    rng = random.Random(1)
    for start in range(0, len(order), 16):  # within 16 packets
        part = order[start : start + 16]
        rng.shuffle(part)
        order[start : start + 16] = part
    receiver = testing.Receiver(profile, master)
    assert [receiver.unprotect(sealed[i]) for i in order] == [("ok", plain[i]) for i in order]
    assert {receiver.unprotect(one)[0] for one in sealed} == {"repeated"}


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_every_changed_octet_fails_the_tag(profile: SrtpProfile) -> None:
    master = master_key(profile)
    sealed = session(profile, master, outbound=True).protect(rtp(payload=b"x" * 20).serialize())
    receiver = testing.Receiver(profile, master)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        result, _ = receiver.unprotect(bytes(changed))
        # Flags that change the header's length may make it no packet at all.
        assert result == "wrong_tag" or (at == 0 and result == "malformed"), (at, result)
    assert receiver.unprotect(sealed)[0] == "ok", "forgeries must leave no trace"


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_packet_older_than_the_window_of_128_is_refused(profile: SrtpProfile) -> None:
    master = master_key(profile)
    sender = session(profile, master, outbound=True)
    sealed = [sender.protect(rtp(sequence).serialize()) for sequence in range(1000, 1129)]
    receiver = testing.Receiver(profile, master)
    assert receiver.unprotect(sealed[128])[0] == "ok"
    assert receiver.unprotect(sealed[0])[0] == "repeated"
    assert receiver.unprotect(sealed[1])[0] == "ok"


def test_the_same_index_is_never_sealed_twice() -> None:
    sender = testing.Sender("AEAD_AES_128_GCM", master_key("AEAD_AES_128_GCM"))
    assert sender.protect(rtp(5, payload=b"one").serialize())
    assert sender.protect(rtp(5, payload=b"two").serialize()) == b""


def test_a_few_sources_are_told_apart_and_a_fifth_takes_the_oldest_ones_place() -> None:
    profile: SrtpProfile = "AEAD_AES_128_GCM"
    master = master_key(profile)
    sender = session(profile, master, outbound=True)
    receiver = testing.Receiver(profile, master)
    sealed = {ssrc: sender.protect(rtp(10 * ssrc, ssrc=ssrc).serialize()) for ssrc in range(1, 6)}
    for ssrc in range(1, 5):
        assert receiver.unprotect(sealed[ssrc])[0] == "ok"
    assert {receiver.unprotect(sealed[ssrc])[0] for ssrc in range(1, 5)} == {"repeated"}
    assert receiver.unprotect(sealed[5])[0] == "ok"
    assert {receiver.unprotect(sealed[ssrc])[0] for ssrc in range(2, 6)} == {"repeated"}


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80))
def test_no_datagram_upsets_the_receiver(data: bytes) -> None:
    receiver = testing.Receiver("AEAD_AES_128_GCM", bytes(28))
    assert receiver.unprotect(data)[0] in ("malformed", "wrong_tag")


def test_a_packet_without_a_payload_keeps_its_tag() -> None:
    """A keep-alive has none; the tag alone is left behind the header."""
    profile: SrtpProfile = "AES_CM_128_HMAC_SHA1_80"
    master = master_key(profile)
    plain = RtpPacket(sequence_number=9, ssrc=1).serialize()
    sealed = testing.Sender(profile, master).protect(plain)
    assert len(sealed) == len(plain) + 10
    assert session(profile, master, outbound=False).unprotect(sealed) == plain
    with pytest.raises(pylibsrtp.Error):
        session(profile, master, outbound=False).unprotect(sealed[:-1] + bytes([sealed[-1] ^ 1]))
