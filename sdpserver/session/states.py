"""The states of a session, its call and its media, and every change that is allowed. Pure.

Three things move on their own: the session (ours), the call (the SIP dialog, or the built-in far end) and the browser's
media connection. What a client is told is derived from the three by `public_state`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class SessionState(enum.Enum):
    """OPEN from the offer on. ENDING: the call is over and its tone still plays. CLOSING: everything is being freed."""

    OPEN = "open"
    ENDING = "ending"
    CLOSING = "closing"
    CLOSED = "closed"


class CallState(enum.Enum):
    """The far end: RFC 3261's dialog states in the words of the wire contract."""

    CALLING = "calling"
    RINGING = "ringing"
    EARLY = "early"
    ANSWERED = "answered"
    ENDED = "ended"


class MediaState(enum.Enum):
    """The browser's side. LOST: its page said close_notify and may yet resume."""

    NEW = "new"
    CHECKED = "checked"
    CONNECTED = "connected"
    LOST = "lost"


State = SessionState | CallState | MediaState

TRANSITIONS: Mapping[State, frozenset[State]] = {
    SessionState.OPEN: frozenset({SessionState.ENDING, SessionState.CLOSING}),
    SessionState.ENDING: frozenset({SessionState.CLOSING}),
    SessionState.CLOSING: frozenset({SessionState.CLOSED}),
    SessionState.CLOSED: frozenset(),
    CallState.CALLING: frozenset({CallState.RINGING, CallState.EARLY, CallState.ANSWERED, CallState.ENDED}),
    CallState.RINGING: frozenset({CallState.EARLY, CallState.ANSWERED, CallState.ENDED}),
    # A 180 without SDP after early media changes nothing that anybody hears, so it is no change of state.
    CallState.EARLY: frozenset({CallState.ANSWERED, CallState.ENDED}),
    CallState.ANSWERED: frozenset({CallState.ENDED}),
    CallState.ENDED: frozenset(),
    # NEW again: a reloaded page brings a new DTLS association.
    MediaState.NEW: frozenset({MediaState.CHECKED, MediaState.LOST}),
    MediaState.CHECKED: frozenset({MediaState.CONNECTED, MediaState.NEW, MediaState.LOST}),
    MediaState.CONNECTED: frozenset({MediaState.NEW, MediaState.LOST}),
    MediaState.LOST: frozenset({MediaState.NEW}),
}


class IllegalTransition(RuntimeError):
    """A change that the table lacks: a bug here."""


def check_transition(old: State, new: State) -> None:
    """Raise `IllegalTransition` unless the table has the change."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{type(old).__name__}: {old.value} -> {new.value}")


def public_state(session: SessionState, call: CallState, media: MediaState) -> str:
    """The one word that a client sees: `connecting`, a call's progress, `connected`, `ending` or `closed`."""
    match session:
        case SessionState.ENDING:
            return "ending"
        case SessionState.CLOSING | SessionState.CLOSED:
            return "closed"
    if media is not MediaState.CONNECTED:
        return "connecting"
    return "connected" if call is CallState.ANSWERED else call.value
