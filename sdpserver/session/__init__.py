"""Sessions: what a client opened with an offer, and everything that belongs to it."""

from .registry import Sessions
from .session import Session

__all__ = ["Session", "Sessions"]
