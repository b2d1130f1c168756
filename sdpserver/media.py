"""The asyncio side of the native media plane: one reader of its event queue, and an object for each leg."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from . import _media
from .config import Config
from .dtmf import event_code
from .errors import Unavailable
from .models.legs import LegFigures, LegStats, Quality, QualityReport
from .quality import LegQuality
from .sdp import Codec, Direction, OpusReceiver

log = structlog.get_logger(__name__)


class LegEvent(enum.Enum):
    """What a leg reports; see the constants of `_media` for each one's data."""

    ICE_CONNECTED = _media.ICE_CONNECTED
    ICE_SELECTED = _media.ICE_SELECTED
    ICE_TIMEOUT = _media.ICE_TIMEOUT
    DTLS = _media.DTLS
    FIRST_RTP_RECEIVED = _media.FIRST_RTP_RECEIVED
    FIRST_RTP_SENT = _media.FIRST_RTP_SENT
    MEDIA_TIMEOUT = _media.MEDIA_TIMEOUT
    FAILED = _media.FAILED
    DTMF = _media.DTMF
    PLAY_ENDED = _media.PLAY_ENDED


LegListener = Callable[[LegEvent, bytes], None]


class MediaLeg:
    """A leg of the media plane. Commands go out at once and in order; events come back to `on_event` on the loop."""

    def __init__(self, plane: MediaPlane, leg_id: int, worker: int) -> None:
        self.plane = plane
        self.id = leg_id
        self.worker = worker
        self.on_event: LegListener | None = None
        self._closed = False
        self._codecs: tuple[str, ...] = ()
        self._plays: dict[str, Callable[[], object]] = {}
        self._last_play = 0
        self._quality = LegQuality()

    @property
    def closed(self) -> bool:
        return self._closed

    def set_codecs(self, codecs: Sequence[Codec], *, ptime_ms: int = 20, receive_only: Sequence[Codec] = ()) -> None:
        """The negotiated formats, the preferred one first; and those that the peer may send all the same."""
        entries: list[_media.CodecEntry | _media.ReceivedEntry] = [codec.as_entry() for codec in codecs]
        entries += [(codec.name, codec.clock_rate_hz, None, codec.payload_type) for codec in receive_only]
        self.plane.engine.set_codecs(self.id, entries, ptime_ms)
        self._codecs = tuple(codec.name for codec in codecs)
        opus = next((OpusReceiver.parse(codec.remote_fmtp) for codec in codecs if codec.name == "opus"), None)
        if opus is not None:
            self.plane.engine.set_opus_receiver(
                self.id,
                max_playback_rate_hz=opus.max_playback_rate_hz,
                max_average_bitrate_bps=opus.max_average_bitrate_bps,
                use_inband_fec=opus.use_inband_fec,
                use_dtx=opus.use_dtx,
            )

    @property
    def codec(self) -> str:
        """What it receives, or before the first packet what it prefers; empty: not negotiated."""
        return self.stats["codec_received"] or next(iter(self._codecs), "")

    def set_direction(self, direction: Direction) -> None:
        """From our side."""
        self.plane.engine.set_direction(self.id, direction.sends, direction.receives)

    def send_from(self, source: MediaLeg | None) -> None:
        """Send what `source` receives; the leg itself: echo; None: nothing."""
        if source is None:
            self.plane.engine.set_source_none(self.id)
        else:
            self.plane.engine.set_source_leg(self.id, source.id)

    def send_tone(
        self, frequencies_hz: Sequence[float], cadence_ms: Sequence[int] = (), modulation_hz: float = 0.0
    ) -> None:
        """Send a tone; no frequencies: silence."""
        self.plane.engine.set_source_tone(self.id, frequencies_hz, cadence_ms, modulation_hz=modulation_hz)

    def set_srtp(self, profile: _media.SrtpProfile, *, send_key: bytes, receive_key: bytes) -> None:
        """Keys that have not changed are not to be set again: packet numbers start anew with them."""
        self.plane.engine.set_srtp(self.id, profile, send_key, receive_key)

    def send_sound(self, sound: _media.Sound, *, loop: bool = False) -> None:
        """Send a sound; once it is over, nothing."""
        self.plane.engine.set_source_sound(self.id, sound, loop)

    def play_sound(self, sound: _media.Sound, *, loop: bool = False, on_end: Callable[[], object]) -> None:
        """Send a sound in place of all else, from when the leg can send. `on_end` is called when it is over, stopped or
        replaced, but not by the end of the leg."""
        self.plane.engine.play_sound(self.id, sound, loop, tag=self._begin_play(on_end))

    def play_tone(
        self, frequencies_hz: Sequence[float], cadence_ms: Sequence[int], *, rounds: int, on_end: Callable[[], object]
    ) -> None:
        """The same with so many rounds of a tone."""
        tag = self._begin_play(on_end)
        self.plane.engine.play_tone(self.id, frequencies_hz, cadence_ms, rounds=rounds, tag=tag)

    def stop_playing(self) -> None:
        """What is played, if anything."""
        self.plane.engine.stop_playing(self.id)

    def _begin_play(self, on_end: Callable[[], object]) -> str:
        self._last_play += 1
        self._plays[tag := str(self._last_play)] = on_end
        return tag

    def handle(self, event: LegEvent, data: bytes) -> None:
        """Called by the plane."""
        if event is LegEvent.PLAY_ENDED:
            if (on_end := self._plays.pop(data.decode(), None)) is not None:
                on_end()
        elif self.on_event is not None:
            self.on_event(event, data)

    def set_timeouts(self, *, ice_timeout_s: float = 0.0, media_timeout_s: float = 0.0) -> None:
        """0: never. Counting starts anew."""
        self.plane.engine.set_timeouts(self.id, ice_timeout_s, media_timeout_s)

    def press(self, digits: str, *, duration_ms: int, gap_ms: int, in_band: bool = False) -> None:
        """Press keys toward the leg's peer, after those that wait, as event packets or as tones.

        :raises OverflowError: too many would wait; none of them is taken.
        """
        events = [event_code(digit) for digit in digits]
        self.plane.engine.send_presses(self.id, events, duration_ms, gap_ms, in_band=in_band)

    def detect_inband_presses(self, enabled: bool) -> None:
        """Find presses in the audio too; this decodes all of it."""
        self.plane.engine.detect_inband_presses(self.id, enabled)

    @property
    def stats(self) -> LegStats:
        return self.plane.engine.leg_stats(self.id)

    @property
    def quality(self) -> Quality:
        """Loss, jitter, round trip, bursts and MOS by direction, as a session's JSON has them."""
        return self._quality.describe(self.stats)

    def report_quality(self) -> QualityReport:
        """As `quality`, with the loss since the last report."""
        return self._quality.report(self.stats)

    def describe(self) -> LegFigures:
        """The members `media` and `quality` of either side in a session's JSON; null once the leg is closed."""
        if self._closed:
            return {"media": None, "quality": None}
        return {"media": self.stats, "quality": self.quality}

    def close(self) -> None:
        """Free the leg and its sockets. Idempotent."""
        if not self._closed:
            self._closed = True
            self.on_event = None
            self._plays.clear()
            self.plane.forget(self)


