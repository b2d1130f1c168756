"""The state tables: complete, and the public state that follows from them."""

import enum

import pytest

from sdpserver.session.states import (
    TRANSITIONS,
    CallState,
    IllegalTransition,
    MediaState,
    SessionState,
    SessionStates,
    State,
    check_transition,
    public_state,
)

FINAL = {SessionState.CLOSED, CallState.ENDED}


@pytest.mark.parametrize("kind", [SessionState, CallState, MediaState])
def test_every_state_has_a_row_and_stays_within_its_own_kind(kind: type[enum.Enum]) -> None:
    for state in kind:
        assert all(type(target) is kind for target in TRANSITIONS[state])  # type: ignore[index]


@pytest.mark.parametrize("state", list(TRANSITIONS), ids=str)
def test_only_final_states_lead_nowhere(state: State) -> None:
    assert (not TRANSITIONS[state]) == (state in FINAL)


@pytest.mark.parametrize("start", [CallState.CALLING, SessionState.RINGING])
def test_every_state_is_reached(start: State) -> None:
    reached = {start}
    while more := {target for state in reached for target in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(type(start))


def test_a_change_that_the_table_lacks_is_a_bug() -> None:
    with pytest.raises(IllegalTransition, match="answered -> ringing"):
        check_transition(CallState.ANSWERED, CallState.RINGING)


@pytest.mark.parametrize(
    ("session", "call", "media", "expected"),
    [
        (SessionState.RINGING, CallState.RINGING, MediaState.NEW, "ringing"),
        (SessionState.OPEN, CallState.ANSWERED, MediaState.NEW, "connecting"),
        (SessionState.OPEN, CallState.ANSWERED, MediaState.CHECKED, "connecting"),
        (SessionState.OPEN, CallState.CALLING, MediaState.CONNECTED, "calling"),
        (SessionState.OPEN, CallState.RINGING, MediaState.CONNECTED, "ringing"),
        (SessionState.OPEN, CallState.EARLY, MediaState.CONNECTED, "early"),
        (SessionState.OPEN, CallState.ANSWERED, MediaState.CONNECTED, "connected"),
        (SessionState.OPEN, CallState.ANSWERED, MediaState.LOST, "connecting"),
        (SessionState.ENDING, CallState.ENDED, MediaState.CONNECTED, "ending"),
        (SessionState.CLOSING, CallState.ENDED, MediaState.CONNECTED, "closed"),
        (SessionState.CLOSED, CallState.ENDED, MediaState.CONNECTED, "closed"),
    ],
)
def test_public_state(session: SessionState, call: CallState, media: MediaState, expected: str) -> None:
    assert public_state(session, call, media) == expected


def test_a_change_is_told_when_clients_see_it() -> None:
    told: list[tuple[str, str]] = []
    states = SessionStates(lambda before, now: told.append((before, now)))
    for state in (CallState.ANSWERED, MediaState.CHECKED, MediaState.CONNECTED, SessionState.CLOSING):
        states.set(state)
    assert told == [("connecting", "connected"), ("connected", "closed")]
    assert (states.session, states.call, states.media) == (
        SessionState.CLOSING,
        CallState.ANSWERED,
        MediaState.CONNECTED,
    )


def test_a_change_that_is_a_bug_changes_nothing() -> None:
    states = SessionStates(lambda before, now: None)
    with pytest.raises(IllegalTransition):
        states.set(MediaState.CONNECTED)
    assert states.media is MediaState.NEW
