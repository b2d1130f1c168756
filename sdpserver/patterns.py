"""Regular expressions from the configuration: which are safe to run on what a caller dials. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

_constants: Any = import_module("re._constants")  # private to the library, hence without types
_parser: Any = import_module("re._parser")

MAX_LENGTH = 256

_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}


def why_unsafe(pattern: str) -> str | None:
    """Why the pattern is refused, or None.

    A repeat without a bound inside another one, as in `(a+)+`, can take time exponential in the length of the subject
    on a backtracking engine such as Python's, while a repeat by itself is polynomial: enough for 256 characters.
    """
    if len(pattern) > MAX_LENGTH:
        return f"has {len(pattern)} characters, at most {MAX_LENGTH} are taken"
    try:
        re.compile(pattern)
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as exc:
        return f"is no regular expression: {exc}"
    if _unbounded_repeats(parsed) > 1:
        return "repeats a part that repeats itself, as (a+)+ does, which can take forever to match; write it flat"
    return None


def _unbounded_repeats(parsed: Any) -> int:
    """How deep repeats without an upper bound are nested."""
    deepest = 0
    for operator, argument in parsed:
        inner = max((_unbounded_repeats(part) for part in _parts(argument)), default=0)
        repeats = operator in _REPEATS and argument[1] is _constants.MAXREPEAT
        deepest = max(deepest, inner + repeats)
    return deepest


def _parts(argument: Any) -> Iterable[Any]:
    """The sub-patterns in an operator's argument, whose shape differs by operator."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from _parts(part)
