"""Who is told of every session: call records, supervisors' events, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from .session import Session

log = structlog.get_logger(__name__)


class Follower(Protocol):
    """Called on the event loop, and must not wait. `session.events.follow` tells the rest of a session's life."""

    def session_began(self, session: Session) -> None:
        """Its first events (`session.events.kept`) may be out already."""

    def session_ended(self, session: Session) -> None:
        """Everything is freed; `session.describe()` is final."""


class Followers:
    """What goes wrong with one of them is logged, and neither the session's nor another's affair."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []

    def add(self, follower: Follower) -> None:
        self._followers.append(follower)

    def session_began(self, session: Session) -> None:
        self._tell(session, lambda follower: follower.session_began(session))

    def session_ended(self, session: Session) -> None:
        self._tell(session, lambda follower: follower.session_ended(session))

    def _tell(self, session: Session, call: Callable[[Follower], None]) -> None:
        for follower in self._followers:
            try:
                call(follower)
            except Exception:
                log.exception("follower failed", session_id=session.id, follower=type(follower).__name__)
