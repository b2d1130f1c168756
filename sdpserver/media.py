"""The asyncio side of the native media plane: one reader of its event queue, and an object for each leg."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
from collections.abc import Callable, Sequence

import structlog

from . import _media
from .config import Config
from .errors import Unavailable
from .sdp import Codec, Direction

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


LegListener = Callable[[LegEvent, bytes], None]


class MediaLeg:
    """A leg of the media plane. Commands go out at once and in order; events come back to `on_event` on the loop."""

    def __init__(self, plane: MediaPlane, leg_id: int, worker: int) -> None:
        self.plane = plane
        self.id = leg_id
        self.worker = worker
        self.on_event: LegListener | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def set_codecs(self, codecs: Sequence[Codec], *, ptime_ms: int = 20) -> None:
        """The negotiated formats, the preferred one first."""
        self.plane.engine.set_codecs(self.id, [codec.as_entry() for codec in codecs], ptime_ms)

    def set_direction(self, direction: Direction) -> None:
        """From our side."""
        self.plane.engine.set_direction(self.id, direction.sends, direction.receives)

    def send_from(self, source: MediaLeg | None) -> None:
        """Send what `source` receives; the leg itself: echo; None: nothing."""
        if source is None:
            self.plane.engine.set_source_none(self.id)
        else:
            self.plane.engine.set_source_leg(self.id, source.id)

    def send_tone(self, frequencies_hz: Sequence[float], cadence_ms: Sequence[int] = ()) -> None:
        """Send a tone; no frequencies: silence."""
        self.plane.engine.set_source_tone(self.id, frequencies_hz, cadence_ms)

    def set_timeouts(self, *, ice_timeout_s: float = 0.0, media_timeout_s: float = 0.0) -> None:
        """0: never. Counting starts anew."""
        self.plane.engine.set_timeouts(self.id, ice_timeout_s, media_timeout_s)

    @property
    def stats(self) -> _media.LegStats:
        return self.plane.engine.leg_stats(self.id)

    def close(self) -> None:
        """Free the leg and its sockets. Idempotent."""
        if not self._closed:
            self._closed = True
            self.on_event = None
            self.plane.forget(self)


class WebRtcMediaLeg(MediaLeg):
    """A leg on a worker's shared port."""

    @property
    def port(self) -> int:
        return self.plane.engine.webrtc_port(self.worker)

    def restart_ice(self, *, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str) -> None:
        """New credentials; the old ones stay valid until the first good check on the new."""
        self.plane.engine.restart_ice(self.id, local_ufrag, local_pwd, remote_ufrag, remote_pwd)

    def send_dtls(self, datagram: bytes) -> None:
        self.plane.engine.send_dtls(self.id, datagram)

    def set_srtp(self, profile: _media.SrtpProfile, *, send_key: bytes, receive_key: bytes) -> None:
        self.plane.engine.set_srtp(self.id, profile, send_key, receive_key)


class RtpMediaLeg(MediaLeg):
    """A leg with a socket pair of its own; `port` is its RTP port, RTCP is on the next one."""

    def __init__(self, plane: MediaPlane, leg_id: int, worker: int, port: int) -> None:
        super().__init__(plane, leg_id, worker)
        self.port = port

    def set_remote(self, ip: str, rtp_port: int, rtcp_port: int, *, learn: bool) -> None:
        """Where to send, and whom to listen to."""
        self.plane.engine.set_rtp_remote(self.id, ip, rtp_port, rtcp_port, learn)


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
        )
        self._legs: dict[int, MediaLeg] = {}
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
        self.engine.close()

    @property
    def legs(self) -> int:
        """How many legs are open."""
        return len(self._legs)

    def _least_loaded_worker(self) -> int:
        if self.engine.workers == 1:
            return 0
        load = [0] * self.engine.workers
        for leg in self._legs.values():
            load[leg.worker] += 1
        return load.index(min(load))

    def create_webrtc_leg(
        self, *, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str, worker: int | None = None
    ) -> WebRtcMediaLeg:
        """A leg that answers checks on `local_ufrag`, on `worker` or on the one with the fewest legs."""
        worker = self._least_loaded_worker() if worker is None else worker
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

    def forget(self, leg: MediaLeg) -> None:
        """Called by `MediaLeg.close`."""
        if self._legs.pop(leg.id, None) is not None:
            self.engine.remove_leg(leg.id)

    def _deliver(self) -> None:
        for kind, leg_id, _time_ns, data in self.engine.drain():
            leg = self._legs.get(leg_id)
            if leg is None or leg.on_event is None:
                continue  # closed while the event was on its way
            try:
                leg.on_event(LegEvent(kind), data)
            except Exception:
                # One leg's failure must not keep the others' events back.
                log.exception("leg event failed", leg=leg_id, kind=kind)
