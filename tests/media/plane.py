"""An engine of a test's own and the peers of its legs: plain sockets, aioice's STUN, pylibsrtp's SRTP, aiortc's RTP.

None of the code under test is in a peer. Everything is synchronous and on loopback; each wait has a bound.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import pylibsrtp
from aioice import stun
from aiortc.rtp import AnyRtcpPacket, RtcpPacket, RtpPacket, is_rtcp
from peers.ports import claim_block

from sdpserver import _media

if TYPE_CHECKING:  # the stub has them, the module itself does not
    from sdpserver._media import CodecEntry, ReceivedEntry, SrtpProfile

WAIT_S = 3.0
"""What is on its way on loopback is here by then, also under a sanitizer."""
QUIET_S = 0.05
"""Nothing more comes after this long without a packet. Only for proofs of absence that a later packet backs."""

PROFILES: dict[SrtpProfile, tuple[int, int, int]] = {
    "AEAD_AES_128_GCM": (pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "AEAD_AES_256_GCM": (pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "AES_CM_128_HMAC_SHA1_80": (pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
    "AES_CM_128_HMAC_SHA1_32": (pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 16, 14),
}
"""pylibsrtp's number, octets of key and of salt."""
PROFILE_NAMES: list[SrtpProfile] = list(PROFILES)

PCMU: CodecEntry = ("PCMU", 8000, 0, 0)
PCMA: CodecEntry = ("PCMA", 8000, 8, 8)
OPUS: CodecEntry = ("opus", 48000, 111, 111)
EVENT_8000: CodecEntry = ("telephone-event", 8000, 101, 101)
EVENT_48000: CodecEntry = ("telephone-event", 48000, 110, 110)
COMFORT_NOISE: CodecEntry = ("CN", 8000, 13, 13)

_ports: list[range] = []
_next_port = 0


def ports(pairs: int) -> tuple[int, int]:
    """First and last port of that many pairs, which no other test of this run was given."""
    global _next_port
    if not _ports or _next_port + 2 * pairs > _ports[-1].stop:
        _ports.append(claim_block())
        _next_port = _ports[-1].start
    first, _next_port = _next_port, _next_port + 2 * pairs
    return first, first + 2 * pairs - 1


def session(profile: SrtpProfile, master: bytes, *, outbound: bool) -> pylibsrtp.Session:
    """One direction of an SRTP association, for any SSRC."""
    kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND if outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND
    return pylibsrtp.Session(pylibsrtp.Policy(key=master, ssrc_type=kind, srtp_profile=PROFILES[profile][0]))


def master_key(profile: SrtpProfile) -> bytes:
    _, key, salt = PROFILES[profile]
    return os.urandom(key + salt)


def parse_stun(datagram: bytes, pwd: str) -> stun.Message:
    """aioice checks the fingerprint, and the integrity with `pwd`."""
    message = stun.parse_message(datagram)
    assert message.check_message_integrity(pwd.encode())
    return message


