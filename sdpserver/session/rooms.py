"""Rooms: conferences by name, and the private room that a supervised call becomes.

A room is made when somebody enters it and is gone with the last member. Its members are legs: a conference session has
one there, a call that was moved in has two, its browser's and its far end's. Who hears whom goes by circles: a member
hears those who speak into a circle that he listens to (`Mixer` in the media plane). Circle 1 is everybody's; each
whisper has one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from sdpserver.config import Config
from sdpserver.errors import NotFound, Unavailable
from sdpserver.media import MediaLeg, MediaPlane, MediaRecording, MediaRoom
from sdpserver.models.rooms import RoomInfo, RoomMemberInfo, RoomSummary
from sdpserver.recording import RecordingFolder
from sdpserver.timestamps import utc_text

from .recorder import Recorder, RecordingListener

log = structlog.get_logger(__name__)

EVERYBODY = 1
CIRCLES = 32
TALKING_INTERVAL_S = 0.3
"""Who talks is told at most so often: conversations overlap in shorter steps, and every member's client is told."""
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Bits of circles, as the mixer has them."""

    says: int = EVERYBODY
    hears: int = EVERYBODY
    muted: bool = False


class Occupant(Protocol):
    """The call that a member belongs to, as a room sees it."""

    @property
    def call_id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    def room_event(self, type_: str, **data: Any) -> None:
        """Tell the call's client."""

    def room_talking(self, room: str | None, members: list[str]) -> None:
        """Tell it who talks."""

    def room_dissolved(self) -> None:
        """Nobody is left to talk to but the call's own two sides."""


@dataclass(slots=True, kw_only=True)
class Member:
    """One leg in a room. `hidden`: a supervisor, whom only supervisors see."""

    id: str
    leg_name: str
    leg: MediaLeg
    occupant: Occupant
    rules: Rules
    hidden: bool
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    talking: bool = False

    def describe(self, level_dbov: float) -> RoomMemberInfo:
        """An entry of GET /api/rooms/{room}."""
        return {
            "id": self.id,
            "callId": self.occupant.call_id,
            "leg": self.leg_name,
            "muted": self.rules.muted,
            "talking": self.talking,
            "level_dbov": round(level_dbov, 1),
            "supervisor": self.hidden,
            "since": utc_text(self.since),
        }


def member_id(call_id: str, leg_name: str) -> str:
    """How clients name a member."""
    return f"{call_id}-{leg_name}"


class Seat:
    """A call's place in a room. `rules` by the name of the leg, where they are not everybody's."""

    def __init__(self, room: Room, occupant: Occupant, *, hidden: bool = False) -> None:
        self.room = room
        self.occupant = occupant
        self.hidden = hidden
        self.rules: dict[str, Rules] = {}
        self.on_left: Callable[[], None] | None = None

    def place(self, legs: Mapping[str, MediaLeg], muted: Collection[str]) -> None:
        """Have these legs in the room.

        :raises Unavailable: `room_full`.
        """
        rules = {name: replace(self.rules.get(name, Rules()), muted=name in muted) for name in legs}
        self.room.enter(self.occupant, legs, rules, hidden=self.hidden)

    def leave(self, reason: str) -> None:
        self.room.leave(self.occupant, reason=reason)
        if self.on_left is not None:
            self.on_left()


