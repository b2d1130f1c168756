"""Which of several media types a client would rather have (RFC 9110 section 12.5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sdpserver.errors import NotAcceptable

_QUALITY = re.compile(r"q\s*=\s*(?:([01](?:\.[0-9]{0,3})?)|.*)", re.IGNORECASE | re.DOTALL)


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """One of `offered`, the first of those that are equally wanted; without a header the first.

    :raises NotAcceptable: none is wanted.
    """
    if not accept or not accept.strip():
        return offered[0]
    wanted = {media_type: quality(accept, media_type) for media_type in offered}
    best = max(offered, key=lambda media_type: wanted[media_type])
    if wanted[best] <= 0:
        raise NotAcceptable(f"there is {' and '.join(offered)} here", reason="not_acceptable")
    return best


def quality(accept: str, media_type: str) -> float:
    """How much a media type is wanted, from 0 to 1; the most specific range counts."""
    ranges = dict(_parse(part) for part in reversed(accept.split(",")))
    wider = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in wider if name in ranges), 0.0)


def _parse(text: str) -> tuple[str, float]:
    media_range, *parameters = text.split(";")
    matches = (_QUALITY.fullmatch(parameter.strip()) for parameter in parameters)
    found = next((float(match[1] or 0) for match in matches if match), 1.0)  # what is no number is not wanted
    return media_range.strip().lower(), found
