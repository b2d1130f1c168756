"""What stands in the query of a URL, checked as bodies are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_origin

import msgspec
from starlette.requests import Request

from sdpserver.errors import BadRequest
from sdpserver.json_bodies import MAX_ECHOED

from .operations import Parameter


def read_query(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """What is given of `parameters`, as their types have it; the parts of a list are also separated by commas.

    :raises BadRequest: `unknown_field`, `invalid_field`: another one, one of them twice, or a wrong value.
    """
    types = {parameter.name: parameter.type for parameter in parameters if parameter.where == "query"}
    given: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in types:
            raise BadRequest(f"{name[:MAX_ECHOED]} is not known here", reason="unknown_field")
        given.setdefault(name, []).append(value)
    return {name: _convert(name, values, types[name]) for name, values in given.items()}


def query_value(request: Request, name: str, type_: Any) -> Any:
    """One parameter where others are left alone; None: it is not given.

    :raises BadRequest: `invalid_field`.
    """
    values = request.query_params.getlist(name)
    return _convert(name, values, type_) if values else None


def _convert(name: str, values: Sequence[str], type_: Any) -> Any:
    found: Any = values[0]
    if get_origin(type_) is list:
        found = [part.strip() for value in values for part in value.split(",")]
    elif len(values) > 1:
        raise BadRequest(f"{name} is there more than once", reason="invalid_field")
    try:
        return msgspec.convert(found, type_, strict=False)
    except msgspec.ValidationError as exc:
        raise BadRequest(f"{name}: {exc}", reason="invalid_field") from exc
