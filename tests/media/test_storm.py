"""Legs of several workers made, wired, changed and removed in a storm, while packets flow. Each has its seed."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sdpserver import _media

from .plane import (
    COMFORT_NOISE,
    EVENT_8000,
    EVENT_48000,
    OPUS,
    PCMA,
    PCMU,
    PROFILE_NAMES,
    Plane,
    RtpPeer,
    WebRtcPeer,
    master_key,
    rtp,
)

PAIRS = 12
STEPS = 1500
SETTLED_S = 15.0
"""After a storm there is more to do than usual, on fewer cores than workers."""
MOST_LEGS = 16
FORMATS = [[PCMU], [PCMA, PCMU], [PCMU, PCMA, EVENT_8000, COMFORT_NOISE], [OPUS, EVENT_48000], [OPUS, PCMU, EVENT_8000]]
MONOTONIC = ("packets_received", "octets_received", "packets_sent", "octets_sent", "rtcp_sent", "auth_failures")


@dataclass(slots=True)
class Storm:
    """Random commands and packets. What is refused must be refused as the stub says."""

    plane: Plane
    rng: random.Random
    recordings: Path
    peers: list[RtpPeer | WebRtcPeer] = field(default_factory=list)
    recording: int = 0
    sequence: int = 0
    seen: dict[int, dict[str, int]] = field(default_factory=dict)
    refused: int = 0

    def some(self) -> RtpPeer | WebRtcPeer:
        return self.rng.choice(self.peers)

    def worker(self) -> int:
        return self.rng.randrange(self.plane.engine.workers)

    def step(self) -> None:
        if not self.peers or (len(self.peers) < MOST_LEGS and self.rng.random() < 0.1):
            self.create()
        if self.rng.random() < 0.6:
            self.talk()
            return
        command = self.rng.choice(self.commands())
        try:
            command()
        except (KeyError, ValueError):
            self.refused += 1
        self.look()

    def create(self) -> None:
        peer = self.create_rtp() if self.rng.random() < 0.5 else self.create_webrtc()
        if peer is not None:
            self.plane.engine.set_codecs(peer.leg, self.rng.choice(FORMATS), self.rng.choice([10, 20, 30, 60]))
            self.peers.append(peer)

    def create_rtp(self) -> RtpPeer | None:
        try:
            leg, port = self.plane.engine.create_rtp_leg(self.worker())
        except OSError:
            return None  # all pairs are taken
        peer = RtpPeer()
        peer.leg, peer.leg_port = leg, port
        self.plane.engine.set_rtp_remote(leg, "127.0.0.1", peer.rtp.port, peer.rtcp.port, learn=self.rng.random() < 0.3)
        return peer

    def create_webrtc(self) -> WebRtcPeer:
        peer, worker = WebRtcPeer(), self.worker()
        peer.port = self.plane.engine.webrtc_port(worker)
        peer.remote = (f"storm{self.rng.getrandbits(60)}", "p" * 24)
        peer.leg = self.plane.engine.create_webrtc_leg(worker, *peer.remote, *peer.LOCAL)
        self.rekey(peer)
        return peer

    def remove(self) -> None:
        peer = self.some()
        self.peers.remove(peer)
        self.seen.pop(peer.leg, None)
        self.plane.engine.remove_leg(peer.leg)
        if self.rng.random() < 0.5:
            self.send(peer)  # late packets of a leg that is gone
        peer.close()

    def rekey(self, peer: WebRtcPeer) -> None:
        profile = self.rng.choice(PROFILE_NAMES)
        ours, theirs = master_key(profile), master_key(profile)
        self.plane.engine.set_srtp(peer.leg, profile, ours, theirs)
        peer.set_keys(profile, sending=theirs, receiving=ours)

    def restart(self) -> None:
        peer = self.some()
        ufrag = f"storm{self.rng.getrandbits(60)}"
        self.plane.engine.restart_ice(peer.leg, ufrag, "q" * 24, "peer2", "r" * 24)
        if isinstance(peer, WebRtcPeer):
            peer.remote = (ufrag, "q" * 24)

    def record(self) -> None:
        engine = self.plane.engine
        if self.recording:
            recording, self.recording = self.recording, 0
            engine.stop_recording(recording)
        else:
            self.recording = engine.start_recording(str(self.recordings / f"{self.rng.getrandbits(60)}.wav"), 8000)
        if self.recording:
            engine.set_recorded_leg(self.recording, self.rng.randrange(2), self.some().leg)

    def commands(self) -> list[Callable[[], object]]:
        engine, rng = self.plane.engine, self.rng
        leg, other = self.some().leg, self.some().leg
        keyed = [peer for peer in self.peers if isinstance(peer, WebRtcPeer)]
        return [
            self.remove,
            self.restart,
            self.record,
            lambda: engine.set_source_leg(leg, other),
            lambda: engine.set_source_leg(leg, other),
            lambda: engine.set_source_leg(other, leg),
            lambda: engine.set_source_tone(leg, [440.0], [100, 100]),
            lambda: engine.set_source_none(leg),
            lambda: engine.play_tone(leg, [620.0], [50, 50], rounds=2, tag="storm"),
            lambda: engine.stop_playing(leg),
            lambda: engine.move_rtp_leg(leg, self.worker()),
            lambda: engine.set_codecs(leg, rng.choice(FORMATS), rng.choice([10, 20, 40])),
            lambda: engine.set_direction(leg, rng.random() < 0.7, rng.random() < 0.7),
            lambda: engine.set_timeouts(leg, rng.choice([0, 0.01]), rng.choice([0, 0.01])),
            lambda: engine.send_dtls(leg, b"\x16 storm"),
            lambda: self.rekey(rng.choice(keyed)) if keyed else None,
            lambda: engine.set_rtp_remote(leg, "127.0.0.1", rng.choice([0, 9]), 9, rng.random() < 0.5),
        ]

    def talk(self) -> None:
        for peer in self.peers:
            self.send(peer)

    def send(self, peer: RtpPeer | WebRtcPeer) -> None:
        self.sequence += 1
        payload_type, step = self.rng.choice([(0, 160), (8, 160), (111, 960), (101, 160), (13, 160), (99, 1)])
        payload = {111: b"\xf8\xff\xfe", 101: b"\x05\x0a\x00\xa0"}.get(payload_type, b"\xd5" * 160)
        packet = rtp(
            self.sequence, step * self.sequence, payload=payload, payload_type=payload_type, ssrc=0x5000 + peer.leg
        )
        if isinstance(peer, WebRtcPeer):
            if self.rng.random() < 0.3:
                peer.socket.send(bytes(peer.request(use_candidate=self.rng.random() < 0.5)), peer.port)
            peer.send(packet)
        else:
            peer.send(packet)
            if self.rng.random() < 0.1:
                peer.rtcp.send(self.rng.randbytes(40), peer.leg_port + 1)

    def look(self) -> None:
        """Counters never go back, and events name legs that exist or existed."""
        for peer in self.peers:
            stats = self.plane.stats(peer.leg)
            before = self.seen.get(peer.leg, {})
            now = {name: int(stats[name]) for name in MONOTONIC}  # type: ignore[literal-required]
            for name, count in now.items():
                assert count >= before.get(name, 0), (name, peer.leg)
            self.seen[peer.leg] = now
        for kind, leg, _, data in self.plane.engine.drain():
            assert leg > 0
            assert kind != _media.FAILED, data

    def end(self) -> None:
        while self.peers:
            self.remove()
        if self.recording:
            self.plane.engine.stop_recording(self.recording)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("io", ["epoll", "auto"])
def test_no_order_of_commands_and_packets_upsets_the_engine(workers: int, io: str, tmp_path: Path) -> None:
    with Plane(workers=workers, pairs=PAIRS, io=io) as plane:
        for worker in range(workers):
            plane.settle(worker, SETTLED_S)
        before = descriptors()
        storm = Storm(plane, random.Random(f"{workers} {io}"), tmp_path)
        for _ in range(STEPS):
            storm.step()
        storm.end()
        for worker in range(workers):
            plane.settle(worker, SETTLED_S)
            plane.settle(worker, SETTLED_S)  # what another worker was told while this one settled
            assert plane.engine.counters(worker)["legs"] <= 1, "at most the one that settling made"
        # Every pair of ports has been given back.
        pairs = [plane.engine.create_rtp_leg(worker % workers)[0] for worker in range(PAIRS)]
        with pytest.raises(OSError, match="ports"):
            plane.engine.create_rtp_leg(0)
        for leg in pairs:
            plane.engine.remove_leg(leg)
        for worker in range(workers):
            plane.settle(worker, SETTLED_S)
        gc.collect()
        assert descriptors() <= before, "sockets and eventfds that nobody has any more"
