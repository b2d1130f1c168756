"""SRTP keys in SDP, one row a case."""

from __future__ import annotations

import base64

import pytest

from sdpserver.sip import sdes
from sdpserver.sip.sdes import MASTER_OCTETS, Crypto, SrtpKeys, Suite

KEY_80 = base64.b64encode(bytes(range(30))).decode()
KEY_GCM = base64.b64encode(bytes(range(28))).decode()
KEY_GCM_256 = base64.b64encode(bytes(range(44))).decode()
SHA1_80: Suite = "AES_CM_128_HMAC_SHA1_80"


@pytest.mark.parametrize(
    ("value", "tag", "suite", "octets"),
    [
        (f"1 {SHA1_80} inline:{KEY_80}", 1, SHA1_80, 30),
        (f"999999999 AES_CM_128_HMAC_SHA1_32 inline:{KEY_80}", 999999999, "AES_CM_128_HMAC_SHA1_32", 30),
        (f"3 AEAD_AES_128_GCM inline:{KEY_GCM}", 3, "AEAD_AES_128_GCM", 28),
        (f"4 AEAD_AES_256_GCM inline:{KEY_GCM_256}", 4, "AEAD_AES_256_GCM", 44),
        (f"3 AEAD_AES_128_GCM inline:{KEY_GCM.rstrip('=')}", 3, "AEAD_AES_128_GCM", 28),
        (f"1 {SHA1_80.lower()} inline:{KEY_80}", 1, SHA1_80, 30),
        (f"1  {SHA1_80}   inline:{KEY_80}|2^31 ", 1, SHA1_80, 30),
        (f"1 {SHA1_80} inline:{KEY_80}|1048576", 1, SHA1_80, 30),
        (f"1 {SHA1_80} inline:{KEY_80}|2^48", 1, SHA1_80, 30),
        (f"1 {SHA1_80} inline:{KEY_80} WSH=64", 1, SHA1_80, 30),
        (f"1 {SHA1_80} inline:{KEY_80} -KDR=1 WSH=1024", 1, SHA1_80, 30),
    ],
    ids=[
        "80",
        "32",
        "GCM",
        "GCM 256",
        "no padding",
        "case",
        "lifetime",
        "plain lifetime",
        "longest",
        "window",
        "minus",
    ],
)
def test_a_line_that_we_take(value: str, tag: int, suite: str, octets: int) -> None:
    crypto = Crypto.parse(value)
    assert crypto is not None
    assert (crypto.tag, crypto.suite, crypto.key) == (tag, suite, bytes(range(octets)))


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"x {SHA1_80} inline:{KEY_80}",
        f"-1 {SHA1_80} inline:{KEY_80}",
        f"1234567890 {SHA1_80} inline:{KEY_80}",
        f"1 F8_128_HMAC_SHA1_80 inline:{KEY_80}",
        f"1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_80}",
        f"1 {SHA1_80}",
        f"1 {SHA1_80} {KEY_80}",
        f"1 {SHA1_80} uri:{KEY_80}",
        f"1 {SHA1_80} inline:",
        f"1 {SHA1_80} inline:{KEY_80[:-4]}",
        f"1 {SHA1_80} inline:{KEY_80}AAAA",
        f"1 {SHA1_80} inline:{KEY_80[:-1]}",
        f"1 {SHA1_80} inline:{KEY_80[:-1]}-",
        f"1 {SHA1_80} inline:{KEY_80}==",
        f"3 AEAD_AES_128_GCM inline:{KEY_80}",
        f"3 AEAD_AES_128_GCM inline:{KEY_GCM[:-3]}x==",
        f"1 {SHA1_80} inline:{KEY_80}|1:4",
        f"1 {SHA1_80} inline:{KEY_80}|2^31|1:4",
        f"1 {SHA1_80} inline:{KEY_80}|0",
        f"1 {SHA1_80} inline:{KEY_80}|2^49",
        f"1 {SHA1_80} inline:{KEY_80}|2^99",
        f"1 {SHA1_80} inline:{KEY_80}|x",
        f"1 {SHA1_80} inline:{KEY_80};inline:{KEY_80}",
        f"1 {SHA1_80} inline:{KEY_80} KDR=0",
        f"1 {SHA1_80} inline:{KEY_80} UNENCRYPTED_SRTP",
        f"1 {SHA1_80} inline:{KEY_80} UNENCRYPTED_SRTCP",
        f"1 {SHA1_80} inline:{KEY_80} WSH=64 UNAUTHENTICATED_SRTP",
        f"1 {SHA1_80} inline:{KEY_80} FEC_ORDER=FEC_SRTP",
        f"1 {SHA1_80} inline:{KEY_80} SOMETHING",
        f"\u00b2 {SHA1_80} inline:{KEY_80}",
    ],
)
def test_a_line_that_we_leave_aside(value: str) -> None:
    assert Crypto.parse(value) is None


