"""Parts of the native media plane that tests look at by themselves. In an editable install only."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from ._media import Sound, SrtpProfile

def derive(profile: SrtpProfile, master: bytes) -> tuple[bytes, bytes, bytes]:
    """RFC 3711 section 4.3: (encryption key, authentication key, salt), each as long as the longest of any profile."""

def sizes() -> dict[str, int]:
    """Octets of what a leg is made of, without what OpenSSL and libsrtp allocate."""

class Cipher:
    """SRTP's transforms with given session keys."""

    def __init__(
        self, profile: SrtpProfile, encryption: bytes, authentication: bytes, salt: bytes, own_gcm: bool = True
    ) -> None:
        """own_gcm: AES-GCM by our own code, where the processor can do it."""
    def seal(self, plain: bytes, index: int) -> bytes: ...
    def open(self, sealed: bytes, index: int) -> bytes | None:
        """None: the tag is wrong."""

class Sender:
    def __init__(self, profile: SrtpProfile, master: bytes) -> None: ...
    def protect(self, plain: bytes) -> bytes:
        """b"": refused."""

class Receiver:
    def __init__(self, profile: SrtpProfile, master: bytes) -> None: ...
    def unprotect(self, sealed: bytes) -> tuple[Literal["ok", "malformed", "wrong_tag", "repeated"], bytes]: ...

class PollFloor:
    """When a worker lets packets gather; times in ns."""

    @property
    def engaged(self) -> bool: ...
    def polled(self, now: int, packets_in_all: int) -> None: ...

class Limiter:
    """Holds a sum of voices within 16 bits."""

    def __init__(self, rate_hz: int) -> None: ...
    @property
    def gain(self) -> float: ...
    def process(self, frame: bytes) -> bytes:
        """Native 32-bit samples in, 16-bit ones out."""

class Mixer:
    """The mixes of one room. Frames are 20 ms of native 16-bit samples."""

    def __init__(self, rate_hz: int) -> None: ...
    @property
    def members(self) -> int: ...
    def add(self, says: int = 1, hears: int = 1) -> int | None:
        """The member's slot; None: the room is full."""
    def remove(self, slot: int) -> None: ...
    def set_rules(self, slot: int, says: int = 1, hears: int = 1, muted: bool = False) -> None: ...
    def put(self, slot: int, frame: bytes) -> None: ...
    def mix(self) -> None: ...
    def heard_by(self, slot: int) -> bytes: ...
    def heard_by_all(self) -> bytes: ...
    def level_dbov(self, slot: int) -> float: ...
    def talking(self, slot: int) -> bool: ...
    def chosen(self, slot: int) -> bool: ...

class Reception:
    """What a leg measures on what it receives, at times of the test's own. `clock_rate_hz` 0: a telephone-event."""

    def __init__(self) -> None: ...
    def receive(
        self,
        sequence: int,
        timestamp: int,
        at_s: float,
        clock_rate_hz: int = 8000,
        ssrc: int = 1,
        marker: bool = False,
    ) -> bool:
        """True: a new stream has begun."""
    def sender_report(self, packets: int, at_s: float, ssrc: int = 1) -> None: ...
    def reset(self) -> None: ...
    def report(self, at_s: float) -> tuple[int, int, int, int, int] | None:
        """(fraction lost in 1/256, lost, highest sequence number, jitter in units, delay in 1/65536 s)"""
    @property
    def figures(self) -> dict[str, Any]: ...

class PressDetector:
    """Presses in one stream of RFC 4733 packets. One that is heard is (event, duration in ms)."""

    def __init__(self) -> None: ...
    def packet(
        self,
        now_ms: float,
        timestamp: int,
        event: int,
        duration: int,
        end: bool = False,
        clock_rate_hz: int = 8000,
    ) -> tuple[bool, tuple[int, int] | None]:
        """(a press has begun, the one that is over)"""
    def expire(self, now_ms: float) -> tuple[int, int] | None: ...
    def restart(self) -> tuple[int, int] | None: ...
    @property
    def due_ms(self) -> float: ...

