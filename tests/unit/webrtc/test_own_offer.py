"""Offers of ours, and what answers make of them: pure."""

from __future__ import annotations

import contextlib

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpserver.errors import BadRequest
from sdpserver.sdp import COMFORT_NOISE, Codec, Direction, audio_codecs
from sdpserver.webrtc.offer import parse_answer, parse_offer
from sdpserver.webrtc.offer_answer import (
    LocalTransport,
    Negotiated,
    negotiate,
    negotiate_answer,
    offered_codecs,
    write_answer,
    write_offer,
)

from .offers import FINGERPRINT, offer, section
from .test_offer_answer import damaged, shuffled

LOCAL = LocalTransport(
    session_id=77,
    ufrag="ours",
    pwd="o" * 24,
    fingerprint=FINGERPRINT,
    setup="actpass",
    addresses=("192.0.2.1", "127.0.0.1"),
    port=10000,
)
OFFERED = offered_codecs([*audio_codecs(["PCMU", "PCMA", "opus", "G722"]), COMFORT_NOISE])
ALL = (
    "a=rtpmap:111 opus/48000/2",
    "a=rtpmap:63 red/48000/2",
    "a=fmtp:63 111/111",
    "a=rtpmap:110 telephone-event/48000",
)


def answered(sdp: str, direction: Direction = Direction.SENDRECV, offered: list[Codec] = OFFERED) -> Negotiated:
    return negotiate_answer(parse_answer(sdp), offered, direction)


def answer(formats: str = "0", *lines: str, setup: str = "active", mid: str | None = "0", port: int = 9) -> str:
    return offer(section(formats=formats, lines=lines, setup=setup, mid=mid, port=port), bundle=mid)


def taken(sdp: str) -> list[tuple[str, int, int]]:
    """(name, our payload type, theirs)"""
    return [(codec.name, codec.payload_type, codec.send_payload_type) for codec in answered(sdp).codecs]


# -- the offer


def test_the_whole_offer() -> None:
    codecs = offered_codecs([*audio_codecs(["opus", "PCMU"]), COMFORT_NOISE])
    assert write_offer(codecs, Direction.SENDRECV, LOCAL, version=1) == (
        "v=0\r\no=- 77 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        "a=ice-lite\r\na=group:BUNDLE 0\r\na=msid-semantic:WMS *\r\n"
        "m=audio 10000 UDP/TLS/RTP/SAVPF 111 63 0 110 101 13\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\na=sendrecv\r\n"
        "a=msid:sdpserver audio\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
        "a=fmtp:111 maxplaybackrate=8000;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-16\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtpmap:13 CN/8000\r\na=ptime:20\r\na=maxptime:60\r\n"
        f"a=ice-ufrag:ours\r\na=ice-pwd:{'o' * 24}\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
        "a=candidate:1 1 udp 2130706175 192.0.2.1 10000 typ host\r\n"
        "a=candidate:2 1 udp 2130705919 127.0.0.1 10000 typ host\r\na=end-of-candidates\r\n"
    )


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["PCMU"], [0, 101]),
        (["opus"], [111, 63, 110]),
        (["G722", "PCMA"], [9, 8, 101]),
        (["PCMU", "opus", "PCMA"], [0, 111, 63, 8, 101, 110]),
    ],
)
def test_each_clock_rate_has_its_telephone_event_and_opus_its_redundancy(names: list[str], numbers: list[int]) -> None:
    assert [codec.payload_type for codec in offered_codecs(audio_codecs(names))] == numbers


def test_comfort_noise_needs_a_codec_of_its_clock() -> None:
    assert [codec.name for codec in offered_codecs([*audio_codecs(["opus"]), COMFORT_NOISE])] == [
        "opus",
        "red",
        "telephone-event",
    ]


@pytest.mark.parametrize("direction", list(Direction))
def test_the_offer_says_its_direction_and_names_a_stream_if_it_sends(direction: Direction) -> None:
    text = write_offer(OFFERED, direction, LOCAL, version=1)
    assert f"\r\na={direction.value}\r\n" in text
    assert ("a=msid:" in text) is direction.sends


