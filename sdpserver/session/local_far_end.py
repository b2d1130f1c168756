"""The far end that is another browser of this server: a call from a session to a DN, without any PBX.

Both sessions have one, each the other's peer. The caller's has the DN ring; the callee's `dial` is its answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdpserver.dtmf import DtmfMethod, DtmfOrder, Press
from sdpserver.errors import Conflict
from sdpserver.media import MediaLeg
from sdpserver.models.webrtc import CallOptions
from sdpserver.sip.address import check_headers
from sdpserver.sip.reasons import STATUS_BY_REASON
from sdpserver.tones import SILENCE
from sdpserver.webrtc import WebRtcLeg

from .dialled_far_end import DialledFarEnd
from .far_end import BROWSER, FAR, CallEnd, FarEndListener, send_tone
from .inbound import Caller, FarEndParts, Ringer
from .rooms import EVERYBODY, Rules
from .routing import Destination
from .states import CallState

if TYPE_CHECKING:
    from .session import Session


class LocalFarEnd(DialledFarEnd):
    """One side of a call between two sessions: what its browser talks to is the browser of `peer`'s session."""

    def __init__(
        self,
        destination: Destination,
        listener: FarEndListener,
        *,
        options: CallOptions,
        parts: FarEndParts,
        ring: Ringer | None = None,
    ) -> None:
        """:param ring: of a caller; None: this is the callee's side, which rings."""
        super().__init__(destination, listener, options=options, parts=parts)
        self.peer: LocalFarEnd | None = None
        self.state = CallState.CALLING if ring is not None else CallState.RINGING
        self._ring = ring

    # -- the call's life

    async def dial(self) -> None:
        """Of the caller: have the DN ring. Of the callee: answer.

        :raises SdpServerError: the DN cannot be called.
        :raises BadRequest: `bad_header`.
        """
        if self._ring is not None:
            self._start_ring_timer()
            session = self._ring(self.destination.dn, self._caller, self._create_peer)
            assert isinstance(session.far_end, LocalFarEnd)
            self.ring_peer(session.far_end)
        elif self.peer is not None:
            self.peer.answered()
            self.answered()

    @property
    def _caller(self) -> Caller:
        options = self._options
        return Caller(
            number=options.from_ or "anonymous",
            display_name=options.display_name or "",
            headers=tuple(check_headers(options.headers)),
        )

    @staticmethod
    def _create_peer(session: Session, parts: FarEndParts) -> LocalFarEnd:
        return LocalFarEnd(session.destination, session, options=session.options, parts=parts)

    def ring_peer(self, peer: LocalFarEnd) -> None:
        """The callee's side is there, and rings."""
        self.peer, peer.peer = peer, self
        self._progress(CallState.RINGING)

    def connect_to(self, peer: LocalFarEnd) -> None:
        """Both have answered elsewhere, and talk to each other from now on."""
        self.peer, peer.peer = peer, self
        self.state = peer.state = CallState.ANSWERED
        self._connect()
        peer._connect()

    def answered(self) -> None:
        """By the callee."""
        self._cancel_ring_timer()
        if self.state is not CallState.ENDED:
            self._progress(CallState.ANSWERED)

    def _progress(self, state: CallState) -> None:
        self._set_state(state)
        self._connect()
        self.listener.call_progressed(state, {})

    def _no_answer(self) -> None:
        self._end("no_answer", f"nobody answered within {self._options.ring_timeout_s:g} s")

    def _end(self, reason: str, text: str) -> None:
        was_answered = self.state is CallState.ANSWERED
        refused = self._ring is not None and not was_answered
        self.hangup(reason)
        status = STATUS_BY_REASON.get(reason, 0) if refused else 0  # as a caller by SIP would be told
        self.listener.call_ended(CallEnd(reason=reason, text=text, sip_status=status, was_answered=was_answered))

    def hangup(self, reason: str) -> None:
        self._cancel_ring_timer()
        was = self.state
        super().hangup(reason)
        peer, self.peer = self.peer, None
        if peer is not None and was is not CallState.ENDED:
            peer.peer_hung_up(reason if was is not CallState.CALLING else "cancelled")

    def peer_hung_up(self, reason: str) -> None:
        """The other side has ended the call."""
        self.peer = None
        if self.state is CallState.ENDED:
            return
        if self._ring is None and self.state is CallState.RINGING and reason == "normal_clearing":
            reason = "cancelled"
        self._end(reason, "the other side ended the call")

    def release(self) -> LocalFarEnd | None:
        """Be no part of the call any more, without a word to the peer, which is returned."""
        peer, self.peer = self.peer, None
        self._cancel_ring_timer()
        self.state = CallState.ENDED
        self.leave_room("transferred", reconnect=False)
        return peer

    # -- who hears what

    def attach(self, leg: WebRtcLeg) -> None:
        super().attach(leg)
        if self.peer is not None:
            self.peer._connect()

    def _connect(self) -> None:
        if self.peer is not None and self.peer.seat is not None:
            self.peer.seat_again()  # the room has both sides
        else:
            self.seat_again()

    def seat_again(self) -> None:
        """A leg of the call has changed, maybe while it is in a room."""
        if self.seat is not None and self.peer is not None:
            rules = self.seat.rules.get(FAR, Rules())
            self.seat.rules[FAR] = replace(rules, hears=0 if self.peer.on_hold else EVERYBODY)
        super()._connect()

    def _held_legs(self) -> set[str]:
        """The other side's commands count in a room too."""
        peer = self.peer
        return {FAR} if peer is not None and (peer.holds or BROWSER in peer.muted) else set()

    def _connect_two(self) -> None:
        if self.leg is None:
            return
        browser = self.leg.media
        if self._tone is not None:
            send_tone(browser, self._tone)
        elif self.state is CallState.RINGING and self._ring is not None:
            send_tone(browser, self._tones.ringback)
        elif self.state is CallState.ANSWERED and self.peer is not None:
            self._hear(self.peer)
        else:
            browser.send_from(None)

    def _hear(self, peer: LocalFarEnd) -> None:
        assert self.leg is not None
        browser = self.leg.media
        if not self._on_hold and peer.holds and self._hold_music is not None:
            browser.send_sound(self._hold_music, loop=True)
        elif self._on_hold or peer.holds or FAR in self.muted or BROWSER in peer.muted or peer.leg is None:
            send_tone(browser, SILENCE)
        else:
            browser.send_from(peer.leg.media)

    def hold(self, held: bool) -> None:
        if self.state is not CallState.ANSWERED or self.peer is None:
            raise Conflict("the call is not answered", reason="call_not_answered")
        was = self.holds
        self._on_hold = held
        self._connect()
        self.peer._connect()
        if was != self.holds:
            self.peer.listener.call_held(self.holds)

    @property
    def is_held(self) -> bool:
        return self.peer is not None and self.peer.holds

    def mute(self, leg_name: str, muted: bool) -> None:
        super().mute(leg_name, muted)
        if self.peer is not None:
            self.peer._connect()

    # -- rooms

    @property
    def media_legs(self) -> dict[str, MediaLeg]:
        legs = super().media_legs
        if self.peer is not None and self.peer.leg is not None:
            legs[FAR] = self.peer.leg.media
        return legs

    @property
    def in_room(self) -> bool:
        """One of the two has the seat, for both."""
        return self.seat is not None or (self.peer is not None and self.peer.seat is not None)

    @property
    def can_join_room(self) -> bool:
        peer = self.peer
        return self.state is CallState.ANSWERED and peer is not None and peer.leg is not None and peer.seat is None

    def leave_room(self, reason: str, *, reconnect: bool = True) -> None:
        had = self.seat is not None
        super().leave_room(reason, reconnect=reconnect)
        if had and self.peer is not None:
            self.peer._connect()

    @property
    def heard(self) -> MediaLeg | None:
        peer = self.peer
        return None if peer is None or peer.leg is None or peer.leg.media.closed else peer.leg.media

    # -- DTMF

    def send_dtmf(self, order: DtmfOrder) -> None:
        """Events or tones, and a word to its client, since browsers do not tell what they hear."""
        peer = self.peer
        if peer is None or peer.leg is None or self.state is not CallState.ANSWERED:
            raise Conflict("the other side has not answered", reason="call_not_answered")
        peer.leg.press(order.digits, duration_ms=order.duration_ms, gap_ms=order.gap_ms, method=order.method)
        method = order.method or (DtmfMethod.RFC4733 if peer.leg.takes_events else DtmfMethod.INBAND)
        for digit in order.digits:
            peer.listener.call_pressed(Press(digit=digit, duration_ms=order.duration_ms, method=method))

    def browser_pressed(self, press: Press) -> None:
        """Its event packets are relayed to a browser that takes events; both sides are told of the press."""
        if self.peer is not None:
            self.peer.listener.call_pressed(press)
