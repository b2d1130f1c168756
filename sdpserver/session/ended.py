"""What is remembered of sessions that have ended.

As octets: a busy server remembers thousands, and the garbage collector, which holds up all requests while it looks,
would look through every object of theirs time and again.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from sdpserver.events import EventLog, SessionEvent, Subscription
from sdpserver.models.session import SessionInfo

from .session import Session


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session as it was at its end."""

    id: str
    call_id: str
    owner: str
    _description: bytes
    _events: bytes

    @classmethod
    def of(cls, session: Session) -> EndedSession:
        return cls(
            session.id,
            session.call_id,
            session.owner,
            orjson.dumps(session.describe()),
            orjson.dumps([event.as_json() for event in session.events.kept]),
        )

    def describe(self) -> SessionInfo:
        """As `Session.describe`."""
        described: SessionInfo = orjson.loads(self._description)
        return described

    def subscribe(self, *, after_id: int = 0) -> Subscription:
        """What is kept of its events, and their end."""
        events = [SessionEvent.from_json(event) for event in orjson.loads(self._events)]
        return EventLog.ended(events).subscribe(after_id=after_id)
