"""`/openapi.json`: the operations, with bodies from the models that check the requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sdpserver import __version__
from sdpserver.models.base import CallId, DestinationName, DnNumber, ErrorResponse, RoomName, SessionId

from .operations import Content, Operation

PATH_PARAMETERS = {
    "session_id": SessionId,
    "call_id": CallId,
    "dn": DnNumber,
    "room": RoomName,
    "to": DestinationName,
}
"""What may stand in a path, by its name there."""

_ERRORS = {
    400: "The body, the SDP or the destination is wrong.",
    401: "No or wrong credentials.",
    403: "The credential, the page's origin or the host name may not.",
    404: "No such session, call, room or member.",
    406: "There is no form of it that `Accept` takes.",
    405: "The path does not take this method.",
    408: "The body did not come within 10 s.",
    409: "The session_id is taken and resume_token is not its own (`session_exists`); or the call's state forbids it.",
    412: "If-Match names an ICE session that is over.",
    413: "The body has more than 256 KiB.",
    415: "The body is not of the type that is asked for.",
    422: "The body is well formed, and asks for what cannot be done.",
    428: "If-Match is missing.",
    429: "Too many requests.",
    500: "A bug in the server, logged with request_id.",
    502: "The SIP side refused; sip_status and sip_reason say how.",
    503: "Full or shutting down.",
    504: "No answer from the SIP side.",
}
_ANY = (403, 500)
_REQUEST_ID = {
    "X-Request-Id": {
        "description": "In the log too; the request's own, if it has one.",
        "required": True,
        "schema": {"type": "string"},
    }
}
"""Of every answer."""

_ERROR_HEADERS = {
    401: {"WWW-Authenticate": "Bearer."},
    405: {"Allow": "The methods that the path takes."},
    429: {"Retry-After": "Seconds."},
    503: {"Retry-After": "Seconds."},
}
"""Those that an error always has, by its status."""
_REFERENCE = "#/components/schemas/{name}"


def document(operations: Sequence[Operation]) -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "sdpserver",
                "version": __version__,
                "description": "SDP offer/answer over HTTP with SIP egress. Each path answers OPTIONS by 204 with "
                "Allow, and HEAD like GET; for other methods see the response MethodNotAllowed, for other paths "
                "NotFound.",
                "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
            },
            "paths": paths,
            "components": {
                "schemas": _components(operations),
                "responses": {"NotFound": _error(404), "MethodNotAllowed": _error(405)},
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                },
            },
            "security": [{}, {"apiKey": []}, {"bearer": []}],
        }
    )


def _components(operations: Iterable[Operation]) -> dict[str, Any]:
    bodies = [body for operation in operations for body in (operation.request, *_responses(operation))]
    types = [body.event if isinstance(body, Content) else body for body in bodies]
    _, components = msgspec.json.schema_components([*filter(None, types), ErrorResponse], ref_template=_REFERENCE)
    return components


def _responses(operation: Operation) -> tuple[Any, ...]:
    return operation.response if isinstance(operation.response, tuple) else (operation.response,)


def _schema(type_: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=_REFERENCE)
    return schema


def _content(*bodies: Any) -> dict[str, Any]:
    """Each by its media type."""
    content = {}
    for body in bodies:
        if isinstance(body, Content):
            content[body.media_type] = {"schema": {"type": "string", "description": body.description}}
            if body.event is not None:
                content[body.media_type]["x-event-schema"] = _schema(body.event)
        else:
            content["application/json"] = {"schema": _schema(body)}
    return content


def _headers(meanings: Mapping[str, str], *, required: bool = False) -> dict[str, Any]:
    return {
        name: {"description": meaning, "schema": {"type": "string"}} | ({"required": True} if required else {})
        for name, meaning in meanings.items()
    }


def _error(status: int) -> dict[str, Any]:
    return {
        "description": _ERRORS[status],
        "headers": _REQUEST_ID | _headers(_ERROR_HEADERS.get(status, {}), required=True),
        "content": _content(ErrorResponse),
    }


def _describe(operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if operation.response is not None:
        success["content"] = _content(*_responses(operation))
    success["headers"] = _REQUEST_ID | _headers(operation.headers or {})
    answers: dict[str, Any] = {str(operation.status): success}
    for status, meaning in (operation.other or {}).items():
        answers[str(status)] = {"description": meaning, "headers": _REQUEST_ID}
    for status in sorted({*_ANY, *operation.errors}):
        answers[str(status)] = _error(status)
    described: dict[str, Any] = {
        "operationId": _id(operation),
        "summary": operation.summary,
        "responses": answers,
    }
    if operation.request is not None:
        described["requestBody"] = {
            "required": operation.request_required,
            "content": _content(operation.request),
        }
    if parameters := [*_path_parameters(operation.path), *_other_parameters(operation)]:
        described["parameters"] = parameters
    return described


def _id(operation: Operation) -> str:
    words = re.findall(r"[A-Za-z]+", re.sub(r"\{(\w+)\}", r"by \1", operation.path).replace("_", " "))
    return operation.method.lower() + "".join(word.capitalize() for word in words)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _schema(PATH_PARAMETERS[name])}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _other_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": parameter.where,
            "description": parameter.description,
            "schema": _schema(parameter.type),
        }
        for parameter in operation.parameters
    ]
