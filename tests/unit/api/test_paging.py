"""Pages of lists that change while they are read."""

from __future__ import annotations

from typing import Any

import pytest

from sdpserver.api.paging import DEFAULT_LIMIT, Page, page
from sdpserver.errors import BadRequest


def pages_of(items: set[str], **query: Any) -> Page[str]:
    return page(items, lambda item: (item,), query)


def test_without_parameters_all_are_there_in_order() -> None:
    assert pages_of({"c", "a", "b"}) == Page(items=["a", "b", "c"], total=3, next_cursor=None)
    assert pages_of(set()) == Page(items=[], total=0, next_cursor=None)


def test_pages_follow_one_another_to_the_end() -> None:
    items = set("abcdefg")
    found, cursors = [], 0
    listed = pages_of(items, limit=3)
    while True:
        assert listed.total == 7
        found += listed.items
        if listed.next_cursor is None:
            break
        cursors += 1
        listed = pages_of(items, limit=3, cursor=listed.next_cursor)
    assert (found, cursors) == (list("abcdefg"), 2)


@pytest.mark.parametrize("limit", [3, 4])
def test_the_last_page_says_so(limit: int) -> None:
    assert pages_of(set("abc"), limit=limit).next_cursor is None


def test_what_comes_and_goes_shifts_no_page() -> None:
    items = set("bdfh")
    first = pages_of(items, limit=2)
    assert first.items == ["b", "d"]
    items -= {"b", "d", "f"}  # also the one that the cursor names
    items |= {"a", "c", "e", "i"}
    second = pages_of(items, limit=10, cursor=first.next_cursor)
    assert second.items == ["e", "h", "i"]
    assert second.total == 5  # those that there are now


def test_a_cursor_without_a_limit_has_one() -> None:
    items = {f"{number:04}" for number in range(3 * DEFAULT_LIMIT)}
    cursor = pages_of(items, limit=1).next_cursor
    assert len(pages_of(items, cursor=cursor).items) == DEFAULT_LIMIT


@pytest.mark.parametrize("cursor", ["", "x", "ä", "WyJh", "eyJhIjoxfQ", "MTIz", "WzFd"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequest) as caught:
        pages_of({"a"}, cursor=cursor)
    assert caught.value.reason == "invalid_cursor"
