"""Which headers ask for an automatic answer."""

from __future__ import annotations

import pytest

from sdpserver.agents.auto_answer import wants_auto_answer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Call-Info", "<sip:pbx>;answer-after=0"),
        ("call-info", "<sip:pbx>; answer-after = 5"),
        ("Call-Info", "<http://x/icon>;purpose=icon, <sip:pbx>;ANSWER-AFTER=0"),
        ("Alert-Info", "<http://127.0.0.1>;info=alert-autoanswer"),
        ("Alert-Info", '<http://127.0.0.1>;info="alert-autoanswer";delay=0'),
        ("ALERT-INFO", "<http://127.0.0.1>;Info=Auto-Answer"),
        ("Alert-Info", "<http://127.0.0.1>;info=autoanswer"),
        ("Alert-Info", "info=intercom"),
        ("Alert-Info", "<sip:x>;info=RingAnswer"),
    ],
)
def test_asks(name: str, value: str) -> None:
    assert wants_auto_answer([("X-Other", "1"), (name, value)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Call-Info", ""),
        ("Call-Info", "<sip:pbx>;purpose=icon"),
        ("Call-Info", "<sip:answer-after=0@pbx>"),
        ("Call-Info", "<sip:pbx>;answer-after=soon"),
        ("Call-Info", "<sip:pbx>;answer-after=9999"),
        ("Call-Info", "<sip:pbx>;no-answer-after=0"),
        ("Alert-Info", "<urn:alert:source:external>"),
        ("Alert-Info", "<sip:x>;info=alert-external"),
        ("Alert-Info", "<sip:x>;info=intercompany"),
        ("X-Alert-Info", "info=alert-autoanswer"),
        ("Subject", "<sip:pbx>;answer-after=0"),
    ],
)
def test_does_not_ask(name: str, value: str) -> None:
    assert not wants_auto_answer([(name, value)])


def test_no_header_asks_for_nothing() -> None:
    assert not wants_auto_answer([])
