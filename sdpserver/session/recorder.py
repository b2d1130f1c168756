"""The recordings of one call or one room, one at a time, from the order to the whole file."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import structlog

from sdpserver.errors import BadRequest, Conflict, Unavailable
from sdpserver.media import MediaLeg, MediaRecording, RecordingEvent
from sdpserver.models.session import RecordingDetail, RecordingInfo
from sdpserver.recording import RecordingFolder
from sdpserver.tones import RECORD_BEEP

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


RecordingListener = Callable[[RecordingEvent, bytes], None]


class Recording:
    """One file, from the order to its end."""

    def __init__(self, path: str, emit: Emit) -> None:
        self.path = path
        self.state = RecordingState.STARTING
        self.ended = asyncio.Event()
        self._emit = emit
        self._media: MediaRecording | None = None
        self._paused = False
        self._detail: RecordingDetail = {}

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

    def describe(self) -> RecordingInfo:
        return {"state": self.state.value, "path": self.path, **self._detail}


class Recorded(Protocol):
    """A call or a room, as what records it sees it."""

    def start_recording(self, path: Path, on_event: RecordingListener) -> MediaRecording:
        """Begin to write what is said.

        :raises Conflict: there is nothing to record.
        """

    def recorded_legs(self) -> Iterable[MediaLeg]:
        """Those whose peers hear that it is recorded."""


def tell_nobody(type_: str, **data: object) -> None:
    """An `Emit` that emits nothing."""


class Recorder:
    """Of a call or a room: `noun`. `name`: how its files' names begin; `tone`: whether a recording begins with a beep
    unless its order says so."""

    def __init__(
        self, recorded: Recorded, *, noun: str, name: str, folder: RecordingFolder, tone: bool, emit: Emit
    ) -> None:
        self._recorded = recorded
        self._noun = noun
        self._name = name
        self._folder = folder
        self._tone = tone
        self._emit = emit
        self.recording: Recording | None = None
        """The last one."""

    def order(self, *, record: bool, pause: bool | None, tone: bool | None) -> Recording:
        """Begin, pause, resume or stop: POST /api/call/record, POST /api/rooms/{room}/record.

        :raises BadRequest: a pause of nothing.
        :raises Conflict: `not_recording`: there is nothing to stop; or as `begin`.
        :raises Unavailable: as `begin`.
        """
        if not record:
            if pause:
                raise BadRequest(f"pause is for a {self._noun} that is recorded", reason="invalid_field")
            if self.recording is None:
                raise Conflict(f"the {self._noun} is not recorded", reason="not_recording")
            self.recording.stop()
            return self.recording
        recording = self.begin(tone=tone)
        if pause is not None:
            recording.pause(pause)
        return recording

    def begin(self, *, tone: bool | None = None) -> Recording:
        """Begin a recording, unless there is one.

        :raises Unavailable: `recording_failed`: there is no folder for it.
        :raises Conflict: there is nothing to record.
        """
        if self.recording is not None and self.recording.live:
            return self.recording
        try:
            path = self._folder.new_path(self._name)
        except OSError as exc:
            log.warning("no folder for recordings", error=str(exc))
            raise Unavailable(
                f"the folder for recordings cannot be made: {exc.strerror}", reason="recording_failed"
            ) from exc
        recording = Recording(str(path), self._emit)
        recording.begin(self._recorded.start_recording(path, recording.on_event))
        self.recording = recording
        if self._tone if tone is None else tone:
            for leg in self._recorded.recorded_legs():
                leg.play_tone(
                    RECORD_BEEP.frequencies_hz,
                    RECORD_BEEP.cadence_ms,
                    rounds=RECORD_BEEP.rounds,
                    on_end=lambda: None,
                )
        return recording

    def begin_or_tell(self) -> None:
        """The same for who has asked beforehand: what forbids it is an event."""
        try:
            self.begin()
        except (Unavailable, Conflict) as exc:
            self._emit("recording", state="failed", path=None, error=str(exc))

    def stop(self) -> None:
        """There is nothing to record any more. Idempotent."""
        if self.recording is not None:
            self.recording.stop()

    def forget(self) -> None:
        """Nobody is told any more."""
        self._emit = tell_nobody

    async def finished(self) -> None:
        """Until the recording is whole, or for `FINISH_S`."""
        if self.recording is not None:
            try:
                async with asyncio.timeout(FINISH_S):
                    await self.recording.ended.wait()
            except TimeoutError:
                log.warning("the recording is still being written", path=self.recording.path)

    def describe(self) -> RecordingInfo | None:
        """The member `recording` of a session's and of a room's JSON."""
        return None if self.recording is None else self.recording.describe()
