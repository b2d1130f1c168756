"""How requests were answered. The labels are bounded: paths are those of the routes, not of the requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

UNKNOWN = "other"
METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT"})


class HttpStatistics:
    """:param paths: of the routes, by their endpoints."""

    def __init__(self, paths: Mapping[Callable[..., Any], str]) -> None:
        self.answered: Counter[tuple[str, str, str]] = Counter()
        """By method, path and status."""
        self._paths = dict(paths)

    def count(self, method: str, endpoint: Callable[..., Any] | None, status: int) -> None:
        """:param endpoint: None: no route was found."""
        path = self._paths.get(endpoint, UNKNOWN) if endpoint is not None else UNKNOWN
        self.answered[method if method in METHODS else UNKNOWN, path, str(status)] += 1
