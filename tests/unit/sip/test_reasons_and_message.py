"""Why a call ended, and what a SIP message says."""

from __future__ import annotations

import pytest

from sdpserver.sip import message
from sdpserver.sip.reasons import BY_CAUSE, BY_STATUS, http_status, q850_cause, reason_for, reason_for_bye


@pytest.mark.parametrize(
    ("status", "cause", "reason", "http"),
    [
        (302, 0, "redirected", 502),
        (401, 0, "trunk_auth_failed", 502),
        (403, 0, "forbidden_by_peer", 502),
        (403, 21, "rejected", 502),
        (404, 17, "number_not_found", 502),
        (408, 0, "sip_timeout", 504),
        (480, 0, "unavailable", 502),
        (480, 19, "no_answer", 504),
        (486, 0, "busy", 502),
        (488, 0, "not_acceptable", 502),
        (499, 0, "sip_refused", 502),
        (500, 38, "trunk_unavailable", 502),
        (503, 17, "busy", 502),
        (503, 16, "trunk_unavailable", 502),
        (603, 0, "rejected", 502),
        (699, 17, "sip_refused", 502),
    ],
)
def test_the_reason_for_a_refusal(status: int, cause: int, reason: str, http: int) -> None:
    assert reason_for(status, cause) == reason
    assert http_status(reason) == http


@pytest.mark.parametrize(("cause", "reason"), [(0, "normal_clearing"), (16, "normal_clearing"), (17, "busy")])
def test_the_reason_for_a_bye(cause: int, reason: str) -> None:
    assert reason_for_bye(cause) == reason


def test_reasons_are_words() -> None:
    assert all(word.replace("_", "").isalpha() and word.islower() for word in (*BY_STATUS.values(), *BY_CAUSE.values()))


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ("Q.850;cause=16", 16),
        ('q.850 ; text="a;b" ; cause = 34', 34),
        ("SIP;cause=200", 0),
        ('SIP;cause=200;text="x", Q.850;cause=17', 17),
        ("", 0),
        ("Q.850;cause=²", 0),
    ],
)
def test_a_reason_header(header: str, cause: int) -> None:
    assert q850_cause(header) == cause


RESPONSE = (
    "SIP/2.0 486 Busy\tHere\r\nc: application/sdp\r\nReason: SIP;cause=1\r\nX-Long: a\r\n b\r\nReason: Q.850;cause=17"
    "\r\n\r\nv=0\r\n"
)


def test_a_response() -> None:
    assert message.status_line(RESPONSE) == (486, "Busy Here")
    assert message.header(RESPONSE, "Content-Type") == "application/sdp"
    assert message.header(RESPONSE, "x-long") == "a b"
    assert message.headers(RESPONSE, "Reason") == "SIP;cause=1, Q.850;cause=17"
    assert message.sdp(RESPONSE) == "v=0\r\n"


@pytest.mark.parametrize(
    "text",
    ["", "BYE sip:x SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\nContent-Type: text/plain\r\n\r\nv=0\r\n",
     "SIP/2.0 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n--a\r\n", "SIP/2.0 200 OK\r\n\r\n   "],
)  # fmt: skip
def test_a_message_without_an_sdp(text: str) -> None:
    assert message.sdp(text) == ""


def test_a_phrase_is_made_printable() -> None:
    assert message.printable("a\x1b[31m\udc80" + "x" * 300) == "a [31m?" + "x" * 193
