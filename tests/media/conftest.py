"""`plane`: an engine with one worker on 127.0.0.1, closed after the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .plane import Plane


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as made:
        yield made
