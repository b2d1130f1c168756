"""Loaded by schemathesis: what it makes up hits what is there at times, and never the call that must outlive it.

`SDPSERVER_LIVE` is JSON: `values`, by the name of a member or a parameter, what is there; `protected`: words that no
request may contain.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import AcceptedNegativeData, ServerError

Case = schemathesis.Case[Any]
LIVE: dict[str, Any] = json.loads(os.environ["SDPSERVER_LIVE"])
VALUES: dict[str, list[Any]] = LIVE["values"]
PROTECTED: list[str] = LIVE["protected"]
ROUNDS = 3
"""Of four values that could be live, so many are."""


def _may_be_live(name: str, value: Any) -> st.SearchStrategy[Any]:
    live = VALUES.get(name)
    if live is not None:
        return st.one_of(st.just(value), *[st.sampled_from(live)] * ROUNDS)
    if isinstance(value, Mapping):
        return _object(value)
    return st.just(value)


def _object(value: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({name: _may_be_live(name, inner) for name, inner in value.items()})


def _like(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, str):  # SDP as it is
        return st.one_of(st.just(value), st.sampled_from(VALUES["sdp_text"]))
    return st.just(value)


@schemathesis.hook
def flatmap_case(context: schemathesis.HookContext, case: Case) -> st.SearchStrategy[Case]:
    """What is meant to be refused is left as it is."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return st.just(case)

    def with_live(parts: tuple[Any, Any, Any]) -> Case:
        case.path_parameters, case.query, case.body = parts
        return case

    return st.tuples(_like(case.path_parameters), _like(case.query), _like(case.body)).map(with_live)


def _is_allowed(case: Case) -> bool:
    text = repr((case.path_parameters, case.query, case.headers, case.body))
    return not any(word in text for word in PROTECTED)


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: Case) -> bool:
    return _is_allowed(case)


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: Case) -> Case:
    """Nobody waits for a call longer than a request may take."""
    if isinstance(case.body, dict):
        call = case.body.get("call")
        if isinstance(call, dict) and call.get("wait_for", "none") != "none":
            call["ring_timeout_s"] = 1
    return case


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def as_text(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Exception,
    case: Case,
    response: schemathesis.Response,
) -> bool:
    """Without what is no failure: OPTIONS for whatever path; a wrong body or header that ends up as none where it may
    be left out; what a PBX does, or a full server, which has a status of its own."""
    if isinstance(failure, AcceptedNegativeData):
        no_body = case.method == "POST" and not response.request.body
        left_out = no_body or response.request.headers.get("last-event-id") == ""
        return case.method != "OPTIONS" and not left_out
    return not (isinstance(failure, ServerError) and response.status_code in (502, 503, 504))


_send = requests.Session.send


def _send_and_leave(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
    """A stream of events does not end: what has come at once is its answer."""
    response = _send(self, request, **options | {"stream": True})
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        response._content = next(response.iter_content(4096), b"")
        response.close()
    else:
        response.content  # noqa: B018 - read now, so that the connection can be used again
    return response


requests.Session.send = _send_and_leave  # type: ignore[method-assign]
