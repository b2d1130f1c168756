"""Cursors of pages, and media types by preference."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpserver.api.accept import choose
from sdpserver.errors import BadRequest, NotAcceptable
from sdpserver.records.query import Cursor

times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(times, st.sampled_from(["created", "ended"]), st.text("0123456789abcdef", min_size=1))
def test_a_cursor_comes_back_as_it_was(at: datetime, by: str, record_id: str) -> None:
    cursor = Cursor(by="created" if by == "created" else "ended", at=at, record_id=record_id)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text() | st.binary().map(lambda octets: base64.urlsafe_b64encode(octets).decode()))
def test_what_is_no_cursor_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Cursor.decode(text)
    assert refused.value.reason == "invalid_cursor"


@given(st.text())
def test_any_accept_header_is_understood_or_refused(accept: str) -> None:
    with contextlib.suppress(NotAcceptable):
        assert choose(accept, ("application/json", "text/csv")) in ("application/json", "text/csv")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("text/csv", "text/csv"),
        ("TEXT/CSV; header=present", "text/csv"),
        ("text/csv;q=0.5, application/json;q=0.6", "application/json"),
        ("*/*;q=0.1, text/csv;q=0.05", "application/json"),
        ("application/*", "application/json"),
        ("text/csv ; Q = 1.0 , */*", "text/csv"),
    ],
)
def test_the_most_specific_range_counts(accept: str, chosen: str) -> None:
    offered = ("text/csv", "application/json") if chosen == "text/csv" else ("application/json", "text/csv")
    assert choose(accept, offered) == chosen
