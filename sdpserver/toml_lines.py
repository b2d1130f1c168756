"""Where each key of a TOML file stands, since the parser does not say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]

_KEY = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_SKIP = re.compile(
    r"""(?P<string>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
    r"""|(?P<comment>\#[^\n]*)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<newline>\n)""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each table, array element and key: `("trunks", 0, "server") -> 12`.

    `text` must be valid TOML (https://toml.io/en/v1.0.0). Keys inside an inline table or an array value are not listed:
    the key that holds them is.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for start, end, line in _statements(text):
        statement = text[start:end]
        if statement.startswith("[["):
            name = _resolve(_dotted(statement[2:]), counts)
            counts[name] = counts.get(name, -1) + 1
            table = (*name, counts[name])
            lines.setdefault(name, line)
            lines[table] = line
        elif statement.startswith("["):
            table = _resolve(_dotted(statement[1:]), counts)
            lines.setdefault(table, line)
        else:
            key: Path = table
            for part in _dotted(statement):
                key = (*key, part)
                lines.setdefault(key, line)
    return lines


def _resolve(names: tuple[str, ...], counts: dict[Path, int]) -> Path:
    """A header's names as a path: an array of tables on the way stands for its latest element."""
    path: Path = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if path in counts and position < len(names) - 1:
            path = (*path, counts[path])
    return path


def _dotted(text: str) -> tuple[str, ...]:
    names: list[str] = []
    position = 0
    while (match := _KEY.match(text, position)) is not None:
        names.append(next(group for group in match.groups() if group is not None))
        position = match.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    return tuple(names)


def _statements(text: str) -> Iterator[tuple[int, int, int]]:
    """(start, end, line) of each header or assignment, over several lines if its value is."""
    position, line, depth = 0, 1, 0
    start, start_line = -1, 1
    while position < len(text):
        if start < 0 and not text[position].isspace() and text[position] != "#":
            start, start_line = position, line
        match = _SKIP.match(text, position)
        if match is None:
            position += 1
            continue
        position = match.end()
        line += match[0].count("\n")
        depth += (match["open"] is not None) - (match["close"] is not None)
        if match["newline"] is not None and depth == 0 and start >= 0:
            yield start, match.start(), start_line
            start = -1
    if start >= 0:
        yield start, len(text), start_line
