"""Which of several media types a client would rather have (RFC 9110 section 12.5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sdpserver.errors import NotAcceptable

_QUALITY = re.compile(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)", re.IGNORECASE)


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """One of `offered`, the first of those that are equally wanted; without a header the first.

    :raises NotAcceptable: none is wanted.
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_parse(part) for part in accept.split(",")]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"there is {' and '.join(offered)} here", reason="not_acceptable")
    return best


def _parse(text: str) -> tuple[str, float]:
    media_range, *parameters = text.split(";")
    quality = 1.0
    for parameter in parameters:
        if match := _QUALITY.fullmatch(parameter.strip()):
            quality = float(match[1])
    return media_range.strip().lower(), quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """By the most specific range that names it."""
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == name:
                return quality
    return 0.0
