"""Workers, ports, timeouts, wrong commands, and what is left after the end."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiortc.rtp import RtpPacket
from peers.descriptors import open_files

from sdpserver import _media
from sdpserver import _media_testing as testing

from .plane import PCMU, Plane, ports, rtp, wait_for


def engine(**settings: object) -> _media.Engine:
    usual: dict[str, object] = {"webrtc_bind": "127.0.0.1", "webrtc_port": 0, "rtp_bind": "127.0.0.1"}
    return _media.Engine(**{**usual, **settings})  # type: ignore[arg-type]


def threads() -> list[str]:
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def test_two_workers_have_a_port_each_and_legs_of_their_own() -> None:
    with Plane(workers=2) as plane:
        assert plane.engine.workers == 2
        assert plane.engine.webrtc_port(0) != plane.engine.webrtc_port(1)
        for worker in (0, 1):
            browser, phone = plane.webrtc_leg(worker=worker), plane.rtp_leg(worker=worker)
            plane.bridge(browser, phone)
            plane.settle(worker)
            browser.send(rtp(payload=b"up"))
            assert phone.receive().payload == b"up"
            phone.send(rtp(payload=b"down"))
            assert browser.receive().payload == b"down"
            assert plane.engine.counters(worker)["legs"] == 2
        assert threads().count("media") == 2
        with pytest.raises(ValueError, match="no such worker"):
            plane.engine.create_rtp_leg(2)


def test_consecutive_ports_are_bound_from_the_configured_one() -> None:
    first, _ = ports(1)
    made = engine(workers=2, webrtc_port=first)
    try:
        assert [made.webrtc_port(0), made.webrtc_port(1)] == [first, first + 1]
        with pytest.raises(OSError, match="bind") as refused:
            engine(webrtc_port=first)
        assert refused.value.errno == errno.EADDRINUSE
    finally:
        made.close()


def test_after_close_no_thread_and_no_descriptor_is_left() -> None:
    descriptors, before = len(open_files()), threads()
    for _ in range(5):
        with Plane(workers=2) as plane:
            browser, phone = plane.webrtc_leg(), plane.rtp_leg()
            plane.bridge(browser, phone)
            plane.engine.set_source_tone(phone.leg, [440.0])
            phone.receive()
            plane.engine.create_rtp_leg(1)  # its command may still be on its way
        plane.engine.close()
        assert plane.engine.drain() is not None
        assert len(open_files()) == descriptors
        assert threads() == before
        with pytest.raises(ValueError, match="no such worker"):
            plane.engine.create_rtp_leg(0)
        with pytest.raises(KeyError):
            plane.engine.leg_stats(phone.leg)


def test_an_engine_that_is_let_go_closes_itself() -> None:
    descriptors, before = len(open_files()), threads()
    made = engine()
    made.create_rtp_leg(0)
    del made
    assert len(open_files()) == descriptors
    assert threads() == before


def test_rtp_ports_are_even_within_the_range_and_end_with_an_error() -> None:
    with Plane(pairs=3) as plane:
        first, last = plane.ports
        made = [plane.engine.create_rtp_leg(0) for _ in range(3)]
        assert sorted(port for _, port in made) == list(range(first, last, 2))
        with pytest.raises(OSError, match="RTP ports") as refused:
            plane.engine.create_rtp_leg(0)
        assert refused.value.errno == errno.EADDRNOTAVAIL


def test_a_freed_pair_waits_behind_all_others() -> None:
    with Plane(pairs=4) as plane:
        first_leg, first_port = plane.engine.create_rtp_leg(0)
        plane.engine.remove_leg(first_leg)
        plane.settle()
        others = []
        for _ in range(3):
            leg, port = plane.engine.create_rtp_leg(0)
            others.append(port)
            plane.engine.remove_leg(leg)
            plane.settle()
        assert first_port not in others
        assert len(set(others)) == 3
        assert plane.engine.create_rtp_leg(0)[1] == first_port, "then the one that was freed first"


def test_a_port_that_another_program_has_is_passed_over() -> None:
    first, last = ports(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first + 1))
        made = engine(rtp_port_range=(first, last))
        try:
            assert made.create_rtp_leg(0)[1] == first + 2
            with pytest.raises(OSError, match="RTP ports"):
                made.create_rtp_leg(0)
        finally:
            made.close()


def test_removed_legs_free_their_descriptors_and_are_forgotten_by_all() -> None:
    with Plane() as plane:
        descriptors = len(open_files())
        for _ in range(50):
            a = plane.engine.create_rtp_leg(0)[0]
            b = plane.engine.create_webrtc_leg(0, "abcd", "p" * 22, "peer", "p" * 22)
            plane.engine.set_codecs(a, [PCMU])
            plane.engine.set_source_leg(a, b)
            plane.engine.set_source_leg(b, a)
            plane.engine.remove_leg(a)
            plane.engine.remove_leg(a)
            plane.engine.remove_leg(b)
            plane.settle()
            with pytest.raises(KeyError):
                plane.engine.set_source_none(a)
        wait_for(lambda: plane.engine.counters(0)["legs"] == 0, "the legs to be gone")
        assert len(open_files()) == descriptors


# -- timeouts


def test_a_leg_that_hears_nothing_times_out_once_and_again_after_it_has_heard_something() -> None:
    with Plane() as plane:
        phone = plane.rtp_leg()
        started = time.monotonic()
        plane.engine.set_timeouts(phone.leg, 0, 0.15)
        plane.wait(_media.MEDIA_TIMEOUT, phone.leg)
        assert 0.15 <= time.monotonic() - started < 1.5
        plane.settle()
        assert plane.count(_media.MEDIA_TIMEOUT, phone.leg) == 0
        phone.send(rtp(1))
        plane.wait(_media.MEDIA_TIMEOUT, phone.leg)


def test_media_puts_the_timeout_off() -> None:
    with Plane() as plane:
        phone = plane.rtp_leg()
        plane.engine.set_timeouts(phone.leg, 0, 0.5)
        started = time.monotonic()
        while (last := time.monotonic()) < started + 0.8:
            phone.send(rtp(round((last - started) * 1000)))
            time.sleep(0.01)  # far less than may pass, since a busy machine makes more of it
        assert plane.count(_media.MEDIA_TIMEOUT, phone.leg) == 0
        plane.wait(_media.MEDIA_TIMEOUT, phone.leg)
        assert time.monotonic() - last < 2


def test_packets_from_strangers_or_of_no_type_put_nothing_off() -> None:
    with Plane() as plane:
        phone = plane.rtp_leg()
        stranger = plane.socket()
        plane.engine.set_timeouts(phone.leg, 0, 0.15)
        done = threading.Event()

        def noise() -> None:
            while not done.wait(0.01):
                stranger.send(rtp(1).serialize(), phone.leg_port)
                phone.send(RtpPacket(payload_type=99, payload=b"x"))

        thread = threading.Thread(target=noise)
        thread.start()
        try:
            plane.wait(_media.MEDIA_TIMEOUT, phone.leg)
        finally:
            done.set()
            thread.join()


def test_a_timeout_can_be_prolonged_shortened_and_taken_back() -> None:
    with Plane() as plane:
        phone, other = plane.rtp_leg(), plane.rtp_leg()
        started = time.monotonic()
        plane.engine.set_timeouts(phone.leg, 0, 0.3)
        plane.engine.set_timeouts(phone.leg, 0, 30)
        plane.engine.set_timeouts(phone.leg, 0, 0.6)
        plane.wait(_media.MEDIA_TIMEOUT, phone.leg)
        assert time.monotonic() - started > 0.55
        plane.engine.set_timeouts(phone.leg, 0, 0.3)
        plane.engine.set_timeouts(phone.leg, 0, 0)
        plane.engine.set_timeouts(other.leg, 0, 0.6)
        plane.wait(_media.MEDIA_TIMEOUT, other.leg)
        assert plane.count(_media.MEDIA_TIMEOUT, phone.leg) == 0


def test_the_ice_timeout_counts_from_the_first_check_and_checks_put_it_off() -> None:
    with Plane() as plane:
        silent, browser = plane.webrtc_leg(profile=None), plane.webrtc_leg(profile=None)
        for leg in (silent.leg, browser.leg):
            plane.engine.set_timeouts(leg, 0.5, 0)
        browser.check()
        started = time.monotonic()
        while time.monotonic() < started + 0.8:
            time.sleep(0.01)  # far less than may pass, since a busy machine makes more of it
            browser.check(use_candidate=False)
        assert plane.count(_media.ICE_TIMEOUT, browser.leg) == 0
        plane.wait(_media.ICE_TIMEOUT, browser.leg)
        assert plane.count(_media.ICE_TIMEOUT, silent.leg) == 0, "it has had no check yet"


def test_ten_thousand_new_timeouts_cost_no_memory() -> None:
    with Plane() as plane:
        phone = plane.rtp_leg()
        for i in range(10_000):
            plane.engine.set_timeouts(phone.leg, 0, 1000 + i)
        plane.settle()
        assert plane.engine.counters(0)["timers"] < 10


# -- commands


WRONG = [
    pytest.param(lambda e, leg: e.set_codecs(leg, [("PCMU", 8000, 128, 0)]), id="payload type 128"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [("PCMU", 8000, 255, 0)]), id="payload type 255"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [("PCMU", 8000, None, 128)]), id="received payload type 128"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [PCMU, ("PCMA", 8000, 8, 0)]), id="one type twice"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [("GSM", 8000, 3, 3)]), id="an unknown codec"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [("PCMU", 0, 0, 0)]), id="a clock rate of 0"),
    pytest.param(lambda e, leg: e.set_codecs(leg, [PCMU], 15), id="a ptime of 15 ms"),
    pytest.param(lambda e, leg: e.set_rtp_remote(leg, "localhost", 4000, 4001, False), id="a name for an address"),
    pytest.param(lambda e, leg: e.restart_ice(leg, "abcd", "p" * 22, "abcd", "p" * 22), id="ICE on an RTP leg"),
    pytest.param(lambda e, leg: e.send_dtls(leg, b"\x16"), id="DTLS on an RTP leg"),
    pytest.param(lambda e, leg: e.set_srtp(leg, "AES_192", bytes(30), bytes(30)), id="an unknown profile"),
    pytest.param(lambda e, leg: e.set_srtp(leg, "AEAD_AES_128_GCM", bytes(28), bytes(27)), id="a short key"),
    pytest.param(lambda e, leg: e.set_timeouts(leg, -1.0, 0), id="a negative timeout"),
    pytest.param(lambda e, leg: e.set_timeouts(leg, float("nan"), 0), id="a timeout that is no number"),
    pytest.param(lambda e, leg: e.create_webrtc_leg(0, "abc", "p" * 22, "peer", "p" * 22), id="a short ufrag"),
    pytest.param(lambda e, leg: e.create_webrtc_leg(0, "ab:cd", "p" * 22, "peer", "p" * 22), id="a ufrag with a colon"),
    pytest.param(lambda e, leg: e.create_webrtc_leg(0, "abcd", "short", "peer", "p" * 22), id="a short password"),
]


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_refused_where_it_is_given(plane: Plane, command: object) -> None:
    leg = plane.rtp_leg().leg
    assert callable(command)
    with pytest.raises(ValueError, match=r"\w"):
        command(plane.engine, leg)


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 0},
        {"workers": 2, "webrtc_port": 65535},
        {"rtp_port_range": (4001, 4002)},
        {"rtp_port_range": (0, 10)},
        {"webrtc_bind": "localhost"},
        {"rtp_bind": "nowhere"},
    ],
)
def test_an_engine_that_cannot_be_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        engine(**settings)


def test_an_address_of_another_machine_is_found_out_at_the_start() -> None:
    for settings in ({"rtp_bind": "192.0.2.1"}, {"webrtc_bind": "192.0.2.1"}):
        with pytest.raises(OSError, match="bind") as refused:
            engine(**settings)
        assert refused.value.errno == errno.EADDRNOTAVAIL


def test_a_leg_whose_peer_is_not_known_yet_takes_its_credentials_later(plane: Plane) -> None:
    """For offers of our own: checks can only be answered, and our own wait."""
    leg = plane.engine.create_webrtc_leg(0, "abcd", "p" * 22, "", "")
    plane.engine.set_remote_ice(leg, "peer", "p" * 24)
    plane.settle()
    assert plane.engine.counters(0)["legs"] >= 1


def test_signals_are_left_to_python() -> None:
    """A signal that a worker took would not wake Python's own waiting."""
    with Plane() as plane:
        plane.settle()  # the thread has begun, and has its name
        blocked = []
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().strip() == "media":
                status = (task / "status").read_text()
                blocked.append(int(status.split("SigBlk:")[1].split()[0], 16))
    assert blocked
    for mask in blocked:
        for signal in (2, 15):  # SIGINT, SIGTERM
            assert mask >> (signal - 1) & 1


