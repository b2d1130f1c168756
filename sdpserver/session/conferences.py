"""What is done with rooms: live calls are put together, supervisors listen in, members are muted and removed.

What happens when somebody goes: a call that was moved into a room and leaves it (removed, or all others have gone) is
a call of two again; a session whose destination is the room ends when it is removed. A supervision ends with the
supervised call, with its leaving the room, and with the supervisor's session.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from sdpserver.config import Config
from sdpserver.errors import BadRequest, Conflict
from sdpserver.media import MediaPlane
from sdpserver.recording import RecordingFolder

from .far_end import BROWSER, FarEnd
from .rooms import EVERYBODY, Member, Room, Rooms, Rules, Seat
from .session import Session

log = structlog.get_logger(__name__)


class Mode(enum.Enum):
    """LISTEN: hears both sides, and nobody hears him. WHISPER: the browser's side hears him. BARGE: both do."""

    LISTEN = "listen"
    WHISPER = "whisper"
    BARGE = "barge"


@dataclass(slots=True, kw_only=True)
class _Supervision:
    target: Session
    supervisor: Session
    room: Room
    circle: int = 0
    """That of the whisper, while there is one."""


class Conferences:
    """Of all sessions. Used on the event loop only; who may do what is the API's to know."""

    def __init__(self, config: Config, media: MediaPlane, recordings: RecordingFolder) -> None:
        self.rooms = Rooms(config, media, recordings)
        self._supervisions: dict[Session, _Supervision] = {}

    # -- calls in one room

    def join(self, calls: Sequence[Session], name: str | None, *, together: bool = False) -> str:
        """Put all sides of these calls into one room, so that each hears all others; the room's name.

        A call that is in another room leaves it.

        :param together: the calls have one browser, or one person before several: only the first call's browser
            speaks and listens, otherwise it would hear itself.

        :raises Conflict: `call_not_answered`, `in_a_conference` (its destination is another room), `same_call`,
            `transfer_in_progress`.
        :raises Unavailable: no room, or no place in it; nothing has changed then.
        """
        for call in calls:
            _check_can_move(call, name)
        name = name or secrets.token_urlsafe(12)
        newcomers = [call for call in calls if (seat := _far_end(call).seat) is None or seat.room.name != name]
        legs = [leg for call in newcomers for leg in _far_end(call).media_legs.values()]
        if len(set(legs)) < len(legs):
            raise Conflict("these are both sides of one call", reason="same_call")
        places = len(legs)
        room = self.rooms.get(name, worker=_far_end(calls[0]).worker, places=places)
        for call in newcomers:
            seat = Seat(room, call)
            if together and call is not calls[0]:
                seat.rules[BROWSER] = Rules(says=0, hears=0)
            _far_end(call).enter(seat)
        return name

    # -- supervision

    def supervise(self, target: Session, supervisor: Session, mode: Mode | None) -> None:
        """Have `supervisor`, a session to a built-in far end, hear a call; None: no more.

        :raises Conflict: `call_not_answered`; `supervisor_busy`: that session is in a call or a room of its own.
        :raises Unavailable: no room, or no place in it.
        """
        if target is supervisor:
            raise BadRequest("a session cannot supervise itself", reason="invalid_field")
        current = self._supervisions.get(supervisor)
        if current is not None and (mode is None or current.target is not target):
            _far_end(supervisor).leave_room("supervision_ended")
            current = None
        if mode is None:
            return
        if current is None:
            current = self._begin(target, supervisor)
        self._set_mode(current, mode)
        log.info("supervised", call_id=target.call_id, supervisor=supervisor.call_id, mode=mode.value)

    def _begin(self, target: Session, supervisor: Session) -> _Supervision:
        theirs, mine = _far_end(target), _far_end(supervisor)
        if mine.seat is not None or not mine.can_supervise:
            raise Conflict(
                "the supervisor's session is in a call of its own", reason="supervisor_busy", session_id=supervisor.id
            )
        if theirs.seat is None:
            _check_can_move(target, None)
            room = self.rooms.create_private(worker=theirs.worker)
            theirs.enter(Seat(room, target))
        else:
            room = theirs.seat.room
        assert theirs.seat is not None
        theirs.seat.on_left = lambda: self._target_left(target)
        seat = Seat(room, supervisor, hidden=True)
        seat.rules[BROWSER] = Rules(says=0)
        mine.enter(seat)
        seat.on_left = lambda: self._supervisor_left(supervisor)
        supervision = _Supervision(target=target, supervisor=supervisor, room=room)
        self._supervisions[supervisor] = supervision
        return supervision

    def _set_mode(self, supervision: _Supervision, mode: Mode) -> None:
        room = supervision.room
        if mode is Mode.WHISPER and not supervision.circle:
            supervision.circle = room.take_circle()
        elif mode is not Mode.WHISPER:
            self._end_whisper(supervision)
        says = {Mode.LISTEN: 0, Mode.WHISPER: supervision.circle, Mode.BARGE: EVERYBODY}[mode]
        _far_end(supervision.supervisor).set_rules(BROWSER, Rules(says=says))
        self._set_hearing(supervision.target)

    def _end_whisper(self, supervision: _Supervision) -> None:
        if supervision.circle:
            supervision.room.give_back_circle(supervision.circle)
            supervision.circle = 0

    def _set_hearing(self, target: Session) -> None:
        """The browser's side of a supervised call hears those who whisper to it."""
        hears = EVERYBODY
        for supervision in self._supervisions.values():
            if supervision.target is target:
                hears |= supervision.circle
        if (far_end := target.far_end) is not None and far_end.seat is not None:
            far_end.set_rules(BROWSER, Rules(hears=hears))

    def _supervisor_left(self, supervisor: Session) -> None:
        if (supervision := self._supervisions.pop(supervisor, None)) is not None:
            self._end_whisper(supervision)
            self._set_hearing(supervision.target)

    def _target_left(self, target: Session) -> None:
        for supervision in tuple(self._supervisions.values()):
            if supervision.target is target:
                _far_end(supervision.supervisor).leave_room("supervision_ended")

    # -- members

    def mute(self, room: Room, id_: str, muted: bool) -> None:
        """:raises NotFound: `member_not_found`."""
        member = room.member(id_)
        _session(member).mute(member.leg_name, muted)

    def remove(self, room: Room, id_: str) -> None:
        """:raises NotFound: `member_not_found`."""
        session = _session(room.member(id_))
        if session.destination.room is not None and session.destination.room == room.name:
            session.close("kicked")
        else:
            _far_end(session).leave_room("kicked")


def _session(member: Member) -> Session:
    assert isinstance(member.occupant, Session)
    return member.occupant


def _far_end(session: Session) -> FarEnd:
    if session.far_end is None:
        raise Conflict("the call has ended", reason="call_ended", session_id=session.id)
    return session.far_end


def _check_can_move(call: Session, name: str | None) -> None:
    if call.destination.room is not None and call.destination.room != name:
        raise Conflict(f"call {call.call_id} is in a conference", reason="in_a_conference", session_id=call.id)
    if call.transfer is not None:
        raise Conflict(f"call {call.call_id} is being transferred", reason="transfer_in_progress", session_id=call.id)
    if not _far_end(call).can_join_room:
        raise Conflict(f"call {call.call_id} has nobody to talk to yet", reason="call_not_answered", session_id=call.id)