class Room:
    """Made by `Rooms`; used on the event loop only. `name` is None for the private room of a supervised call."""

    def __init__(
        self,
        name: str | None,
        media: MediaRoom,
        *,
        max_members: int,
        recordings: RecordingFolder,
        record_tone: bool,
        on_empty: Callable[[Room], None],
    ) -> None:
        self.name = name
        self.media = media
        self.since = datetime.now(UTC)
        self._max_members = max_members
        self._on_empty = on_empty
        self._members: dict[str, Member] = {}
        self._circles = EVERYBODY
        self._telling: asyncio.TimerHandle | None = None
        self._log = log.bind(room=name)
        self._left_last: list[Occupant] = []
        self.recorder = Recorder(
            self,
            noun="room",
            name=f"room-{name or 'private'}",
            folder=recordings,
            tone=record_tone,
            emit=self._tell_recording,
        )
        media.on_talking = self._on_talking

    # -- who is there

    def __len__(self) -> int:
        return len(self._members)

    def check_place(self, count: int = 1) -> None:
        """:raises Unavailable: `room_full`."""
        if len(self._members) + count > self._max_members:
            raise Unavailable("the room is full", reason="room_full", retry_after_s=RETRY_AFTER_S)

    def enter(
        self, occupant: Occupant, legs: Mapping[str, MediaLeg], rules: Mapping[str, Rules], *, hidden: bool
    ) -> None:
        """Have these legs of a call in the room, by their names, under these rules.

        :raises Unavailable: `room_full`, and nothing has changed.
        """
        ids = {name: member_id(occupant.call_id, name) for name in legs}
        try:
            self.check_place(len(set(ids.values()) - self._members.keys()))
        except Unavailable:
            if not self._members:
                self._close()
            raise
        for name, leg in legs.items():
            member = self._members.get(ids[name])
            if member is None:
                member = Member(
                    id=ids[name], leg_name=name, leg=leg, occupant=occupant, rules=rules[name], hidden=hidden
                )
                self._members[member.id] = member
                self._log.info("joined room", member=member.id)
                self._tell("room_joined", member, members=self._visible)
            elif member.leg is not leg:  # a reloaded page's takes its place
                self.media.leave(member.leg)
                member.leg = leg
            self._apply(member, rules[name])

    def _apply(self, member: Member, rules: Rules) -> None:
        was_muted, member.rules = member.rules.muted, rules
        self.media.join(member.leg, says=rules.says, hears=rules.hears, muted=rules.muted)
        if rules.muted != was_muted:
            self._tell("muted", member, muted=rules.muted)

    @property
    def _visible(self) -> int:
        return sum(not member.hidden for member in self._members.values())

    def leave(self, occupant: Occupant, *, reason: str) -> None:
        """A call goes, with all of its legs. Idempotent."""
        leaving = [member for member in self._members.values() if member.occupant is occupant]
        for member in leaving:
            self._tell("room_left", member, members=self._visible - (not member.hidden), reason=reason)
            del self._members[member.id]  # now, so that it was told of it too
            self.media.leave(member.leg)
            self._log.info("left room", member=member.id, reason=reason)
        if not leaving:
            return
        if not self._members:
            self._left_last = [occupant]
            self._close()
        elif (last := self._only_call()) is not None:
            last.room_dissolved()

    def _only_call(self) -> Occupant | None:
        """The one call whose two sides are all that is left."""
        members = list(self._members.values())
        if len(members) != 2 or members[0].occupant is not members[1].occupant:
            return None
        return members[0].occupant

    def _close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self.recorder.stop()
        self.media.close()
        self._on_empty(self)

    # -- circles

    def take_circle(self) -> int:
        """A circle of one's own, to be given back.

        :raises Unavailable: all are in use.
        """
        for bit in range(CIRCLES):
            if not self._circles & 1 << bit:
                self._circles |= 1 << bit
                return 1 << bit
        raise Unavailable("too many supervisors whisper here", reason="room_full", retry_after_s=RETRY_AFTER_S)

    def give_back_circle(self, circle: int) -> None:
        self._circles &= ~circle

    # -- what clients are told

    def _occupants(self, *, seen_by: Member | None = None) -> list[Occupant]:
        """Each call once; of a hidden member only its own."""
        if seen_by is not None and seen_by.hidden:
            return [seen_by.occupant]
        return list({id(member.occupant): member.occupant for member in self._members.values()}.values())

    def _tell(self, type_: str, member: Member, **data: Any) -> None:
        for occupant in self._occupants(seen_by=member):
            occupant.room_event(
                type_, room=self.name, member=member.id, callId=member.occupant.call_id, leg=member.leg_name, **data
            )

    def _tell_recording(self, type_: str, **data: Any) -> None:
        """Hidden members too. That the file is whole comes after the room: who was there last is told."""
        for occupant in self._occupants() or self._left_last:
            occupant.room_event(type_, room=self.name, **data)

    def _on_talking(self, leg: MediaLeg, talking: bool) -> None:
        for member in self._members.values():
            if member.leg is leg:
                member.talking = talking
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TALKING_INTERVAL_S, self._tell_talking)

    def _tell_talking(self) -> None:
        self._telling = None
        talking = [member.id for member in self._members.values() if member.talking and not member.hidden]
        for occupant in self._occupants():
            occupant.room_talking(self.name, talking)

    # -- recording: the mix on both channels

    def start_recording(self, path: Path, on_event: RecordingListener) -> MediaRecording:
        """Called by the recorder."""
        media = self.media.plane.start_recording(path, rate_hz=self.media.rate_hz, on_event=on_event)
        media.listen_to_room(self.media)
        return media

    def recorded_legs(self) -> Iterable[MediaLeg]:
        """All of them."""
        return [member.leg for member in self._members.values() if not member.leg.closed]

    # -- REST

    def member(self, id_: str, *, with_hidden: bool = True) -> Member:
        """:raises NotFound: `member_not_found`."""
        found = self._members.get(id_)
        if found is None or (found.hidden and not with_hidden):
            raise NotFound("the room has no such member", reason="member_not_found")
        return found

    def has_call_of(self, owner: str) -> bool:
        """Whether a call of this credential is in the room."""
        return any(member.occupant.owner == owner for member in self._members.values())

    def summary(self) -> RoomSummary:
        """An entry of GET /api/rooms."""
        return {
            "room": self.name,
            "members": self._visible,
            "since": utc_text(self.since),
            "rate_hz": self.media.rate_hz,
        }

    def describe(self, *, with_hidden: bool) -> RoomInfo:
        """GET /api/rooms/{room}."""
        levels = self.media.levels
        members = [
            member.describe(levels.get(member.leg.id, -127.0))
            for member in self._members.values()
            if with_hidden or not member.hidden
        ]
        return {**self.summary(), "members": members, "recording": self.recorder.describe()}


