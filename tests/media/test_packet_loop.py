"""How packets come and go: by epoll and by io_uring alike, and what makes one of them chosen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from sdpserver import _media
from sdpserver import _media_testing as testing

from .plane import PCMU, WAIT_S, Plane, rtp

MS = 1_000_000
NEEDS_IO_URING = pytest.mark.skipif(not testing.io_uring_works(), reason="this system forbids io_uring, or lacks it")
IOS = ["epoll", pytest.param("io_uring", marks=NEEDS_IO_URING)]


@pytest.fixture(params=IOS)
def io(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loop(io: str) -> Iterator[testing.TestLoop]:
    made = testing.TestLoop(io)
    yield made
    made.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made


def run_until(loop: testing.TestLoop, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, loop.counts
        loop.run_once(0.01)


def gather(loop: testing.TestLoop, port: testing.TestPort, count: int) -> list[bytes]:
    got: list[bytes] = []

    def enough() -> bool:
        got.extend(data for _, data in port.take())
        return len(got) >= count

    run_until(loop, enough)
    return got


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [f"{i:08}".encode() + bytes(164) for i in range(start, start + count)]


# -- what comes in


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("count", [1, 33, 3000])
def test_what_waits_is_handed_out_in_order_however_much_it_is(
    loop: testing.TestLoop, sender: socket.socket, count: int, together: bool
) -> None:
    port = testing.TestPort()
    loop.add(port, together)
    loop.run_once(0)
    for datagram in numbered(count):  # 3,000 are more than there are buffers to receive into
        sender.sendto(datagram, ("127.0.0.1", port.port))
    assert gather(loop, port, count) == numbered(count)
    assert loop.counts["packets_received"] == count
    sender.sendto(b"after", ("127.0.0.1", port.port))
    assert gather(loop, port, 1) == [b"after"]
    loop.remove(port)


def test_a_flood_on_one_socket_leaves_what_comes_to_another_in_order(
    loop: testing.TestLoop, sender: socket.socket
) -> None:
    flooded, calm = testing.TestPort(), testing.TestPort()
    loop.add(flooded)
    loop.add(calm)
    for i, datagram in enumerate(numbered(2500)):
        sender.sendto(datagram, ("127.0.0.1", flooded.port))
        if i % 100 == 0:
            sender.sendto(datagram, ("127.0.0.1", calm.port))
    assert gather(loop, calm, 25) == numbered(2500)[::100]
    assert gather(loop, flooded, 2500) == numbered(2500)
    for port in (flooded, calm):
        loop.remove(port)


def test_the_source_of_a_datagram_is_told(loop: testing.TestLoop, sender: socket.socket) -> None:
    port = testing.TestPort()
    loop.add(port)
    sender.sendto(b"x", ("127.0.0.1", port.port))
    run_until(loop, lambda: loop.counts["packets_received"] == 1)
    assert port.take() == [(sender.getsockname()[1], b"x")]
    loop.remove(port)


def test_empty_and_cut_datagrams_do_no_harm(loop: testing.TestLoop, sender: socket.socket) -> None:
    port = testing.TestPort()
    loop.add(port)
    for datagram in (b"", bytes(2049), bytes(60_000), b"whole", bytes(2048)):
        sender.sendto(datagram, ("127.0.0.1", port.port))
    run_until(loop, lambda: loop.counts["packets_received"] == 5)
    assert [len(data) for _, data in port.take()] == [0, 5, 2048]
    assert loop.counts["malformed"] == 2
    loop.remove(port)


def test_what_the_kernel_drops_is_counted(loop: testing.TestLoop, sender: socket.socket) -> None:
    port = testing.TestPort()
    port.set_receive_buffer(1)  # the system's least
    loop.add(port, together=True)
    for datagram in numbered(100):
        sender.sendto(datagram, ("127.0.0.1", port.port))
    run_until(loop, lambda: loop.counts["packets_received"] > 0)
    sender.sendto(b"x", ("127.0.0.1", port.port))  # it brings the count
    run_until(loop, lambda: loop.counts["kernel_drops"] > 0)
    assert loop.counts["packets_received"] + loop.counts["kernel_drops"] == 101
    loop.remove(port)


# -- what goes out


def test_queued_datagrams_leave_in_order_with_the_next_round(loop: testing.TestLoop) -> None:
    a, b = testing.TestPort(), testing.TestPort()
    loop.add(a)
    loop.add(b)
    for datagram in numbered(500):  # more than there are slots
        loop.send(a, "127.0.0.1", b.port, datagram)
    assert gather(loop, b, 500) == numbered(500)
    assert loop.counts["packets_sent"] == 500
    assert loop.dropped == 0
    for port in (a, b):
        loop.remove(port)


def test_what_the_kernel_refuses_is_counted_and_holds_up_nothing(loop: testing.TestLoop) -> None:
    a, b = testing.TestPort(), testing.TestPort()
    loop.add(b)
    for datagram in numbered(10):
        loop.send(a, "127.0.0.1", b.port, datagram)
        loop.send(a, "255.255.255.255", b.port, datagram)  # SO_BROADCAST is not set
    loop.flush()
    assert loop.dropped == 10, "told by the time that the queue was flushed"
    assert loop.counts["send_failures"] == 10
    assert loop.counts["packets_sent"] == 10
    assert gather(loop, b, 10) == numbered(10)
    loop.remove(b)


def test_a_closed_port_at_the_other_end_stops_neither_sending_nor_receiving(
    loop: testing.TestLoop, sender: socket.socket
) -> None:
    """Its ICMP errors are nobody's business."""
    port = testing.TestPort()
    loop.add(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        closed = gone.getsockname()[1]
    for i in range(20):
        loop.send(port, "127.0.0.1", closed, b"nobody there")
        loop.run_once(0)
        sender.sendto(b"%d" % i, ("127.0.0.1", port.port))
    assert gather(loop, port, 20) == [b"%d" % i for i in range(20)]
    assert loop.dropped == 0
    loop.remove(port)


# -- an end


def test_a_removed_socket_frees_its_port_at_once(loop: testing.TestLoop, sender: socket.socket) -> None:
    for _ in range(50):
        port = testing.TestPort()
        number = port.port
        loop.add(port)
        loop.run_once(0)
        loop.send(port, "127.0.0.1", number, b"to itself, on its way when it is removed")
        sender.sendto(b"not looked at", ("127.0.0.1", number))
        loop.remove(port)
        port.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", number))
    loop.run_once(0)


def test_a_socket_that_moves_to_another_loop_loses_nothing(io: str, sender: socket.socket) -> None:
    loops = testing.TestLoop(io), testing.TestLoop(io)
    port = testing.TestPort()
    sent = 0
    for turn in range(40):
        loop = loops[turn % 2]
        loop.add(port)
        for _ in range(5):
            for datagram in numbered(3, sent):
                sender.sendto(datagram, ("127.0.0.1", port.port))
            sent += 3
            loop.run_once(0)
        for datagram in numbered(3, sent):
            sender.sendto(datagram, ("127.0.0.1", port.port))
        sent += 3
        loop.remove(port)
    loops[0].add(port)
    assert gather(loops[0], port, sent) == numbered(sent)
    loops[0].remove(port)
    for loop in loops:
        loop.close()


# -- watched descriptors


def test_a_watched_descriptor_is_told_of_before_datagrams_and_no_more_once_it_is_not(
    loop: testing.TestLoop, sender: socket.socket
) -> None:
    port = testing.TestPort()
    loop.add(port)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    handed_out_before: list[int] = []

    def readable() -> None:
        os.eventfd_read(event)
        handed_out_before.append(len(port.take()))

    try:
        loop.watch(event, readable)
        loop.run_once(0)
        for i in range(1, 4):
            sender.sendto(b"x", ("127.0.0.1", port.port))
            os.eventfd_write(event, 1)
            run_until(loop, lambda i=i: len(handed_out_before) == i == loop.counts["packets_received"])  # type: ignore[misc]
            port.take()
        assert handed_out_before == [0, 0, 0], "a leg exists before the packets that come for it after"
        loop.unwatch(event)
        os.eventfd_write(event, 1)
        loop.run_once(0.02)
        assert len(handed_out_before) == 3
    finally:
        os.close(event)
    loop.remove(port)


def test_a_round_does_not_outlast_its_time(loop: testing.TestLoop) -> None:
    for wait_s in (0.0, 0.002, 0.05):
        started = time.monotonic()
        loop.run_once(wait_s)
        assert time.monotonic() - started < wait_s + 0.1


# -- when packets are let to gather


def gathering(*, packets_a_ms: int, longest_ns: int = MS) -> bool:
    """Whether they are let to, at such a steady load."""
    policy = testing.Gathering(longest_ns)
    for ms in range(1, 200):
        policy.served(ms * MS, ms * packets_a_ms)
    return policy.wait_ns > 0


def test_packets_gather_from_twenty_calls_on_unless_the_operator_says_never() -> None:
    assert not gathering(packets_a_ms=1)
    assert gathering(packets_a_ms=2)
    assert gathering(packets_a_ms=100)
    assert not gathering(packets_a_ms=100, longest_ns=0)


def test_after_a_pause_the_first_packet_goes_on_at_once() -> None:
    policy = testing.Gathering(MS)
    for ms in range(1, 100):
        policy.served(ms * MS, ms * 10)
    assert policy.wait_ns == MS
    policy.served(100 * MS, 990)
    assert policy.wait_ns == 0
    policy.served(101 * MS, 991)
    assert policy.wait_ns == MS


# -- the engine


def test_the_engine_says_what_it_uses_and_takes_the_better_one_by_itself() -> None:
    for asked, used in [("epoll", "epoll"), ("auto", "io_uring" if testing.io_uring_works() else "epoll")]:
        with Plane(io=asked) as plane:
            assert plane.engine.build["io"] == used


@pytest.mark.parametrize(
    "settings", [{"io": "kqueue"}, {"gather_ms": -1.0}, {"gather_ms": 5.1}, {"gather_ms": float("nan")}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        _media.Engine(webrtc_bind="127.0.0.1", webrtc_port=0, rtp_bind="127.0.0.1", **settings)  # type: ignore[arg-type]


FORBIDDEN = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filters", ctypes.POINTER(Filter))]


# seccomp: io_uring_setup (425 everywhere) is answered EPERM, as container runtimes do.
filters = (Filter * 4)(
    Filter(0x20, 0, 0, 0), Filter(0x15, 0, 1, 425), Filter(0x06, 0, 0, 0x00050000 | 1), Filter(0x06, 0, 0, 0x7FFF0000)
)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, filters)), 0, 0) == 0
from sdpserver import _media
settings = dict(webrtc_bind="127.0.0.1", webrtc_port=0, rtp_bind="127.0.0.1")
engine = _media.Engine(**settings)
print(engine.build["io"])
engine.close()
try:
    _media.Engine(io="io_uring", **settings)