class WebRtcMediaLeg(MediaLeg):
    """A leg on a worker's shared port."""

    @property
    def port(self) -> int:
        return self.plane.engine.webrtc_port(self.worker)

    def restart_ice(self, *, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str) -> None:
        """New credentials; the old ones stay valid until the first good check on the new."""
        self.plane.engine.restart_ice(self.id, local_ufrag, local_pwd, remote_ufrag, remote_pwd)

    def set_remote_ice(self, *, ufrag: str, pwd: str) -> None:
        """For a leg that was made without them: those of the peer's answer."""
        self.plane.engine.set_remote_ice(self.id, ufrag, pwd)

    def send_dtls(self, datagram: bytes) -> None:
        self.plane.engine.send_dtls(self.id, datagram)


class RtpMediaLeg(MediaLeg):
    """A leg with a socket pair of its own; `port` is its RTP port, RTCP is on the next one."""

    def __init__(self, plane: MediaPlane, leg_id: int, worker: int, port: int) -> None:
        super().__init__(plane, leg_id, worker)
        self.port = port

    def move(self, worker: int) -> None:
        """To the worker of the leg that it is bridged to; what it sends and feeds goes along."""
        self.plane.engine.move_rtp_leg(self.id, worker)
        self.worker = worker

    def clear_srtp(self) -> None:
        """Plain RTP, which it is until `set_srtp`."""
        self.plane.engine.clear_srtp(self.id)

    def set_remote(self, ip: str, rtp_port: int, rtcp_port: int, *, learn: bool) -> None:
        """Where to send, and whom to listen to."""
        self.plane.engine.set_rtp_remote(self.id, ip, rtp_port, rtcp_port, learn)