class Rooms:
    """All rooms of the process, those with names by name."""

    def __init__(self, config: Config, media: MediaPlane, recordings: RecordingFolder) -> None:
        self._config = config.conference
        self._record_tone = config.media.record_tone
        self._media = media
        self._recordings = recordings
        self._named: dict[str, Room] = {}
        self._private: set[Room] = set()

    def get(self, name: str, *, worker: int, places: int = 1) -> Room:
        """The room of this name, made on that worker if there is none. Whoever gets it enters it.

        :raises Unavailable: `no_room_free`, or `room_full`: it has no such number of places left.
        """
        if (found := self._named.get(name)) is None:
            if places > self._config.max_members:
                raise Unavailable("a room has not so many places", reason="room_full", retry_after_s=RETRY_AFTER_S)
            found = self._named[name] = self._create(name, worker)
        found.check_place(places)
        return found

    def create_private(self, *, worker: int) -> Room:
        """For one call and its supervisors.

        :raises Unavailable: `no_room_free`.
        """
        room = self._create(None, worker)
        self._private.add(room)
        return room

    def _create(self, name: str | None, worker: int) -> Room:
        if len(self._named) + len(self._private) >= self._config.max_rooms:
            raise Unavailable("all rooms are in use", reason="no_room_free", retry_after_s=RETRY_AFTER_S)
        media = self._media.create_room(worker=worker, rate_hz=self._config.rate_hz)
        return Room(
            name,
            media,
            max_members=self._config.max_members,
            recordings=self._recordings,
            record_tone=self._record_tone,
            on_empty=self._forget,
        )

    def _forget(self, room: Room) -> None:
        self._private.discard(room)
        if room.name is not None and self._named.get(room.name) is room:
            del self._named[room.name]

    def find(self, name: str, *, owner: str | None) -> Room:
        """The room, if a call of `owner` is in it; None: whoever is in it.

        :raises NotFound: `room_not_found`.
        """
        room = self._named.get(name)
        if room is None or (owner is not None and not room.has_call_of(owner)):
            raise NotFound("no such room", reason="room_not_found")
        return room

    def visible(self, *, owner: str | None) -> list[Room]:
        """Those that `find` finds, oldest first."""
        return [room for room in self._named.values() if owner is None or room.has_call_of(owner)]
