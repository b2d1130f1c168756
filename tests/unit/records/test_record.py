"""What becomes of a call in one word, and text that every database takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpserver.records.record import clean, json_text, result_of


@pytest.mark.parametrize(
    ("answered", "inbound", "was_offered", "ended", "closed", "result"),
    [
        (True, False, True, "normal_clearing", "normal_clearing", "answered"),
        (True, False, True, "media_timeout", "media_timeout", "answered"),
        (True, True, False, None, "transferred", "answered"),
        (False, False, True, "busy", "busy", "busy"),
        (False, False, True, "busy", "normal_clearing", "busy"),  # the page hangs up while it hears the tone
        (False, False, True, "no_answer", "no_answer", "no_answer"),
        (False, False, True, "unavailable", "unavailable", "no_answer"),
        (False, False, True, "rejected", "rejected", "rejected"),
        (False, False, True, "number_not_found", "number_not_found", "failed"),
        (False, False, True, "trunk_unreachable", "trunk_unreachable", "failed"),
        (False, False, True, None, "normal_clearing", "cancelled"),
        (False, False, True, None, "I changed my mind", "cancelled"),
        (False, False, True, None, "client_gone", "cancelled"),
        (False, False, False, None, "client_disconnected", "cancelled"),
        (False, False, False, None, "trunk_full", "failed"),
        (False, False, True, None, "setup_timeout", "failed"),
        (False, False, True, None, "server_shutdown", "failed"),
        (False, True, False, "cancelled", "cancelled", "cancelled"),
        (False, True, False, None, "rejected", "rejected"),
        (False, True, False, None, "busy", "busy"),
        (False, True, False, None, "normal_clearing", "rejected"),
        (False, True, False, "no_answer", "no_answer", "no_answer"),
        (False, True, False, None, "setup_timeout", "failed"),
    ],
)
def test_result(answered: bool, inbound: bool, was_offered: bool, ended: str | None, closed: str, result: str) -> None:
    found = result_of(answered=answered, inbound=inbound, was_offered=was_offered, ended=ended, closed=closed)
    assert found == result


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (None, None),
        ("", None),
        ("5001", "5001"),
        ("Jürgen \U0001f600", "Jürgen \U0001f600"),
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("a\udc00b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_text_is_cleaned_of_what_databases_refuse(text: str | None, cleaned: str | None) -> None:
    assert clean(text) == cleaned


@given(st.text(st.characters()))
def test_cleaned_text_can_always_be_written(text: str) -> None:
    cleaned = clean(text)
    if cleaned is not None:
        assert "\0" not in cleaned
        cleaned.encode()


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters())))
def test_json_is_ascii_and_keeps_everything(metadata: dict[str, str]) -> None:
    text = json_text(metadata)
    assert text.isascii()
    assert "\0" not in text
    assert json.loads(text) == metadata
