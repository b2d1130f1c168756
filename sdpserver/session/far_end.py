"""The far end of a session: one that is built in, or a SIP call with its RTP leg.

A far end knows what the browser should hear at each moment of the call. The session tells it which leg is the browser's
(`attach`), and is told of progress by `FarEndListener`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from sdpserver.config import Config
from sdpserver.errors import SdpServerError
from sdpserver.media import LegEvent, MediaLeg, MediaPlane
from sdpserver.messages import CallOptions
from sdpserver.sdp import Codec, Direction, audio_codecs, with_telephone_events
from sdpserver.sip import LocalAudio, RemoteAudio, SipCall, SipEndpoint, SipEvent, SipEventType
from sdpserver.webrtc import WebRtcLeg

from .routing import BuiltIn, Destination
from .states import CallState, check_transition
from .tones import RINGBACK, SILENCE, TEST_TONE, Tone, tone_for

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """Why a call ended. `sip_status` 0: no SIP response said so."""

    reason: str
    text: str
    sip_status: int = 0
    sip_reason: str = ""
    was_answered: bool = False


class FarEndListener(Protocol):
    """The session, as its far end sees it."""

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None: ...
    def call_media_changed(self, detail: dict[str, Any]) -> None: ...
    def call_ended(self, end: CallEnd) -> None: ...
    def call_step(self, name: str) -> None: ...


class FarEnd(ABC):
    """What the browser talks to."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.leg: WebRtcLeg | None = None
        self.state = CallState.CALLING

    def attach(self, leg: WebRtcLeg) -> None:
        """Connect the browser's leg, also one that takes the place of an earlier leg or has a new direction."""
        self.leg = leg
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Set what each leg sends, as the call's state has it."""

    @abstractmethod
    async def dial(self) -> None:
        """Reach the far end; progress goes to the listener."""

    @abstractmethod
    def hangup(self, reason: str) -> None:
        """End the call. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Free ports. Idempotent."""

    def describe(self) -> dict[str, Any] | None:
        """The `sip` member of a session's JSON."""
        return None


class BuiltInFarEnd(FarEnd):
    """Echo, tone or silence, made by the media plane itself; answered at once."""

    def __init__(self, destination: Destination, listener: FarEndListener) -> None:
        super().__init__(destination)
        self._listener = listener

    async def dial(self) -> None:
        self.state = CallState.ANSWERED
        self._listener.call_progressed(self.state, {})

    def _connect(self) -> None:
        if self.leg is None:
            return
        match self.destination.built_in:
            case BuiltIn.ECHO:
                self.leg.media.send_from(self.leg.media)
            case BuiltIn.TONE:
                send_tone(self.leg.media, TEST_TONE)
            case _:
                send_tone(self.leg.media, SILENCE)

    def hangup(self, reason: str) -> None:
        self.state = CallState.ENDED

    def close(self) -> None:
        self.leg = None


