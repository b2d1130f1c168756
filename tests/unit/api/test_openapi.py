"""What /openapi.json says of all routes: none is left out, and its schemas are schemas."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import orjson
import pytest
from starlette.routing import Route

from sdpserver.api import openapi
from sdpserver.api.application import OPERATIONS, create
from sdpserver.config import Config

DOCUMENT: dict[str, Any] = orjson.loads(openapi.document(OPERATIONS))
NOT_OF_THE_API = {"/", "/docs", "/openapi.json"}
"""The page for people, and the document itself."""


def described() -> set[tuple[str, str]]:
    return {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}


def test_every_route_is_described_and_every_description_has_its_route() -> None:
    served = set()
    for route in create(Config()).routes:
        if isinstance(route, Route) and route.path not in NOT_OF_THE_API:
            path = re.sub(r":\w+}", "}", route.path)
            served |= {(path, method) for method in route.methods or ()}
    assert {(path, method) for path, method in served if method != "HEAD"} == described()


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    schema = {**DOCUMENT["components"]["schemas"][name], "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema)


def bodies() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.mark.parametrize("operation", [operation for _, operation in bodies()], ids=[name for name, _ in bodies()])
def test_what_an_operation_says_of_its_answers(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    for status, answer in operation["responses"].items():
        assert answer["headers"]["X-Request-Id"]["required"]
        if int(status) >= 400:
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
        for header, statuses in {"WWW-Authenticate": {"401"}, "Retry-After": {"429", "503"}}.items():
            assert (header in answer["headers"]) == (status in statuses)
        if status == str(min(map(int, operation["responses"]))):
            json = answer.get("content", {}).get("application/json", {"schema": {"$ref": ""}})["schema"]
            assert {"$ref", "items"} & json.keys(), "an answer of any form is none"


def test_requests_take_nothing_else() -> None:
    for name, operation in bodies():
        body = operation.get("requestBody", {"content": {}})["content"].get("application/json")
        if body is not None:
            schema = DOCUMENT["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False, name


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, operation in bodies()]
    assert len(names) == len(set(names))
