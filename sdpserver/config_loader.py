"""Reads the configuration from `config.toml` and the environment, and refuses all that is wrong with it at once."""

from __future__ import annotations

import difflib
import itertools
import math
import os
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomli

from . import config_environment
from .config import SECRET_KEYS, Config, Section
from .config_checks import check, not_in_effect, unsafe
from .errors import ConfigError
from .toml_lines import Path as KeyPath
from .toml_lines import key_lines

MAX_SHOWN = 60


class Problem(msgspec.Struct, frozen=True):
    """What is wrong at `path`; `where` is `config.toml:12`, the name of an environment variable, or empty."""

    path: KeyPath
    where: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, name_of(self.path), self.text) if part)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration from `path` (None: all defaults) with the environment laid over it.

    :raises ConfigError: its text has one line for each thing that is wrong, with the place and the right form.
    """
    return load_with_warnings(path, environ)[0]


def load_with_warnings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> tuple[Config, list[str]]:
    """As `load`, and what is set but has no effect in this version, or less of one than it seems."""
    text = _read(path) if path is not None else ""
    environ = os.environ if environ is None else environ
    reader = _Reader(str(path) if path is not None else "", text)
    for override in config_environment.overrides(environ, reader.data):
        reader.override(override)
    config = reader.read()
    reader.check(config)
    if reader.problems:
        problems = sorted(reader.problems, key=lambda problem: (not problem.where, _line(problem.where)))
        raise ConfigError("\n".join(dict.fromkeys(map(str, problems))))
    return config, [f"{name_of(key)}: {text}" for key, text in itertools.chain(not_in_effect(config), unsafe(config))]


def _line(where: str) -> float:
    line = where.rpartition(":")[2]
    return int(line) if line.isdigit() else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not UTF-8 text (octet {exc.start})") from exc


def name_of(path: KeyPath) -> str:
    """How the file spells it: `[http] port`, `[[trunks]] 2 server`."""
    if not path:
        return ""
    head = [str(part) for part in path[:1]]
    rest = list(path[1:])
    while len(rest) > 1 and isinstance(rest[1], int):
        head.append(str(rest.pop(0)))
        break
    section = ".".join(head)
    if rest and isinstance(rest[0], int):
        return " ".join([f"[[{section}]] {rest[0] + 1}", *map(str, rest[1:])])
    return " ".join([f"[{section}]", *map(str, rest)])


class _Reader:
    def __init__(self, file: str, text: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._sources: dict[KeyPath, str] = {}
        self._bad: set[KeyPath] = set()
        try:
            self.data: dict[str, Any] = tomli.loads(text)
        except (tomli.TOMLDecodeError, RecursionError) as exc:
            line = getattr(exc, "lineno", None)
            place = f"{file}:{line}" if line else file
            raise ConfigError(f"{place}: is not TOML: {getattr(exc, 'msg', 'nested too deeply')}") from exc
        self._lines = key_lines(text)

    def override(self, override: config_environment.Override) -> None:
        """Lay one environment variable over the file."""
        if override.problem:
            self.problems.append(Problem((), override.variable, override.problem))
            return
        here = self._parent(override.path)
        if here is None:
            self.problems.append(Problem(override.path, override.variable, "there is no such entry to set a key of"))
            return
        last = override.path[-1]
        if override.append:
            entries = here.setdefault(last, [])
            if not isinstance(entries, list):
                return  # the file's own mistake, told by `read`
            entries.append(override.value)
            self._sources[(*override.path, len(entries) - 1)] = override.variable
            return
        here[last] = override.value
        for known in [key for key in self._lines if key[: len(override.path)] == override.path]:
            del self._lines[known]
        self._sources[override.path] = override.variable

    def _parent(self, path: KeyPath) -> Any:
        """The table or array that holds the last part of `path`, made where it is missing, or None."""
        here: Any = self.data
        for part, following in itertools.pairwise(path):
            if isinstance(here, dict):
                here = here.setdefault(part, [] if isinstance(following, int) else {})
            elif isinstance(here, list) and isinstance(part, int) and part <= len(here):
                if part == len(here):
                    here.append({})
                here = here[part]
            else:
                return None
        return here if isinstance(here, dict) else None

    def read(self) -> Config:
        """The configuration as far as it is right; what is not has been noted."""
        return typing.cast(Config, self._struct(Config, self.data, ()))

    def check(self, config: Config) -> None:
        """Note what is wrong between keys, unless one of them is wrong by itself."""
        for path, text in check(config):
            names_a_bad_trunk = path[-1] in ("trunk", "also_register") and ("trunks",) in self._bad
            if not names_a_bad_trunk and not any(path[: len(bad)] == bad for bad in self._bad):
                self._note(path, text)

    def _where(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if (variable := self._sources.get(path[:length])) is not None:
                return variable
            if (line := self._lines.get(path[:length])) is not None:
                return f"{self._file}:{line}"
        return self._file

    def _note(self, path: KeyPath, text: str) -> None:
        self._bad.add(path)
        self.problems.append(Problem(path, self._where(path), text))

    def _struct(self, type_: type[Section], table: Any, path: KeyPath) -> Section | None:
        if not isinstance(table, dict):
            self._note(path, f"must be a table, [{path[0]}]" if len(path) == 1 else "must be a table")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        hints = typing.get_type_hints(type_)
        values: dict[str, Any] = {}
        complete = True
        for key, value in table.items():
            if key not in fields:
                self._note((*path, key), _unknown(key, fields, section=not path))
                continue
            read = self._value(hints[fields[key].name], value, (*path, key))
            if read is not None:
                values[fields[key].name] = read
            elif fields[key].required:
                complete = False
        for key, field in fields.items():
            if field.required and key not in table:
                self._note(path, f"{key} is missing; it must be {_form(hints[field.name])}")
                complete = False
        return type_(**values) if complete else None

    def _value(self, type_: Any, value: Any, path: KeyPath) -> Any:
        """The checked value, or None when it is wrong; no key of ours may be null."""
        if isinstance(type_, type) and issubclass(type_, Section):
            return self._struct(type_, value, path)
        element = typing.get_args(type_)[0] if typing.get_origin(type_) is list else None
        if isinstance(element, type) and issubclass(element, Section):
            if not isinstance(value, list):
                name = ".".join(str(part) for part in path)
                self._note(path, f"must be an array of tables: [[{name}]]")
                return None
            entries = [self._struct(element, entry, (*path, index)) for index, entry in enumerate(value)]
            if None in entries:
                self._bad.add(path)  # the entries that are left have other indexes
            return [entry for entry in entries if entry is not None]
        try:
            read = msgspec.convert(value, type_)
        except msgspec.ValidationError:
            self._note(path, f"must be {_form(type_)}, not {_shown(path, value)}")
            return None
        if isinstance(read, float) and not math.isfinite(read):
            self._note(path, f"must be {_form(type_)}, not {_shown(path, value)}")
            return None
        return read


def _unknown(key: str, known: Iterable[str], *, section: bool) -> str:
    what = "section" if section else "key"
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"unknown {what}; did you mean {close[0]}?"
    return f"unknown {what}; known are {', '.join(known)}"


def _shown(path: KeyPath, value: Any) -> str:
    if any(part in SECRET_KEYS for part in path) or path[:2] == ("records", "url"):
        return "what is there"
    if isinstance(value, dict):
        return "a table"
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _form(type_: Any) -> str:
    """What a value of this type looks like, in words."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in arguments)
    if origin is list:
        if typing.get_origin(arguments[0]) is Literal:
            choices = ", ".join(f'"{choice}"' for choice in typing.get_args(arguments[0]))
            return f"an array with any of {choices}"
        return 'an array of strings, ["..."]'
    if origin is tuple:
        return "an array of two whole numbers, [first, last]"
    return {bool: "true or false", int: "a whole number", float: "a number", str: 'a string, "..."'}[type_]
