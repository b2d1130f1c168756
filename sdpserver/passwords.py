"""Passwords of DNs as the configuration keeps them: scrypt (RFC 7914) in one line of text. Pure.

    scrypt$16384$8$1$<salt>$<hash>      the cost N, the block size r, the parallelization p; salt and hash in base64

One hash takes about 50 ms of CPU and 16 MB, which is what makes guessing dear: on an event loop call these by
`asyncio.to_thread`, and bound how many run at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass

N, R, P = 2**14, 8, 1
SALT_OCTETS = 16
HASH_OCTETS = 32
MAX_MEMORY_OCTETS = 2**27
"""Of one check, whatever a hash asks for; 128 N r are needed (RFC 7914 section 2)."""
MAX_P = 16

_FORM = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,3})\$(\d{1,2})\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Hash:
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> _Hash:
        """:raises ValueError: it is none, or asks for more than a check may cost."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("is not of the form scrypt$N$r$p$salt$hash")
        n, r, p = int(match[1]), int(match[2]), int(match[3])
        try:
            salt, digest = base64.b64decode(match[4], validate=True), base64.b64decode(match[5], validate=True)
        except binascii.Error as exc:
            raise ValueError("has a salt or a hash that is not base64") from exc
        if n < 2 or n & (n - 1):
            raise ValueError("has an N that is no power of two")
        if not (r and 1 <= p <= MAX_P and 128 * n * r <= MAX_MEMORY_OCTETS):
            raise ValueError("has costs N, r and p that cannot be taken")
        if len(salt) < 8 or len(digest) < 16:
            raise ValueError("has a salt under 8 octets or a hash under 16")
        return cls(n, r, p, salt, digest)

    def fits(self, password: str) -> bool:
        given = _scrypt(password, self.salt, n=self.n, r=self.r, p=self.p, octets=len(self.digest))
        return hmac.compare_digest(given, self.digest)


def _scrypt(password: str, salt: bytes, *, n: int, r: int, p: int, octets: int) -> bytes:
    # NFC, as RFC 8265 section 4.2.2 has it: keyboards differ in how they spell the same letter.
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=2 * MAX_MEMORY_OCTETS, dklen=octets)


# Nobody's: what a check costs where there is no hash.
_NONE = _Hash(N, R, P, bytes(SALT_OCTETS), bytes(HASH_OCTETS))


def hash_password(password: str) -> str:
    """What `[[dn]] password_hash` takes; another one each time. About 50 ms of CPU."""
    salt = secrets.token_bytes(SALT_OCTETS)
    digest = _scrypt(password, salt, n=N, r=R, p=P, octets=HASH_OCTETS)
    return f"scrypt${N}${R}${P}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check_password(password: str, password_hash: str | None) -> bool:
    """Whether it is the password, in constant time. About 50 ms of CPU: call it by `asyncio.to_thread`.

    `None`, for a DN that is not there, takes as long and is never right, so that time does not tell which DNs are.

    :raises ValueError: `password_hash` is no hash; the configuration's are.
    """
    if password_hash is None:
        _NONE.fits(password)
        return False
    return _Hash.parse(password_hash).fits(password)


def why_no_hash(text: str) -> str | None:
    """What is wrong with the form of a hash, without a word of it; None: nothing."""
    try:
        _Hash.parse(text)
    except ValueError as exc:
        return str(exc)
    return None