class SipFarEnd(FarEnd):
    """A SIP call through a trunk. Its RTP leg is on the worker of the browser's leg."""

    def __init__(
        self,
        destination: Destination,
        listener: FarEndListener,
        *,
        config: Config,
        options: CallOptions,
        media: MediaPlane,
        sip: SipEndpoint,
        leg: WebRtcLeg,
    ) -> None:
        super().__init__(destination)
        assert destination.trunk is not None
        self._trunk = destination.trunk
        self._listener = listener
        self._config = config
        self._options = options
        self._sip = sip
        self._call: SipCall | None = None
        self._remote: RemoteAudio | None = None
        self._ring_timer: asyncio.TimerHandle | None = None
        self._tone: Tone | None = None
        self.rtp = media.create_rtp_leg(worker=leg.media.worker)
        try:
            self.rtp.on_event = self._on_rtp_event
            self._codecs = offered_codecs(self._trunk.codecs or config.media.codecs, leg.codecs)
            self.rtp.set_codecs(self._codecs)
        except BaseException:
            self.rtp.close()
            raise

    async def dial(self) -> None:
        """Send the INVITE.

        :raises BadRequest: the destination or a header cannot be put into SIP.
        """
        self._ring_timer = asyncio.get_running_loop().call_later(self._options.ring_timeout_s, self._no_answer)
        call = await self._sip.invite(
            trunk=self._trunk,
            target=self.destination.user,
            media=LocalAudio(
                ip=self._sip.local_media_ip(self._trunk), rtp_port=self.rtp.port, codecs=tuple(self._codecs)
            ),
            from_user=self._options.from_,
            display_name=self._options.display_name,
            headers=self._options.headers,
            on_event=self._on_sip_event,
        )
        self._call = call
        if self.state is CallState.ENDED:
            call.hangup()  # ended while the INVITE was on its way out

    def _set_state(self, state: CallState) -> None:
        check_transition(self.state, state)
        self.state = state

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
                was = self._remote.direction if self._remote else Direction.SENDRECV
                self._apply(event.media)
                now = self._remote.direction if self._remote else was
                self._listener.call_media_changed({"direction": now.value, "held": not now.sends, "was": was.value})
            case SipEventType.ENDED:
                self._ended(event.reason, event.sip_reason, event.status)

    def _progress(self, state: CallState, remote: RemoteAudio | None, detail: dict[str, Any]) -> None:
        self._set_state(state)
        self._apply(remote)
        self._connect()
        self._listener.call_progressed(state, detail)

    def _apply(self, remote: RemoteAudio | None) -> None:
        """Follow the far end's SDP."""
        if remote is not None:
            self._remote = remote
            self.rtp.set_codecs(remote.codecs, ptime_ms=remote.ptime_ms)
            learn = self._trunk.rtp_learning == "first_packet"
            self.rtp.set_remote(remote.ip, remote.rtp_port, remote.rtcp_port, learn=learn)
            self.rtp.set_direction(remote.direction)
        if self._remote is not None and self.state is CallState.ANSWERED:
            # A far end that may be silent by its SDP is not dead because it is.
            timeout_s = self._config.session.media_timeout_s if self._remote.direction.receives else 0.0
            self.rtp.set_timeouts(media_timeout_s=timeout_s)

    def _connect(self) -> None:
        if self.leg is None:
            return
        browser = self.leg.media
        if self._tone is not None:
            send_tone(browser, self._tone)
        elif self.state in (CallState.EARLY, CallState.ANSWERED):
            browser.send_from(self.rtp)
            if self.leg.direction.receives:
                self.rtp.send_from(browser)
            else:
                # The page is on hold or only listens. Silence keeps the PBX's own RTP timeout and NAT bindings content.
                send_tone(self.rtp, SILENCE)
        elif self.state is CallState.RINGING:
            send_tone(browser, RINGBACK)
        else:
            browser.send_from(None)

    def play_end(self, reason: str) -> None:
        """Let the browser hear that the call failed."""
        self._tone = tone_for(reason)
        self._connect()

    def _on_rtp_event(self, event: LegEvent, data: bytes) -> None:
        match event:
            case LegEvent.FIRST_RTP_RECEIVED:
                self._listener.call_step("sip_first_rtp_in")
            case LegEvent.FIRST_RTP_SENT:
                self._listener.call_step("sip_first_rtp_out")
            case LegEvent.FAILED if self.state is not CallState.ENDED:
                self._ended("media_failed", f"the media plane could not carry the call: {data.decode()}", 0)
            case LegEvent.MEDIA_TIMEOUT if self.state is not CallState.ENDED:
                self._ended("media_timeout", f"no RTP or RTCP for {self._config.session.media_timeout_s:g} s", 0)

    def _no_answer(self) -> None:
        if self.state is CallState.CALLING:
            reason, text = "sip_timeout", "the trunk did not answer the INVITE"
        else:
            reason, text = "no_answer", "the far end did not answer"
        self._ended(reason, f"{text} within {self._options.ring_timeout_s:g} s", 0)

    def _ended(self, reason: str, text: str, status: int) -> None:
        was_answered = self.state is CallState.ANSWERED
        self.hangup(reason)
        self._listener.call_ended(
            CallEnd(
                reason=reason,
                text=text or reason,
                sip_status=status,
                sip_reason=text if status else "",
                was_answered=was_answered,
            )
        )

    def _cancel_ring_timer(self) -> None:
        if self._ring_timer is not None:
            self._ring_timer.cancel()
            self._ring_timer = None

    def hangup(self, reason: str) -> None:
        self._cancel_ring_timer()
        if self.state is not CallState.ENDED:
            self._set_state(CallState.ENDED)
            if self._call is not None:
                self._call.hangup(reason=reason)

    def close(self) -> None:
        self.hangup("normal_clearing")
        self.rtp.close()
        self.leg = None

    def describe(self) -> dict[str, Any]:
        remote = self._remote
        return {
            "trunk": self._trunk.name,
            "sip_call_id": self._call.call_id if self._call else None,
            "local_port": self.rtp.port,
            "remote": f"{remote.ip} {remote.rtp_port}" if remote else None,
            "direction": remote.direction.value if remote else None,
            "codecs": [codec.rtpmap for codec in (remote.codecs if remote else self._codecs)],
            "media": None if self.rtp.closed else dict(self.rtp.stats),
        }


def send_tone(leg: MediaLeg, tone: Tone) -> None:
    leg.send_tone(tone.frequencies_hz, tone.cadence_ms)


def offered_codecs(names: Sequence[str], browser: Sequence[Codec]) -> list[Codec]:
    """What the INVITE offers: the trunk's codecs, those that the browser's leg speaks first, in its order.

    A far end that takes the first codec that it knows then makes the call a relay.
    """
    ranks = {codec.name: rank for rank, codec in reversed(list(enumerate(browser)))}
    codecs = sorted(audio_codecs(names), key=lambda codec: ranks.get(codec.name, len(browser)))
    return with_telephone_events(codecs)


def create_far_end(
    destination: Destination,
    listener: FarEndListener,
    *,
    config: Config,
    options: CallOptions,
    media: MediaPlane,
    sip: SipEndpoint | None,
    leg: WebRtcLeg,
) -> FarEnd:
    """The far end for a destination. A trunk without a SIP endpoint cannot be: the configuration's check refuses it."""
    if destination.trunk is None:
        return BuiltInFarEnd(destination, listener)
    if sip is None:
        raise SdpServerError("no SIP endpoint is running", reason="sip_off")
    return SipFarEnd(destination, listener, config=config, options=options, media=media, sip=sip, leg=leg)
