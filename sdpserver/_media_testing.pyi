"""Parts of the native media plane that tests look at by themselves. In an editable install only."""

from typing import Literal

from ._media import SrtpProfile

def derive(profile: SrtpProfile, master: bytes) -> tuple[bytes, bytes, bytes]:
    """RFC 3711 section 4.3: (encryption key, authentication key, salt), each as long as the longest of any profile."""

def sizes() -> dict[str, int]:
    """Octets of what a leg is made of, without what OpenSSL and libsrtp allocate."""

class Cipher:
    """SRTP's transforms with given session keys."""

    def __init__(self, profile: SrtpProfile, encryption: bytes, authentication: bytes, salt: bytes) -> None: ...
    def seal(self, plain: bytes, index: int) -> bytes: ...
    def open(self, sealed: bytes, index: int) -> bytes | None:
        """None: the tag is wrong."""

class Sender:
    def __init__(self, profile: SrtpProfile, master: bytes) -> None: ...
    def protect(self, plain: bytes) -> bytes:
        """b"": refused."""

class Receiver:
    def __init__(self, profile: SrtpProfile, master: bytes) -> None: ...
    def unprotect(self, sealed: bytes) -> tuple[Literal["ok", "malformed", "wrong_tag", "repeated"], bytes]: ...

class PollFloor:
    """When a worker lets packets gather; times in ns."""

    @property
    def engaged(self) -> bool: ...
    def polled(self, now: int, packets_in_all: int) -> None: ...
