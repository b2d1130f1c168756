"""Regular expressions of routes, and where keys stand in a TOML file."""

from __future__ import annotations

import pytest

from sdpserver.patterns import why_unsafe
from sdpserver.toml_lines import key_lines


@pytest.mark.parametrize(
    "pattern", ["^[0-9]+$", "", "^00[1-9][0-9]*", "(a|b)?c+", "(?:ab+c){2,5}", "x{1,20}y+", "a+b+"]
)
def test_flat_patterns_are_taken(pattern: str) -> None:
    assert why_unsafe(pattern) is None


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*", "(?:[0-9]+-?)*x", "((ab)*c)+", "(a|b+)*", "(?=(a+)+)"])
def test_repeats_in_repeats_are_refused(pattern: str) -> None:
    assert "repeats a part that repeats itself" in (why_unsafe(pattern) or "")


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "a{99999999999}", "*"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert (why_unsafe(pattern) or "").startswith("is no regular expression: ")


def test_long_patterns_are_refused() -> None:
    assert why_unsafe("a" * 257) == "has 257 characters, at most 256 are taken"


def test_lines_of_keys() -> None:
    text = '''# [no] key = 1
top.dotted = 1
[a]
"quoted.key" = "[x]"   # ] = [
multi = [
  1, # "
  2 ]
text = """
[b]
not = 'a key'
"""
last = { inner = "}" }
[[c.d]]
k = 1
[[c.d]]

k = 2
[c.d.e]
f = 1
'''
    lines = key_lines(text)
    expected = {
        ("top", "dotted"): 2,
        ("a",): 3,
        ("a", "quoted.key"): 4,
        ("a", "multi"): 5,
        ("a", "text"): 8,
        ("a", "last"): 12,
        ("c", "d", 0): 13,
        ("c", "d", 0, "k"): 14,
        ("c", "d", 1): 15,
        ("c", "d", 1, "k"): 17,
        ("c", "d", 1, "e"): 18,
        ("c", "d", 1, "e", "f"): 19,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("b",) not in lines
    assert ("a", "last", "inner") not in lines
