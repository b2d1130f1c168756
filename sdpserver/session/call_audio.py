"""What is done with a call's audio beside carrying it: sounds are played into its legs, and it is recorded."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from sdpserver._media import Sound
from sdpserver.errors import BadRequest, Conflict, Unavailable
from sdpserver.media import MediaLeg, MediaRecording, RecordingEvent
from sdpserver.recording import RecordingFolder
from sdpserver.sdp import NARROWBAND_HZ, WIDEBAND_CODECS, WIDEBAND_HZ
from sdpserver.tones import RECORD_BEEP

from .far_end import BROWSER, FAR

log = structlog.get_logger(__name__)

FINISH_S = 1.0
"""How long the end of a session waits for its recording to be whole; later it becomes whole untold."""


class RecordingState(enum.Enum):
    """PAUSED may come before the file is open: then it begins with silence."""

    STARTING = "starting"
    RECORDING = "recording"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


_LIVE = frozenset({RecordingState.STARTING, RecordingState.RECORDING, RecordingState.PAUSED})


class Emit(Protocol):
    def __call__(self, type_: str, **data: Any) -> object: ...


@dataclass(slots=True, eq=False)
class _Play:
    leg: MediaLeg
    file: str
    reason: str = "finished"


class Recording:
    """One file of a call, from the order to its end."""

    def __init__(self, path: str, emit: Emit) -> None:
        self.path = path
        self.state = RecordingState.STARTING
        self.ended = asyncio.Event()
        self._emit = emit
        self._media: MediaRecording | None = None
        self._paused = False
        self._detail: dict[str, Any] = {}

    def begin(self, media: MediaRecording) -> None:
        self._media = media

    @property
    def live(self) -> bool:
        """Neither over nor about to be."""
        return self.state in _LIVE

    def listen(self, *, left: MediaLeg | None, right: MediaLeg | None) -> None:
        if self.live and self._media is not None:
            self._media.listen(left=left, right=right)

    def pause(self, paused: bool) -> None:
        if not self.live or paused == self._paused or self._media is None:
            return
        self._paused = paused
        self._media.pause(paused)
        if self.state is not RecordingState.STARTING:
            self._set(RecordingState.PAUSED if paused else RecordingState.RECORDING, "paused" if paused else "resumed")

    def stop(self) -> None:
        """Idempotent; `ended` is set once the file is whole."""
        if self.live and self._media is not None:
            self.state = RecordingState.STOPPING
            self._media.stop()

    def on_event(self, event: RecordingEvent, data: bytes) -> None:
        match event:
            case RecordingEvent.STARTED:
                if self.state is RecordingState.STARTING:
                    self._set(RecordingState.RECORDING, "started")
                    if self._paused:
                        self._set(RecordingState.PAUSED, "paused")
            case RecordingEvent.STOPPED:
                duration_ms, dropped = map(int, data.split())
                self._detail = {"duration_s": duration_ms / 1000, "dropped_frames": dropped}
                self._set(RecordingState.STOPPED, "stopped")
                self.ended.set()
            case RecordingEvent.FAILED:
                self._detail = {"error": data.decode()}
                self._set(RecordingState.FAILED, "failed")
                self.ended.set()

    def _set(self, state: RecordingState, told: str) -> None:
        self.state = state
        self._emit("recording", state=told, path=self.path, **self._detail)
        level = log.warning if state is RecordingState.FAILED else log.info
        level("recording", state=told, path=self.path, **self._detail)

    def describe(self) -> dict[str, Any]:
        return {"state": self.state.value, "path": self.path, **self._detail}


class CallAudio:
    """Of one session. `legs` gives its legs as they are now, by name."""

    def __init__(
        self,
        *,
        call_id: str,
        folder: RecordingFolder,
        record_tone: bool,
        legs: Callable[[], Mapping[str, MediaLeg | None]],
        emit: Emit,
    ) -> None:
        self._call_id = call_id
        self._folder = folder
        self._record_tone = record_tone
        self._legs = legs
        self._emit = emit
        self._plays: dict[str, _Play] = {}
        self.recording: Recording | None = None

    # -- playing

    def play(self, names: tuple[str, ...], file: str, sound: Sound, *, loop: bool) -> None:
        """Have these legs hear a sound instead of the call. What they play already is replaced.

        :raises Conflict: `no_such_leg`: the call has no such leg; nothing is played then.
        """
        legs = [(name, self._leg(name)) for name in names]
        for name, leg in legs:
            self._end_play(name, "replaced")
            play = self._plays[name] = _Play(leg, file)
            leg.play_sound(sound, loop=loop, on_end=partial(self._played, name, play))

    def _leg(self, name: str) -> MediaLeg:
        leg = self._legs().get(name)
        if leg is None or leg.closed:
            raise Conflict(f"the call has no {name} leg", reason="no_such_leg")
        return leg

    def stop_playing(self, names: tuple[str, ...]) -> None:
        """What is not played is not missed."""
        for name in names:
            self._end_play(name, "stopped")

    def _end_play(self, name: str, reason: str) -> None:
        if (play := self._plays.get(name)) is not None:
            play.reason = reason
            if reason == "stopped":
                play.leg.stop_playing()
            if play.leg.closed:
                self._played(name, play)

    def _played(self, name: str, play: _Play) -> None:
        if self._plays.get(name) is play:
            del self._plays[name]
        self._emit("play_ended", leg=name, file=play.file, reason=play.reason)

    # -- recording

    def record(self, *, tone: bool | None = None) -> Recording:
        """Begin a recording, unless there is one.

        :raises Unavailable: `recording_failed`: there is no folder for it.
        :raises Conflict: `no_such_leg`: the browser has no audio.
        """
        if self.recording is not None and self.recording.live:
            return self.recording
        plane = self._leg(BROWSER).plane
        try:
            path = self._folder.new_path(self._call_id)
        except OSError as exc:
            log.warning("no folder for recordings", error=str(exc))
            raise Unavailable(
                f"the folder for recordings cannot be made: {exc.strerror}", reason="recording_failed"
            ) from exc
        self.recording = recording = Recording(str(path), self._emit)
        rate_hz = WIDEBAND_HZ if self._wideband() else NARROWBAND_HZ
        recording.begin(plane.start_recording(path, rate_hz=rate_hz, on_event=recording.on_event))
        self.legs_changed()
        if self._record_tone if tone is None else tone:
            for leg in self._legs().values():
                if leg is not None and not leg.closed:
                    leg.play_tone(
                        RECORD_BEEP.frequencies_hz,
                        RECORD_BEEP.cadence_ms,
                        rounds=RECORD_BEEP.rounds,
                        on_end=lambda: None,
                    )
        return recording

    def record_or_tell(self) -> None:
        """The same for who has asked beforehand: what forbids it is an event."""
        try:
            self.record()
        except (Unavailable, Conflict) as exc:
            self._emit("recording", state="failed", path=None, error=str(exc))

    def _wideband(self) -> bool:
        """One side's codec is, or would be."""
        return any(leg.codec in WIDEBAND_CODECS for leg in self._legs().values() if leg is not None and not leg.closed)

    def order(self, *, record: bool, pause: bool | None, tone: bool | None) -> Recording:
        """POST /api/call/record.

        :raises Conflict: `not_recording`: there is nothing to stop.
        """
        if not record:
            if pause:
                raise BadRequest("pause is for a call that is recorded", reason="invalid_field")
            if self.recording is None:
                raise Conflict("the call is not recorded", reason="not_recording")
            self.recording.stop()
            return self.recording
        recording = self.record(tone=tone)
        if pause is not None:
            recording.pause(pause)
        return recording

    # -- the session's life

    def legs_changed(self) -> None:
        """A leg has been replaced, or is gone."""
        legs = self._legs()
        for name, play in tuple(self._plays.items()):
            if legs.get(name) is not play.leg:
                play.reason = "leg_gone"
                self._played(name, play)
        if self.recording is not None:
            self.recording.listen(left=legs.get(BROWSER), right=legs.get(FAR))

    def close(self) -> None:
        """The call is over. Idempotent."""
        if self.recording is not None:
            self.recording.stop()

    async def finished(self) -> None:
        """Until the recording is whole, or for `FINISH_S`."""
        if self.recording is not None:
            try:
                async with asyncio.timeout(FINISH_S):
                    await self.recording.ended.wait()
            except TimeoutError:
                log.warning("the recording is still being written", path=self.recording.path)

    def describe(self) -> dict[str, Any] | None:
        """The `recording` member of a session's JSON."""
        return None if self.recording is None else self.recording.describe()
