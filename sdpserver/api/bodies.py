"""Request bodies: their type, and reading them within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from sdpserver.errors import BodyTooLarge, RequestTimeout, UnsupportedMediaType
from sdpserver.json_bodies import MAX_ECHOED

from .failures import ClientDisconnected

MAX_BODY = 256 * 1024
MAX_BODY_S = 10.0


def check_content_type(
    headers: Mapping[bytes, bytes], wanted: str = "application/json", *, accept_header: str = ""
) -> None:
    """:param accept_header: that in which the refusal names what would be right, `Accept-Post` or `Accept-Patch`.
    :raises UnsupportedMediaType: it is not `wanted`, with or without parameters.
    """
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != wanted:
        shown = f"not {given[:MAX_ECHOED]}" if given else "and it is missing"
        raise UnsupportedMediaType(
            f"the Content-Type must be {wanted}, {shown}",
            reason="unsupported_media_type",
            headers={accept_header: wanted} if accept_header else None,
        )


async def read(receive: Receive, headers: Mapping[bytes, bytes], *, timeout_s: float = MAX_BODY_S) -> bytes:
    """The whole body.

    :raises BodyTooLarge: it has, or says that it will have, more than `MAX_BODY` octets. The rest is not read.
    :raises RequestTimeout: it did not come within `timeout_s`.
    :raises ClientDisconnected: nobody is there any more.
    """
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > MAX_BODY:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                if chunk := message.get("body", b""):
                    size += len(chunk)
                    if size > MAX_BODY:
                        raise _too_large()
                    chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError as exc:
        raise RequestTimeout(f"the body did not come within {timeout_s:g} s", reason="body_timeout") from exc


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {MAX_BODY} octets", reason="body_too_large")
