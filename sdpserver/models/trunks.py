"""Bodies of the routes about trunks."""

from __future__ import annotations

from typing import Any

from .base import Response


class TrunkList(Response):
    """GET /api/genesys/status: every trunk, in the order of the configuration.

    `connected`: it answered the last OPTIONS; null while that is not known.
    """

    trunks: list[dict[str, Any]]
