"""Which of the live calls and sessions a list is about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from sdpserver.models.base import DnNumber
from sdpserver.models.dns import DnStatus
from sdpserver.models.session import CallDirection
from sdpserver.session import Session

from . import paging
from .operations import Parameter

CallState = Literal["calling", "ringing", "early", "answered", "ended"]
SessionState = Literal[
    "connecting", "calling", "ringing", "early", "answered", "ended", "connected", "ending", "closed"
]

_DNS = Parameter(name="dn", type=list[DnNumber], description="Only of these DNs, separated by commas.")
_OF_ALL = (
    Parameter(
        name="trunk",
        type=Annotated[str, Meta(min_length=1, max_length=64)],
        description="Only what this trunk carries.",
    ),
    Parameter(name="direction", type=CallDirection, description="Of the call, seen from its client."),
    *paging.PARAMETERS,
)
CALL_PARAMETERS = (Parameter(name="status", type=CallState, description="Only calls in this `state`."), *_OF_ALL)
ACTIVE_PARAMETERS = (_DNS, *CALL_PARAMETERS)
SESSION_PARAMETERS = (
    Parameter(name="status", type=SessionState, description="Only sessions in this `state`."),
    *_OF_ALL,
)
DN_PARAMETERS = (
    _DNS,
    Parameter(name="status", type=DnStatus, description="Only DNs with this status."),
    *paging.PARAMETERS,
)


def matches(session: Session, query: Mapping[str, Any]) -> bool:
    """By `trunk` and `direction`."""
    trunk, direction = query.get("trunk"), query.get("direction")
    return trunk in (None, session.destination.trunk_name) and direction in (None, session.direction)


def age(session: Session) -> paging.Key:
    """The order of sessions and calls: oldest first."""
    return session.created_at.isoformat(timespec="microseconds"), session.id
