"""What the environment says about the configuration. Pure: variables in, overrides out.

`SDPSERVER_<SECTION>__<KEY>` sets a key, `SDPSERVER_<SECTION>__<N>__<KEY>` a key of the N-th entry (from 0) of an array
of tables, `SDPSERVER_<SECTION>` a whole array of tables as a TOML value. A few names of other servers are known too;
where both are set, the longer name wins.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import tomli

from .config import Config, Section
from .toml_lines import Path as KeyPath

PREFIX = "SDPSERVER_"
TARGET_TRUNK = "target"
CATCH_ALL = ".+"


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """`variable` sets the key at `path` to `value`, or adds it to the array there; or `problem` says why it cannot."""

    variable: str
    path: KeyPath = ()
    value: Any = None
    append: bool = False
    problem: str = ""


def overrides(environ: Mapping[str, str], data: Mapping[str, Any]) -> Iterator[Override]:
    """What to lay over the file's `data`, in order."""
    yield from _well_known(environ, data)
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            yield from _own(variable, environ[variable])


def _types() -> dict[str, Any]:
    return typing.get_type_hints(Config)


def _own(variable: str, text: str) -> Iterator[Override]:
    section, *rest = variable.removeprefix(PREFIX).lower().split("__")
    types = _types()
    entry_type = _entry_type(types.get(section))
    if not rest:
        # Without "__" only a whole array of tables is ours: the set-up scripts have such names too.
        if entry_type is not None:
            yield _parsed(variable, (section,), types[section], text)
        return
    if section not in types:
        yield Override(variable=variable, problem=f"there is no section [{section}]{_guess(section, types)}")
        return
    path: KeyPath = (section,)
    if entry_type is not None:
        if len(rest) < 2 or not rest[0].isdecimal():
            form = f"{PREFIX}{section.upper()}__0__<KEY>"
            yield Override(variable=variable, problem=f"[[{section}]] is an array of tables; the form is {form}")
            return
        path = (section, int(rest.pop(0)))
    keys = typing.get_type_hints(entry_type or types[section])
    key = "__".join(rest)
    if key not in keys:
        yield Override(variable=variable, problem=f"[{section}] has no key {key}{_guess(key, keys)}")
        return
    yield _parsed(variable, (*path, key), keys[key], text)


def _entry_type(type_: Any) -> type[Section] | None:
    if typing.get_origin(type_) is list:
        element = typing.get_args(type_)[0]
        if isinstance(element, type) and issubclass(element, Section):
            return element
    return None


def _guess(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _parsed(variable: str, path: KeyPath, type_: Any, text: str) -> Override:
    """A string as it is, a list as TOML or comma separated, anything else as TOML; the reader checks the type."""
    is_list = typing.get_origin(type_) in (list, tuple)
    if type_ is str or typing.get_origin(type_) is typing.Literal:
        return Override(variable=variable, path=path, value=text)
    if is_list and not text.lstrip().startswith("["):
        words = [word.strip() for word in text.split(",") if word.strip()]
        numbers = typing.get_origin(type_) is tuple and all(word.isdecimal() for word in words)
        return Override(variable=variable, path=path, value=[int(word) for word in words] if numbers else words)
    try:
        value = tomli.loads(f"value = {text}")["value"]
    except (tomli.TOMLDecodeError, RecursionError):
        value = text
    return Override(variable=variable, path=path, value=value)


def _plain(*path: str) -> Callable[[str], tuple[KeyPath, Any]]:
    return lambda text: (path, text)


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


_WELL_KNOWN: Mapping[str, Callable[[str], tuple[KeyPath, Any]]] = {
    "PORT": lambda text: (("http", "port"), _number(text)),
    "CORS_ORIGIN": lambda text: (("http", "cors_origins"), [word.strip() for word in text.split(",") if word.strip()]),
    "SSL_CERT_PATH": _plain("http", "tls_cert"),
    "SSL_KEY_PATH": _plain("http", "tls_key"),
    "LOG_LEVEL": lambda text: (("log", "level"), {"warn": "warning"}.get(text.lower(), text.lower())),
    "RESTSEND_TOKEN": _plain("ice_service", "token"),
    "JWT_SECRET": _plain("auth", "jwt_secret"),
}


def _well_known(environ: Mapping[str, str], data: Mapping[str, Any]) -> Iterator[Override]:
    """The names that are taken beside our own. An empty one counts as not set, as compose files leave them."""
    for variable, read in _WELL_KNOWN.items():
        if environ.get(variable):
            path, value = read(environ[variable])
            yield Override(variable=variable, path=path, value=value)
    if stun := environ.get("STUN_SERVER"):
        url = stun if stun.startswith(("stun:", "stuns:")) else f"stun:{stun}"
        yield Override(variable="STUN_SERVER", path=("ice_servers",), value={"urls": [url]}, append=True)
    if target := environ.get("TARGET_SIP_SERVER"):
        yield from _target("TARGET_SIP_SERVER", target.removeprefix("sip:"), data)


def _target(variable: str, server: str, data: Mapping[str, Any]) -> Iterator[Override]:
    """The only trunk's server; without a trunk, one named `target`. Without any route, all numbers go there."""
    trunks = data.get("trunks", [])
    if not isinstance(trunks, list) or len(trunks) > 1:
        yield Override(
            variable=variable,
            problem="the file has several [[trunks]]; set the one that is meant: SDPSERVER_TRUNKS__0__SERVER",
        )
        return
    name = TARGET_TRUNK
    if trunks:
        yield Override(variable=variable, path=("trunks", 0, "server"), value=server)
        if isinstance(trunks[0], dict):
            name = trunks[0].get("name", name)
    else:
        yield Override(variable=variable, path=("trunks",), value={"name": name, "server": server}, append=True)
    if not data.get("routes"):
        yield Override(variable=variable, path=("routes",), value={"match": CATCH_ALL, "trunk": name}, append=True)
