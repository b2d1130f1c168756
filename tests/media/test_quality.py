"""What is reported of loss and jitter is what a seeded network did, on both kinds of legs and in both directions.

The peers' own measuring is aiortc's: its parser reads our reports, and its `StreamStatistics` writes those that we get.
"""

from __future__ import annotations

import itertools
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import (
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    is_rtcp,
)
from peers.stalls import Stalls

from sdpserver.quality import LegQuality

from .plane import EVENT_8000, PCMU, Plane, RtpPeer, WebRtcPeer, rtp, wait_for

INTERVAL_S = 0.4
PTIME_S = 0.01
CLOCK_HZ = 8000
BUSY_MS = 5.0
"""What a machine with other things to do adds to the jitter of a stream that has none."""


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane(report_interval_s=INTERVAL_S) as made:
        yield made


@dataclass(kw_only=True)
class Network:
    """One leg's peer and the network between them: loses and delays both ways, by a seed."""

    peer: RtpPeer | WebRtcPeer
    seed: int
    loss: float = 0.0
    jitter_s: float = 0.0
    first: int = 65_400  # so that the numbers wrap
    lost: int = 0
    sent: list[tuple[float, int]] = field(default_factory=list)
    """When each packet left, and which one it was."""
    blocks: list[RtcpReceiverInfo] = field(default_factory=list)
    """Of our reports."""
    heard: StreamStatistics = field(default_factory=lambda: StreamStatistics(CLOCK_HZ))
    """What the peer measures."""
    heard_ssrc: int = 0
    dropped: int = 0
    """Of what came from us, behind the network."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def schedule(self, count: int) -> list[tuple[float, int]]:
        """When which packet is to leave. The first and the last one are not lost."""
        planned = []
        for i in range(count):
            if 0 < i < count - 1 and self.rng.random() < self.loss:
                self.lost += 1
            else:
                planned.append((PTIME_S * i + self.rng.uniform(0, self.jitter_s), i))
        return planned

    def send(self, i: int) -> None:
        self.peer.send(rtp(self.first + i, 80 * i, payload=b"\xd5" * 80, ssrc=self.seed))
        self.sent.append((time.monotonic(), i))

    @property
    def jitter_ms(self) -> float:
        """Of what left, by RFC 3550 section 6.4.1."""
        jitter = 0.0
        for before, after in itertools.pairwise(at - PTIME_S * i for at, i in self.sent):
            jitter += (abs(after - before) - jitter) / 16
        return jitter * 1000

    @property
    def sockets(self) -> list[socket.socket]:
        peer = self.peer
        return [peer.rtp.socket, peer.rtcp.socket] if isinstance(peer, RtpPeer) else [peer.socket.socket]

    def receive(self) -> None:
        """Take what has come."""
        for ready in select.select(self.sockets, [], [], 0)[0]:
            datagram: bytes = ready.recv(4096)
            peer = self.peer
            if is_rtcp(datagram):
                plain = peer.rx.unprotect_rtcp(datagram) if isinstance(peer, WebRtcPeer) else datagram
                report = RtcpPacket.parse(plain)[0]
                assert isinstance(report, RtcpSrPacket | RtcpRrPacket)
                self.blocks += report.reports
            else:
                plain = peer.rx.unprotect(datagram) if isinstance(peer, WebRtcPeer) else datagram
                self._hear(RtpPacket.parse(plain))

    def _hear(self, packet: RtpPacket) -> None:
        if self.heard_ssrc and self.rng.random() < self.loss:
            self.dropped += 1
        else:
            self.heard_ssrc = packet.ssrc
            self.heard.add(packet)

    def report(self) -> None:
        """A receiver report of the peer's."""
        self.peer.send_rtcp(
            RtcpRrPacket(
                ssrc=self.seed,
                reports=[
                    RtcpReceiverInfo(
                        ssrc=self.heard_ssrc,
                        fraction_lost=self.heard.fraction_lost,
                        packets_lost=self.heard.packets_lost,
                        highest_sequence=self.heard.max_seq or 0,
                        jitter=self.heard.jitter,
                        lsr=0,
                        dlsr=0,
                    )
                ],
            )
        )


