"""Bodies of the routes about DNs."""

from __future__ import annotations

from typing import Any

from .base import Response


class DnList(Response):
    """GET /api/dn/list: those of the configuration, and those that are registered upstream."""

    dns: list[dict[str, Any]]