class PressSender:
    """Presses sent one after the other."""

    def __init__(self) -> None: ...
    def queue(
        self, event: int, duration_ms: int = 100, gap_ms: int = 70, volume: int = 10, in_band: bool = False
    ) -> bool: ...
    def step(self, now_ms: float, interval_ms: int = 20, rate_hz: int = 8000) -> tuple[Any, ...]:
        """("nothing",) or ("over",), or ("packet", event, volume, first, end, elapsed_ms, start_ms), or
        ("audio", native 16-bit samples)."""
    def clear(self) -> None: ...
    def take_ended(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    @property
    def queued(self) -> int: ...
    @property
    def due_ms(self) -> float: ...

class InbandDtmfDetector:
    """Presses in audio: (event, duration in ms, when, in ms)."""

    def __init__(self) -> None: ...
    def listen(self, pcm: bytes, rate_hz: int = 8000, concealed: bool = False) -> None: ...
    @property
    def presses(self) -> list[tuple[int, int, float]]: ...

# -- sounds and recordings; PCM is 16 bit, little-endian, mono

class AudioSource:
    def generate(self, samples: int, rate_hz: int) -> tuple[bytes, bool]:
        """The next samples, and whether more will come."""
    def fade_out(self) -> bool:
        """The next frame is the last one. False: it cannot fade."""

class Tone(AudioSource):
    def __init__(
        self,
        frequencies_hz: Sequence[float],
        cadence_ms: Sequence[int] = (),
        level_dbm0: float = -13.0,
        modulation_hz: float = 0.0,
        rounds: int = 0,
    ) -> None: ...

def sound_samples(sound: Sound, rate_hz: int) -> bytes: ...

class SoundPlayer(AudioSource):
    def __init__(self, sound: Sound, loop: bool = False, gain_db: float = 0.0) -> None: ...

class StereoTrack:
    """Times in ns; channel 0 is the left one."""

    def __init__(self, rate_hz: int, start: int) -> None: ...
    def put(self, channel: int, pcm: bytes, rate_hz: int, now: int) -> None: ...
    def advance(self, now: int) -> None: ...
    def take(self) -> bytes:
        """Left and right in turn."""

class AudioSink:
    @property
    def wanted_rate_hz(self) -> int: ...
    def take(self, pcm: bytes, rate_hz: int, now: int) -> None: ...

class Recordings:
    """A writer thread of its own."""

    def start(self, id: int, path: str, rate_hz: int, fd: int | None = None) -> None:
        """`fd`: write to it instead of making a file."""
    def listener(self, id: int, channel: int) -> AudioSink: ...
    def pause(self, id: int, paused: bool) -> None: ...
    def stop(self, id: int) -> None: ...
    def dropped(self, id: int) -> int:
        """Frames, of both channels."""
    def close(self) -> None: ...
    def drain(self) -> list[tuple[int, int, str]]:
        """(RECORDING_STARTED, RECORDING_STOPPED or RECORDING_FAILED; id; data)"""

def io_uring_works() -> bool:
    """Whether this system has what the loop by io_uring needs, and allows it."""

class TestPort:
    """A UDP socket on 127.0.0.1 and what a loop has handed out of it."""

    def __init__(self) -> None: ...
    @property
    def port(self) -> int: ...
    def set_receive_buffer(self, octets: int) -> None: ...
    def take(self) -> list[tuple[int, bytes]]:
        """(source port, datagram) of what has come since the last time, in order."""
    def close(self) -> None:
        """Only when no loop has it."""

class TestLoop:
    """A worker's packet loop, on the thread of the test. `io`: "epoll" or "io_uring"."""

    def __init__(self, io: str, gather_ms: float = 0.0) -> None: ...
    def add(self, port: TestPort, together: bool = False) -> None: ...
    def remove(self, port: TestPort) -> None: ...
    def watch(self, fd: int, call: Callable[[], object]) -> None: ...
    def unwatch(self, fd: int) -> None: ...
    def send(self, source: TestPort, ip: str, port: int, datagram: bytes) -> None:
        """Queue it."""
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def run_once(self, wait_s: float = 0.0) -> None: ...
    @property
    def dropped(self) -> int:
        """Queued datagrams that the kernel would not take."""
    @property
    def counts(self) -> dict[str, int]: ...

class Gathering:
    """When a wait lets packets gather, at times of the test's own."""

    def __init__(self, longest_ns: int) -> None: ...
    @property
    def wait_ns(self) -> int: ...
    def served(self, now: int, packets_in_all: int) -> None: ...

def parse_red(payload: bytes) -> list[tuple[int, int, bytes]] | None:
    """(payload type, timestamp offset, data) of each block of RFC 2198, the primary last; None: refused."""

def playout_size(rate_hz: int) -> int:
    """Octets of a `Playout`, without the state of its codecs and of concealment."""

def has_opus_redundancy(payload: bytes) -> bool:
    """Whether it holds a copy of the frame before it."""

class Playout:
    """What is heard of one source. Times are in seconds; samples are native 16-bit ones."""

    def __init__(self, rate_hz: int = 8000, min_delay_s: float = 0.02, max_delay_s: float = 0.2) -> None: ...
    def put(
        self, sequence: int, timestamp: int, payload: bytes, codec: str, at_s: float, clock_rate_hz: int = 8000
    ) -> None: ...
    def get(
        self, at_s: float, duration_ms: int = 20
    ) -> tuple[Literal["speech", "concealment", "comfort_noise", "silence"], bytes]: ...
    def set_movable_ticks(self, movable: bool) -> None: ...
    def set_rate(self, rate_hz: int) -> None: ...
    def reset(self) -> None: ...
    @property
    def tick_shift_s(self) -> float: ...
    @property
    def idle(self) -> bool: ...
    @property
    def figures(self) -> dict[str, Any]: ...

class AudioEncoder:
    """Frames in, payloads out."""

    def __init__(self, opus_bitrate_bps: int = 16000, opus_complexity: int = 3, opus_dtx: bool = False) -> None: ...
    def set_format(self, codec: str, ptime_ms: int = 20) -> None: ...
    def put(self, samples: bytes, rate_hz: int = 8000) -> None: ...
    def take(self) -> tuple[bytes, int, bool] | None:
        """(payload, ms that it stands for, whether it may be left out)"""
    def set_expected_loss(self, fraction: float) -> None: ...
    def reset(self) -> None: ...