class MediaRoom:
    """A room of the media plane: each member hears all others. Who talks comes back to `on_talking` on the loop."""

    def __init__(self, plane: MediaPlane, room_id: int, rate_hz: int) -> None:
        self.plane = plane
        self.id = room_id
        self.rate_hz = rate_hz
        self.on_talking: Callable[[MediaLeg, bool], None] | None = None

    def join(self, leg: MediaLeg, *, says: int, hears: int, muted: bool) -> None:
        """Have a leg in the room instead of where it was, or change its rules: bits of circles, as in `_media`."""
        self.plane.engine.join_room(self.id, leg.id, says, hears, muted)

    def leave(self, leg: MediaLeg) -> None:
        """Idempotent."""
        self.plane.engine.leave_room(self.id, leg.id)

    @property
    def levels(self) -> dict[int, float]:
        """By the legs' ids, in dBov."""
        return dict(self.plane.engine.room_levels(self.id))

    def close(self) -> None:
        """All leave. Idempotent."""
        self.on_talking = None
        self.plane.forget_room(self)


class RecordingEvent(enum.Enum):
    """What a recording reports; see the constants of `_media` for each one's data."""

    STARTED = _media.RECORDING_STARTED
    STOPPED = _media.RECORDING_STOPPED
    FAILED = _media.RECORDING_FAILED


class MediaRecording:
    """A stereo file that is being written. After STOPPED or FAILED there is nothing more to it."""

    def __init__(self, plane: MediaPlane, recording_id: int, on_event: Callable[[RecordingEvent, bytes], None]) -> None:
        self.plane = plane
        self.id = recording_id
        self.on_event = on_event
        self._stopped = False

    def listen(self, *, left: MediaLeg | None, right: MediaLeg | None) -> None:
        """What these legs receive is recorded from now on; None or a closed leg: silence."""
        if self._stopped:
            return
        for channel, leg in enumerate((left, right)):
            leg_id = 0 if leg is None or leg.closed else leg.id
            self.plane.engine.set_recorded_leg(self.id, channel, leg_id)

    def listen_to_room(self, room: MediaRoom) -> None:
        """All that is said in this room is recorded from now on, on both channels."""
        if not self._stopped:
            self.plane.engine.set_recorded_room(self.id, room.id)

    def pause(self, paused: bool) -> None:
        """While paused, there is silence in the file."""
        if not self._stopped:
            self.plane.engine.pause_recording(self.id, paused)

    def stop(self) -> None:
        """Idempotent."""
        if not self._stopped:
            self._stopped = True
            self.plane.engine.stop_recording(self.id)


