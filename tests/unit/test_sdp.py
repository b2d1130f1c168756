"""SDP values that both legs share."""

import pytest

from sdpserver import sdp
from sdpserver.errors import BadRequest
from sdpserver.sdp import Direction, OpusReceiver, packet_time_ms


@pytest.mark.parametrize(
    ("offered", "wanted", "answer"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendonly", "sendrecv", "recvonly"),
        ("recvonly", "sendrecv", "sendonly"),
        ("inactive", "sendrecv", "inactive"),
        ("sendrecv", "recvonly", "recvonly"),
        ("sendrecv", "inactive", "inactive"),
        ("sendonly", "sendonly", "inactive"),
    ],
)
def test_answered_direction(offered: str, wanted: str, answer: str) -> None:
    assert Direction(offered).answered(Direction(wanted)) is Direction(answer)


@pytest.mark.parametrize("direction", list(Direction))
def test_a_direction_reversed_twice_is_itself(direction: Direction) -> None:
    assert direction.reversed.reversed is direction
    assert direction.reversed.sends == direction.receives


def test_codecs_are_found_without_case_in_the_order_asked_and_once() -> None:
    assert [codec.name for codec in sdp.audio_codecs(["OPUS", "pcma", "G729", "opus"])] == ["opus", "PCMA"]


def test_telephone_events_follow_the_clock_rates_in_use() -> None:
    def rates(*names: str) -> list[int]:
        codecs = sdp.with_telephone_events(sdp.audio_codecs(names))
        return [codec.clock_rate_hz for codec in codecs if codec.is_telephone_event]

    assert rates("PCMU", "PCMA") == [8000]
    assert rates("opus") == [48000]
    assert rates("opus", "PCMU") == [48000, 8000]


def test_rtpmap_names_channels_only_when_there_are_several() -> None:
    pcmu, opus = sdp.audio_codecs(["PCMU", "opus"])
    assert pcmu.rtpmap == "0 PCMU/8000"
    assert opus.with_payload_type(96).rtpmap == "96 opus/48000/2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid_sdp"),
        ("hello", "invalid_sdp"),
        ("v=0\r\ns=\0\r\n", "invalid_sdp"),
        ("v=0\r\ns=\ud800\r\n", "invalid_sdp"),
        ("v=0\r\n" + "a" * sdp.MAX_OCTETS, "sdp_too_large"),
        ("v=0\r\n" + "ä" * (sdp.MAX_OCTETS // 2), "sdp_too_large"),
        ("v=0\r\n" + "a=x\r\n" * sdp.MAX_LINES, "sdp_too_large"),
        ("v=0\r\n" + "m=audio 9 RTP/AVP 0\r\n" * (sdp.MAX_MEDIA + 1), "sdp_too_large"),
        ("v=0\r\n" + "a=ssrc:1 cname:x\r\n" * (sdp.MAX_SSRC + 1), "sdp_too_large"),
        ("v=0\r\n" + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n" * (sdp.MAX_CANDIDATES + 1), "sdp_too_large"),
    ],
)
def test_an_sdp_beyond_the_limits_is_refused_before_it_is_parsed(text: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sdp.check_limits(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("fmtp", "expected"),
    [
        ("", OpusReceiver()),
        ("minptime=10;useinbandfec=1", OpusReceiver(min_ptime_ms=10, use_inband_fec=True)),
        (
            "maxplaybackrate=8000; maxaveragebitrate=12000; usedtx=1; stereo=1",
            OpusReceiver(max_playback_rate_hz=8000, max_average_bitrate_bps=12000, use_dtx=True),
        ),
        ("MAXPLAYBACKRATE=16000;USEINBANDFEC=0", OpusReceiver(max_playback_rate_hz=16000)),
        ("maxplaybackrate=1;maxaveragebitrate=99999999;usedtx=2;useinbandfec=;;=1", OpusReceiver()),
        ("maxaveragebitrate=-1;minptime=\u00b2", OpusReceiver()),
    ],
    ids=["nothing", "Chromium", "all", "case", "out of range", "no numbers"],
)
def test_how_a_peer_wants_opus(fmtp: str, expected: OpusReceiver) -> None:
    assert OpusReceiver.parse(fmtp) == expected


@pytest.mark.parametrize(
    ("wanted", "shortest", "longest", "expected"),
    [(0, 0, 0, 20), (30, 0, 0, 30), (25, 0, 0, 20), (5, 0, 0, 10), (200, 0, 0, 60), (0, 40, 0, 40), (60, 0, 20, 20),
     (0, 40, 20, 20), (0, 0, 10, 10), (0, 0, 3, 10)],
)  # fmt: skip
def test_how_long_our_packets_are(wanted: int, shortest: int, longest: int, expected: int) -> None:
    assert packet_time_ms(wanted_ms=wanted, shortest_ms=shortest, longest_ms=longest) == expected