def test_nothing_is_offered_that_would_not_be_answered() -> None:
    text = write_offer(OFFERED, Direction.SENDRECV, LOCAL, version=1)
    for attribute in ("a=ssrc", "a=rtcp-fb", "a=extmap", "a=rtcp-rsize"):
        assert attribute not in text
    (media,) = SessionDescription.parse(text).media
    assert (media.kind, media.rtp.muxId, media.port) == ("audio", "0", 10000)


def test_our_offer_is_one_that_we_could_answer_ourselves() -> None:
    text = write_offer(OFFERED, Direction.SENDRECV, LOCAL, version=1)
    ours = negotiate(parse_offer(text), [codec for codec in OFFERED if codec.is_speech or codec.name == "CN"])
    local = LocalTransport(
        session_id=1, ufrag="peer", pwd="p" * 24, fingerprint=FINGERPRINT, setup="active", addresses=("::1",), port=9
    )
    found = answered(write_answer(ours, local, version=1))
    assert sorted(codec.payload_type for codec in found.codecs) == sorted(codec.payload_type for codec in OFFERED)
    assert (found.transport.ufrag, found.transport.setup) == ("peer", "active")


# -- the answer


def test_codecs_are_in_the_answerers_order_with_presses_and_noise_last() -> None:
    lines = (*ALL, "a=rtpmap:101 telephone-event/8000", "a=rtpmap:13 CN/8000", "a=rtpmap:9 G722/8000")
    assert taken(answer("13 101 110 9 63 111 8", *lines)) == [
        ("G722", 9, 9),
        ("red", 63, 63),
        ("opus", 111, 111),
        ("PCMA", 8, 8),
        ("telephone-event", 101, 101),
        ("telephone-event", 110, 110),
        ("CN", 13, 13),
    ]


def test_the_answerer_may_number_its_formats_anew() -> None:
    lines = (
        "a=rtpmap:96 OPUS/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:97 red/48000/2",
        "a=fmtp:97 96/96",
        "a=rtpmap:98 telephone-event/48000",
    )
    assert taken(answer("96 97 98", *lines)) == [("opus", 111, 96), ("red", 63, 97), ("telephone-event", 110, 98)]
    opus = answered(answer("96 97 98", *lines)).codecs[0]
    assert (opus.remote_fmtp, opus.fmtp) == ("useinbandfec=1", "maxplaybackrate=8000;useinbandfec=1")


@pytest.mark.parametrize(
    ("formats", "lines", "expected"),
    [
        ("0 110", ALL, [("PCMU", 0, 0)]),  # an event of a clock rate that no codec has
        ("0 63", ALL, [("PCMU", 0, 0)]),  # redundancy of what is not there
        ("111 63", (ALL[0], ALL[1], "a=fmtp:63 0/0"), [("opus", 111, 111)]),  # of something else
        ("111 63", (ALL[0], ALL[1]), [("opus", 111, 111)]),  # of nothing
        ("0 18 111", ALL, [("PCMU", 0, 0), ("opus", 111, 111)]),  # one that was not offered
        ("0 96", ("a=rtpmap:96 PCMU/8000",), [("PCMU", 0, 0)]),  # the same twice
        ("96 0", ("a=rtpmap:96 PCMU/8000",), [("PCMU", 0, 96)]),
        ("0 96", ("a=rtpmap:96 opus/48000",), [("PCMU", 0, 0)]),  # Opus with one channel is another format
    ],
)
def test_only_what_was_offered_and_can_be_used_is_taken(
    formats: str, lines: tuple[str, ...], expected: list[tuple[str, int, int]]
) -> None:
    assert taken(answer(formats, *lines)) == expected


def test_what_the_answer_leaves_out_may_still_come() -> None:
    found = answered(answer("8 101", "a=rtpmap:101 telephone-event/8000"))
    assert [codec.payload_type for codec in found.receive_only] == [0, 111, 63, 9, 110, 13]


def test_a_format_that_was_not_offered_to_this_client_is_not_taken() -> None:
    sdp = answer("8 0")
    found = negotiate_answer(parse_answer(sdp), offered_codecs(audio_codecs(["PCMU"])), Direction.SENDRECV)
    assert [codec.name for codec in found.codecs] == ["PCMU"]


