"""The states of a session, its call and its media, and every change that is allowed. No I/O.

Three things move on their own: the session (ours), the call (the SIP dialog, or the built-in far end) and the browser's
media connection. What a client is told is derived from the three by `public_state`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping


class SessionState(enum.Enum):
    """RINGING: an inbound call that no browser has answered. OPEN from the offer, or the answer to ours, on.
    ENDING: the call is over and its tone still plays. CLOSING: everything is being freed."""

    RINGING = "ringing"
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
    SessionState.RINGING: frozenset({SessionState.OPEN, SessionState.CLOSING}),
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
        case SessionState.RINGING:
            return "ringing"
        case SessionState.ENDING:
            return "ending"
        case SessionState.CLOSING | SessionState.CLOSED:
            return "closed"
    if media is not MediaState.CONNECTED:
        return "connecting"
    return "connected" if call is CallState.ANSWERED else call.value


class SessionStates:
    """The three of one session, which begins with a client's offer, or ringing.

    `on_change(before, now)` is called when the public state is another one.
    """

    def __init__(self, on_change: Callable[[str, str], object], *, ringing: bool = False) -> None:
        self._session = SessionState.RINGING if ringing else SessionState.OPEN
        self._call = CallState.RINGING if ringing else CallState.CALLING
        self._media = MediaState.NEW
        self._on_change = on_change

    def forget(self) -> None:
        """Nobody is told of changes any more."""
        self._on_change = lambda before, now: None

    @property
    def session(self) -> SessionState:
        return self._session

    @property
    def call(self) -> CallState:
        return self._call

    @property
    def media(self) -> MediaState:
        return self._media

    @property
    def public(self) -> str:
        return public_state(self._session, self._call, self._media)

    def set(self, state: State) -> None:
        """The only place that changes them.

        :raises IllegalTransition: the table lacks this change; nothing has changed.
        """
        before = self.public
        match state:
            case SessionState():
                check_transition(self._session, state)
                self._session = state
            case CallState():
                check_transition(self._call, state)
                self._call = state
            case MediaState():
                check_transition(self._media, state)
                self._media = state
        if before != (now := self.public):
            self._on_change(before, now)
