"""DTMF: digits, how long a press and the pause after it last, and the ways to send them. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from .errors import BadRequest, Conflict

DIGITS = "0123456789*#ABCD"
"""In the order of their event codes (RFC 4733 section 3.2)."""
MAX_DIGITS = 64
"""In one request."""
MIN_MS = 40
"""ITU-T Q.24 table A-1: shorter presses and pauses need not be recognised."""
DEFAULT_DURATION_MS = 100
DEFAULT_GAP_MS = 70
MAX_DURATION_MS = 6000
"""As the W3C's RTCDTMFSender has it."""
MAX_GAP_MS = 6000

LegName = Literal["sip", "webrtc"]


class DtmfMethod(enum.Enum):
    """How a press travels: as RTP events (RFC 4733), as a SIP INFO, or as tones in the audio."""

    RFC4733 = "rfc4733"
    INFO = "info"
    INBAND = "inband"


@dataclass(frozen=True, slots=True, kw_only=True)
class DtmfOrder:
    """Presses to send on one leg, one after the other. `method` None: what the leg's peer takes.

    The digits are a caller's secret: they are in no log, and not in the repr.
    """

    digits: str
    duration_ms: int = DEFAULT_DURATION_MS
    gap_ms: int = DEFAULT_GAP_MS
    method: DtmfMethod | None = None
    leg: LegName = "sip"

    def __repr__(self) -> str:
        return f"DtmfOrder({len(self.digits)} digits, leg={self.leg!r}, method={self.method})"


def check_digits(text: str) -> str:
    """The digits in the form of `DIGITS`.

    :raises BadRequest: reason `invalid_digits`; the message does not repeat them.
    """
    if not text:
        raise BadRequest("digits is empty", reason="invalid_digits")
    if len(text) > MAX_DIGITS:
        raise BadRequest(f"digits has {len(text)} characters, at most {MAX_DIGITS} are taken", reason="invalid_digits")
    digits = text.upper()
    if any(digit not in DIGITS for digit in digits):
        raise BadRequest("digits has characters that are none of 0-9 * # A-D", reason="invalid_digits")
    return digits


def event_code(digit: str) -> int:
    """The RFC 4733 event of a digit."""
    return DIGITS.index(digit)


def digit_of(event: int) -> str | None:
    """The digit of an RFC 4733 event, None for one that is no DTMF digit (a flash, a modem's tone)."""
    return DIGITS[event] if 0 <= event < len(DIGITS) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A press that a leg has received, once it was over."""

    digit: str
    duration_ms: int
    method: DtmfMethod

    def __repr__(self) -> str:
        return f"Press(duration_ms={self.duration_ms}, method={self.method})"

    @property
    def sendable_ms(self) -> int:
        """Its length, within what a leg sends."""
        return min(max(self.duration_ms, MIN_MS), MAX_DURATION_MS)

    @classmethod
    def of_media_plane(cls, data: bytes) -> Press | None:
        """From the data of `_media.DTMF`; None for an event that is no digit."""
        event, duration_ms, method = data.decode().split()
        digit = digit_of(int(event))
        if digit is None:
            return None
        return cls(digit=digit, duration_ms=int(duration_ms), method=DtmfMethod(method))


def choose_method(
    wanted: DtmfMethod | None, preferred: DtmfMethod, *, has_telephone_event: bool, can_info: bool
) -> DtmfMethod:
    """How to send presses to a peer: as the caller wants, else as is preferred there; tones where events are unknown.

    :raises Conflict: the caller wants what the peer does not take.
    """
    if wanted is DtmfMethod.RFC4733 and not has_telephone_event:
        raise Conflict("the peer takes no telephone-event", reason="no_telephone_event")
    if wanted is DtmfMethod.INFO and not can_info:
        raise Conflict("INFO can only be sent on a SIP leg", reason="no_sip_info")
    method = wanted or preferred
    if method is DtmfMethod.RFC4733 and not has_telephone_event:
        return DtmfMethod.INBAND
    return method
