"""The native media plane, as Python sees it: legs, what each one sends, and the events they raise.

Commands are checked on the caller's thread (`KeyError`: no such leg, `ValueError`: a bad value, `OSError`: a socket)
and carried out by the leg's worker in the order they were given. None of them blocks, except `close`.
Nothing here is called per packet.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

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
FAILED: Final[int]
"""A command could not be carried out (no memory, no descriptor), and the leg is gone. data: why."""

Event: TypeAlias = tuple[int, int, int, bytes]
"""(kind, leg, monotonic time in ns, data)"""

CodecEntry: TypeAlias = tuple[str, int, int, int]
"""(encoding name as in RFC 3551, RFC 7587 or RFC 4733; clock rate in Hz; payload type we send; the one we receive)"""

SrtpProfile: TypeAlias = Literal[
    "AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
]

class LegStats(TypedDict):
    """Counters of one leg. `received` is what came in from its peer, `sent` what went out to it."""

    packets_received: int
    octets_received: int
    packets_sent: int
    octets_sent: int
    packets_lost: int  # of those the peer sent, RFC 3550 section 6.4.1
    jitter_ms: float  # interarrival jitter of what came in, RFC 3550 section 6.4.1
    remote_packets_lost: int  # of those we sent, as the peer's last report block says
    remote_jitter_ms: float
    round_trip_ms: float  # from the last report block with an LSR; -1.0 until known
    codec_received: str  # of the last packet, "" before the first
    codec_sent: str
    conversion: Literal["none", "relay", "convert", "transcode"]  # how what this leg sends is made
    auth_failures: int  # SRTP or SRTCP tag wrong
    replayed: int
    dropped_source: int  # packets from an address that is not the leg's
    dropped_malformed: int
    dropped_payload_type: int
    dropped_direction: int  # while we do not receive
    dropped_conversion: int  # nothing that the leg speaks could be made of it
    dropped_send: int  # the socket would not take it
    rtcp_received: int
    rtcp_sent: int
    telephone_events_received: int  # presses, not packets
    telephone_events_sent: int
    remote_address: str  # "192.0.2.1 5000", "" until known

class Engine:
    """`workers` threads, each with one UDP port for WebRTC legs and an epoll of its own.

    Worker i listens on `webrtc_port + i` (port 0: any free one). A bind address of "::" takes IPv4 too.
    RTP legs take an even port and the odd one above it from `rtp_port_range`; a freed pair is reused oldest first, not
    before 30 s while other pairs are free.
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
        Set again: new keys, sequence numbers and rollover counters start anew (new DTLS association)."""
    # RTP side
    def set_rtp_remote(self, leg: int, ip: str, rtp_port: int, rtcp_port: int, learn: bool) -> None:
        """Where to send. rtcp_port == rtp_port: multiplexed (RFC 5761). learn: take the address of the first RTP packet
        instead and lock on it; otherwise only packets from `ip`:`rtp_port` are accepted. rtp_port 0: stop sending.
        An IPv6 peer of legs on IPv4 is a ValueError."""

    # What a leg speaks and sends
    def set_codecs(self, leg: int, codecs: Sequence[CodecEntry], ptime_ms: int = 20) -> None:
        """The negotiated formats, the one we prefer to send first; telephone-event entries by clock rate.
        What arrives in a codec that the other leg speaks is relayed, else it is converted to that leg's first codec."""
    def set_direction(self, leg: int, send: bool, receive: bool) -> None:
        """RFC 8866 section 6.7, from our side. receive False: what arrives is counted and dropped."""
    def set_source_leg(self, leg: int, source: int) -> None:
        """`leg` sends what `source` receives. The leg itself: echo. Both must be on one worker (ValueError)."""
    def set_source_tone(
        self,
        leg: int,
        frequencies_hz: Sequence[float],
        cadence_ms: Sequence[int] = (),
        level_dbm0: float = -13.0,
    ) -> None:
        """`leg` sends the sum of up to four tones, each at `level_dbm0`, in its first codec.
        cadence: on, off, on, off ... repeated; empty: always on. No frequencies: silence, sent as packets."""
    def set_source_none(self, leg: int) -> None: ...
    def set_timeouts(self, leg: int, ice_timeout_s: float = 0.0, media_timeout_s: float = 0.0) -> None:
        """0: never. Counting starts anew at each call. The ICE timeout counts from the first check."""

    # Figures
    def leg_stats(self, leg: int) -> LegStats: ...
    def counters(self, worker: int) -> dict[str, int]:
        """Of a worker: packets and system calls in and out, polls (and rounds that let packets gather for up to 1 ms,
        from 6,000 a second on if they come one by one), STUN, DTLS, unknown sources, malformed, kernel drops
        (SO_RXQ_OVFL), legs, timers."""
    @property
    def build(self) -> dict[str, Any]:
        """Versions of OpenSSL, libsrtp and libopus, and sanitizers."""
