"""What can go wrong, by whose fault it is.

    SdpServerError
    ├── ConfigError            the operator's mistake; never leaves the command line
    ├── ClientError   4xx      the caller's mistake
    │   ├── BadRequest         400
    │   ├── Unauthorized       401
    │   ├── Forbidden          403
    │   ├── NotFound           404
    │   ├── MethodNotAllowed   405
    │   ├── NotAcceptable      406
    │   ├── RequestTimeout     408
    │   ├── Conflict           409
    │   ├── PreconditionFailed 412
    │   ├── BodyTooLarge       413
    │   ├── UnsupportedMediaType 415
    │   ├── UnprocessableContent 422
    │   ├── PreconditionRequired 428
    │   └── TooManyRequests    429
    ├── PeerError              the SIP side's refusal
    │   ├── SipRefused         502, with `sip_status` and `sip_reason`
    │   │   └── RegistrationRefused
    │   └── SipTimeout         504
    └── ServerError            ours
        ├── InternalError      500, logged with the request id
        └── Unavailable        503, full or draining

`reason` is a stable word for programs, `str(error)` a sentence for people, `status` the HTTP status.
"""

from __future__ import annotations

from typing import ClassVar


class SdpServerError(Exception):
    """Root of all errors raised on purpose."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        session_id: str | None = None,
        retry_after_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.session_id = session_id
        self.retry_after_s = retry_after_s
        self.headers = headers or {}


class ConfigError(SdpServerError):
    """A wrong or unknown configuration key; the message names the key, its line and the right form."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="config")


class ClientError(SdpServerError):
    """The caller's mistake."""

    status = 400


class BadRequest(ClientError):
    """400: the body, the SDP or the destination."""


class Unauthorized(ClientError):
    """401: no or wrong credentials."""

    status = 401


class Forbidden(ClientError):
    """403: known, but may not."""

    status = 403


class NotFound(ClientError):
    """404: no such route, session, call or DN."""

    status = 404


class MethodNotAllowed(ClientError):
    """405."""

    status = 405


class NotAcceptable(ClientError):
    """406: there is no form of it that the client takes."""

    status = 406


class RequestTimeout(ClientError):
    """408: the body or the client's next step did not come in time."""

    status = 408


class Conflict(ClientError):
    """409: the session id is taken, or the session is in the wrong state."""

    status = 409


class PreconditionFailed(ClientError):
    """412: `If-Match` names what is no more."""

    status = 412


class BodyTooLarge(ClientError):
    """413."""

    status = 413


class UnsupportedMediaType(ClientError):
    """415."""

    status = 415


class UnprocessableContent(ClientError):
    """422: the body is well formed, and asks for what cannot be done."""

    status = 422


class PreconditionRequired(ClientError):
    """428: the request must say with `If-Match` what it is about."""

    status = 428


class TooManyRequests(ClientError):
    """429, with Retry-After."""

    status = 429


class PeerError(SdpServerError):
    """The SIP side's refusal."""

    status = 502


class SipRefused(PeerError):
    """502: the far end or its trunk refused the call with `sip_status`."""

    def __init__(
        self, message: str, *, reason: str, sip_status: int, sip_reason: str, session_id: str | None = None
    ) -> None:
        super().__init__(message, reason=reason, session_id=session_id)
        self.sip_status = sip_status
        self.sip_reason = sip_reason


class RegistrationRefused(SipRefused):
    """502: a trunk's registrar does not take a DN; `sip_status` 401 or 403 for a wrong password."""


class SipTimeout(PeerError):
    """504: no answer from the SIP side within `ring_timeout_s`, or none at all from the trunk."""

    status = 504


class ServerError(SdpServerError):
    """Ours."""

    status = 500


class InternalError(ServerError):
    """500: a bug here. The text given to the client says nothing about the inside."""


class Unavailable(ServerError):
    """503: full or draining, with Retry-After."""

    status = 503


def no_such_call() -> NotFound:
    """`call_not_found`: nobody is told whether it is somebody else's or not there."""
    return NotFound("no such call", reason="call_not_found")
