"""All sessions of the process: made, found, resumed, closed, and remembered for `linger_s` after their end."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections import deque
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from sdpserver._media import Sound
from sdpserver.config import Config, Trunk
from sdpserver.errors import ClientError, ConfigError, Conflict, NotFound, SdpServerError, Unavailable, no_such_call
from sdpserver.events import Subscription
from sdpserver.media import MediaPlane
from sdpserver.models.session import SessionInfo
from sdpserver.models.trunks import TrunkInfo
from sdpserver.models.webrtc import CallOptions, IceCandidate, OfferRequest, OfferResponse
from sdpserver.recording import RecordingFolder
from sdpserver.sdp import COMFORT_NOISE, NARROWBAND_HZ, WIDEBAND_CODECS, Codec, audio_codecs
from sdpserver.sip import SipEndpoint, Traces
from sdpserver.sounds import Sounds
from sdpserver.webrtc import WebRtcPlane, parse_offer

from . import routing
from .conferences import Conferences
from .ended import EndedSession
from .far_ends import create_far_end
from .followers import Follower, Followers
from .inbound import Caller, CreateFarEnd, FarEndParts, RegistrationOf, Ringer
from .playback import PlaybackFarEnd
from .quality_reports import QualityReports
from .session import Session
from .states import CallState
from .transfers import Transfers

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 5
CLOSE_ALL_S = 3.0
MAX_ENDED = 10_000
MEBIBYTE = 1 << 20

_WAIT_FOR = {
    "early": frozenset({CallState.EARLY, CallState.ANSWERED}),
    "answer": frozenset({CallState.ANSWERED}),
}


class Sessions:
    """The one table of sessions. Sessions of other owners do not exist for a caller."""

    def __init__(self, config: Config, *, media: MediaPlane, webrtc: WebRtcPlane, sip: SipEndpoint | None) -> None:
        self._config = config
        self._media = media
        self._webrtc = webrtc
        self._sip = sip
        self.traces = sip.traces if sip is not None else Traces(is_on=False)
        self.sounds = Sounds(Path(config.media.sounds_dir), cache_octets=config.media.sounds_cache_mb * MEBIBYTE)
        self._recordings = RecordingFolder(Path(config.media.recordings_dir))
        self.conferences = Conferences(config, media, self._recordings)
        self.transfers = Transfers(parts=lambda: self._parts, resolve=lambda call: self.resolve(call, {}))
        self._hold_music: Sound | None = None
        self.registered: Container[str] = frozenset()
        """DNs that are registered upstream; set by who registers them."""
        self.ring_dn: Ringer | None = None
        """Rings the DNs; set by who knows their connections."""
        self.registration_of: RegistrationOf = lambda owner, trunk: None
        """Set by who registers them upstream."""
        self._open: dict[str, Session] = {}
        self._ended: dict[str, EndedSession] = {}
        self._calls: dict[str, Session | EndedSession] = {}  # those of both tables, by call_id
        self._forget_at: deque[tuple[float, EndedSession]] = deque()  # also of some that are forgotten already
        self._forgetting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._created = 0
        self._quality_reports = QualityReports()
        self._followers = Followers()

    def follow(self, follower: Follower) -> None:
        """Tell it of every session that begins from now on, and of its end."""
        self._followers.add(follower)

    # -- requests

    def trunks(self) -> list[TrunkInfo]:
        """The state of every trunk, as `SipEndpoint.trunk_status` has it."""
        return self._sip.trunks_status() if self._sip is not None else []

    async def offer(
        self, request: OfferRequest, *, owner: str, resume_s: float | None = None, call_id: str | None = None
    ) -> OfferResponse:
        """A new session, or a new offer for the one that `session_id` and `resume_token` name.

        :param resume_s: how long its page may be gone; None: `[session] resume_s`.
        :param call_id: of a new session's call; None: one is made.

        A re-offer's `call` is ignored: the call goes on. Cancelling this while `wait_for` holds it ends the session.

        :raises SdpServerError: as section 2 of the contract lists; nothing is left behind then.
        """
        sound = await self._sound_for(request)
        if request.session_id is not None and request.session_id in self._open:
            return await self._resume(request, owner=owner)
        if request.resume_token is not None:
            raise NotFound("no such session to resume", reason="session_not_found", session_id=request.session_id)
        session_id = request.session_id or secrets.token_urlsafe(12)
        if (old := self._ended.get(session_id)) is not None and old.owner != owner:
            raise Conflict("this session_id is taken", reason="session_exists", session_id=session_id)
        if call_id in self._calls:
            raise Conflict("this callId is taken", reason="call_exists")
        session = self._create(
            request, session_id=session_id, owner=owner, sound=sound, resume_s=resume_s, call_id=call_id
        )
        try:
            await session.wait_dialled()
            if (states := _WAIT_FOR.get(session.options.wait_for)) is not None:
                await session.wait_for_call(states)
            return session.answer()
        except asyncio.CancelledError:
            session.close("client_disconnected")
            raise
        except SdpServerError as exc:
            exc.session_id = session_id
            session.close(exc.reason)
            await session.wait_closed()  # whoever gets the error finds its place free, and no such session in a list
            raise
        except BaseException:
            session.close("internal_error")
            raise

    def resolve(self, call: CallOptions | None, metadata: Mapping[str, Any]) -> routing.Destination:
        """Where a session would go.

        :raises BadRequest: `bad_destination`, `unknown_trunk`.
        """
        return routing.resolve(self._config, call, metadata, registered=self.registered)

    async def _sound_for(self, request: OfferRequest) -> Sound | None:
        """What a new session to playback/<file> plays, before anything is answered."""
        if request.session_id in self._open or request.resume_token is not None:
            return None
        destination = self.resolve(request.call, request.metadata)
        return await self.sounds.load(destination.sound) if destination.sound else None

    def _create(
        self,
        request: OfferRequest,
        *,
        session_id: str,
        owner: str,
        sound: Sound | None,
        resume_s: float | None,
        call_id: str | None,
    ) -> Session:
        self._refuse_if_full()
        options = request.call or CallOptions()
        destination = self.resolve(options, request.metadata)
        offer = parse_offer(request.sdp.sdp)
        session = Session(
            session_id=session_id,
            owner=owner,
            destination=destination,
            options=options,
            metadata=request.metadata,
            config=self._config,
            quality_reports=self._quality_reports,
            recordings=self._recordings,
            transfers=self.transfers,
            resume_s=resume_s,
            call_id=call_id,
        )
        leg = self._webrtc.create_leg(offer, codecs=self._browser_codecs(destination, options))
        try:
            session.open(
                leg,
                lambda leg: (
                    PlaybackFarEnd(destination, session, sound)
                    if sound is not None
                    else create_far_end(destination, session, options=options, leg=leg, parts=self._parts)
                ),
            )
        except BaseException:
            leg.media.close()
            raise
        self._begin(session)
        return session

    def _begin(self, session: Session) -> None:
        self._open[session.id] = session
        self._calls[session.call_id] = session
        self._drop_ended(session.id)
        self._created += 1
        self._followers.session_began(session)
        task = asyncio.get_running_loop().create_task(self._run(session), name=f"session {session.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- calls that come in

    def ring(
        self,
        *,
        dn: str,
        owner: str,
        caller: Caller,
        create_far_end: CreateFarEnd,
        options: CallOptions,
        trunk: Trunk | None,
        resume_s: float,
    ) -> Session:
        """A session for a call to a DN, which rings once it is offered to browsers (`offer_to`).

        :raises Unavailable: full, draining, no RTP port.
        """
        self._refuse_if_full()
        session = Session(
            session_id=secrets.token_urlsafe(12),
            owner=owner,
            destination=routing.Destination(uri=caller.number, dn=dn, trunk=trunk, user=caller.number),
            options=options,
            metadata={},
            config=self._config,
            quality_reports=self._quality_reports,
            recordings=self._recordings,
            transfers=self.transfers,
            caller=caller,
            resume_s=resume_s,
        )
        session.ring(create_far_end(session, self._parts))
        self._begin(session)
        return session

    @property
    def _parts(self) -> FarEndParts:
        return FarEndParts(
            config=self._config,
            media=self._media,
            sip=self._sip,
            hold_music=self._hold_music,
            rooms=self.conferences.rooms,
            ring=self.ring_dn,
            registration_of=self.registration_of,
            may_redirect=self._may_redirect,
        )

    def _may_redirect(self, user: str, trunk: Trunk) -> bool:
        """A 3xx leads where a caller could have called by himself: through a route to the same trunk."""
        try:
            return self.resolve(CallOptions(to=user), {}).trunk == trunk
        except ClientError:
            return False

    def offer_to(self, session: Session, connection: str) -> str:
        """Have a ringing call ring at one connection too: the SDP offer for its browser."""
        codecs = self._browser_codecs(session.destination, session.options)
        far_end = session.far_end
        leg = self._webrtc.create_offer(codecs=codecs, worker=far_end.worker_wanted if far_end else None)
        session.browser.ring(connection, leg)
        return leg.offer

    def _browser_codecs(self, destination: routing.Destination, options: CallOptions) -> list[Codec]:
        """What the answer to the browser lists: `call.codecs` alone, else the trunk's codecs and then all others.

        A wideband conference would rather have wideband codecs.
        """
        noise = [COMFORT_NOISE] if self._config.media.comfort_noise else []
        if options.codecs:
            return audio_codecs(options.codecs) + noise
        codecs = self._config.media.codecs
        if destination.room is not None and self._config.conference.rate_hz > NARROWBAND_HZ:
            codecs = sorted(codecs, key=lambda name: name not in WIDEBAND_CODECS)
        trunk_codecs = destination.trunk.codecs if destination.trunk else []
        return audio_codecs([*trunk_codecs, *codecs]) + noise

    def _refuse_if_full(self) -> None:
        if self._draining:
            raise Unavailable("the server is shutting down", reason="draining", retry_after_s=RETRY_AFTER_S)
        if len(self._open) >= self._config.session.max_sessions:
            raise Unavailable("all sessions are in use", reason="full", retry_after_s=RETRY_AFTER_S)

    async def reoffer(self, session: Session, sdp: str) -> OfferResponse:
        """A new offer for a session: renegotiation, ICE restart, or a reloaded page.

        :raises BadRequest: the offer is refused, and nothing has changed.
        """
        async with session.lock:
            offer = parse_offer(sdp)
            codecs = self._browser_codecs(session.destination, session.options)
            replaced = session.resume(
                offer, lambda worker: self._webrtc.create_leg(offer, codecs=codecs, worker=worker)
            )
            response = session.answer()
            if replaced is not None:
                await session.browser.close(replaced)
            return response

    async def _resume(self, request: OfferRequest, *, owner: str) -> OfferResponse:
        session = self._open[request.session_id or ""]
        token = request.resume_token or ""
        if session.owner != owner or not hmac.compare_digest(token.encode(), session.resume_token.encode()):
            raise Conflict(
                "this session_id is taken, and resume_token is not its own",
                reason="session_exists",
                session_id=session.id,
            )
        response = await self.reoffer(session, request.sdp.sdp)
        if request.metadata:
            session.metadata = response.metadata = request.metadata
        return response

    async def _run(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            del self._open[session.id]
            self._remember(session)
            self._followers.session_ended(session)

    def _remember(self, session: Session) -> None:
        linger_s = self._config.session.linger_s
        if linger_s <= 0 or self._draining:
            self._forget_call(session.call_id)
            return
        while len(self._ended) >= MAX_ENDED:
            self._drop_ended(next(iter(self._ended)))
        ended = self._ended[session.id] = self._calls[session.call_id] = EndedSession.of(session)
        loop = asyncio.get_running_loop()
        self._forget_at.append((loop.time() + linger_s, ended))
        if self._forgetting is None:
            self._forgetting = loop.call_later(linger_s, self._forget_due)

    def _forget_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._forget_at and self._forget_at[0][0] <= loop.time():
            _, ended = self._forget_at.popleft()
            if self._ended.get(ended.id) is ended:  # and no other one of that name
                self._drop_ended(ended.id)
        self._forgetting = loop.call_at(self._forget_at[0][0], self._forget_due) if self._forget_at else None

    def _drop_ended(self, session_id: str) -> None:
        if (ended := self._ended.pop(session_id, None)) is not None:
            self._forget_call(ended.call_id)

    def _forget_call(self, call_id: str) -> None:
        del self._calls[call_id]
        self.traces.forget(call_id)

    def _find(self, session_id: str, owner: str) -> Session | EndedSession:
        session = self._open.get(session_id) or self._ended.get(session_id)
        if session is None or session.owner != owner:
            raise NotFound("no such session", reason="session_not_found", session_id=session_id)
        return session

    def find_any_call(self, call_id: str) -> Session | EndedSession:
        """Also one that has ended not longer than `linger_s` ago.

        :raises NotFound: `call_not_found`.
        """
        session = self._calls.get(call_id)
        if session is None:
            raise no_such_call()
        return session

    def find_call(self, call_id: str, *, owner: str | None) -> Session:
        """The session of one of the caller's own calls; None: whoever's it is.

        :raises NotFound: `call_not_found`.
        :raises Conflict: `call_ended`, not longer than `linger_s` ago.
        """
        session = self.find_any_call(call_id)
        if owner not in (None, session.owner):
            raise no_such_call()
        if isinstance(session, EndedSession) or session.closed:
            raise Conflict("the call has ended", reason="call_ended", session_id=session.id)
        return session

    def calls(self) -> list[Session]:
        """All that are live, oldest first."""
        return [session for session in self._open.values() if not session.closed]

    def find_open(self, session_id: str, *, owner: str) -> Session:
        """One of the caller's sessions that is not closed.

        :raises NotFound: no such session.
        :raises Conflict: `session_closed`.
        """
        session = self._find(session_id, owner)
        if isinstance(session, EndedSession) or session.closed:
            raise Conflict("the session was closed", reason="session_closed", session_id=session_id)
        return session

    def add_candidates(self, session_id: str, candidates: Sequence[IceCandidate | None], *, owner: str) -> None:
        """Trickled candidates; none or an empty one says that there are no more.

        :raises BadRequest: one of them is malformed.
        :raises NotFound: no such session.
        """
        session = self._find(session_id, owner)
        if isinstance(session, EndedSession):
            return
        for candidate in candidates:
            if candidate is not None and candidate.candidate:
                session.add_remote_candidate(candidate.candidate, candidate.sdpMid, candidate.sdpMLineIndex)

    async def close(self, session_id: str, reason: str | None, *, owner: str) -> None:
        """Close a session; one that is closed already is left as it is.

        :raises NotFound: it never existed, or ended more than `linger_s` ago.
        """
        session = self._find(session_id, owner)
        if isinstance(session, Session):
            session.close(reason or "normal_clearing")
            await session.wait_closed()

    def of_owner(self, owner: str) -> list[Session]:
        """The caller's open sessions, oldest first."""
        return [session for session in self._open.values() if session.owner == owner]

    def describe_one(self, session_id: str, *, owner: str) -> SessionInfo:
        """One session, also one that has ended within `linger_s`."""
        return self._find(session_id, owner).describe()

    def subscribe(self, session_id: str, *, owner: str, after_id: int = 0) -> Subscription:
        """Follow a session's events, beginning after `after_id`; it ends with the session."""
        session = self._find(session_id, owner)
        log = session if isinstance(session, EndedSession) else session.events
        return log.subscribe(after_id=after_id)

    # -- life

    async def start(self) -> None:
        """Ready for offers.

        :raises ConfigError: `[media] hold_music` cannot be played.
        """
        await self._recordings.recover()
        if music := self._config.media.hold_music:
            try:
                self._hold_music = await self.sounds.load(music)
            except ClientError as exc:
                raise ConfigError(f"[media] hold_music: {exc}") from exc
        self._draining = False

    async def stop(self) -> None:
        """Refuse new sessions, hang up and close all, within `CLOSE_ALL_S`."""
        self._draining = True
        for session in tuple(self._open.values()):
            session.close("server_shutdown")
        tasks = tuple(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_ALL_S)
            for task in late:
                log.warning("session did not close in time", task=task.get_name())
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*late, return_exceptions=True)
        for session_id in tuple(self._ended):
            self._drop_ended(session_id)
        self._forget_at.clear()
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    @property
    def stats(self) -> dict[str, int]:
        """Totals of the process."""
        return {
            "sessions": len(self._open),
            "sessions_created": self._created,
            "sessions_closed_kept": len(self._ended),
            "legs": self._media.legs,
        }
