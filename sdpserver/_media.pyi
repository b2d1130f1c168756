"""The native media plane, as Python sees it: legs, what each one sends, and the events they raise.

Commands are checked on the caller's thread (`KeyError`: no such leg, `ValueError`: a bad value, `OSError`: a socket)
and carried out by the leg's worker in the order they were given. None of them blocks, except `close`.
Nothing here is called per packet.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from .models.legs import LegStats as LegStats
from .models.legs import VoipMetrics as VoipMetrics

# Kinds of events, the first item of what `Engine.drain` returns.
ICE_CONNECTED: Final[int]
"""First check with a right MESSAGE-INTEGRITY. data: the remote address, `b"192.0.2.1 5000"`."""
ICE_SELECTED: Final[int]
"""The leg's remote address moved (USE-CANDIDATE, RFC 8445 section 7.3.1.5). data: the new address."""
ICE_TIMEOUT: Final[int]
"""No authenticated check for `ice_timeout_s`. Raised once."""
DTLS: Final[int]
"""data: one DTLS datagram from an address that has passed a check."""
FIRST_RTP_RECEIVED: Final[int]
"""First RTP packet accepted on the leg. data: its codec's name."""
FIRST_RTP_SENT: Final[int]
"""First RTP packet sent by the leg. data: its codec's name."""
MEDIA_TIMEOUT: Final[int]
"""Neither RTP nor RTCP for `media_timeout_s`. Raised once per silence."""
TALKING: Final[int]
"""A member of a room has begun or ceased to talk; the event's leg is the room. data: the leg and 1 or 0, `b"17 1"`."""
FAILED: Final[int]
"""A command could not be carried out (no memory, no descriptor), and the leg is gone. data: why."""
DTMF: Final[int]
"""A press that the leg's peer has made is over; once for each, however many of its packets were lost. data: its event
(RFC 4733 section 3.2), its length in ms and how it came, `b"5 100 rfc4733"` or `b"11 80 inband"`."""
PLAY_ENDED: Final[int]
"""What was played over the leg's source has ended, was stopped or replaced. data: its tag."""
RECORDING_STARTED: Final[int]
"""The file is open. In place of the leg: the recording, as with the next two."""
RECORDING_STOPPED: Final[int]
"""The file is whole and has its name. data: `b"1234 0"`, how long it is in ms and how many frames the disk was too slow
for."""
RECORDING_FAILED: Final[int]
"""The recording is over; what could be written is in the file. data: why."""

Event: TypeAlias = tuple[int, int, int, bytes]
"""(kind, leg, monotonic time in ns, data)"""

CodecEntry: TypeAlias = tuple[str, int, int, int]
"""(encoding name as in RFC 3551, RFC 7587 or RFC 4733; clock rate in Hz; payload type we send; the one we receive)"""
ReceivedEntry: TypeAlias = tuple[str, int, None, int]
"""One that the peer may send, and takes none of."""

SrtpProfile: TypeAlias = Literal[
    "AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
]

class Sound:
    """A decoded sound file; whoever plays it shares it."""

    @property
    def duration_s(self) -> float: ...
    @property
    def octets(self) -> int:
        """In memory: 48,000 for each second."""

def decode_sound(fd: int, max_octets: int) -> Sound:
    """Of an open WAV, FLAC or Ogg file. Takes its time, and releases the GIL. RuntimeError: it cannot be played, and
    why; also when it would need more than `max_octets`."""

def recover_recording(path: str) -> bool:
    """Make a recording (`*.part`) whole that a process left behind; one without sound is removed. False: another
    process is still writing to it. RuntimeError: not a recording. OSError: the file system refused. Releases the GIL.
    """