class MediaPlane:
    """The engine and its legs. Made and used on the event loop only."""

    def __init__(self, config: Config) -> None:
        media, webrtc = config.media, config.webrtc
        self.engine = _media.Engine(
            workers=media.workers or len(os.sched_getaffinity(0)),
            webrtc_bind=webrtc.bind,
            webrtc_port=webrtc.port,
            rtp_bind=media.rtp_bind,
            rtp_port_range=media.rtp_port_range,
            io=media.io,
            gather_ms=media.gather_ms,
            opus_bitrate_bps=media.opus_bitrate_bps,
            opus_complexity=media.opus_complexity,
            opus_dtx=media.opus_dtx,
            jitter_buffer_ms=media.jitter_buffer_ms,
        )
        log.info("media plane", io=self.engine.build["io"], workers=self.engine.workers)
        self._legs: dict[int, MediaLeg] = {}
        self._rooms: dict[int, MediaRoom] = {}
        self._recordings: dict[int, MediaRecording] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to deliver events to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.engine.event_fd, self._deliver)

    def close(self) -> None:
        """Close all legs and stop the workers. Idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self.engine.event_fd)
            self._loop = None
        self._legs.clear()
        self._rooms.clear()
        self.engine.close()

    @property
    def legs(self) -> int:
        """How many legs are open."""
        return len(self._legs)

    @property
    def rooms(self) -> int:
        """How many rooms there are."""
        return len(self._rooms)

    @property
    def counters(self) -> Counter[str]:
        """`Engine.counters` of all workers, added up."""
        return sum((Counter(self.engine.counters(worker)) for worker in range(self.engine.workers)), Counter())

    def next_worker(self) -> int:
        """The one with the fewest legs."""
        if self.engine.workers == 1:
            return 0
        load = [0] * self.engine.workers
        for leg in self._legs.values():
            load[leg.worker] += 1
        return load.index(min(load))

    def create_webrtc_leg(
        self, *, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str, worker: int | None = None
    ) -> WebRtcMediaLeg:
        """A leg that answers checks on `local_ufrag`, on `worker` or on the one with the fewest legs.

        The peer's credentials are "" until `set_remote_ice`, for an offer of ours.
        """
        worker = self.next_worker() if worker is None else worker
        leg_id = self.engine.create_webrtc_leg(worker, local_ufrag, local_pwd, remote_ufrag, remote_pwd)
        leg = WebRtcMediaLeg(self, leg_id, worker)
        self._legs[leg_id] = leg
        return leg

    def create_rtp_leg(self, *, worker: int) -> RtpMediaLeg:
        """A leg with a port pair of its own.

        :raises Unavailable: the port range is used up.
        """
        try:
            leg_id, port = self.engine.create_rtp_leg(worker)
        except OSError as exc:
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE):
                raise
            raise Unavailable("no RTP port is free", reason="no_rtp_port", retry_after_s=5) from exc
        leg = RtpMediaLeg(self, leg_id, worker, port)
        self._legs[leg_id] = leg
        return leg

    def create_room(self, *, worker: int, rate_hz: int) -> MediaRoom:
        """A room without members, mixed on that worker at 8 or 16 kHz."""
        room = MediaRoom(self, self.engine.create_room(worker, rate_hz), rate_hz)
        self._rooms[room.id] = room
        return room

    def forget_room(self, room: MediaRoom) -> None:
        """Called by `MediaRoom.close`."""
        if self._rooms.pop(room.id, None) is not None:
            self.engine.close_room(room.id)

    def _talking(self, room_id: int, data: bytes) -> None:
        leg_id, talking = map(int, data.split())
        room, leg = self._rooms.get(room_id), self._legs.get(leg_id)
        if room is not None and leg is not None and room.on_talking is not None:
            room.on_talking(leg, bool(talking))

    def start_recording(
        self, path: Path, *, rate_hz: int, on_event: Callable[[RecordingEvent, bytes], None]
    ) -> MediaRecording:
        """Begin to write a file, which is silent until it listens to something. Its events come to `on_event`."""
        recording_id = self.engine.start_recording(str(path), rate_hz)
        recording = MediaRecording(self, recording_id, on_event)
        self._recordings[recording_id] = recording
        return recording

    def _recording_event(self, recording_id: int, event: RecordingEvent, data: bytes) -> None:
        recording = self._recordings[recording_id]
        if event is not RecordingEvent.STARTED:
            del self._recordings[recording_id]
            recording.stop()  # one that failed is still known to the engine
        recording.on_event(event, data)

    def forget(self, leg: MediaLeg) -> None:
        """Called by `MediaLeg.close`."""
        if self._legs.pop(leg.id, None) is not None:
            self.engine.remove_leg(leg.id)

    def _deliver(self) -> None:
        for kind, leg_id, _time_ns, data in self.engine.drain():
            if kind == _media.TALKING:
                self._talking(leg_id, data)
                continue
            leg = self._legs.get(leg_id)
            try:
                if leg is not None:
                    leg.handle(LegEvent(kind), data)
                elif leg_id in self._recordings:
                    self._recording_event(leg_id, RecordingEvent(kind), data)
                # Else closed while the event was on its way.
            except Exception:
                # One leg's failure must not keep the others' events back.
                log.exception("leg event failed", leg=leg_id, kind=kind)
