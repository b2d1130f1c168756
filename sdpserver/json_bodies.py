"""JSON from clients, checked against the models of `messages`, with errors that name the member. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import orjson

from .errors import BadRequest

MAX_METADATA = 16 * 1024
MAX_ECHOED = 80

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MEMBER = re.compile(r"^Object (?P<problem>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


@lru_cache
def _decoder(type_: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def decode(body: bytes, type_: type[T]) -> T:
    """The body as `type_`. Of a member that is there twice the last one counts, as in JSON.parse (RFC 8259 section 4).

    :raises BadRequest: `missing_body`, `invalid_json`, `missing_field`, `unknown_field` or `invalid_field`.
    """
    if not body.strip():
        raise BadRequest("the body is missing; it must be a JSON object", reason="missing_body")
    try:
        decoded: T = _decoder(type_).decode(body)
        return decoded
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc)) from exc
    except RecursionError as exc:
        raise BadRequest("the JSON is nested too deeply", reason="invalid_json") from exc
    except (msgspec.DecodeError, ValueError) as exc:
        raise BadRequest(f"the body is not valid JSON: {_why_malformed(exc)}", reason="invalid_json") from exc


def convert(value: Any, type_: type[T]) -> T:
    """The same for what has been read from JSON already.

    :raises BadRequest: `missing_field`, `unknown_field` or `invalid_field`.
    """
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc)) from exc


def _why_malformed(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "it is not UTF-8"
    # The parser says this of half a surrogate pair too.
    text = str(exc).removeprefix("JSON is malformed: ")
    return "it ends too early, or has half a surrogate pair" if text == "Input data was truncated" else text


def _invalid(text: str) -> BadRequest:
    """One of msgspec's messages, with the member's path in front."""
    match = _PATH.match(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    if (member := _MEMBER.match(what)) is not None:
        name = _shown(f"{path}.{member['name']}" if path else member["name"])
        if member["problem"] == "missing required":
            return BadRequest(f"{name} is missing", reason="missing_field")
        return BadRequest(f"{name} is not known here", reason="unknown_field")
    if what.startswith("Expected "):
        what = f"e{what[1:]}"
    elif what.startswith("Invalid enum value"):
        what = f"{_shown(what[:1].lower() + what[1:])}; /openapi.json lists those that are"
    return BadRequest(f"{_shown(path or 'the body')}: {what}", reason="invalid_field")


def _shown(text: str) -> str:
    return text if len(text) <= MAX_ECHOED else f"{text[:MAX_ECHOED]}..."


def check_metadata(metadata: dict[str, Any]) -> None:
    """That it can be kept and sent back as it came.

    :raises BadRequest: `metadata_too_large`, or `invalid_field` for what JSON cannot carry to everybody.
    """
    try:
        size = len(orjson.dumps(metadata))
    except TypeError as exc:  # too deep, or a number over 64 bits
        raise BadRequest(f"metadata cannot be kept: {str(exc).lower()}", reason="invalid_field") from exc
    if size > MAX_METADATA:
        raise BadRequest(f"metadata has {size} octets, at most {MAX_METADATA} are taken", reason="metadata_too_large")
