"""The far end of a session: one that is built in, or a SIP call with its RTP leg.

A far end knows what the browser should hear at each moment of the call. The session tells it which leg is the browser's
(`attach`), and is told of progress by `FarEndListener`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from sdpserver.dtmf import DtmfOrder, Press
from sdpserver.errors import Conflict, PeerError, SipRefused, SipTimeout, Unavailable
from sdpserver.media import MediaLeg
from sdpserver.models.session import SipLeg
from sdpserver.sip import Refer, http_status
from sdpserver.tones import SILENCE, TEST_TONE, Tone
from sdpserver.webrtc import WebRtcLeg

from .rooms import Occupant, Rooms, Rules, Seat
from .routing import BuiltIn, Destination
from .states import CallState

BROWSER, FAR = "webrtc", "sip"
"""The two legs of a call, as clients name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """Why a call ended. `sip_status` 0: no SIP response said so."""

    reason: str
    text: str
    sip_status: int = 0
    sip_reason: str = ""
    was_answered: bool = False

    def error(self, uri: str, session_id: str) -> PeerError:
        """What whoever waits for the call to `uri` is told."""
        text = f"{uri}: {self.text}"
        if http_status(self.reason) == SipTimeout.status or not self.sip_status:
            return SipTimeout(text, reason=self.reason, session_id=session_id)
        return SipRefused(
            text, reason=self.reason, sip_status=self.sip_status, sip_reason=self.sip_reason, session_id=session_id
        )


class FarEndListener(Occupant, Protocol):
    """The session, as its far end sees it."""

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None: ...
    def call_media_changed(self, detail: dict[str, Any]) -> None: ...
    def call_held(self, held: bool) -> None: ...
    def call_ended(self, end: CallEnd) -> None: ...
    def call_transferring(self, status: int, reason: str, *, final: bool) -> None: ...
    def call_referred(self, refer: Refer) -> None: ...
    def call_replaced(self) -> None: ...
    def call_step(self, name: str) -> None: ...
    def call_pressed(self, press: Press) -> None: ...


