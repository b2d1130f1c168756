"""JSON responses."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

_encode = msgspec.json.Encoder().encode


def json_response(content: Any) -> Response:
    """200 with `content`: a body of `models`, or plain values."""
    return Response(_encode(content), media_type="application/json")
