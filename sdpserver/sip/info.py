"""Presses in SIP INFO: `application/dtmf-relay` and `application/dtmf`. Pure.

No RFC has them; they are as Cisco's gateways introduced them and as PBXs send them today. RFC 6086 appendix A calls
this use of INFO "legacy".
"""

from __future__ import annotations

import re

from ..dtmf import DEFAULT_DURATION_MS, DIGITS, DtmfMethod, Press, digit_of
from . import message

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
MAX_DURATION_MS = 60_000

_SIGNAL = re.compile(r"^\s*Signal\s*=\s*([0-9A-Da-d*#]|1[0-5])\s*$", re.MULTILINE | re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"^\s*Duration\s*=\s*(\d{1,6})\s*$", re.MULTILINE | re.IGNORECASE | re.ASCII)
_ALONE = re.compile(r"\s*([0-9A-Da-d*#]|1[0-5])\s*", re.ASCII)


def read_press(request: str) -> Press | None:
    """The press that an INFO tells of, None for one that is about something else or is malformed."""
    content_type = message.header(request, "Content-Type").partition(";")[0].strip().lower()
    body = request.partition("\r\n\r\n")[2]
    if content_type == DTMF_RELAY:
        signal, duration = _SIGNAL.search(body), _DURATION.search(body)
    elif content_type == DTMF:
        signal, duration = _ALONE.fullmatch(body), None
    else:
        return None
    if signal is None:
        return None
    duration_ms = min(int(duration[1]), MAX_DURATION_MS) if duration else DEFAULT_DURATION_MS
    return Press(digit=_digit(signal[1]), duration_ms=duration_ms, method=DtmfMethod.INFO)


def _digit(signal: str) -> str:
    """The key itself, or its event code, as some gateways write * and #."""
    digit = signal.upper() if signal.upper() in DIGITS else digit_of(int(signal))
    assert digit is not None  # the patterns have taken nothing else
    return digit


def press_body(digit: str, duration_ms: int) -> str:
    """The body of an INFO of the type `DTMF_RELAY`."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n"