def bridge(plane: Plane, networks: list[Network]) -> None:
    """Packets are passed on as they are, so that what one side's network loses is missing on the other side too."""
    for network in networks:
        plane.engine.set_codecs(network.peer.leg, [PCMU], ptime_ms=10)
    plane.bridge(networks[0].peer, networks[1].peer)


def run(networks: list[Network], count: int) -> Stalls:
    """Everything that is planned leaves at its time, and what comes is taken. What the machine held up meanwhile."""
    plans = sorted((at, i, number) for number, network in enumerate(networks) for at, i in network.schedule(count))
    sockets = [socket for network in networks for socket in network.sockets]
    stalls = Stalls()
    start = time.monotonic()
    for at, i, number in plans:
        while (left := start + at - time.monotonic()) > 0:
            if select.select(sockets, [], [], left)[0]:
                for network in networks:
                    network.receive()
        networks[number].send(i)
        stalls.look()
    return stalls


def settle(plane: Plane, networks: list[Network]) -> None:
    """Until all that was sent has arrived, and our reports are on all of it."""

    def until(condition: Callable[[Network], bool], what: str) -> None:
        def met() -> bool:
            for network in networks:
                network.receive()
            return all(map(condition, networks))

        wait_for(met, what)

    until(lambda network: plane.stats(network.peer.leg)["packets_received"] == len(network.sent), "all packets")
    before = {network.seed: len(network.blocks) for network in networks}
    until(lambda network: len(network.blocks) > before[network.seed] + 1, "reports that were made since")


def reported(plane: Plane, leg: int) -> bool:
    return plane.stats(leg)["reports_received"] == 1


def rtcp_received(plane: Plane, leg: int, count: int) -> bool:
    return plane.stats(leg)["rtcp_received"] == count


@pytest.mark.parametrize(("loss", "jitter_s"), [(0.05, 0.0), (0.0, 0.06), (0.1, 0.04)])
def test_what_is_reported_is_what_was_injected(plane: Plane, loss: float, jitter_s: float) -> None:
    networks = [
        Network(peer=plane.webrtc_leg(), seed=0xB0, loss=loss, jitter_s=jitter_s),
        Network(peer=plane.rtp_leg(), seed=0xA0, loss=loss, jitter_s=jitter_s, first=0),
    ]
    bridge(plane, networks)
    stalls = run(networks, 500)
    settle(plane, networks)
    # A packet that is read late makes two differences, each a sixteenth of the jitter.
    busy_ms = 1000 * stalls.total_s / 8 + (0.0 if jitter_s else BUSY_MS)
    for network, far in zip(networks, reversed(networks), strict=True):
        stats = plane.stats(network.peer.leg)
        # What we have received, as we say to our clients and to the peer itself.
        assert stats["packets_lost"] == network.lost
        assert network.blocks[-1].packets_lost == network.lost
        assert network.blocks[-1].highest_sequence == network.first + 499
        expected_ms = pytest.approx(network.jitter_ms, rel=0.1, abs=busy_ms)
        assert stats["jitter_ms"] == expected_ms
        assert network.blocks[-1].jitter * 1000 / CLOCK_HZ == expected_ms
        for before, after in itertools.pairwise(network.blocks):  # the fraction is that of its interval
            expected = after.highest_sequence - before.highest_sequence
            lost = after.packets_lost - before.packets_lost
            assert after.fraction_lost == (max(0, lost) * 256 // expected if expected else 0)
        # What the peer has of ours: the loss of the other side's network, passed on, and that of its own.
        network.report()
        wait_for(partial(reported, plane, network.peer.leg), "the peer's report")
        stats = plane.stats(network.peer.leg)
        assert stats["remote_packets_lost"] == network.heard.packets_lost
        assert stats["remote_packets_lost"] == pytest.approx(far.lost + network.dropped, abs=2)  # at the very end
        assert stats["remote_jitter_ms"] == network.heard.jitter * 1000 / CLOCK_HZ
        quality: Any = LegQuality().describe(stats)
        assert quality["received"]["loss_fraction"] == pytest.approx(network.lost / 500, abs=1e-4)
        if loss:
            assert quality["received"]["mos"] < 4.2
            assert quality["sent"]["mos"] < quality["received"]["mos"], "it has lost twice"


def test_a_clean_run_has_no_loss_and_no_jitter_to_speak_of(plane: Plane) -> None:
    networks = [Network(peer=plane.webrtc_leg(), seed=1), Network(peer=plane.rtp_leg(), seed=2)]
    bridge(plane, networks)
    run(networks, 300)
    settle(plane, networks)
    for network in networks:
        stats = plane.stats(network.peer.leg)
        assert (stats["packets_lost"], stats["packets_unseen"], stats["loss_runs"]) == (0, 0, 0)
        assert all((block.packets_lost, block.fraction_lost) == (0, 0) for block in network.blocks)
        assert stats["jitter_ms"] == pytest.approx(network.jitter_ms, abs=BUSY_MS)
        assert stats["packet_ms"] == 10
        assert (network.heard.packets_lost, network.dropped) == (0, 0)


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_what_comes_while_we_do_not_listen_is_not_lost(plane: Plane, side: str) -> None:
    """Hold: the peer may send on, and its next packet after it continues the same numbers."""
    peer: RtpPeer | WebRtcPeer = plane.webrtc_leg() if side == "browser" else plane.rtp_leg()
    for i in range(10):
        peer.send(rtp(i, 160 * i))
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 10, "what we want")
    plane.engine.set_direction(peer.leg, True, False)
    plane.settle()
    for i in range(10, 200):
        peer.send(rtp(i, 160 * i))
    wait_for(lambda: plane.stats(peer.leg)["dropped_direction"] == 190, "what we do not want")
    plane.engine.set_direction(peer.leg, True, True)
    plane.settle()
    for i in range(200, 210):
        peer.send(rtp(i, 160 * i))
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 20, "what we want again")
    assert plane.stats(peer.leg)["packets_lost"] == 0


