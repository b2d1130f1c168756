"""What is kept out of the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sdpserver import log
from sdpserver.config import Log


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a=ice-ufrag:abcd\r\na=ice-pwd:s3cret\r\na=mid:0", "a=ice-ufrag:abcd\r\na=ice-pwd:***\r\na=mid:0"),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:s3cret|2^20", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("GET /x?a=1&token=s3cret&b=2", "GET /x?a=1&token=***&b=2"),
        ("password=s3cret", "password=***"),
        ({"password": "s3cret", "user": "u"}, {"password": "***", "user": "u"}),
        ({"a": [{"resume_token": "s3cret"}]}, {"a": [{"resume_token": "***"}]}),
        ({"X-API-Key": "s3cret"}, {"X-API-Key": "***"}),
        ("Digest realm=x", "Digest realm=x"),
        (17, 17),
    ],
)
def test_secrets_are_taken_out(value: Any, shown: Any) -> None:
    assert log.redact(value) == shown


def test_json_lines_have_time_level_and_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(Log(level="info", format="json"))
    structlog.get_logger("a").bind(session_id="s").info("hello", ice_pwd="s3cret", sdp="a=ice-pwd:s3cret", digits="12")
    structlog.get_logger("a").debug("not this")
    logging.getLogger("other").warning("from %s", "elsewhere")
    try:
        raise ValueError("password=s3cret")
    except ValueError:
        structlog.get_logger("a").exception("failed")
    text = capfd.readouterr().err
    first, second, third = (json.loads(line) for line in text.splitlines())
    assert first | {"timestamp": ""} == {
        "event": "hello",
        "level": "info",
        "timestamp": "",
        "session_id": "s",
        "ice_pwd": "***",
        "sdp": "a=ice-pwd:***",
        "digits": "***",
    }
    assert (second["event"], second["level"]) == ("from elsewhere", "warning")
    assert "ValueError" in third["exception"]
    assert "s3cret" not in text


def test_text_shows_tracebacks_without_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(Log(level="info", format="text"))
    try:
        raise ValueError("a=ice-pwd:s3cret")
    except ValueError:
        structlog.get_logger("a").exception("failed")
    text = capfd.readouterr().err
    assert "Traceback" in text
    assert "s3cret" not in text
