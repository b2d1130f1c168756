"""The routes and what `/openapi.json` says of them: each module of routes has one table, `OPERATIONS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
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
    """A body that is not JSON of a model. `event`: type of the JSON in each event of a stream."""

    media_type: str
    description: str = ""
    event: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. The parameters in `path` have their types in `openapi.PATH_PARAMETERS`.

    :ivar request: type of the JSON body, or what it is instead; None: it has none.
    :ivar response: of the answer that says that all is well; several: by `Accept`.
    :ivar status: of that answer.
    :ivar headers: that it has, beside those of any answer, and what they mean.
    :ivar other: further answers without an error, by status, and what they mean.
    :ivar errors: beside 403 and 500, which any route may answer.
    """

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    response: Any
    request: Any = None
    request_required: bool = True
    status: int = 200
    headers: Mapping[str, str] | None = None
    other: Mapping[int, str] | None = None
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()


class DestinationConvertor(Convertor[str]):
    """`{to}`: the rest of the path, since destinations have slashes, except `sessions/...`, which is none."""

    regex = r"(?!sessions(?:/|\Z))(?s:.)+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("destination", DestinationConvertor())


def routes(operations: Iterable[Operation]) -> list[Route]:
    """One for each path, so that a 405 names all of its methods; tried in the order of the paths' first operations."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [
        Route(
            path.replace("{to}", "{to:destination}"), _by_method(same), methods=[operation.method for operation in same]
        )
        for path, same in by_path.items()
    ]


def _by_method(operations: Sequence[Operation]) -> Endpoint:
    if len(operations) == 1:
        return operations[0].endpoint
    endpoints = {operation.method: operation.endpoint for operation in operations}

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint
