"""What can go wrong.

    SdpServerClientError
    ├── ApiError                     the server said no: `code`, `reason` and the rest of its error body
    │   ├── BadRequestError          400: the SDP, the destination or a member of the request
    │   ├── UnauthorizedError        401
    │   ├── ForbiddenError           403
    │   ├── NotFoundError            404: no such session
    │   ├── MethodNotAllowedError    405
    │   ├── RequestTimeoutError      408
    │   ├── ConflictError            409: the session id is taken, or its session was closed meanwhile
    │   ├── PayloadTooLargeError     413
    │   ├── UnsupportedMediaTypeError 415
    │   ├── TooManyRequestsError     429, with `retry_after_s`
    │   ├── ServerError              500: a bug of the server's; its log has `request_id`
    │   ├── SipError                 502: the SIP side refused, with `sip_status` and `sip_reason`
    │   │   └── SipTimeoutError      504: it did not answer
    │   └── UnavailableError         503: full or shutting down, with `retry_after_s`
    ├── InvalidResponse              a success whose body is not what the server's contract says
    └── ConnectionFailed             no reply: refused, reset, TLS, name not found
        └── RequestTimedOut          no reply in time

An HTTP error in another form than the server's, as a proxy's is, is a plain `ApiError`, reason `unexpected_response`.
"""

from __future__ import annotations


class SdpServerClientError(Exception):
    """Root of all errors of this package."""


class ApiError(SdpServerClientError):
    """The server refused. `code` is the HTTP status, `reason` a stable word for programs."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        reason: str,
        session_id: str | None = None,
        request_id: str | None = None,
        sip_status: int | None = None,
        sip_reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.session_id = session_id
        self.request_id = request_id
        self.sip_status = sip_status
        self.sip_reason = sip_reason
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.code} {self.reason})"


class BadRequestError(ApiError):
    """400."""


class UnauthorizedError(ApiError):
    """401."""


class ForbiddenError(ApiError):
    """403."""


class NotFoundError(ApiError):
    """404."""


class MethodNotAllowedError(ApiError):
    """405."""


class RequestTimeoutError(ApiError):
    """408."""


class ConflictError(ApiError):
    """409."""


class PayloadTooLargeError(ApiError):
    """413."""


class UnsupportedMediaTypeError(ApiError):
    """415."""


class TooManyRequestsError(ApiError):
    """429."""


class ServerError(ApiError):
    """500."""


class SipError(ApiError):
    """502."""


class SipTimeoutError(SipError):
    """504."""


class UnavailableError(ApiError):
    """503."""


class InvalidResponse(SdpServerClientError):
    """A reply that is not of the contract's form: another server, or another version of it."""


class ConnectionFailed(SdpServerClientError):
    """The server could not be reached, or the connection broke."""


class RequestTimedOut(ConnectionFailed):
    """No reply within the time limit. The request may have been carried out."""


BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    408: RequestTimeoutError,
    409: ConflictError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError,
    429: TooManyRequestsError,
    500: ServerError,
    502: SipError,
    503: UnavailableError,
    504: SipTimeoutError,
}
