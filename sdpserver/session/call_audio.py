"""What is done with a call's audio beside carrying it: sounds are played into its legs, and it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sdpserver._media import Sound
from sdpserver.errors import Conflict
from sdpserver.media import MediaLeg, MediaRecording
from sdpserver.recording import RecordingFolder
from sdpserver.sdp import NARROWBAND_HZ, WIDEBAND_CODECS, WIDEBAND_HZ

from .far_end import BROWSER, FAR
from .recorder import Emit, Recorder, RecordingListener, tell_nobody


@dataclass(slots=True, eq=False)
class _Play:
    leg: MediaLeg
    file: str
    reason: str = "finished"


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
        self._legs = legs
        self._emit = emit
        self._plays: dict[str, _Play] = {}
        self.recorder = Recorder(self, noun="call", name=call_id, folder=folder, tone=record_tone, emit=emit)

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

    # -- recording: the browser's side on the left channel, the far end on the right

    def start_recording(self, path: Path, on_event: RecordingListener) -> MediaRecording:
        """Called by the recorder.

        :raises Conflict: `no_such_leg`: the browser has no audio.
        """
        plane = self._leg(BROWSER).plane
        wideband = any(leg.codec in WIDEBAND_CODECS for leg in self.recorded_legs())  # or would be
        media = plane.start_recording(path, rate_hz=WIDEBAND_HZ if wideband else NARROWBAND_HZ, on_event=on_event)
        legs = self._legs()
        media.listen(left=legs.get(BROWSER), right=legs.get(FAR))
        return media

    def recorded_legs(self) -> Iterable[MediaLeg]:
        """Those that are there."""
        return [leg for leg in self._legs().values() if leg is not None and not leg.closed]

    # -- the session's life

    def forget(self) -> None:
        """The session has ended; a file that becomes whole later does so untold."""
        self._legs, self._emit = dict, tell_nobody
        self.recorder.forget()

    def legs_changed(self) -> None:
        """A leg has been replaced, or is gone."""
        legs = self._legs()
        for name, play in tuple(self._plays.items()):
            if legs.get(name) is not play.leg:
                play.reason = "leg_gone"
                self._played(name, play)
        if self.recorder.recording is not None:
            self.recorder.recording.listen(left=legs.get(BROWSER), right=legs.get(FAR))