except OSError as exc:
    print(exc.errno)
"""


def test_where_io_uring_is_forbidden_epoll_is_used_unless_io_uring_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", FORBIDDEN], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.split(), done.stderr) == (["epoll", "1"], ""), "EPERM tells why it does not start"


def test_idle_calls_cost_nothing(io: str) -> None:
    """Between its packets a call has no timer but those of its reports and timeouts."""
    with Plane(io=io, pairs=40) as plane:
        for _ in range(20):
            phone = plane.rtp_leg()
            browser = plane.webrtc_leg()
            plane.bridge(phone, browser)
            plane.engine.set_timeouts(phone.leg, 0, 60)
            plane.engine.set_timeouts(browser.leg, 30, 60)
            phone.send(rtp(1))
            browser.receive()
        plane.settle()
        before = plane.engine.counters(0)["polls"]
        time.sleep(2)  # the time in which nothing is to happen
        assert plane.engine.counters(0)["polls"] - before <= 3


def test_a_relay_under_load_loses_and_reorders_nothing(io: str) -> None:
    with Plane(io=io, workers=2, pairs=16) as plane:
        pairs = []
        for i in range(8):
            phone, browser = plane.rtp_leg(worker=i % 2), plane.webrtc_leg(worker=i % 2)
            plane.bridge(phone, browser)
            plane.settle(i % 2)
            pairs.append((phone, browser))
        for sequence in range(250):
            for phone, browser in pairs:
                phone.send(rtp(sequence, sequence * 160))
                browser.send(rtp(sequence, sequence * 160))
        for phone, browser in pairs:
            for receiver in (phone, browser):
                got = [receiver.receive().sequence_number for _ in range(250)]
                assert [(number - got[0]) % 65536 for number in got] == list(range(250))
        assert sum(plane.engine.counters(i)["send_failures"] for i in range(2)) == 0


def test_legs_that_come_and_go_under_load_leave_the_others_alone(io: str) -> None:
    with Plane(io=io, pairs=64) as plane:
        steady, other = plane.rtp_leg(), plane.webrtc_leg()
        plane.bridge(steady, other)
        sequence = 0
        for _ in range(25):
            guest, guests_peer = plane.rtp_leg(), plane.webrtc_leg()
            plane.bridge(guest, guests_peer)
            for _ in range(8):
                steady.send(rtp(sequence, sequence * 160))
                guest.send(rtp(sequence, sequence * 160))
                guests_peer.send(rtp(sequence, sequence * 160))
                sequence += 1
            plane.engine.remove_leg(guest.leg)
            plane.engine.remove_leg(guests_peer.leg)
        got = [other.receive().sequence_number for _ in range(sequence)]
        assert [(number - got[0]) % 65536 for number in got] == list(range(sequence))


def test_an_engine_that_is_closed_under_load_frees_its_ports(io: str) -> None:
    for _ in range(5):
        with Plane(io=io) as plane:
            phone, browser = plane.rtp_leg(), plane.webrtc_leg()
            plane.bridge(phone, browser)
            for sequence in range(100):
                phone.send(rtp(sequence))
                browser.send(rtp(sequence))
            plane.engine.close()
            for number in (phone.leg_port, phone.leg_port + 1, browser.port):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                    again.bind(("127.0.0.1", number))


def test_a_few_packets_are_served_at_once(io: str) -> None:
    with Plane(io=io) as plane:
        phone, browser = plane.rtp_leg([PCMU]), plane.webrtc_leg([PCMU])
        plane.bridge(phone, browser)
        for sequence in range(20):
            phone.send(rtp(sequence, sequence * 160))
            browser.receive()
        assert plane.engine.counters(0)["paced_polls"] == 0
