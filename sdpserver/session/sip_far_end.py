"""The far end that is a SIP call through a trunk, with its RTP leg."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from sdpserver.config import Trunk
from sdpserver.dtmf import DtmfMethod, DtmfOrder, Press, choose_method
from sdpserver.errors import Conflict
from sdpserver.media import LegEvent, MediaLeg
from sdpserver.models.session import SipLeg
from sdpserver.models.webrtc import CallOptions
from sdpserver.sdp import Codec, Direction, audio_codecs, with_comfort_noise, with_telephone_events
from sdpserver.sip import LocalAudio, RemoteAudio, SipCall, SipEndpoint, SipEvent, SipEventType, SrtpKeys
from sdpserver.sip.reasons import STATUS_BY_REASON
from sdpserver.tones import SILENCE
from sdpserver.webrtc import WebRtcLeg

from .dialled_far_end import DialledFarEnd
from .far_end import BROWSER, FAR, CallEnd, FarEndListener, send_tone
from .inbound import FarEndParts
from .info_presses import InfoPresses
from .routing import Destination
from .states import CallState


class SipFarEnd(DialledFarEnd):
    """A SIP call through a trunk, either way. Its RTP leg is on the worker of the browser's leg."""

    def __init__(
        self,
        destination: Destination,
        listener: FarEndListener,
        *,
        options: CallOptions,
        parts: FarEndParts,
        worker: int,
        browser_codecs: Sequence[Codec],
        incoming: SipCall | None = None,
    ) -> None:
        """:param incoming: the call that has come in and rings; None: `dial` makes one."""
        assert parts.sip is not None
        assert destination.trunk is not None
        super().__init__(destination, listener, options=options, parts=parts, country=destination.trunk.tones)
        self._trunk = destination.trunk
        self._config = config = parts.config
        self._sip: SipEndpoint = parts.sip
        self._registration_of = parts.registration_of
        self._may_redirect = parts.may_redirect
        self.replaces: str | None = None
        """The dialog whose place our INVITE is to take (RFC 3891), for a REFER with Replaces."""
        self._call: SipCall | None = incoming
        self._is_incoming = incoming is not None
        self._is_held = False
        self._remote: RemoteAudio | None = None
        self._info_presses = InfoPresses(self._send_info)
        if incoming is not None:
            self.state = CallState.RINGING
            incoming.on_event = self._on_sip_event
        self.rtp = parts.media.create_rtp_leg(worker=worker)
        try:
            self.rtp.on_event = self._on_rtp_event
            self._codecs = offered_codecs(self._trunk.codecs or config.media.codecs, browser_codecs)
            if self._trunk.dtmf == DtmfMethod.RFC4733.value:
                self._codecs = with_telephone_events(self._codecs)
            if config.media.comfort_noise:
                self._codecs = with_comfort_noise(self._codecs)
            if config.media.dtmf_inband_detection or self._trunk.dtmf == DtmfMethod.INBAND.value:
                self.rtp.detect_inband_presses(True)
            self.rtp.set_codecs(self._codecs)
        except BaseException:
            self.rtp.close()
            raise
        self._trace()

    def _trace(self) -> None:
        """The SIP call is in the trace of whoever has it now."""
        if self._call is not None:
            self._sip.traces.add(self.listener.call_id, self._call.call_id)

    async def dial(self) -> None:
        """Send the INVITE, or answer the one that has come in.

        :raises BadRequest: the destination or a header cannot be put into SIP.
        """
        if self._is_incoming and self._call is not None:
            self._cancel_ring_timer()
            self._call.answer(self._local_audio)
            return
        self._start_ring_timer()
        call = await self._sip.invite(
            trunk=self._trunk,
            target=self.destination.user,
            media=self._local_audio,
            from_user=self._options.from_,
            display_name=self._options.display_name,
            headers=self._options.headers,
            registration=self._registration_of(self.listener.owner, self._trunk.name),
            replaces=self.replaces,
            may_redirect=lambda user: self._may_redirect(user, self._trunk),
            trace_as=self.listener.call_id,
            on_event=self._on_sip_event,
        )
        self._call = call
        if self.state is CallState.ENDED:
            call.hangup()  # ended while the INVITE was on its way out

    @property
    def _local_audio(self) -> LocalAudio:
        return LocalAudio(
            ip=self._sip.local_media_ip(self._trunk),
            rtp_port=self.rtp.port,
            codecs=tuple(self._codecs),
            srtp=self._trunk.srtp,
        )

    def ring(self) -> None:
        """Tell the peer that a browser rings; nobody answers within `ring_timeout_s`: 480."""
        if self._call is not None:
            self._call.ring()
        self._start_ring_timer()

    def attach(self, leg: WebRtcLeg) -> None:
        if self.rtp.worker != leg.media.worker:
            self.rtp.move(leg.media.worker)
        self._trace()
        super().attach(leg)

    def _on_sip_event(self, event: SipEvent) -> None:
        if self.state is CallState.ENDED:
            return
        detail = {"sip_status": event.status, "sip_reason": event.sip_reason}
        match event.type:
            case SipEventType.RINGING:
                if self.state is CallState.CALLING:
                    self._progress(CallState.RINGING, None, detail)
            case SipEventType.EARLY_MEDIA:
                if self.state is CallState.EARLY:
                    self._apply(event.media)
                else:
                    self._progress(CallState.EARLY, event.media, detail)
            case SipEventType.ANSWERED:
                self._cancel_ring_timer()
                self._progress(CallState.ANSWERED, event.media, detail)
            case SipEventType.MEDIA_CHANGED:
                self._media_changed(event)
            case SipEventType.TRANSFER:
                self.listener.call_transferring(event.status, event.reason, final=event.final)
            case SipEventType.REFERRED if event.refer is not None:
                self.listener.call_referred(event.refer)
            case SipEventType.REPLACED:
                self._apply(event.media)
                self._connect()
                self.listener.call_replaced()
            case SipEventType.PRESSED if event.press is not None:
                self._pressed(event.press)
            case SipEventType.ENDED:
                self._ended(event.reason, event.sip_reason, event.status)

    def _media_changed(self, event: SipEvent) -> None:
        was = self._remote.direction if self._remote else Direction.SENDRECV
        self._apply(event.media)
        if self.seat is not None:
            self._connect()
        now = self._remote.direction if self._remote else was
        # That we send to nobody because we hold says nothing of the peer; some answer a hold by `inactive`.
        was_held = self._is_held
        if event.by_remote or not self._on_hold:
            self._is_held = not now.sends
        if was_held != self._is_held:
            self.listener.call_held(self._is_held)
        self.listener.call_media_changed({"direction": now.value, "held": self._is_held, "was": was.value})

    def _progress(self, state: CallState, remote: RemoteAudio | None, detail: dict[str, Any]) -> None:
        self._set_state(state)
        self._apply(remote)
        self._connect()
        self.listener.call_progressed(state, detail)

    def _apply(self, remote: RemoteAudio | None) -> None:
        """Follow the far end's SDP."""
        if remote is not None:
            self._apply_srtp(remote.srtp)
            self._remote = remote
            self.rtp.set_codecs(remote.codecs, ptime_ms=remote.ptime_ms)
            learn = self._trunk.rtp_learning == "first_packet"
            self.rtp.set_remote(remote.ip, remote.rtp_port, remote.rtcp_port, learn=learn)
            self.rtp.set_direction(remote.direction)
        if self._remote is not None and self.state is CallState.ANSWERED:
            # A far end that may be silent by its SDP is not dead because it is.
            timeout_s = self._config.session.media_timeout_s if self._remote.direction.receives else 0.0
            self.rtp.set_timeouts(media_timeout_s=timeout_s)

    def _apply_srtp(self, keys: SrtpKeys | None) -> None:
        """Before the peer's address, so that nothing leaves in the clear; not again with the same keys."""
        before = self._remote.srtp if self._remote is not None else None
        if keys is None and before is not None:
            self.rtp.clear_srtp()
        elif keys is not None and keys != before:
            self.rtp.set_srtp(keys.suite, send_key=keys.send_key, receive_key=keys.receive_key)

    @property
    def media_legs(self) -> dict[str, MediaLeg]:
        return {**super().media_legs, FAR: self.rtp}

    @property
    def worker_wanted(self) -> int | None:
        return self.rtp.worker

    def _held_legs(self) -> set[str]:
        return {FAR} if self._remote is not None and not self._remote.direction.sends else set()

    @property
    def can_join_room(self) -> bool:
        return self.state is CallState.ANSWERED and self.leg is not None

    def _connect_two(self) -> None:
        if self.leg is None:
            return
        browser = self.leg.media
        if self._tone is not None:
            send_tone(browser, self._tone)
        elif self.state in (CallState.EARLY, CallState.ANSWERED):
            if FAR in self.muted or self._on_hold:
                send_tone(browser, SILENCE)
            else:
                browser.send_from(self.rtp)
            if self.holds and self._hold_music is not None:
                self.rtp.send_sound(self._hold_music, loop=True)
            elif self.leg.direction.receives and BROWSER not in self.muted and not self._on_hold:
                self.rtp.send_from(browser)
            else:
                # The page is muted, on hold, or only listens. Silence keeps the PBX's RTP timeout and NAT bindings
                # content.
                send_tone(self.rtp, SILENCE)
        elif self.state is CallState.RINGING and not self._is_incoming:
            send_tone(browser, self._tones.ringback)
        else:
            browser.send_from(None)

    def _on_rtp_event(self, event: LegEvent, data: bytes) -> None:
        match event:
            case LegEvent.FIRST_RTP_RECEIVED:
                self.listener.call_step("sip_first_rtp_in")
            case LegEvent.FIRST_RTP_SENT:
                self.listener.call_step("sip_first_rtp_out")
            case LegEvent.DTMF:
                if (press := Press.of_media_plane(data)) is not None:
                    self._pressed(press)
            case LegEvent.FAILED if self.state is not CallState.ENDED:
                self._ended("media_failed", f"the media plane could not carry the call: {data.decode()}", 0)
            case LegEvent.MEDIA_TIMEOUT if self.state is not CallState.ENDED:
                self._ended("media_timeout", f"no RTP or RTCP for {self._config.session.media_timeout_s:g} s", 0)

    # -- hold

    def hold(self, held: bool) -> None:
        """The re-INVITE says `sendonly` (RFC 3264 section 8.4), so that the peer may give music of its own."""
        if self.state is not CallState.ANSWERED or self._call is None:
            raise Conflict("the call is not answered", reason="call_not_answered")
        self._on_hold = held
        self._connect()
        self._call.set_direction(Direction.SENDONLY if held else Direction.SENDRECV)

    # -- transfers

    def is_on(self, trunk: Trunk | None) -> bool:
        """Whether it is a call over this trunk."""
        return trunk is not None and trunk.name == self._trunk.name

    def refer(self, user: str) -> None:
        """Ask the peer to call somebody on its trunk instead."""
        if self._call is not None:
            self._call.refer(user)

    def refer_replacing(self, other: SipFarEnd) -> None:
        """Ask the peer to take the place that we have in another of our calls."""
        if self._call is not None and other._call is not None:
            self._call.refer_replacing(other._call)

    def answer_refer(self, status: int) -> None:
        """Tell the peer how far the call is that it has asked for; from 200 on, for the last time."""
        if self._call is not None:
            self._call.answer_refer(status)

    @property
    def is_held(self) -> bool:
        return self._is_held

    # -- DTMF

    @property
    def _takes_events(self) -> bool:
        return self._remote is not None and any(codec.is_telephone_event for codec in self._remote.codecs)

    def send_dtmf(self, order: DtmfOrder) -> None:
        if self._remote is None or self.state not in (CallState.EARLY, CallState.ANSWERED):
            raise Conflict("the far end has neither answered nor early media", reason="call_not_answered")
        method = choose_method(
            order.method, DtmfMethod(self._trunk.dtmf), has_telephone_event=self._takes_events, can_info=True
        )
        if method is DtmfMethod.INFO:
            self._info_presses.queue(order.digits, duration_ms=order.duration_ms, gap_ms=order.gap_ms)
        elif not self._remote.direction.sends:
            raise Conflict("the far end has the call on hold", reason="on_hold")
        else:
            in_band = method is DtmfMethod.INBAND
            self.rtp.press(order.digits, duration_ms=order.duration_ms, gap_ms=order.gap_ms, in_band=in_band)

    def _send_info(self, digit: str, duration_ms: int) -> None:
        if self._call is not None:
            self._call.press(digit, duration_ms)

    def browser_pressed(self, press: Press) -> None:
        """Event packets go on to a far end that takes events, and tones are in the audio; others are told here."""
        if press.method is DtmfMethod.RFC4733 and not self._takes_events:
            with contextlib.suppress(Conflict, OverflowError):  # nobody waits for it: not answered yet, or on hold
                self.send_dtmf(DtmfOrder(digits=press.digit, duration_ms=press.sendable_ms))

    def _pressed(self, press: Press) -> None:
        """The same the other way round."""
        self.listener.call_pressed(press)
        if self.leg is None or press.method is DtmfMethod.INBAND:
            return
        if press.method is DtmfMethod.INFO or not self.leg.takes_events:
            with contextlib.suppress(Conflict, OverflowError):
                self.leg.press(press.digit, duration_ms=press.sendable_ms)

    def _no_answer(self) -> None:
        if self.state is CallState.CALLING:  # an incoming call rings from the start
            reason, text = "sip_timeout", "the trunk did not answer the INVITE"
        else:
            reason, text = "no_answer", "the far end did not answer"
        self._ended(reason, f"{text} within {self._options.ring_timeout_s:g} s", 0)

    def _ended(self, reason: str, text: str, status: int) -> None:
        was_answered = self.state is CallState.ANSWERED
        self.hangup(reason)
        self.listener.call_ended(
            CallEnd(
                reason=reason,
                text=text or reason,
                sip_status=status,
                sip_reason=text if status else "",
                was_answered=was_answered,
            )
        )

    def hangup(self, reason: str) -> None:
        self.leave_room(reason, reconnect=False)
        self._cancel_ring_timer()
        self._info_presses.close()
        if self.state is not CallState.ENDED:
            refused = self._is_incoming and self.state is CallState.RINGING
            self._set_state(CallState.ENDED)
            if self._call is not None:
                self._call.hangup(reason=reason, status=STATUS_BY_REASON.get(reason, 0) if refused else 0)

    @property
    def media(self) -> MediaLeg | None:
        return None if self.rtp.closed else self.rtp

    @property
    def sip_call_id(self) -> str | None:
        return self._call.sip_call_id if self._call else None

    def close(self) -> None:
        super().close()
        self.rtp.close()

    def describe(self) -> SipLeg:
        remote = self._remote
        return {
            "trunk": self._trunk.name,
            "on_hold": self._on_hold,
            "sip_call_id": self.sip_call_id,
            "local_port": self.rtp.port,
            "remote": f"{remote.ip} {remote.rtp_port}" if remote else None,
            "direction": remote.direction.value if remote else None,
            "codecs": [codec.rtpmap for codec in (remote.codecs if remote else self._codecs)],
            "srtp": remote.srtp.suite if remote and remote.srtp else None,
            **self.rtp.describe(),
        }


def offered_codecs(names: Sequence[str], browser: Sequence[Codec]) -> list[Codec]:
    """What the INVITE offers: the trunk's codecs, those that the browser's leg speaks first, in its order.

    A far end that takes the first codec that it knows then makes the call a relay.
    """
    ranks = {codec.name: rank for rank, codec in reversed(list(enumerate(browser)))}
    return sorted(audio_codecs(names), key=lambda codec: ranks.get(codec.name, len(browser)))
