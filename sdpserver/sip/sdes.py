"""SRTP keys in SDP (SDES): `a=crypto` of RFC 4568, with the suites of RFC 7714 too. Pure, but for the random keys.

A line that asks for what we do not do is as if it were not there (RFC 4568 section 7.1.2): a master key identifier,
more than one key, a key derivation rate, anything left unencrypted or unauthenticated, FEC.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Suite = Literal["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
SrtpUse = Literal["off", "optional", "required"]
"""Of a trunk. `optional`: SRTP with a peer that takes it, else plain RTP."""

MASTER_OCTETS: Mapping[Suite, int] = {
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
}
"""Octets of master key and salt together (RFC 4568 section 6.2, RFC 7714 section 12); in our order of preference."""

MAX_LIFETIME = 2**48
_ATTRIBUTE = re.compile(r"([0-9]{1,9}) +([A-Za-z0-9_]+) +(inline:[^ ;]+)((?: +[^ ]+)*)", re.ASCII)
_KEY = re.compile(r"inline:([A-Za-z0-9+/]+)(={0,2})(?:\|(2\^[0-9]{1,2}|[0-9]{1,15}))?", re.ASCII)
# A window size is only a hint (RFC 4568 section 6.3.7), and ours is twice the least one that it may name.
_HARMLESS = re.compile(r"-.+|WSH=[0-9]{1,5}", re.ASCII)
_INLINE = re.compile(r"(inline:)[A-Za-z0-9+/=]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One `a=crypto`: the key is what its writer sends with."""

    tag: int
    suite: Suite
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, value: str) -> Crypto | None:
        """The value of an `a=crypto`; None: it is malformed, or asks for what we do not do."""
        match = _ATTRIBUTE.fullmatch(value.strip())
        suite = next((suite for suite in MASTER_OCTETS if match and suite == match[2].upper()), None)
        if match is None or suite is None:
            return None
        if not all(_HARMLESS.fullmatch(parameter) for parameter in match[4].split()):
            return None
        key = _master(match[3], MASTER_OCTETS[suite])
        return None if key is None else cls(int(match[1]), suite, key)

    @classmethod
    def new(cls, tag: int, suite: Suite) -> Crypto:
        """With a key of its own, never to be offered again (RFC 4568 section 6.1)."""
        return cls(tag, suite, secrets.token_bytes(MASTER_OCTETS[suite]))

    @property
    def line(self) -> str:
        """The attribute's line."""
        return f"a=crypto:{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """What the media plane needs for one stream, both ways; each key is followed by its salt."""

    suite: Suite
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)


def _master(key_parameter: str, octets: int) -> bytes | None:
    match = _KEY.fullmatch(key_parameter)
    if match is None or (match[3] and not 0 < _lifetime(match[3]) <= MAX_LIFETIME):
        return None
    # The padding may be missing (RFC 4568 section 6.1); a lifetime binds the one who sends with the key.
    text = match[1] + "=" * (-len(match[1]) % 4)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    is_canonical = base64.b64encode(key).decode() == text and match[2] in ("", text[len(match[1]) :])
    return key if len(key) == octets and is_canonical else None


def _lifetime(text: str) -> int:
    return 2 ** int(text[2:]) if text.startswith("2^") else int(text)


def new_offer(in_use: SrtpKeys | None = None) -> tuple[Crypto, ...]:
    """All suites, each with a new key; what is in use comes first, and with the key that it has."""
    order = sorted(MASTER_OCTETS, key=lambda suite: in_use is None or suite != in_use.suite)
    offer = [Crypto.new(tag, suite) for tag, suite in enumerate(order, 1)]
    if in_use is not None:
        offer[0] = Crypto(1, in_use.suite, in_use.send_key)
    return tuple(offer)


def answered(offered: Sequence[Crypto], answer: Sequence[str]) -> SrtpKeys | None:
    """The keys when our offer was answered with these `a=crypto` values.

    None unless it is exactly one, and one of ours (RFC 4568 section 7.1.3).
    """
    theirs = Crypto.parse(answer[0]) if len(answer) == 1 else None
    if theirs is None:
        return None
    ours = next((crypto for crypto in offered if (crypto.tag, crypto.suite) == (theirs.tag, theirs.suite)), None)
    return None if ours is None else SrtpKeys(ours.suite, ours.key, theirs.key)


def answer(offer: Sequence[str], in_use: SrtpKeys | None) -> tuple[Crypto, SrtpKeys] | None:
    """Our answer to an offer with these `a=crypto` values, and the keys that it makes; None: none is acceptable.

    What is in use goes on with both its keys while the peer offers its own again: a key that is set anew starts its
    packet numbers anew. Otherwise it is the first suite in our order, with a new key of ours too.
    """
    theirs = {crypto.tag: crypto for value in reversed(offer) if (crypto := Crypto.parse(value))}
    for crypto in theirs.values():
        if in_use is not None and (crypto.suite, crypto.key) == (in_use.suite, in_use.receive_key):
            return Crypto(crypto.tag, crypto.suite, in_use.send_key), in_use
    order = list(MASTER_OCTETS)
    chosen = min(theirs.values(), key=lambda crypto: (order.index(crypto.suite), crypto.tag), default=None)
    if chosen is None:
        return None
    ours = Crypto.new(chosen.tag, chosen.suite)
    return ours, SrtpKeys(ours.suite, ours.key, chosen.key)


def redacted(text: str) -> str:
    """An SDP or a SIP message without its keys, for logs and traces."""
    return _INLINE.sub(r"\1[redacted]", text)