def test_an_offer_has_all_suites_with_keys_of_their_own_and_never_twice() -> None:
    first, second = sdes.new_offer(), sdes.new_offer()
    assert [crypto.suite for crypto in first] == list(MASTER_OCTETS)
    assert len({crypto.key for crypto in (*first, *second)}) == 8
    assert [Crypto.parse(crypto.line.removeprefix("a=crypto:")) for crypto in first] == list(first)


def value(tag: int, suite: Suite, fill: int) -> str:
    return Crypto(tag, suite, bytes([fill]) * MASTER_OCTETS[suite]).line.removeprefix("a=crypto:")


def test_an_answer_must_be_one_line_of_our_offer() -> None:
    offer = sdes.new_offer()
    good = value(3, SHA1_80, 7)
    assert sdes.answered(offer, [good]) == SrtpKeys(SHA1_80, offer[2].key, bytes([7]) * 30)
    for bad in ([], [good, good], [value(1, SHA1_80, 7)], [value(5, SHA1_80, 7)], [good + "|1:1"]):
        assert sdes.answered(offer, bad) is None


@pytest.mark.parametrize(
    ("suites", "taken"),
    [
        (["AES_CM_128_HMAC_SHA1_32", SHA1_80], (2, SHA1_80)),
        ([SHA1_80, "AEAD_AES_256_GCM", "AEAD_AES_128_GCM"], (3, "AEAD_AES_128_GCM")),
        (["AES_CM_128_HMAC_SHA1_32"], (1, "AES_CM_128_HMAC_SHA1_32")),
        ([SHA1_80, SHA1_80], (1, SHA1_80)),
    ],
)
def test_our_answer_takes_the_first_suite_of_our_own_order_and_repeats_its_tag(
    suites: list[Suite], taken: tuple[int, Suite]
) -> None:
    answer = sdes.answer([value(tag, suite, tag) for tag, suite in enumerate(suites, 1)], None)
    assert answer is not None
    crypto, keys = answer
    assert (crypto.tag, crypto.suite) == taken
    assert (keys.send_key, keys.receive_key) == (crypto.key, bytes([taken[0]]) * MASTER_OCTETS[taken[1]])


def test_what_is_in_use_goes_on_while_the_peer_repeats_its_key() -> None:
    first = sdes.answer([value(1, SHA1_80, 1)], None)
    assert first is not None
    again = sdes.answer([value(8, "AEAD_AES_128_GCM", 2), value(9, SHA1_80, 1)], first[1])
    assert again is not None
    assert again[1] == first[1]
    assert (again[0].tag, again[0].key) == (9, first[1].send_key)
    changed = sdes.answer([value(1, SHA1_80, 3)], first[1])
    assert changed is not None
    assert changed[1].send_key != first[1].send_key


def test_lines_that_we_cannot_do_leave_nothing_to_answer() -> None:
    assert sdes.answer([value(1, SHA1_80, 1) + " UNENCRYPTED_SRTP"], None) is None
    assert sdes.answer([], None) is None


def test_keys_are_in_no_repr_and_taken_out_of_texts() -> None:
    crypto = Crypto(1, SHA1_80, b"k" * 30)
    keys = SrtpKeys(SHA1_80, b"s" * 30, b"r" * 30)
    assert "key" not in repr(crypto) + repr(keys)
    text = f"m=audio 1 RTP/SAVP 0\r\n{crypto.line}|2^31\r\na=sendrecv\r\n"
    assert sdes.redacted(text) == (
        f"m=audio 1 RTP/SAVP 0\r\na=crypto:1 {SHA1_80} inline:[redacted]|2^31\r\na=sendrecv\r\n"
    )
