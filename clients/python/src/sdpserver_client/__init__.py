"""Client of sdpserver: an SDP offer over HTTP in, a call to a PBX out.

`WebRtcClient` blocks, `AsyncWebRtcClient` is for asyncio; both have the same methods and raise the errors of `errors`.
"""

from .client import AsyncWebRtcClient, WebRtcClient
from .errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ConnectionFailed,
    ForbiddenError,
    InvalidResponse,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    RequestTimedOut,
    RequestTimeoutError,
    SdpServerClientError,
    ServerError,
    SipError,
    SipTimeoutError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from .models import Answer, CallInfo, CallOptions, IceCandidate, IceServer, Recording, ServerEvent, SessionDescription
from .session import AsyncSession, PeerConnection, Session

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "ApiError",
    "AsyncSession",
    "AsyncWebRtcClient",
    "BadRequestError",
    "CallInfo",
    "CallOptions",
    "ConflictError",
    "ConnectionFailed",
    "ForbiddenError",
    "IceCandidate",
    "IceServer",
    "InvalidResponse",
    "MethodNotAllowedError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PeerConnection",
    "Recording",
    "RequestTimedOut",
    "RequestTimeoutError",
    "SdpServerClientError",
    "ServerError",
    "ServerEvent",
    "Session",
    "SessionDescription",
    "SipError",
    "SipTimeoutError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedMediaTypeError",
    "WebRtcClient",
]
