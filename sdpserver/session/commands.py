"""What a client does to its call: hold, mute, keys, sounds, recording, transfers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from sdpserver._media import Sound
from sdpserver.dtmf import DtmfOrder, LegName, Press
from sdpserver.errors import Conflict
from sdpserver.events import EventLog
from sdpserver.models.session import CallDirection, LiveCall, SessionCall
from sdpserver.models.webrtc import CallOptions
from sdpserver.timestamps import utc_text
from sdpserver.webrtc import WebRtcLeg

from .call_audio import CallAudio
from .far_end import BROWSER, FAR, CallEnd, FarEnd
from .inbound import Caller, dn_of
from .recorder import Recording
from .routing import Destination
from .states import CallState, SessionStates
from .transfer import Transfer


class Commands:
    """A session's, which is made of this and its life."""

    id: str
    call_id: str
    owner: str
    created_at: datetime
    events: EventLog
    audio: CallAudio
    destination: Destination
    options: CallOptions
    caller: Caller | None
    transfer: Transfer | None
    _group: asyncio.TaskGroup | None
    _states: SessionStates
    _far_end: FarEnd | None
    _log: Any

    @property
    def _leg(self) -> WebRtcLeg | None:
        raise NotImplementedError

    def _closed_error(self) -> Conflict:
        return Conflict("the session was closed", reason="session_closed", session_id=self.id)

    @property
    def direction(self) -> CallDirection:
        """Of the call, seen from its browser."""
        return "inbound" if self.caller is not None else "outbound"

    @property
    def call_state(self) -> str:
        """How far the call has got, whatever its browser does."""
        return self._states.call.value

    @property
    def on_hold(self) -> bool:
        """By its own side."""
        return self._far_end is not None and self._far_end.on_hold

    @property
    def is_muted(self) -> bool:
        """Its browser's side is heard by nobody."""
        return self._far_end is not None and BROWSER in self._far_end.muted

    @property
    def answer_sdp(self) -> str:
        """Our SDP of the browser's leg."""
        return self._leg.answer if self._leg is not None else ""

    def describe_call(self) -> LiveCall:
        """An entry of GET /api/calls/active."""
        inbound = self.caller is not None
        mine = dn_of(self.owner)
        remote = self.caller.number if self.caller is not None else self.destination.uri
        return {
            "callId": self.call_id,
            "sessionId": self.id,
            "dn": mine,
            "direction": self.direction,
            "from": remote if inbound else self.options.from_,
            "to": mine if inbound else remote,
            "state": self.call_state,
            "since": utc_text(self.created_at),
            "held": self.on_hold,
            "muted": self.is_muted,
        }

    def _describe_far_side(self, end: CallEnd | None) -> SessionCall:
        """The member `call` of a session's JSON."""
        return {
            "call_id": self.call_id,
            "to": self.destination.uri,
            "from": self.caller.number if self.caller else self.options.from_,
            "direction": self.direction,
            "state": self._states.call.value,
            "on_hold": self.on_hold,
            "held_by_remote": self._far_end is not None and self._far_end.is_held,
            "muted": self.is_muted,
            "reason": end.reason if end else None,
            "sip_status": end.sip_status if end else None,
        }

    def hold(self, held: bool) -> None:
        """Put the far end on hold, or take it back. Nothing if it is so already.

        :raises Conflict: `call_not_answered`, `cannot_hold`, `in_a_conference`.
        """
        self._check_answered()
        far_end = self._far_end
        if far_end is None:
            raise self._closed_error()
        if far_end.on_hold == held:
            return
        if far_end.seat is not None:
            raise Conflict("the call is in a conference", reason="in_a_conference", session_id=self.id)
        far_end.hold(held)
        self.events.emit("hold", held=held, by="local")

    def mute(self, leg_name: str, muted: bool) -> None:
        """What comes from this leg is heard by nobody; its peer is not told.

        :raises Conflict: `no_such_leg`.
        """
        far_end = self._far_end
        if far_end is None or leg_name not in far_end.media_legs:
            raise Conflict(f"the call has no leg {leg_name!r}", reason="no_such_leg", session_id=self.id)
        if (leg_name in far_end.muted) == muted:
            return
        far_end.mute(leg_name, muted)
        if far_end.seat is None:  # else the room has told it
            self.events.emit("muted", leg=leg_name, muted=muted)

    def send_dtmf(self, order: DtmfOrder) -> None:
        """Press keys toward the far end or the browser, after those that are being pressed.

        :raises Conflict: the leg cannot send them now; `reason` says why.
        """
        if self._leg is None or self._far_end is None:
            raise self._closed_error()
        try:
            if order.leg == "sip":
                self._far_end.send_dtmf(order)
            else:
                self._leg.press(order.digits, duration_ms=order.duration_ms, gap_ms=order.gap_ms, method=order.method)
        except OverflowError as exc:
            raise Conflict("too many presses wait to be sent", reason="too_many_presses", session_id=self.id) from exc
        except Conflict as exc:
            exc.session_id = self.id
            raise
        self._log.info("dtmf sent", leg=order.leg, digits=len(order.digits))

    def call_pressed(self, press: Press) -> None:
        self._pressed(press, "sip")

    def _pressed(self, press: Press, leg: LegName) -> None:
        self.events.emit("dtmf", digit=press.digit, duration_ms=press.duration_ms, leg=leg, method=press.method.value)

    def play(self, legs: tuple[str, ...], file: str, sound: Sound, *, loop: bool) -> None:
        """Have these legs hear a sound instead of the call.

        :raises Conflict: `call_not_answered`: the far end is not there yet; `no_such_leg`: it has no leg.
        """
        if FAR in legs:
            self._check_answered()
        self.audio.play(legs, file, sound, loop=loop)

    def record(self, *, record: bool, pause: bool | None, tone: bool | None) -> Recording:
        """Begin, pause, resume or stop the recording of an answered call.

        :raises Conflict: `call_not_answered`, `not_recording`.
        """
        self._check_answered()
        return self.audio.recorder.order(record=record, pause=pause, tone=tone)

    def _check_answered(self) -> None:
        if self._states.call is not CallState.ANSWERED:
            raise Conflict("the call is not answered", reason="call_not_answered", session_id=self.id)

    # -- transfers

    def begin_transfer(self, transfer: Transfer) -> None:
        self.transfer = transfer

    def end_transfer(self) -> None:
        self.transfer = None

    def call_transferring(self, status: int, reason: str, *, final: bool) -> None:
        if self.transfer is not None:
            self.transfer.sip_progressed(status, final=final, reason=reason)

    def call_replaced(self) -> None:
        self.events.emit("transfer", state="replaced", sipStatus=0)

    @property
    def remote_party(self) -> Caller:
        """Whom the browser talks to, as a third one is told."""
        return self.caller or Caller(number=self.destination.user or self.destination.uri)

    def give_far_end(self) -> FarEnd:
        """The far end goes to another session; nothing is left here but to close."""
        far_end, self._far_end = self._far_end, None
        if far_end is None:
            raise self._closed_error()
        return far_end

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A task that ends with the session."""
        if self._group is None:
            work.close()
            raise self._closed_error()
        self._group.create_task(work, name=f"transfer {self.id}")
