"""One session: a browser's leg, its far end, its timers and its events, from the offer to the last freed port."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import structlog

from sdpserver.config import Config
from sdpserver.dtmf import Press
from sdpserver.errors import SdpServerError
from sdpserver.events import EventLog
from sdpserver.media import MediaLeg
from sdpserver.models.session import SessionInfo
from sdpserver.models.webrtc import CallInfo, CallOptions, OfferResponse, SdpAnswer
from sdpserver.recording import RecordingFolder
from sdpserver.sip import Refer
from sdpserver.timestamps import utc_text
from sdpserver.webrtc import DataChannel, Offer, WebRtcEvent, WebRtcLeg

from .browser_side import BrowserSide
from .call_audio import CallAudio
from .commands import Commands
from .events_channel import EVENTS_CHANNEL, follow_events
from .far_end import CallEnd, FarEnd
from .inbound import Caller
from .quality_reports import QualityReports
from .routing import BuiltIn, Destination
from .sip_far_end import SipFarEnd
from .states import CallState, MediaState, SessionState, SessionStates
from .timers import Timers
from .transfer import Transfer
from .transfers import Transfers
from .waiting import CallProgress

log = structlog.get_logger(__name__)

END_TONE_S = 3.0
"""How long a caller hears why a call failed."""


class Session(Commands):
    """Made by `Sessions`. All methods belong to the event loop; `run` is the task that owns everything else."""

    def __init__(
        self,
        *,
        session_id: str,
        owner: str,
        destination: Destination,
        options: CallOptions,
        metadata: dict[str, Any],
        config: Config,
        quality_reports: QualityReports,
        recordings: RecordingFolder,
        transfers: Transfers,
        caller: Caller | None = None,
        resume_s: float | None = None,
        call_id: str | None = None,
    ) -> None:
        """:param caller: of a call that has come in and rings; None: the browser is the caller.
        :param resume_s: how long a page may be gone; None: `[session] resume_s`.
        """
        loop = asyncio.get_running_loop()
        self.id = session_id
        self.owner = owner
        self.destination = destination
        self.options = options
        self.metadata = metadata
        self.caller = caller
        self.resume_token = secrets.token_urlsafe(24)
        self.call_id = call_id or secrets.token_hex(8)
        self.created_at = datetime.now(UTC)
        self.events = EventLog(clock=loop.time)
        self.lock = asyncio.Lock()
        self.close_reason: str | None = None
        self._config = config
        self._quality_reports = quality_reports
        self._loop = loop
        self._started = loop.time()
        self._ended: float | None = None
        self._states = SessionStates(self._state_changed, ringing=caller is not None)
        self._end: CallEnd | None = None
        self._transfers = transfers
        self.transfer: Transfer | None = None
        self._resume_s = config.session.resume_s if resume_s is None else resume_s
        self.browser = BrowserSide(
            session_id=session_id,
            on_event=self._on_webrtc_event,
            on_channel=self._on_channel,
            detect_inband_presses=config.media.dtmf_inband_detection,
        )
        self._far_end: FarEnd | None = None
        self._group: asyncio.TaskGroup | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._progress = CallProgress()
        self._timers = Timers()
        self._final: SessionInfo | None = None
        self.audio = CallAudio(
            call_id=self.call_id,
            folder=recordings,
            record_tone=config.media.record_tone,
            legs=self._audio_legs,
            emit=self.events.emit,
        )
        self._log = log.bind(session_id=session_id, call_id=self.call_id)
        self.events.emit("offer" if caller is None else "ringing")

    # -- life

    def open(self, leg: WebRtcLeg, create_far_end: Callable[[WebRtcLeg], FarEnd]) -> None:
        """Take the browser's leg and make the far end; `run` then carries them."""
        self.browser.use(leg)
        self._far_end = create_far_end(leg)
        self._far_end.attach(leg)
        self._limit_duration()

    def ring(self, far_end: FarEnd) -> None:
        """A call has come in: its far end is there, and browsers are offered to answer it (`browser.ring`)."""
        self._far_end = far_end
        self._limit_duration()

    def _limit_duration(self) -> None:
        self._timers.set("max_duration", self._config.session.max_duration_s, lambda: self.close("max_duration"))

    def accept(self, connection: str, sdp: str) -> None:
        """A browser's answer to our offer: the call is answered.

        :raises Conflict: `not_ringing`: somebody else was quicker, or the caller has given up.
        :raises BadRequest: the SDP; it rings on.
        """
        if self._far_end is None or self._group is None or self.closed:
            raise self._closed_error()
        leg = self.browser.answer(connection, sdp)
        self._progress.dialled()  # nobody waits to hear by an HTTP error that it cannot be answered
        self._states.set(SessionState.OPEN)
        self._far_end.attach(leg)
        self._timers.set("setup", self._config.session.setup_timeout_s, lambda: self.close("setup_timeout"))
        self.events.emit("answer", codecs=[codec.rtpmap for codec in leg.codecs])
        self._dialling = self._group.create_task(self._dial(), name=f"answer {self.id}")

    async def run(self) -> None:
        """Live until closed, then free everything. Raises nothing: a failure closes this session and no other."""
        structlog.contextvars.bind_contextvars(session_id=self.id, call_id=self.call_id)  # its children have them too
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self.browser.carry(group)
                if self._states.session is not SessionState.RINGING:
                    self._dialling = group.create_task(self._dial(), name=f"dial {self.id}")
                await self._closing.wait()
                if self._dialling is not None:
                    self._dialling.cancel()
                await self.audio.recorder.finished()
                self._final = self._describe()  # with the last figures of the legs
                if self._leg is not None:
                    await self.browser.close(self._leg)
        except* Exception:
            self._log.exception("session failed")
        finally:
            self._release()

    def close(self, reason: str) -> None:
        """Begin to close. Idempotent: the first reason counts."""
        if self.closed:
            return
        self.close_reason = reason
        self._ended = self._loop.time()
        self._states.set(SessionState.CLOSING)
        # While the leg is still up and before `run` goes on, so that the `events` channel carries it too.
        self.events.emit(
            "closed",
            reason=reason,
            duration_s=self._duration_s,
            sip_status=self._end.sip_status if self._end else 0,
            quality=self._quality(),
        )
        self._log.info("session closed", reason=reason, duration_s=self._duration_s)
        closed = self._closed_error()
        self._progress.fail(closed)
        self._progress.fail_dialling(closed)
        if self.transfer is not None:
            self.transfer.cancel()
        if self._far_end is not None:
            self._far_end.hangup(reason)
        self.audio.recorder.stop()
        self.browser.stop_all_ringing()
        self._closing.set()

    @property
    def _duration_s(self) -> float:
        return round((self._loop.time() if self._ended is None else self._ended) - self._started, 3)

    async def wait_closed(self) -> None:
        """Until everything is freed."""
        await self._closed.wait()

    @property
    def closed(self) -> bool:
        """From the moment that closing begins."""
        return self.close_reason is not None

    @property
    def _leg(self) -> WebRtcLeg | None:
        return self.browser.leg

    def _release(self) -> None:
        """Free what is left; nothing here waits or raises."""
        self.close("internal_error")  # no-op unless the task group failed
        self._group = None
        self._timers.cancel_all()
        final = self._final or self._describe()
        if self._far_end is not None:
            self._far_end.close()
        self.browser.release()
        self._far_end = None
        self._states.set(SessionState.CLOSED)
        self._final = {**final, "state": "closed", "timeline": self.events.timeline}
        self.events.close()
        self._closed.set()
        # Nothing of the session refers back to it from here on, so that it goes with its last reference. Thousands of
        # them would have the garbage collector hold up all requests for 300 ms.
        self._dialling = self.transfer = None
        self._states.forget()
        self.audio.forget()

    @property
    def state(self) -> str:
        """The public state."""
        return self._states.public

    def _state_changed(self, before: str, now: str) -> None:
        self._log.debug("state", before=before, now=now)
        self.events.emit("state", state=now)
        if now == "connected":
            self._quality_reports.start(self)
        else:
            self._quality_reports.stop(self)

    # -- the call

    async def _dial(self) -> None:
        try:
            if self._far_end is not None:
                await self._far_end.dial()
        except SdpServerError as exc:
            if not self._progress.fail_dialling(exc):  # the answer is out: the call fails as any other
                self.call_ended(CallEnd(reason=exc.reason, text=str(exc)))
        else:
            self._progress.dialled()

    async def wait_dialled(self) -> None:
        """Until the call is on its way, so that what SIP cannot express is the offer's 400; not for long.

        :raises SdpServerError: the call cannot be made.
        """
        await self._progress.wait_dialled()

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None:
        self._states.set(state)
        self.events.emit(state.value, **detail)
        self._log.info(state.value, to=self.destination.uri)
        if state is CallState.ANSWERED and self.options.record:
            self.audio.recorder.begin_or_tell()
        self._progress.step()

    def call_media_changed(self, detail: dict[str, Any]) -> None:
        self.events.emit("media_changed", **detail)

    def call_held(self, held: bool) -> None:
        self.events.emit("hold", held=held, by="remote")

    def call_step(self, name: str) -> None:
        self.events.mark(name)

    def call_ended(self, end: CallEnd) -> None:
        """The far end hung up, refused or fell silent."""
        self._end = end
        if self.transfer is not None and self.transfer.ends_well_with_a_bye and end.reason == "normal_clearing":
            self.transfer.completed()
        if self._states.session not in (SessionState.OPEN, SessionState.RINGING):
            return
        self._states.set(CallState.ENDED)
        self.events.emit("ended", reason=end.reason, sip_status=end.sip_status, sip_reason=end.sip_reason)
        self._log.info("call ended", reason=end.reason, sip_status=end.sip_status)
        far_end = self._far_end
        if far_end is None or not far_end.failure_is_heard or end.was_answered or self._progress.awaited or self.caller:
            self._progress.fail(end.error(self.destination.uri, self.id))
            self.close(end.reason)
            return
        # The page has its answer already: it hears why, then the session ends.
        far_end.play_end(end.reason)
        self._states.set(SessionState.ENDING)
        self._timers.set("end_tone", END_TONE_S, lambda: self.close(end.reason))

    def call_referred(self, refer: Refer) -> None:
        if isinstance(self._far_end, SipFarEnd):
            self._transfers.referred(self, self._far_end, refer)

    def take_far_end(self, far_end: FarEnd, *, tell: bool = True) -> FarEnd:
        """Talk to another far end from now on; the one before is returned, and nothing is done to it."""
        before = self._far_end
        if before is None:
            raise self._closed_error()
        self._far_end = far_end
        self.destination = far_end.destination
        self.events.mark("far_end")
        far_end.listener = self
        far_end.muted.clear()
        if self._leg is not None:
            far_end.attach(self._leg)
        if far_end.on_hold:
            far_end.hold(False)
        self.audio.legs_changed()
        if tell:
            self.events.emit("transfer", state="connected", remote=far_end.destination.uri, sipStatus=0)
        return before

    async def wait_for_call(self, states: Collection[CallState]) -> None:
        """Until the call has reached one of `states`.

        :raises PeerError: the call failed first.
        :raises Conflict: the session was closed first.
        """
        while self._states.call not in states:
            if self._end is not None:
                raise self._end.error(self.destination.uri, self.id)
            if self.closed:  # between the end of `wait_dialled` and now: nobody would wake the waiter
                raise self._closed_error()
            await self._progress.wait_step()

    # -- rooms

    @property
    def far_end(self) -> FarEnd | None:
        """None once everything is freed."""
        return self._far_end

    def room_event(self, type_: str, **data: Any) -> None:
        if not self.closed:
            self.events.emit(type_, **data)

    def room_talking(self, room: str | None, members: list[str]) -> None:
        if not self.closed:
            self.events.emit_latest("talking", room=room, members=members)

    def room_dissolved(self) -> None:
        if self._far_end is not None and self.destination.room is None:
            self._far_end.leave_room("dissolved")

    # -- the browser's leg

    def answer(self) -> OfferResponse:
        """The reply to the offer that was just taken. The clock of `setup_timeout_s` starts with it."""
        if self._leg is None:
            raise self._closed_error()
        if self._states.media is not MediaState.CONNECTED:
            self._timers.set("setup", self._config.session.setup_timeout_s, lambda: self.close("setup_timeout"))
        self.events.emit("answer", codecs=[codec.rtpmap for codec in self._leg.codecs])
        return OfferResponse(
            sdp=SdpAnswer(sdp=self._leg.answer),
            session_id=self.id,
            ice_candidates=self._leg.candidates,
            metadata=self.metadata,
            resume_token=self.resume_token,
            call=CallInfo(call_id=self.call_id, to=self.destination.uri, state=self._states.call.value),
        )

    def resume(self, offer: Offer, create_leg: Callable[[int], WebRtcLeg]) -> WebRtcLeg | None:
        """Take a new offer for this session; the call is not touched.

        The same DTLS association is renegotiated (direction, ICE restart). A new one, a reloaded page's, gets a leg of
        its own from `create_leg(worker)`; the leg that it takes the place of is returned, for `browser.close`.

        :raises BadRequest: the offer is refused, and nothing has changed.
        """
        leg, far_end = self._leg, self._far_end
        if leg is None or far_end is None:
            raise self._closed_error()
        if self._states.media is not MediaState.LOST and leg.can_renegotiate(offer):
            leg.renegotiate(offer)
            far_end.attach(leg)
            self.events.emit("renegotiated", direction=leg.direction.value)
            return None
        replacement = create_leg(leg.media.worker)
        self._timers.cancel("resume")
        self.browser.use(replacement)
        if self._states.media is not MediaState.NEW:
            self._states.set(MediaState.NEW)
        far_end.attach(replacement)
        self.audio.legs_changed()
        self.events.emit("resumed")
        return leg

    def add_remote_candidate(self, candidate: str, mid: str | None, index: int | None) -> None:
        """Trickled by the client.

        :raises BadRequest: reason `invalid_candidate`.
        """
        if self._leg is not None:
            self._leg.add_remote_candidate(candidate, mid, index)

    def _on_webrtc_event(self, leg: WebRtcLeg, event: WebRtcEvent, detail: str) -> None:
        if leg is not self._leg or self.closed:
            return
        match event:
            case WebRtcEvent.ICE_CONNECTED:
                if self._states.media is MediaState.NEW:
                    self._states.set(MediaState.CHECKED)
                self.events.emit("ice", remote=detail)
            case WebRtcEvent.CONNECTED:
                self._timers.cancel("setup")
                self._states.set(MediaState.CONNECTED)
                self.events.emit("dtls", profile=detail)
                self._log.info("connected", profile=detail)
            case WebRtcEvent.FIRST_RTP_RECEIVED:
                self.events.emit("first_rtp_in", codec=detail)
            case WebRtcEvent.FIRST_RTP_SENT:
                self.events.emit("first_rtp_out", codec=detail)
            case WebRtcEvent.DTMF:
                if (press := Press.of_media_plane(detail.encode())) is not None:
                    self._pressed(press, "webrtc")
                    if self._far_end is not None:
                        self._far_end.browser_pressed(press)
            case WebRtcEvent.FAILED:
                self._log.warning("dtls failed", error=detail)
                self.events.emit("failed", error=detail)
                self.close("dtls_failed")
            case WebRtcEvent.GONE:
                self.close("client_gone")
            case WebRtcEvent.CLOSED:
                # A page that reloads says close_notify just as one that leaves for good does.
                self._states.set(MediaState.LOST)
                self.events.emit("disconnected")
                self._timers.set("resume", self._resume_s, lambda: self.close("client_closed"))

    def _on_channel(self, channel: DataChannel) -> None:
        self._log.debug("data channel", label=channel.label)
        if channel.label == EVENTS_CHANNEL:
            follow_events(channel, self.events)
        elif self.destination.built_in is BuiltIn.ECHO:
            channel.on_message = channel.send

    # -- quality

    def _media_legs(self) -> dict[str, MediaLeg | None]:
        """Of both sides, by the names that clients know; None: it has none (any more)."""
        leg = None if self._leg is None or self._leg.media.closed else self._leg.media
        return {"webrtc": leg, "sip": self._far_end.media if self._far_end else None}

    def _quality(self) -> dict[str, Any]:
        return {side: leg.quality if leg else None for side, leg in self._media_legs().items()}

    def report_quality(self) -> None:
        """Called by `QualityReports`, while connected."""
        legs = self._media_legs().items()
        self.events.emit_latest("quality", **{side: leg.report_quality() if leg else None for side, leg in legs})

    def _audio_legs(self) -> dict[str, MediaLeg | None]:
        """Whose voices the call has, by the same names."""
        return {**self._media_legs(), "sip": self._far_end.heard if self._far_end else None}

    # -- what clients see

    def describe(self) -> SessionInfo:
        """GET /webrtc/sessions/{id}; also of a closed session, as it was at its end."""
        return self._describe() if self._final is None else self._final

    def _describe(self) -> SessionInfo:
        leg, end = self._leg, self._end
        return {
            "session_id": self.id,
            "state": self.state,
            "created_at": utc_text(self.created_at),
            "duration_s": self._duration_s,
            "close_reason": self.close_reason,
            "metadata": self.metadata,
            "call": self._describe_far_side(end),
            "webrtc": None if leg is None else {**leg.state_json(), **leg.media.describe()},
            "sip": self._far_end.describe() if self._far_end else None,
            "recording": self.audio.recorder.describe(),
            "timeline": self.events.timeline,
            "latest": self.events.latest,
        }