def test_an_interpreter_that_exits_with_an_open_engine_exits_cleanly() -> None:
    code = (
        "from sdpserver import _media\n"
        "e = _media.Engine(webrtc_bind='127.0.0.1', webrtc_port=0, rtp_bind='127.0.0.1')\n"
        "e.create_rtp_leg(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_build_names_what_it_is_made_of(plane: Plane) -> None:
    build = plane.engine.build
    assert build["openssl"].startswith("OpenSSL 3.")
    assert "libsrtp" in build["libsrtp"]
    assert "opus" in build["opus"]


# -- when packets are let to gather


MS = 1_000_000


class Load:
    """Polls that are spread evenly, or one a millisecond while the floor is engaged."""

    def __init__(self) -> None:
        self.floor = testing.PollFloor()
        self.now = MS
        self.packets = 0

    def run(self, *, ms: int, packets_a_ms: int, packets_a_poll: int = 1) -> bool:
        """Whether the floor is engaged at the end."""
        end = self.now + ms * MS
        while self.now < end:
            each = packets_a_ms if self.floor.engaged else packets_a_poll
            self.now += MS * each // packets_a_ms
            self.packets += each
            self.floor.polled(self.now, self.packets)
        return self.floor.engaged

    def run_bursts(self, *, ms: int) -> int:
        """400 packets every 20 ms, within 2 ms; in how many of these the floor is engaged."""
        engaged = 0
        for _ in range(ms // 20):
            start = self.now
            for _ in range(2 if self.floor.engaged else 60):
                self.packets += 200 if self.floor.engaged else 7
                self.now += MS if self.floor.engaged else 2 * MS // 60
                self.floor.polled(self.now, self.packets)
            engaged += self.floor.engaged
            self.now = start + 20 * MS
        return engaged


def test_packets_are_let_to_gather_only_when_many_come_one_by_one() -> None:
    load = Load()
    assert not load.run(ms=200, packets_a_ms=2), "2,000 packets a second, 20 calls, are left alone"
    assert load.run(ms=200, packets_a_ms=20), "20,000 a second, 200 calls"
    assert not load.run(ms=200, packets_a_ms=2), "the load has gone"
    assert not load.run(ms=200, packets_a_ms=256, packets_a_poll=64), "they gather by themselves"


def test_gathering_is_soon_given_up_when_packets_come_in_bursts() -> None:
    assert Load().run_bursts(ms=2000) <= 10


def test_gathering_is_not_switched_on_and_off_at_a_steady_load() -> None:
    for packets_a_ms in range(1, 60):
        load = Load()
        load.run(ms=100, packets_a_ms=packets_a_ms)
        states = {load.run(ms=20, packets_a_ms=packets_a_ms) for _ in range(100)}
        assert states == {packets_a_ms >= 6}, f"{packets_a_ms},000 packets a second"
