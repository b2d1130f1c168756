"""Legs of different workers hear each other as legs of one worker do, and an RTP leg can move with its sockets."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from peers import audio
from peers.codecs import decode, tone_packets
from peers.stalls import Stalls

from .plane import OPUS, PCMA, PCMU, Plane, RtpPeer, WebRtcPeer, rtp, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdpserver._media import CodecEntry

FRAME_S = 0.02
TONE_HZ = 1000.0
SECONDS = 1.2


def legs(plane: Plane) -> list[int]:
    """How many each worker has."""
    return [plane.engine.counters(worker)["legs"] for worker in range(plane.engine.workers)]


@dataclass(slots=True)
class Heard:
    """What came, and when: in seconds since the first packet was sent."""

    packets: list[tuple[float, bytes]]
    longest_pause_s: float
    """Between two packets that the test sent: a machine that holds up the test holds up what it hears."""
    stalls: Stalls
    """What it held up of the workers, too."""


def play(
    a: RtpPeer | WebRtcPeer,
    b: RtpPeer | WebRtcPeer,
    codec: CodecEntry,
    *,
    at: dict[int, Callable[[], None]] | None = None,
) -> Heard:
    """`a` says a tone in real time, `b` listens. `at`: what is done before which packet."""
    step = 960 if codec is OPUS else 160
    heard = Heard([], FRAME_S, Stalls())
    start = sent_at = time.monotonic()

    def hear(until_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            while True:  # also when it is late: what has come is heard
                packet = b.receive(max(until_s - time.monotonic(), 0.001))
                heard.packets.append((time.monotonic() - start, packet.payload))

    for i, payload in enumerate(tone_packets(codec[0], TONE_HZ, SECONDS)):
        for due, action in (at or {}).items():
            if due == i:
                action()
        heard.stalls.look()
        before, sent_at = sent_at, time.monotonic()
        heard.longest_pause_s = max(heard.longest_pause_s, sent_at - before)
        a.send(rtp(100 + i, 5000 + i * step, payload=payload, payload_type=codec[2]))
        hear(start + (i + 1) * FRAME_S)
    hear(time.monotonic() + 3 * FRAME_S)  # what is still on its way
    heard.stalls.look()
    return heard


def check_heard(heard: Heard, codec: CodecEntry, *, min_duration_s: float = 0.9) -> None:
    """A clean tone whose packets never keep one waiting for more than 60 ms beyond what the test itself did."""
    waits_s = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(heard.packets)]
    assert max(waits_s) <= 0.06 + heard.longest_pause_s - FRAME_S + heard.stalls.longest_s
    pcm, rate = decode(codec[0], [payload for _, payload in heard.packets])
    audio.check_tone(
        pcm,
        rate,
        TONE_HZ,
        min_duration_s=min_duration_s,
        max_gap_ms=60 + 1000 * heard.stalls.longest_s,
        min_purity_db=15,
    )


@pytest.mark.parametrize(("mine", "theirs"), [(PCMU, PCMU), (PCMU, PCMA), (OPUS, OPUS), (OPUS, PCMU), (PCMU, OPUS)])
def test_browsers_on_two_workers_hear_each_other(mine: CodecEntry, theirs: CodecEntry) -> None:
    with Plane(workers=2) as plane:
        one, other = plane.webrtc_leg([mine], worker=0), plane.webrtc_leg([theirs], worker=1)
        plane.bridge(one, other)
        plane.settle(1)
        check_heard(play(one, other, mine), theirs)
        check_heard(play(other, one, theirs), mine)


@pytest.mark.parametrize("phone_codec", [PCMU, OPUS])
def test_an_rtp_leg_that_moves_is_heard_on_without_a_gap(phone_codec: CodecEntry) -> None:
    with Plane(workers=2) as plane:
        browser, phone = plane.webrtc_leg([PCMU], worker=1), plane.rtp_leg([phone_codec], worker=0)
        plane.bridge(browser, phone)
        plane.settle(1)
        moves = {
            20: lambda: plane.engine.move_rtp_leg(phone.leg, 1),
            40: lambda: plane.engine.move_rtp_leg(phone.leg, 0),
        }
        check_heard(play(phone, browser, phone_codec, at=moves), PCMU)
        check_heard(play(browser, phone, PCMU, at=moves), phone_codec)
        plane.engine.move_rtp_leg(phone.leg, 1)
        wait_for(lambda: legs(plane) == [0, 2], "the move")
        plane.engine.move_rtp_leg(phone.leg, 0)
        wait_for(lambda: legs(plane) == [1, 1], "the move back")


def test_a_call_that_goes_to_a_browser_on_another_worker_is_heard_on_without_a_gap() -> None:
    with Plane(workers=2) as plane:
        first, phone = plane.webrtc_leg([PCMU], worker=0), plane.rtp_leg([PCMU], worker=0)
        second = plane.webrtc_leg([PCMU], worker=1)
        plane.bridge(first, phone)

        def transfer() -> None:
            plane.bridge(second, phone)
            plane.engine.remove_leg(first.leg)
            plane.engine.move_rtp_leg(phone.leg, 1)

        before = play(phone, first, PCMU)
        check_heard(before, PCMU)
        check_heard(play(phone, second, PCMU, at={0: transfer}), PCMU)
        check_heard(play(second, phone, PCMU), PCMU)


def test_echo_and_tones_move_along() -> None:
    with Plane(workers=2) as plane:
        phone = plane.rtp_leg([PCMU], worker=0)
        plane.engine.set_source_tone(phone.leg, [TONE_HZ], level_dbm0=-10.5)
        plane.engine.move_rtp_leg(phone.leg, 1)
        received = [phone.receive() for _ in range(50)]
        audio.check_tone(
            audio.decode_ulaw(b"".join(packet.payload for packet in received)),
            8000,
            TONE_HZ,
            min_duration_s=0.9,
            max_gap_ms=0,
        )
        plane.engine.set_source_leg(phone.leg, phone.leg)
        plane.engine.move_rtp_leg(phone.leg, 0)
        plane.settle()
        phone.send(rtp(payload=b"echo"))
        while phone.receive().payload != b"echo":
            pass


def test_a_leg_that_goes_while_another_worker_listens_leaves_nothing_behind() -> None:
    with Plane(workers=2) as plane:
        for _ in range(20):
            source, sink = plane.webrtc_leg(worker=0), plane.rtp_leg(worker=1)
            plane.bridge(source, sink)
            source.send(rtp(payload=b"x"))
            assert sink.receive().payload == b"x"
            plane.engine.remove_leg(source.leg)
            plane.engine.remove_leg(sink.leg)
            for worker in (0, 1):
                plane.settle(worker)
        wait_for(lambda: legs(plane) == [0, 0], "no leg")


def test_a_webrtc_leg_stays_on_its_port() -> None:
    with Plane(workers=2) as plane:
        browser = plane.webrtc_leg()
        with pytest.raises(ValueError, match="not an RTP leg"):
            plane.engine.move_rtp_leg(browser.leg, 1)
        with pytest.raises(ValueError, match="no such worker"):
            plane.engine.move_rtp_leg(plane.rtp_leg().leg, 2)
        with pytest.raises(KeyError):
            plane.engine.move_rtp_leg(99, 1)
