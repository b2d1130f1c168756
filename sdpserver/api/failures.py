"""Errors as clients see them: one JSON form for every route, also for those that do not exist."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException

from sdpserver.errors import (
    BadRequest,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    NotFound,
    SdpServerError,
    SipRefused,
    Unauthorized,
)
from sdpserver.models.base import ErrorResponse

_encode = msgspec.json.Encoder().encode

Headers = list[tuple[bytes, bytes]]


class ClientDisconnected(Exception):
    """The client went away while its request was being handled; there is nobody to answer."""


def translate(exc: Exception, *, path: str, method: str) -> SdpServerError:
    """Any exception as one of ours. What is not known to be somebody else's fault is a bug here."""
    if isinstance(exc, SdpServerError):
        return exc
    if isinstance(exc, HTTPException):
        if exc.status_code == HTTPStatus.NOT_FOUND:
            return NotFound(f"there is no route {method} {_shown(path)}", reason="route_not_found")
        if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allow = (exc.headers or {}).get("Allow", "")
            return MethodNotAllowed(
                f"{_shown(path)} does not take {method}, only {allow}",
                reason="method_not_allowed",
                headers={"allow": allow},
            )
        if exc.status_code == HTTPStatus.BAD_REQUEST:
            return BadRequest(exc.detail, reason="bad_request")
    return InternalError("an error on our side; the log has it under this request_id", reason="internal_error")


def _shown(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}..."


def body_of(exc: SdpServerError, request_id: str) -> bytes:
    """The error form."""
    refused = exc if isinstance(exc, SipRefused) else None
    return _encode(
        ErrorResponse(
            error=str(exc).encode(errors="replace").decode(),
            code=exc.status,
            reason=exc.reason,
            request_id=request_id,
            session_id=exc.session_id,
            sip_status=refused.sip_status if refused else None,
            sip_reason=refused.sip_reason if refused else None,
        )
    )


def headers_of(exc: SdpServerError, body: bytes) -> Headers:
    """The headers that belong to the error form of `exc`."""
    headers: Headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if exc.retry_after_s is not None or exc.status in (429, 503):
        headers.append((b"retry-after", b"%d" % (exc.retry_after_s or 1)))
    if isinstance(exc, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="sdpserver"'))
    headers.extend((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in exc.headers.items())
    return headers


def protocol_error(status: int, request_id: str) -> bytes:
    """The error form for what is refused before it is a request of any route: a malformed request line, say."""
    phrase = HTTPStatus(status).phrase.lower() if status in HTTPStatus._value2member_map_ else "refused"
    reason = {400: "malformed_request", 403: "forbidden", 404: "route_not_found", 431: "headers_too_large"}
    return _encode(
        ErrorResponse(
            error=f"this is no HTTP/1.1 request that can be served: {phrase}",
            code=status,
            reason=reason.get(status, "malformed_request"),
            request_id=request_id,
        )
    )


def forbidden_origin(origin: str) -> Forbidden:
    """403 for a page of another site."""
    return Forbidden(
        f"pages from {_shown(origin)} may not use this server; [http] cors_origins lists those that may",
        reason="origin_not_allowed",
    )


def forbidden_host(host: str) -> Forbidden:
    """403 for a name that this server does not go by."""
    return Forbidden(
        f"this server is not {_shown(host)}; [http] server_names lists its names", reason="host_not_allowed"
    )