@pytest.mark.parametrize(
    ("offered", "theirs", "ours"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendrecv", "recvonly", "sendonly"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendrecv", "inactive", "inactive"),
        ("sendonly", "recvonly", "sendonly"),
        ("sendonly", "sendrecv", "sendonly"),  # more than was offered
        ("recvonly", "sendonly", "recvonly"),
        ("inactive", "sendrecv", "inactive"),
    ],
)
def test_directions(offered: str, theirs: str, ours: str) -> None:
    assert answered(answer("0", f"a={theirs}"), Direction(offered)).direction is Direction(ours)


@pytest.mark.parametrize(
    ("line", "ptime_ms"), [("a=ptime:40", 40), ("a=maxptime:10", 10), ("a=ptime:500", 60), ("a=x:1", 20)]
)
def test_packets_are_as_long_as_the_answer_wants(line: str, ptime_ms: int) -> None:
    assert answered(answer("0", line)).ptime_ms == ptime_ms


@pytest.mark.parametrize("setup", ["active", "passive"])
def test_the_answerer_chooses_the_dtls_roles(setup: str) -> None:
    transport = answered(answer(setup=setup)).transport
    assert (transport.setup, transport.ufrag, transport.pwd) == (setup, "ufrag", "p" * 24)
    assert transport.fingerprints == {("sha-256", FINGERPRINT)}


def test_all_fingerprints_of_the_answer_count() -> None:
    longer = ":".join(["CD"] * 64)
    found = answered(answer("0", f"a=fingerprint:sha-512 {longer}")).transport.fingerprints
    assert found == {("sha-256", FINGERPRINT), ("sha-512", longer)}


def test_an_answer_need_neither_bundle_nor_name_its_section() -> None:
    assert taken(answer("0", mid=None)) == [("PCMU", 0, 0)]


REFUSED = [
    ("", "invalid_sdp"),
    ("v=0", "invalid_sdp"),
    (answer(port=0), "rejected"),
    (answer("0", "a=bundle-only", port=0), "rejected"),
    (answer(setup="actpass"), "invalid_sdp"),
    (answer(setup="holdconn"), "invalid_sdp"),
    (answer().replace("a=setup:active\r\n", ""), "no_fingerprint"),
    (answer().replace("sha-256", "md5"), "no_fingerprint"),
    (answer().replace("a=ice-ufrag:ufrag\r\n", ""), "no_ice"),
    (answer().replace("a=ice-ufrag:ufrag", "a=ice-ufrag:a:bcd"), "no_ice"),
    (answer().replace("a=rtcp-mux\r\n", ""), "rtcp_mux_required"),
    (answer().replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "unsupported_protocol"),
    (answer("18"), "no_common_codec"),
    (answer("110", *ALL), "no_common_codec"),
    (answer("63", *ALL), "no_common_codec"),
    (answer("128"), "invalid_sdp"),
    (answer(mid="1"), "invalid_sdp"),
    (offer(bundle=None), "invalid_sdp"),
    (offer(section("video", formats="96", setup="active")), "invalid_sdp"),
    (offer(section("application", setup="active")), "invalid_sdp"),
    (offer(section(setup="active"), section("application", mid="1"), bundle="0 1"), "invalid_sdp"),
    (answer(*("0", *(f"a=ssrc:{number} cname:x" for number in range(65)))), "sdp_too_large"),
    (answer("0", "a=x:" + "x" * 40000), "sdp_too_large"),
]


@pytest.mark.parametrize(
    ("sdp", "reason"), REFUSED, ids=[f"{number}-{reason}" for number, (_, reason) in enumerate(REFUSED)]
)
def test_bad_answers_are_refused_with_a_reason(sdp: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        answered(sdp)
    assert caught.value.reason == reason


@settings(max_examples=200, deadline=None)
@given(st.text() | damaged() | shuffled())
def test_no_text_raises_anything_but_bad_request(text: str) -> None:
    with contextlib.suppress(BadRequest):
        found = answered(text.replace("a=setup:actpass", "a=setup:active"))
        assert all(0 <= codec.send_payload_type < 128 for codec in found.codecs)
        assert any(codec.is_speech for codec in found.codecs)
