"""The routes and what `/openapi.json` says of them: each module of routes has one table, `OPERATIONS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]
BODY_ERRORS = (408, 413, 415)
"""Of every route that takes a body, beside 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """In the query, or a header. `type`: of msgspec's, with its limits."""

    name: str
    type: Any
    description: str
    where: str = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A body that is not JSON of a model."""

    media_type: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. The parameters in `path` have their types in `openapi.PATH_PARAMETERS`.

    :ivar request: type of the JSON body, or what it is instead; None: it has none.
    :ivar response: of the answer that says that all is well; several: by `Accept`.
    :ivar status: of that answer.
    :ivar other: further answers without an error, by status, and what they mean.
    :ivar errors: beside 403 and 500, which any route may answer.
    """

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    response: Any
    request: Any = None
    status: int = 200
    other: Mapping[int, str] | None = None
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()


def routes(operations: Iterable[Operation]) -> list[Route]:
    """In the order given, which is that in which they are tried."""
    return [Route(operation.path, operation.endpoint, methods=[operation.method]) for operation in operations]
