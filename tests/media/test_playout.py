"""What is heard of a stream after a network that loses, delays, doubles and reorders, judged by ear."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import audio
from peers.codecs import Decoder

from sdpserver import _media_testing

from .playing import Heard, Packet, encoded, play, segmental_snr_db, sent, speech, tone

TONE_HZ = 440.0
STEP = float(np.max(np.abs(np.diff(audio.sine(TONE_HZ, 1, 8000)))))
"""The largest step between two samples of the tone."""
CODECS = ("PCMU", "PCMA", "G722", "opus")


def unbroken(pcm: audio.Pcm, rate: int = 8000) -> None:
    audio.check_tone(
        pcm,
        rate,
        TONE_HZ,
        min_duration_s=0.9 * len(pcm) / rate,
        min_level_dbfs=-13,
        min_purity_db=25,
        max_gap_ms=0,
        tolerance=0.01,
    )
    # A click is a step that the tone does not have.
    assert np.max(np.abs(np.diff(pcm))) < 1.15 * STEP * 8000 / rate


# -- a clean network


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("codec", CODECS)
def test_a_clean_network_costs_no_delay_beyond_the_wait_for_the_frame(codec: str, rate: int) -> None:
    heard = play(sent(encoded(tone(TONE_HZ, 5), codec), codec), rate=rate, for_s=4.9)
    assert max(heard.delays_ms) <= 22.1  # the frame itself and the 2 ms after which the first is asked for
    assert set(heard.kinds) == {"speech"}
    assert heard.figures["samples_concealed"] == heard.figures["samples_inserted"] == 0
    pcm = heard.between(0.3, 4.9)
    audio.check_tone(pcm, rate, TONE_HZ, min_level_dbfs=-13, min_purity_db=25, max_gap_ms=0, tolerance=0.01)


@pytest.mark.parametrize("frame_ms", [10, 20])
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60, 120])
@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus"])
def test_packets_of_any_length_are_heard_unbroken(codec: str, ptime_ms: int, frame_ms: int) -> None:
    heard = play(sent(encoded(tone(TONE_HZ, 4), codec, ptime_ms), codec), for_s=3.8, frame_ms=frame_ms)
    assert heard.figures["samples_concealed"] == 0
    assert "concealment" not in heard.kinds, "not at the beginning either"
    audio.check_tone(heard.between(0.5, 3.8), 8000, TONE_HZ, min_purity_db=25, max_gap_ms=0, tolerance=0.01)


def test_g722_brings_wideband() -> None:
    samples = tone(5000, 2, 16000)
    heard = play(sent(encoded(samples, "G722", rate=16000), "G722"), rate=16000, for_s=1.9)
    audio.check_tone(heard.between(0.2, 1.8), 16000, 5000, max_gap_ms=0)


# -- jitter


@pytest.mark.parametrize("codec", CODECS)
def test_the_second_packet_may_be_late_too(codec: str) -> None:
    """One packet and then none is a pause where there was one before it, and not where a stream begins."""
    arriving = sent(encoded(tone(TONE_HZ, 4), codec), codec, delay_s=lambda i: 0.015 if i == 1 else 0.0)
    heard = play(arriving, for_s=3.9)
    assert heard.kinds[:3] == ["speech", "concealment", "speech"]
    if codec != "opus":  # its own concealment needs to have heard more
        audio.check_tone(heard.pcm, 8000, TONE_HZ, min_duration_s=3.85, min_purity_db=25, max_gap_ms=0, tolerance=0.01)


@pytest.mark.parametrize("movable", [False, True])
@pytest.mark.parametrize("codec", ["PCMU", "opus"])
def test_40_ms_of_jitter_is_not_heard_once_it_is_known(codec: str, movable: bool) -> None:
    chance = random.Random(7)
    arriving = sent(encoded(tone(TONE_HZ, 21), codec), codec, delay_s=lambda _: chance.random() * 0.04)
    heard = play(arriving, for_s=20, movable=movable)
    assert heard.kinds[100:].count("speech") == len(heard.kinds) - 100
    unbroken(heard.between(2, 20))
    assert 55 <= float(np.mean(heard.delays_ms[100:])) <= 85  # 40 ms, the frame, and at most one more to wait for


def test_the_delay_goes_up_within_a_second_and_comes_down_within_half_a_minute() -> None:
    chance = random.Random(8)
    samples = tone(TONE_HZ, 60)
    arriving = sent(
        encoded(samples, "PCMU"), "PCMU", delay_s=lambda i: chance.random() * 0.08 if 500 <= i < 1000 else 0.0
    )
    for movable in (False, True):
        heard = play(arriving, for_s=58, movable=movable)
        assert max(heard.delays_ms[:500]) < 30
        assert min(heard.delays_ms[560:1000]) > 70
        assert max(heard.delays_ms[2500:]) < 45
        # While it adapts there may be breaks, but no clicks, and none before or after.
        unbroken(heard.between(0.5, 9.9))
        unbroken(heard.between(52, 57))


def test_a_jitter_of_one_millisecond_costs_milliseconds_where_ticks_can_move() -> None:
    chance = random.Random(9)
    arriving = sent(encoded(tone(TONE_HZ, 20), "PCMU"), "PCMU", delay_s=lambda _: chance.expovariate(1000))
    heard = play(arriving, for_s=19, movable=True)
    assert max(heard.delays_ms[250:]) < 32  # the slowest packets are 8 ms late
    assert heard.kinds.count("speech") >= len(heard.kinds) - 3


def test_after_a_stall_of_the_network_the_oldest_goes_and_the_delay_stays_bounded() -> None:
    arriving = sent(
        encoded(tone(TONE_HZ, 20), "PCMU"),
        "PCMU",
        delay_s=lambda i: max(0.0, 3.0 - i * 0.02) if 100 <= i < 150 else 0.0,  # all of a second comes at once
    )
    heard = play(arriving, for_s=19)
    assert heard.figures["packets_discarded"] > 20
    assert max(heard.delays_ms[160:]) < 340
    assert float(np.mean(heard.delays_ms[-100:])) < 60
    unbroken(heard.between(12, 19))


# -- clocks


@pytest.mark.parametrize("movable", [False, True])
@pytest.mark.parametrize("fast", [500e-6, -500e-6])
def test_an_hour_of_500_ppm_of_drift_is_heard_neither_as_clicks_nor_as_pitch(fast: float, movable: bool) -> None:
    second = encoded(tone(TONE_HZ, 1), "PCMU")  # 440 whole periods
    heard = play(sent(second * 3600, "PCMU", fast=fast), for_s=3590, movable=movable)
    assert max(heard.delays_ms) < 50
    assert heard.figures["samples_concealed"] == 0
    pcm = heard.pcm
    assert np.max(np.abs(np.diff(pcm))) < 1.15 * STEP
    for at in range(10, 3590, 300):
        unbroken(pcm[at * 8000 : (at + 30) * 8000])
    stretched = heard.ms("samples_removed") + heard.ms("samples_inserted")
    if movable:
        assert stretched == 0
    else:
        assert 1500 < stretched < 2200  # 500e-6 * 3600 s


def test_drift_in_noise_is_taken_up_too() -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 8000 * 60).astype(np.int16)
    heard = play(sent(encoded(noise, "PCMU"), "PCMU", fast=500e-6), for_s=59)
    assert max(heard.delays_ms) < 50
    assert heard.ms("samples_removed") > 5


# -- loss


def test_a_lost_packet_of_g711_is_not_heard_in_a_tone() -> None:
    heard = play(sent(encoded(tone(TONE_HZ, 5), "PCMU"), "PCMU", lost=lambda i: i % 25 == 20), for_s=4.9)
    assert heard.ms("samples_concealed") == pytest.approx(200, abs=20)
    unbroken(heard.between(0.1, 4.9))


def test_a_long_loss_fades_from_10_to_60_ms_and_comes_back_without_a_click() -> None:
    heard = play(sent(encoded(tone(TONE_HZ, 3), "PCMU"), "PCMU", lost=lambda i: 50 <= i < 60), for_s=2.9)
    assert audio.level_dbfs(heard.between(1.0, 1.01)) == pytest.approx(audio.level_dbfs(heard.between(0.9, 1.0)), abs=1)
    assert audio.level_dbfs(heard.between(1.03, 1.04)) < audio.level_dbfs(heard.between(1.0, 1.01)) - 2
    assert audio.level_dbfs(heard.between(1.07, 1.19)) < -45
    assert np.max(np.abs(np.diff(heard.between(0.9, 1.4)))) < 1.3 * STEP
    unbroken(heard.between(1.3, 2.9))


def test_what_was_lost_is_gone_from_the_delay_when_the_stream_goes_on() -> None:
    heard = play(sent(encoded(tone(TONE_HZ, 5), "PCMU"), "PCMU", lost=lambda i: 50 <= i < 60), for_s=4.9)
    assert heard.delays_ms[-1] < 30


def test_in_band_redundancy_of_opus_fills_single_losses(tmp_path: Path) -> None:
    samples = speech(tmp_path, 8000)
    chance = random.Random(5)
    losses = {i for i in range(100, 490) if chance.random() < 0.1}
    found = {}
    for expected_loss in (0.0, 0.1):
        packets = encoded(samples, "opus", expected_loss=expected_loss)
        heard = play(sent(packets, "opus", lost=losses.__contains__), for_s=9.8, movable=True)
        clean = play(sent(packets, "opus"), for_s=9.8)
        found[expected_loss] = (heard, segmental_snr_db(clean.pcm, heard.pcm, 8000))
    assert found[0.0][0].figures["packets_recovered_fec"] == 0
    assert found[0.1][0].figures["packets_recovered_fec"] > len(losses) / 2
    assert found[0.1][1] > found[0.0][1] + 3  # dB


def as_red(packets: list[tuple[bytes, int, bool]], copies: int = 1) -> list[tuple[bytes, int, bool]]:
    """Each with copies of those before it (RFC 2198), 20 ms apart."""
    made = []
    for i, (payload, duration_ms, left_out) in enumerate(packets):
        earlier = [(back, packets[i - back][0]) for back in range(copies, 0, -1) if i >= back]
        head = b"".join(
            (0xEF).to_bytes(1, "big") + ((back * 960) << 10 | len(copy)).to_bytes(3, "big") for back, copy in earlier
        )
        made.append((head + b"\x6f" + b"".join(copy for _, copy in earlier) + payload, duration_ms, left_out))
    return made


def test_redundant_audio_fills_losses(tmp_path: Path) -> None:
    samples = speech(tmp_path, 8000)
    packets = encoded(samples, "opus")
    chance = random.Random(6)
    losses = {i for i in range(100, 490) if chance.random() < 0.1}
    clean = play(sent(packets, "opus"), for_s=9.8)
    heard = play(sent(as_red(packets, 2), "red", lost=losses.__contains__), for_s=9.8, movable=True)
    plain = play(sent(packets, "opus", lost=losses.__contains__), for_s=9.8, movable=True)
    assert heard.figures["packets_recovered_red"] > 0.8 * len(losses)
    assert segmental_snr_db(clean.pcm, heard.pcm, 8000) > segmental_snr_db(clean.pcm, plain.pcm, 8000) + 5
    assert heard.figures["packets_late"] == 0  # copies of what was played are no late packets


def packet_by_packet(arriving: list[Packet], for_s: float) -> audio.Pcm:
    """Each packet decoded as it comes, and heard by a receiver that waits for 60 ms: silence for what is not there."""
    decoder = Decoder(arriving[0].codec)
    pcm = np.zeros(round(for_s * 8000))
    for packet in arriving:
        at = ((packet.timestamp - arriving[0].timestamp) % 2**32) * 8000 // packet.clock_rate_hz
        samples = decoder.decode(packet.payload)[:: decoder.rate_hz // 8000]
        if packet.at_s <= arriving[0].at_s + 0.06 + at / 8000 and at + len(samples) <= len(pcm):
            pcm[at : at + len(samples)] = samples
    return pcm


def dropouts(pcm: audio.Pcm) -> int:
    """How often a voice breaks off from one 5 ms to the next, and is there again within 60 ms."""
    levels = np.array([audio.level_dbfs(block) for block in pcm[: len(pcm) // 40 * 40].reshape(-1, 40)])
    falls = np.flatnonzero((levels[:-1] > -35) & (levels[1:] < levels[:-1] - 30))
    return sum(1 for fall in falls if np.max(levels[fall + 2 : fall + 14], initial=-120) > -35)


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
def test_speech_through_5_percent_loss_and_40_ms_jitter_is_better_than_packet_by_packet(
    codec: str, tmp_path: Path
) -> None:
    packets = encoded(speech(tmp_path, 8000), codec, expected_loss=0.05)
    clean = play(sent(packets, codec), for_s=9.8)
    chance, dice = random.Random(11), random.Random(12)
    arriving = sent(packets, codec, delay_s=lambda _: chance.random() * 0.04, lost=lambda _: dice.random() < 0.05)
    heard = play(arriving, for_s=9.8, movable=True)
    plain = packet_by_packet(arriving, 9.8)
    own, other = (segmental_snr_db(clean.pcm, pcm, 8000) for pcm in (heard.pcm, plain))
    figures = (codec, own, other, dropouts(heard.pcm), dropouts(plain), dropouts(clean.pcm))
    assert own > 26, figures
    assert own > other + (3 if codec == "opus" else -1), figures  # a guess is no nearer to the samples than silence is
    assert dropouts(plain) > 5, figures
    assert dropouts(heard.pcm) <= dropouts(clean.pcm) + 1, figures


# -- pauses


def test_comfort_noise_has_the_level_that_was_asked_for() -> None:
    speech_s, level = 1.0, 50
    packets = sent(encoded(tone(TONE_HZ, speech_s), "PCMU"), "PCMU")
    last = packets[-1]
    noise = Packet(
        at_s=last.at_s + 0.02,
        sequence=(last.sequence + 1) & 0xFFFF,
        timestamp=(last.timestamp + 160) & 0xFFFFFFFF,
        payload=bytes([level]),
        codec="CN",
        clock_rate_hz=8000,
    )
    for rate in (8000, 16000):
        playout = _media_testing.Playout(rate)
        heard = play([*packets, noise], rate=rate, for_s=5, playout=playout)
        pcm = heard.between(2, 5)
        # -dBov is relative to a full-scale square wave, 3 dB above the sine that dBFS is relative to.
        assert audio.level_dbfs(pcm) == pytest.approx(-level + 3, abs=1.5)
        assert set(heard.kinds[60:]) == {"comfort_noise"}
        assert heard.figures["samples_concealed"] == 0
        assert not playout.idle


def test_comfort_noise_has_the_spectrum_that_was_asked_for() -> None:
    def spectrum(coefficients: bytes) -> tuple[float, float]:
        noise = Packet(
            at_s=1.02, sequence=2, timestamp=160, payload=b"\x1e" + coefficients, codec="CN", clock_rate_hz=8000
        )
        first = Packet(at_s=1.0, sequence=1, timestamp=0, payload=b"\xff" * 160, codec="PCMU", clock_rate_hz=8000)
        pcm = play([first, noise], for_s=4).between(1, 4)
        power = np.abs(np.fft.rfft(pcm)) ** 2
        return float(np.mean(power[: len(power) // 4])), float(np.mean(power[-len(power) // 4 :]))

    low, high = spectrum(b"")
    assert abs(10 * np.log10(low / high)) < 1
    # k1 = -0.6: 1 / (1 - 0.6 z^-1), 12 dB more at 0 Hz than at 4 kHz.
    low, high = spectrum(bytes([127 - 76]))
    assert 8 < 10 * np.log10(low / high) < 13


def test_a_pause_of_opus_is_filled_with_the_background_instead_of_dead_silence() -> None:
    rng = np.random.default_rng(2)
    background = rng.normal(0, 60, 8000 * 8)
    voice = tone(TONE_HZ, 8).astype(float)
    voice[8000 * 3 : 8000 * 6] = 0
    packets = encoded((voice + background).astype(np.int16), "opus", dtx=True)
    assert sum(left_out for _, _, left_out in packets) > 80
    heard = play(sent(packets, "opus"), for_s=7.8, movable=True)
    level = audio.level_dbfs(background / 32768)
    assert audio.level_dbfs(heard.between(4, 5.8)) == pytest.approx(level, abs=7)
    assert heard.kinds.count("comfort_noise") > 70
    assert heard.ms("samples_concealed") < 100
    audio.check_tone(heard.between(6.3, 7.8), 8000, TONE_HZ, min_purity_db=20, max_gap_ms=0)


def test_a_pause_without_a_word_is_no_loss_and_talk_begins_with_the_delay_that_the_jitter_asks_for() -> None:
    packets = encoded(tone(TONE_HZ, 4), "PCMU")
    pause = [(b"", 20, True)] * 50
    chance = random.Random(3)
    arriving = sent([*packets[:100], *pause, *packets[100:]], "PCMU", delay_s=lambda _: chance.random() * 0.04)
    heard = play(arriving, for_s=4.8, movable=True)
    assert heard.ms("samples_concealed") <= 60  # of the first second
    assert heard.delays_ms[-1] < 75
    unbroken(heard.between(3.2, 4.7))


# -- what senders do


def test_a_sender_may_change_its_codec_at_any_packet() -> None:
    parts = [("PCMU", 50), ("opus", 50), ("PCMA", 50), ("G722", 50), ("PCMU", 50)]
    arriving: list[Packet] = []
    for i, (codec, count) in enumerate(parts):
        arriving += sent(
            encoded(tone(TONE_HZ, count / 50), codec), codec, start_s=1 + i * count * 0.02, first=i * count
        )
    heard = play(arriving, for_s=4.9)
    assert heard.figures["samples_concealed"] == 0
    assert heard.figures["packets_played"] >= 245
    audio.check_tone(heard.between(0.2, 4.8), 8000, TONE_HZ, min_purity_db=15, max_gap_ms=10, tolerance=0.01)


@pytest.mark.parametrize("jump", [2**31, 12_345_678, -700_000, -4000])
def test_a_jump_of_the_timestamp_is_not_heard(jump: int) -> None:
    arriving = sent(encoded(tone(TONE_HZ, 4), "PCMU"), "PCMU")
    jumped = [
        Packet(
            at_s=packet.at_s,
            sequence=packet.sequence,
            timestamp=(packet.timestamp + (jump if i >= 100 else 0)) & 0xFFFFFFFF,
            payload=packet.payload,
            codec=packet.codec,
            clock_rate_hz=8000,
        )
        for i, packet in enumerate(arriving)
    ]
    heard = play(jumped, for_s=3.9)
    unbroken(heard.between(0.1, 3.9))
    assert heard.delays_ms[-1] < 30


def test_repeated_and_late_packets_are_counted_and_not_heard_twice() -> None:
    arriving = sent(encoded(tone(TONE_HZ, 3), "PCMU"), "PCMU", delay_s=lambda i: 0.3 if i == 50 else 0.0)
    doubled = sorted([*arriving, *arriving[60:70]], key=lambda packet: packet.at_s)
    heard = play(doubled, for_s=2.9)
    # A copy at the same time finds the packet waiting, or played.
    assert heard.figures["packets_late"] + heard.figures["packets_repeated"] == 11
    unbroken(heard.between(0.1, 2.9))


def test_another_source_follows_without_the_rest_of_the_one_before() -> None:
    playout = _media_testing.Playout()
    play(sent(encoded(tone(TONE_HZ, 1), "PCMU"), "PCMU"), for_s=0.5, playout=playout)
    playout.reset()
    heard = play(sent(encoded(tone(1000, 2), "PCMU"), "PCMU", start_s=1.5), for_s=1.9, playout=playout)
    audio.check_tone(heard.between(0.1, 1.9), 8000, 1000, max_gap_ms=0)


def test_nothing_is_left_to_play_a_second_after_the_source_has_stopped() -> None:
    playout = _media_testing.Playout()
    idle = [playout.idle]
    assert playout.get(0.5) == ("silence", bytes(320))
    arriving = sent(encoded(tone(TONE_HZ, 1), "PCMU"), "PCMU")
    play(arriving, for_s=1.5, playout=playout)
    idle.append(playout.idle)
    heard = play(arriving[-1:], for_s=2, first_tick_s=0.6, playout=playout)
    idle.append(playout.idle)
    assert idle == [True, False, True]
    assert heard.kinds[-1] == "silence"


def test_frames_of_another_rate_can_be_asked_for_in_the_middle_of_a_call() -> None:
    playout = _media_testing.Playout(8000)
    arriving = sent(encoded(tone(TONE_HZ, 4), "opus"), "opus")
    play(arriving[:100], for_s=1.99, playout=playout)
    playout.set_rate(16000)
    heard = play(arriving[100:], rate=16000, for_s=1.9, playout=playout)
    audio.check_tone(heard.between(0.3, 1.9), 16000, TONE_HZ, min_purity_db=20, max_gap_ms=0)


# -- hostile input


def test_redundant_audio_with_a_lie_in_it_is_refused() -> None:
    block = (0xEF).to_bytes(1, "big") + (960 << 10 | 3).to_bytes(3, "big")
    assert _media_testing.parse_red(block + b"\x6f" + b"abc" + b"now") == [(111, 960, b"abc"), (111, 0, b"now")]
    assert _media_testing.parse_red(b"\x6fnow") == [(111, 0, b"now")]
    assert _media_testing.parse_red(block + b"\x6f" + b"abc") == [(111, 960, b"abc"), (111, 0, b"")]
    for lie in (
        b"",
        b"\xef",
        block[:3],
        block,
        block + b"\x6f" + b"ab",
        block * 9 + b"\x6f" + b"abc" * 9,
        b"\xff" * 64,
    ):
        assert _media_testing.parse_red(lie) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["PCMU", "G722", "opus", "CN", "red"]),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.binary(max_size=1500),
            st.floats(0, 0.5),
        ),
        max_size=60,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_packets_at_any_time_leave_it_working(
    packets: list[tuple[str, int, int, bytes, float]],
) -> None:
    playout = _media_testing.Playout()
    now = 1.0
    for codec, sequence, timestamp, payload, wait_s in packets:
        now += wait_s
        playout.put(sequence, timestamp, payload, codec, now, 48_000 if codec in ("opus", "red") else 8000)
        _, frame = playout.get(now)
        assert len(frame) == 320
    playout.reset()
    heard = play(sent(encoded(tone(TONE_HZ, 1), "PCMU"), "PCMU", start_s=now + 1), for_s=0.9, playout=playout)
    audio.check_tone(heard.between(0.2, 0.9), 8000, TONE_HZ, min_duration_s=0.5, max_gap_ms=0)


def test_a_flood_is_dropped_and_the_call_goes_on() -> None:
    arriving = sent(encoded(tone(TONE_HZ, 4), "PCMU"), "PCMU")
    noise = random.Random(4)
    flood = [
        Packet(
            at_s=2 + i * 0.0002,
            sequence=noise.randrange(65536),
            timestamp=noise.randrange(2**32),
            payload=noise.randbytes(160),
            codec="PCMU",
            clock_rate_hz=8000,
        )
        for i in range(5000)
    ]
    began = time.process_time()
    heard = play(sorted([*arriving, *flood], key=lambda packet: packet.at_s), for_s=3.9)
    assert time.process_time() - began < 5
    unbroken(heard.between(0.1, 0.95))
    audio.check_tone(heard.between(3.0, 3.9), 8000, TONE_HZ, min_duration_s=0.5, max_gap_ms=20)


def test_a_playout_stays_below_12_kb() -> None:
    assert _media_testing.playout_size(8000) < 10 * 1024
    assert _media_testing.playout_size(16000) < 12 * 1024


def test_what_was_made_up_is_said() -> None:
    heard: Heard = play(sent(encoded(tone(TONE_HZ, 2), "PCMU"), "PCMU", lost=lambda i: i == 50), for_s=1.9)
    assert heard.kinds.index("concealment") in (50, 51)
    assert heard.kinds.count("concealment") == 1