class FarEnd(ABC):
    """What the browser talks to."""

    can_supervise = False
    """Its browser may listen to another call instead."""
    failure_is_heard = False
    """`play_end` lets the browser hear it."""

    def __init__(self, destination: Destination, listener: FarEndListener) -> None:
        self.destination = destination
        self.listener = listener
        """The session that it is of now; another one's after a transfer."""
        self.leg: WebRtcLeg | None = None
        self.state = CallState.CALLING
        self.muted: set[str] = set()
        self.seat: Seat | None = None
        """In the room that the call's legs are in instead of being connected to each other."""

    def attach(self, leg: WebRtcLeg) -> None:
        """Connect the browser's leg, also one that takes the place of an earlier leg or has a new direction."""
        self.leg = leg
        self._connect()

    def _connect(self) -> None:
        """Set what each leg sends, as the call's state and its room have it."""
        if self.seat is not None:
            self.seat.place(self.media_legs, self.muted | self._held_legs())
        else:
            self._connect_two()

    @abstractmethod
    def _connect_two(self) -> None:
        """The browser and the far end hear each other."""

    @property
    def media_legs(self) -> dict[str, MediaLeg]:
        """Those that are in a room when the call is, by their names."""
        return {} if self.leg is None else {BROWSER: self.leg.media}

    def _held_legs(self) -> set[str]:
        """Those whose peer sends music on hold, which a room must not hear."""
        return set()

    @property
    def worker(self) -> int:
        """Where its legs are in the media plane."""
        return 0 if self.leg is None else self.leg.media.worker

    @property
    def worker_wanted(self) -> int | None:
        """Where a browser's leg had best be; None: anywhere."""
        return None

    @property
    def in_room(self) -> bool:
        """Its two sides are connected by a room."""
        return self.seat is not None

    @property
    def can_join_room(self) -> bool:
        """It is a call of two that can become part of a larger one."""
        return False

    def enter(self, seat: Seat) -> None:
        """Sit in a room from now on, instead of in the one before.

        :raises Unavailable: `room_full`; the call is then as it was.
        """
        before, self.seat = self.seat, seat
        try:
            self._connect()
        except Unavailable:
            self.seat = before
            raise
        if before is not None:
            before.leave("moved")

    def leave_room(self, reason: str, *, reconnect: bool = True) -> None:
        """Be a call of two again. Idempotent."""
        seat, self.seat = self.seat, None
        if seat is None:
            return
        if reconnect:
            self._connect()
        seat.leave(reason)

    def set_rules(self, leg_name: str, rules: Rules) -> None:
        """Who hears this leg in the room, and whom it hears."""
        if self.seat is not None:
            self.seat.rules[leg_name] = rules
            self._connect()

    def mute(self, leg_name: str, muted: bool) -> None:
        """What comes from this leg is heard by nobody."""
        if muted:
            self.muted.add(leg_name)
        else:
            self.muted.discard(leg_name)
        self._connect()

    @abstractmethod
    async def dial(self) -> None:
        """Reach the far end; progress goes to the listener."""

    def hold(self, held: bool) -> None:
        """The browser's side has the call on hold: the far end hears music, or silence, and is not heard.

        :raises Conflict: a built-in far end has nobody who could wait.
        """
        raise Conflict("there is nobody to put on hold", reason="cannot_hold")

    @property
    def on_hold(self) -> bool:
        """By the browser's side; whether the far end holds as well is another matter."""
        return False

    @property
    def is_held(self) -> bool:
        """By the far end."""
        return False

    def play_end(self, reason: str) -> None:
        """Let the browser hear that the call failed."""
        self._connect()

    def hangup(self, reason: str) -> None:
        """End the call. Idempotent."""
        self.state = CallState.ENDED
        self.leave_room(reason, reconnect=False)

    def close(self) -> None:
        """Free everything. Idempotent."""
        self.hangup("normal_clearing")
        self.leg = None

    def send_dtmf(self, order: DtmfOrder) -> None:
        """Press keys toward the far end.

        :raises Conflict: it cannot be told of them now.
        :raises OverflowError: too many would wait.
        """
        raise Conflict("the call has no SIP leg", reason="no_sip_leg")

    def browser_pressed(self, press: Press) -> None:
        """The browser has pressed a key; tell a far end that does not get the browser's own packets."""
        return  # a built-in one needs none

    def describe(self) -> SipLeg | None:
        """The `sip` member of a session's JSON."""
        return None

    @property
    def sip_call_id(self) -> str | None:
        """The dialog's Call-ID; None: there is no dialog."""
        return None

    @property
    def media(self) -> MediaLeg | None:
        """Its own leg, if it has one."""
        return None

    @property
    def heard(self) -> MediaLeg | None:
        """The leg that its voice comes from, whosever it is; None: it has none."""
        return self.media


class BuiltInFarEnd(FarEnd):
    """Echo, tone or silence, made by the media plane itself; answered at once."""

    can_supervise = True

    async def dial(self) -> None:
        self.state = CallState.ANSWERED
        self.listener.call_progressed(self.state, {})

    def _connect_two(self) -> None:
        if self.leg is None:
            return
        match self.destination.built_in:
            case BuiltIn.ECHO if BROWSER not in self.muted:
                self.leg.media.send_from(self.leg.media)
            case BuiltIn.TONE:
                send_tone(self.leg.media, TEST_TONE)
            case _:
                send_tone(self.leg.media, SILENCE)


class ConferenceFarEnd(FarEnd):
    """A room by name; answered at once."""

    def __init__(self, destination: Destination, listener: FarEndListener, rooms: Rooms) -> None:
        super().__init__(destination, listener)
        self._rooms = rooms

    async def dial(self) -> None:
        """Enter the room.

        :raises Unavailable: no room, or no place in it.
        """
        assert self.destination.room is not None
        self.enter(Seat(self._rooms.get(self.destination.room, worker=self.worker), self.listener))
        self.state = CallState.ANSWERED
        self.listener.call_progressed(self.state, {})

    def _connect_two(self) -> None:
        if self.leg is not None:
            self.leg.media.send_from(None)


def send_tone(leg: MediaLeg, tone: Tone) -> None:
    leg.send_tone(tone.frequencies_hz, tone.cadence_ms, tone.modulation_hz)