class Socket:
    """A bound UDP socket that waits for datagrams with a bound."""

    def __init__(self, ip: str = "127.0.0.1", port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind((ip, port))
        except OSError:
            self.socket.close()
            raise
        self.ip = ip
        self.port: int = self.socket.getsockname()[1]

    @property
    def address(self) -> str:
        return f"{self.ip} {self.port}"

    def send(self, datagram: bytes, port: int) -> None:
        self.socket.sendto(datagram, (self.ip, port))

    def receive(self, timeout_s: float = WAIT_S) -> bytes:
        """The next datagram. Raises TimeoutError."""
        self.socket.settimeout(timeout_s)
        return self.socket.recv(4096)

    def silent(self, for_s: float = QUIET_S) -> bool:
        """Nothing comes for so long."""
        return not select.select([self.socket], [], [], for_s)[0]

    def close(self) -> None:
        self.socket.close()


class RtpPeer:
    """The far end of an RTP leg: a socket for RTP, one for RTCP on the next port."""

    def __init__(self, ip: str = "127.0.0.1") -> None:
        for _ in range(50):
            self.rtp = Socket(ip)
            try:
                self.rtcp = Socket(ip, self.rtp.port + 1)
                break
            except OSError:
                self.rtp.close()
        self.leg = 0
        self.leg_port = 0

    def send(self, packet: RtpPacket | bytes, sender: Socket | None = None) -> None:
        (sender or self.rtp).send(bytes(packet) if isinstance(packet, bytes) else packet.serialize(), self.leg_port)

    def receive(self, timeout_s: float = WAIT_S) -> RtpPacket:
        return RtpPacket.parse(self.rtp.receive(timeout_s))

    def send_rtcp(self, *packets: AnyRtcpPacket) -> None:
        self.rtcp.send(b"".join(map(bytes, packets)), self.leg_port + 1)

    def receive_rtcp(self, timeout_s: float = WAIT_S) -> list[AnyRtcpPacket]:
        return RtcpPacket.parse(self.rtcp.receive(timeout_s))

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class WebRtcPeer:
    """A browser's end without DTLS: it makes checks, and has the keys told."""

    LOCAL = ("peer", "p" * 24)

    def __init__(self, ip: str = "127.0.0.1") -> None:
        self.socket = Socket(ip)
        self.leg = 0
        self.port = 0
        self.remote = ("", "")  # the leg's ufrag and password
        self.tx: pylibsrtp.Session
        self.rx: pylibsrtp.Session
        self.waiting_rtcp: list[list[AnyRtcpPacket]] = []

    def request(self, *, use_candidate: bool = True, remote: tuple[str, str] | None = None) -> stun.Message:
        ufrag, pwd = remote or self.remote
        message = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{ufrag}:{self.LOCAL[0]}"
        message.attributes["PRIORITY"] = 1845501695
        message.attributes["ICE-CONTROLLING"] = 7
        if use_candidate:
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(pwd.encode())
        return message

    def check(
        self,
        *,
        sender: Socket | None = None,
        use_candidate: bool = True,
        remote: tuple[str, str] | None = None,
    ) -> stun.Message:
        """One connectivity check and its answer, whose integrity and fingerprint are checked by aioice."""
        sender = sender or self.socket
        request = self.request(use_candidate=use_candidate, remote=remote)
        sender.send(bytes(request), self.port)
        data = sender.receive()
        while data[0] > 3:
            data = sender.receive()
        return parse_stun(data, (remote or self.remote)[1])

    def set_keys(self, profile: SrtpProfile, *, sending: bytes, receiving: bytes) -> None:
        self.tx = session(profile, sending, outbound=True)
        self.rx = session(profile, receiving, outbound=False)

    def send(self, packet: RtpPacket | bytes, sender: Socket | None = None) -> bytes:
        """Protected; returns the datagram."""
        datagram = self.tx.protect(packet if isinstance(packet, bytes) else packet.serialize())
        (sender or self.socket).send(datagram, self.port)
        return datagram

    def send_rtcp(self, *packets: AnyRtcpPacket) -> None:
        self.socket.send(self.tx.protect_rtcp(b"".join(map(bytes, packets))), self.port)

    def receive(self, timeout_s: float = WAIT_S) -> RtpPacket:
        """The next RTP packet; RTCP before it is kept for `receive_rtcp`."""
        while True:
            datagram = self.socket.receive(timeout_s)
            if not is_rtcp(datagram):
                return RtpPacket.parse(self.rx.unprotect(datagram))
            self.waiting_rtcp.append(RtcpPacket.parse(self.rx.unprotect_rtcp(datagram)))

    def receive_rtcp(self, timeout_s: float = WAIT_S) -> list[AnyRtcpPacket]:
        while not self.waiting_rtcp:
            datagram = self.socket.receive(timeout_s)
            if is_rtcp(datagram):
                self.waiting_rtcp.append(RtcpPacket.parse(self.rx.unprotect_rtcp(datagram)))
        return self.waiting_rtcp.pop(0)

    def close(self) -> None:
        self.socket.close()


class Plane:
    """An engine on loopback, its events, and its peers, which are closed with it."""

    def __init__(
        self,
        *,
        workers: int = 1,
        ip: str = "127.0.0.1",
        pairs: int = 8,
        report_interval_s: float = 60,
        io: str = "auto",
        gather_ms: float = 1.0,
    ) -> None:
        self.ip = ip
        self.ports = ports(pairs)
        self.engine = _media.Engine(
            workers=workers,
            webrtc_bind=ip,
            webrtc_port=0,
            rtp_bind=ip,
            rtp_port_range=self.ports,
            report_interval_s=report_interval_s,
            io=io,  # type: ignore[arg-type]
            gather_ms=gather_ms,
        )
        self.events: list[_media.Event] = []
        self._open: list[RtpPeer | WebRtcPeer | Socket] = []
        self._legs = 0

    def __enter__(self) -> Plane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for peer in self._open:
            peer.close()
        self._open.clear()
        self.engine.close()

    # -- legs

    def socket(self) -> Socket:
        """One more address of a peer."""
        self._open.append(made := Socket(self.ip))
        return made

    def rtp_leg(
        self, codecs: Sequence[CodecEntry] = (PCMU,), *, worker: int = 0, learn: bool = False, connect: bool = True
    ) -> RtpPeer:
        """A leg and its peer; `connect`: it has the peer's address."""
        self._open.append(peer := RtpPeer(self.ip))
        peer.leg, peer.leg_port = self.engine.create_rtp_leg(worker)
        self.engine.set_codecs(peer.leg, codecs)
        if connect:
            self.engine.set_rtp_remote(peer.leg, self.ip, peer.rtp.port, peer.rtcp.port, learn)
        self.settle(worker)
        return peer

    def webrtc_leg(
        self,
        codecs: Sequence[CodecEntry | ReceivedEntry] = (PCMU,),
        *,
        profile: SrtpProfile | None = "AEAD_AES_128_GCM",
        worker: int = 0,
    ) -> WebRtcPeer:
        """A leg whose peer has passed a check and, with a profile, has keys."""
        self._legs += 1
        self._open.append(peer := WebRtcPeer(self.ip))
        peer.port = self.engine.webrtc_port(worker)
        peer.remote = (f"leg{self._legs}", f"{self._legs:024}")
        peer.leg = self.engine.create_webrtc_leg(worker, *peer.remote, *peer.LOCAL)
        self.engine.set_codecs(peer.leg, codecs)
        self.settle(worker)
        if profile is not None:
            peer.check()
            self.set_keys(peer, profile)
            self.settle(worker)
        return peer

    def set_keys(self, peer: WebRtcPeer, profile: SrtpProfile) -> None:
        ours, theirs = master_key(profile), master_key(profile)
        self.engine.set_srtp(peer.leg, profile, ours, theirs)
        peer.set_keys(profile, sending=theirs, receiving=ours)
        self.settle()

    def bridge(self, a: RtpPeer | WebRtcPeer, b: RtpPeer | WebRtcPeer) -> None:
        self.engine.set_source_leg(a.leg, b.leg)
        self.engine.set_source_leg(b.leg, a.leg)
        self.settle()

    # -- looking

    def settle(self, worker: int = 0, timeout_s: float = WAIT_S) -> None:
        """Until the worker has carried out all commands given so far. They are in order, so a leg that times out at
        once tells."""
        probe = self.engine.create_webrtc_leg(worker, "probe", "p" * 22, "probe", "p" * 22)
        self.engine.set_timeouts(probe, 0, 1e-9)
        self.wait(_media.MEDIA_TIMEOUT, probe, timeout_s)
        self.engine.remove_leg(probe)

    def stats(self, leg: int) -> _media.LegStats:
        return self.engine.leg_stats(leg)

    def wait(self, kind: int, leg: int, timeout_s: float = WAIT_S) -> _media.Event:
        """The first event of this kind on this leg, which is taken out of `events`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.events += self.engine.drain()
            for event in self.events:
                if event[0] == kind and event[1] == leg:
                    self.events.remove(event)
                    return event
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no event {kind} on leg {leg} within {timeout_s} s, but {self.events}")
            select.select([self.engine.event_fd], [], [], left_s)

    def count(self, kind: int, leg: int) -> int:
        """How many of these events have come and were not waited for."""
        self.events += self.engine.drain()
        return sum(event[0] == kind and event[1] == leg for event in self.events)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Counters announce nothing, so they are looked at every 0.2 ms."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.0002)


def rtp(
    sequence: int = 1000,
    timestamp: int = 160_000,
    *,
    payload: bytes = b"\xd5" * 160,
    payload_type: int = 0,
    ssrc: int = 0x1234,
    marker: int = 0,
) -> RtpPacket:
    return RtpPacket(
        payload_type=payload_type,
        marker=marker,
        sequence_number=sequence & 0xFFFF,
        timestamp=timestamp & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=payload,
    )
