"""Speech over a bad network sounds better than what packet-by-packet transcoding makes of the same packets."""

from __future__ import annotations

import dataclasses
import statistics

import pytest
from peers import audio, speech
from peers.codecs import Decoder, encode_g711

from . import playing
from .plane import Plane

LOSS, JITTER_S = 0.05, 0.04


def packet_by_packet(talker: speech.Talker) -> audio.Pcm:
    """What a receiver plays when each packet is transcoded as it comes, and what is lost stays lost."""
    decoder = Decoder("opus")
    encoded = []
    for at_s, index in talker.arrivals:
        payload = encode_g711("PCMU", decoder.decode(talker.packets[index])[::6])
        encoded.append(speech.Heard(at_s=at_s, sequence=index, timestamp=index * 160, payload=payload))
    return speech.played(encoded)


def baseline(talkers: list[speech.Talker]) -> list[float]:
    """MOS-LQO of the same packets without a jitter buffer and without concealment."""
    return [
        speech.mos_lqo(speech.say(sentence), packet_by_packet(talker))
        for sentence, talker in zip(speech.SENTENCES, talkers, strict=True)
    ]


def through_a_playout(network: speech.Network, *, expected_loss_percent: int = 0) -> list[float]:
    """MOS-LQO of each sentence out of a `Playout` at times of the test's own."""
    heard = []
    for seed, sentence in enumerate(speech.SENTENCES):
        packets = speech.packets(sentence, expected_loss_percent=expected_loss_percent)
        late_s = {
            index: at_s - index * speech.FRAME_S
            for at_s, index in dataclasses.replace(network, seed=seed).arrivals(len(packets))
        }
        arriving = playing.sent(
            [(packet, 20, False) for packet in packets],
            "opus",
            delay_s=lambda index, late_s=late_s: late_s[index],  # type: ignore[misc]
            lost=lambda index, late_s=late_s: index not in late_s,  # type: ignore[misc]
        )
        out = playing.play(arriving, for_s=len(packets) * speech.FRAME_S + 0.3, movable=True)
        heard.append(speech.mos_lqo(speech.say(sentence), out.pcm))
    return heard


def test_speech_is_as_good_as_its_codec_on_a_clean_network_and_through_jitter() -> None:
    assert statistics.mean(through_a_playout(speech.Network())) > 4.3
    assert statistics.mean(through_a_playout(speech.Network(jitter_s=0.01))) > 4.2
    assert statistics.mean(through_a_playout(speech.Network(jitter_s=JITTER_S))) > 4.0


def test_redundancy_in_the_packets_makes_up_for_loss() -> None:
    network = speech.Network(loss=LOSS, jitter_s=JITTER_S)
    without, with_it = through_a_playout(network), through_a_playout(network, expected_loss_percent=10)
    assert statistics.mean(without) > 2.5
    assert statistics.mean(with_it) > statistics.mean(without) + 0.4


@pytest.mark.timeout(120)
@pytest.mark.parametrize("expected_loss_percent", [0, 10])
def test_speech_through_loss_and_jitter_beats_packet_by_packet(expected_loss_percent: int) -> None:
    network = speech.Network(loss=LOSS, jitter_s=JITTER_S)
    with speech.talkers(network, expected_loss_percent=expected_loss_percent) as talkers:
        with Plane(pairs=2 * len(talkers)) as plane:
            for talker in talkers:
                speech.connect(plane.engine, talker)
            plane.settle()
            speech.talk(talkers)
        ours = speech.scores(talkers)
        theirs = baseline(talkers)
    assert statistics.mean(ours) > statistics.mean(theirs) + 0.3, (ours, theirs)
    assert sum(a > b for a, b in zip(ours, theirs, strict=True)) >= len(ours) - 1