@pytest.mark.parametrize("side", ["browser", "phone"])
def test_the_tail_that_never_came_is_known_from_the_senders_report(plane: Plane, side: str) -> None:
    peer: RtpPeer | WebRtcPeer = plane.webrtc_leg() if side == "browser" else plane.rtp_leg()
    for i in range(50):
        peer.send(rtp(i, 160 * i, ssrc=5))
    wait_for(lambda: plane.stats(peer.leg)["packets_received"] == 50, "all that came")
    for number, packets in enumerate([50, 250], 1):
        info = RtcpSenderInfo(ntp_timestamp=1 << 40, rtp_timestamp=0, packet_count=packets, octet_count=0)
        peer.send_rtcp(RtcpSrPacket(ssrc=5, sender_info=info))
        wait_for(partial(rtcp_received, plane, peer.leg, number), "its report")
    stats = plane.stats(peer.leg)
    assert (stats["packets_lost"], stats["packets_unseen"]) == (0, 200)
    received = LegQuality().describe(stats)["received"]
    assert (received["lost"], received["loss_fraction"]) == (200, 0.8)


def test_pressing_a_key_leaves_the_jitter_alone(plane: Plane) -> None:
    network = Network(peer=plane.rtp_leg([PCMU, EVENT_8000]), seed=3)
    run([network], 50)
    wait_for(lambda: plane.stats(network.peer.leg)["packets_received"] == 50, "the talk")
    before_ms = plane.stats(network.peer.leg)["jitter_ms"]
    for i in range(60):
        event = rtp(
            network.first + 50 + i, 80 * 50, payload=b"\x05\x0a" + (80 * i).to_bytes(2, "big"), payload_type=101, ssrc=3
        )
        network.peer.send(event)
    wait_for(lambda: plane.stats(network.peer.leg)["packets_received"] == 110, "the press")
    stats = plane.stats(network.peer.leg)
    assert (stats["jitter_ms"], stats["packets_lost"], stats["telephone_events_received"]) == (before_ms, 0, 1)
