"""Presses in the bodies of INFO requests."""

import pytest

from sdpserver.dtmf import DtmfMethod
from sdpserver.sip import info


def request(content_type: str, body: str) -> str:
    return f"INFO sip:a@b SIP/2.0\r\nCall-ID: x\r\nContent-Type: {content_type}\r\n\r\n{body}"


@pytest.mark.parametrize(
    ("content_type", "body", "digit", "duration_ms"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5", 160),
        ("application/dtmf-relay", "Signal=5\r\nDuration=160", "5", 160),
        ("Application/DTMF-Relay ; a=b", "signal= *\nDURATION = 90\n", "*", 90),
        ("application/dtmf-relay", "Duration=160\r\nSignal=#\r\n", "#", 160),
        ("application/dtmf-relay", "Signal=a\r\n", "A", 100),
        ("application/dtmf-relay", "Signal=11\r\nDuration=999999\r\n", "#", 60_000),
        ("application/dtmf", "7", "7", 100),
        ("application/dtmf", " d\r\n", "D", 100),
        ("application/dtmf", "10", "*", 100),
    ],
)
def test_a_press_is_read(content_type: str, body: str, digit: str, duration_ms: int) -> None:
    press = info.read_press(request(content_type, body))
    assert press is not None
    assert (press.digit, press.duration_ms, press.method) == (digit, duration_ms, DtmfMethod.INFO)
    assert digit not in repr(press).replace(str(duration_ms), "").removeprefix("Press(duration_ms").split(",")[0]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/dtmf-relay", ""),
        ("application/dtmf-relay", "Signal=\r\nDuration=160\r\n"),
        ("application/dtmf-relay", "Signal=16\r\n"),
        ("application/dtmf-relay", "Signal=55\r\n"),
        ("application/dtmf-relay", "Duration=160\r\n"),
        ("application/dtmf", "12345"),
        ("application/dtmf", ""),
        ("application/media_control+xml", "5"),
        ("text/plain", "Signal=5\r\n"),
    ],
)
def test_anything_else_is_no_press(content_type: str, body: str) -> None:
    assert info.read_press(request(content_type, body)) is None


def test_what_we_send_is_what_we_read() -> None:
    for digit in "0123456789*#ABCD":
        press = info.read_press(request(info.DTMF_RELAY, info.press_body(digit, 120)))
        assert press is not None
        assert (press.digit, press.duration_ms) == (digit, 120)