class Engine:
    """`workers` threads, each with one UDP port for WebRTC legs, and a loop of its own by `io`: "auto" is io_uring
    where the system has what is needed (Linux 6.1) and allows it, else epoll. `build["io"]` tells which. Under load
    packets may wait up to `gather_ms` (0 to 5) for others, so that they share a wake-up.

    Worker i listens on `webrtc_port + i` (port 0: any free one). A bind address of "::" takes IPv4 too.
    RTP legs take an even port and the odd one above it from `rtp_port_range`; a freed pair is reused oldest first, not
    before 30 s while other pairs are free.
    `opus_*`: of what is encoded here (6000 to 128000 bit/s, 0 to 10). `jitter_buffer_ms`: the least and the most audio
    that may wait to be decoded, the frame being played included; between them the wait follows the jitter.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        webrtc_bind: str = "0.0.0.0",
        webrtc_port: int = 10000,
        rtp_bind: str = "0.0.0.0",
        rtp_port_range: tuple[int, int] = (20000, 29999),
        report_interval_s: float = 5.0,
        io: Literal["auto", "epoll", "io_uring"] = "auto",
        gather_ms: float = 1.0,
        opus_bitrate_bps: int = 16_000,
        opus_complexity: int = 3,
        opus_dtx: bool = False,
        jitter_buffer_ms: tuple[int, int] = (20, 200),
    ) -> None: ...
    @property
    def event_fd(self) -> int:
        """Readable when `drain` has something."""
    @property
    def workers(self) -> int: ...
    def webrtc_port(self, worker: int) -> int: ...
    def drain(self) -> list[Event]: ...
    def close(self) -> None:
        """Stop the workers and close all sockets. Idempotent. Releases the GIL."""

    # Legs. A leg's id is never used again in a process.
    def create_webrtc_leg(
        self, worker: int, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str
    ) -> int:
        """The peer's may both be "" and come later by `set_remote_ice`: they are for our own check when its address
        moves."""
    def create_rtp_leg(self, worker: int) -> tuple[int, int]:
        """(leg, RTP port; RTCP is the next one). OSError(EADDRNOTAVAIL) when the range is used up."""
    def remove_leg(self, leg: int) -> None:
        """Close the leg; whoever sent what it received falls silent. Unknown or removed legs are ignored."""

    # WebRTC side
    def restart_ice(self, leg: int, local_ufrag: str, local_pwd: str, remote_ufrag: str, remote_pwd: str) -> None:
        """New credentials beside the old ones, which end with the first good check on the new (RFC 8445 section 9)."""
    def set_remote_ice(self, leg: int, remote_ufrag: str, remote_pwd: str) -> None:
        """The peer's credentials, for our own consent check when the address moves."""
    def send_dtls(self, leg: int, datagram: bytes) -> None:
        """Send to the leg's selected address; dropped while there is none."""
    def set_srtp(self, leg: int, profile: SrtpProfile, send_key: bytes, receive_key: bytes) -> None:
        """Keys are master key and salt in one, as RFC 5764 section 4.2 exports them. Until they are set, a WebRTC leg
        neither sends nor takes media.
        Set again: the leg sends with the new keys at once, and with a new SSRC, sequence numbers and rollover counter.
        What the peer still sends with the keys before is understood for 100 packets more. So keys that have not
        changed are not to be set again."""
    def clear_srtp(self, leg: int) -> None:
        """Plain RTP from now on; what the peer still sends with the keys is understood for 100 packets more.
        ValueError for a WebRTC leg."""
    # RTP side
    def set_rtp_remote(self, leg: int, ip: str, rtp_port: int, rtcp_port: int, learn: bool) -> None:
        """Where to send. rtcp_port == rtp_port: multiplexed (RFC 5761). learn: take the address of the first RTP packet
        instead and lock on it; otherwise only packets from `ip`:`rtp_port` are accepted. rtp_port 0: stop sending.
        An IPv6 peer of legs on IPv4 is a ValueError."""

    # What a leg speaks and sends
    def set_codecs(self, leg: int, codecs: Sequence[CodecEntry | ReceivedEntry], ptime_ms: int = 20) -> None:
        """The negotiated formats, the one we prefer to send first; telephone-event entries by clock rate.
        What arrives in a codec that the other leg speaks is relayed, else it is converted to that leg's first codec."""
    def set_opus_receiver(
        self,
        leg: int,
        *,
        max_playback_rate_hz: int = 48000,
        max_average_bitrate_bps: int = 510_000,
        use_inband_fec: bool = False,
        use_dtx: bool = False,
    ) -> None:
        """How the peer wants to get the Opus that we encode (RFC 7587 section 6.1): no more than that rate, not more
        bits a second than it or the engine's settings say, copies of lost frames and pauses only for one that asked.
        What is relayed is not touched."""
    def set_direction(self, leg: int, send: bool, receive: bool) -> None:
        """RFC 8866 section 6.7, from our side. receive False: what arrives is counted and dropped."""
    def set_source_leg(self, leg: int, source: int) -> None:
        """`leg` sends what `source` receives, also from another worker. The leg itself: echo."""
    def send_presses(
        self,
        leg: int,
        events: Sequence[int],
        duration_ms: int,
        gap_ms: int,
        volume: int = 10,
        in_band: bool = False,
    ) -> None:
        """Press keys (RFC 4733 section 3.2: 0 to 9, 10 `*`, 11 `#`, 12 to 15 A to D) toward the leg's peer, after those
        that wait, as event packets or as tones of together -`volume` dBm0. Meanwhile it sends nothing else.
        OverflowError: more than 128 would wait. A direction without sending drops those that wait."""
    def detect_inband_presses(self, leg: int, enabled: bool) -> None:
        """Whether presses that the peer sends as tones are found too. One that comes both ways is reported once."""
    def move_rtp_leg(self, leg: int, worker: int) -> None:
        """Onto another worker, with its sockets, its streams and whoever it feeds or is fed by: where the leg is that
        it is bridged to, no packet changes threads. Waits for the worker that has it, a millisecond or so; releases
        the GIL."""
    def set_source_tone(
        self,
        leg: int,
        frequencies_hz: Sequence[float],
        cadence_ms: Sequence[int] = (),
        level_dbm0: float = -13.0,
        modulation_hz: float = 0.0,
    ) -> None:
        """`leg` sends the sum of up to four tones, each at `level_dbm0`, in its first codec.
        cadence: on, off, on, off ... repeated; empty: always on. No frequencies: silence, sent as packets.
        modulation_hz: the sum swells and fades so often."""
    def set_source_sound(self, leg: int, sound: Sound, loop: bool = False, gain_db: float = 0.0) -> None:
        """Then nothing, once it is over."""
    def set_source_none(self, leg: int) -> None: ...
    def play_tone(
        self,
        leg: int,
        frequencies_hz: Sequence[float],
        cadence_ms: Sequence[int] = (),
        level_dbm0: float = -13.0,
        modulation_hz: float = 0.0,
        rounds: int = 0,
        tag: str = "",
    ) -> None:
        """In place of the leg's source, from when the leg can send, for so many rounds of the cadence (0: until it is
        stopped); then PLAY_ENDED. What is played already is replaced."""
    def play_sound(self, leg: int, sound: Sound, loop: bool = False, gain_db: float = 0.0, tag: str = "") -> None:
        """As `play_tone`. gain_db: -60 to 20."""
    def stop_playing(self, leg: int) -> None:
        """PLAY_ENDED follows if something was played."""

    # Recordings: 16-bit stereo WAV, written by a thread of its own. KeyError: it has been stopped.
    def start_recording(self, path: str, rate_hz: int) -> int:
        """Returns its id; RECORDING_STARTED or RECORDING_FAILED follows. The file is `path`.part until it is whole."""
    def set_recorded_leg(self, recording: int, channel: int, leg: int) -> None:
        """Channel 0 (left) or 1 (right) has what this leg receives from now on; 0: silence."""
    def set_recorded_room(self, recording: int, room: int) -> None:
        """Both channels have all that is said in this room from now on, instead of in another; 0: no more of it."""
    def pause_recording(self, recording: int, paused: bool) -> None:
        """While paused there is silence in the file."""
    def stop_recording(self, recording: int) -> None:
        """RECORDING_STOPPED or RECORDING_FAILED follows."""

    # Rooms. Their ids are never those of legs.
    def create_room(self, worker: int, rate_hz: int) -> int:
        """A room that is mixed on `worker`, at 8000 or 16000 Hz. Its members may be on any."""
    def close_room(self, room: int) -> None:
        """All leave. Unknown or closed rooms are ignored."""
    def join_room(self, room: int, leg: int, says: int = 1, hears: int = 1, muted: bool = False) -> None:
        """`leg` sends what it hears of the others in the room, from when there is something, in place of what it sent.
        says, hears: bits of circles; a member hears those who speak into one that it listens to, of them the loudest
        three, and never itself. A leg that is in the room gets new rules; one in another room leaves that one.
        ValueError: 56 are there."""
    def leave_room(self, room: int, leg: int) -> None:
        """It then sends nothing. Who is not there is ignored."""
    def room_levels(self, room: int) -> list[tuple[int, float]]:
        """(leg, level of the last 20 ms in dBov, -127 for silence) of each member."""
    def set_timeouts(self, leg: int, ice_timeout_s: float = 0.0, media_timeout_s: float = 0.0) -> None:
        """0: never. Counting starts anew at each call. The ICE timeout counts from the first check."""

    # Figures
    def leg_stats(self, leg: int) -> LegStats: ...
    def counters(self, worker: int) -> dict[str, int]:
        """Of a worker: packets in and out, system calls for them alone (io_uring needs none but the polls, and one for
        32 packets of a burst), polls (and rounds that let packets gather: from 2,000 packets a second on, with epoll
        from 6,000 if they come one by one), STUN, DTLS, unknown sources, malformed, kernel drops (SO_RXQ_OVFL; with
        epoll only of the WebRTC port), legs, timers."""
    @property
    def build(self) -> dict[str, Any]:
        """Versions of OpenSSL, libsrtp and libopus, `io` ("epoll", "io_uring"), and sanitizers."""
