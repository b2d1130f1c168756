"""Offer and answer toward SIP peers, one row a case."""

from __future__ import annotations

import random

import pytest

from sdpserver.errors import BadRequest
from sdpserver.sdp import Codec, Direction, OpusReceiver, audio_codecs, with_telephone_events
from sdpserver.sip.media_section import parse
from sdpserver.sip.offer_answer import (
    LocalAudio,
    Offered,
    Origin,
    RemoteAudio,
    accept_answer,
    answer_offer,
    negotiate,
    offer_body,
    read_own_offer,
)

LOCAL = LocalAudio(
    ip="192.0.2.1", rtp_port=20000, codecs=tuple(with_telephone_events(audio_codecs(["PCMU", "PCMA", "opus"])))
)
OFFERED = Offered(codecs=LOCAL.codecs)


def sdp(*lines: str, session: tuple[str, ...] = ("c=IN IP4 198.51.100.7",)) -> str:
    head = ["v=0", "o=pbx 1 1 IN IP4 198.51.100.7", "s=-", *session, "t=0 0"]
    return "".join(line + "\r\n" for line in [*head, *lines])


def names(codecs: list[Codec]) -> list[tuple[str, int, int]]:
    return [(codec.name, codec.payload_type, codec.send_payload_type) for codec in codecs]


def test_our_offer_lists_all_codecs_in_order() -> None:
    assert offer_body(LOCAL, OFFERED) == (
        "c=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        "m=audio 20000 RTP/AVP 0 8 111 101 110\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 maxplaybackrate=8000;useinbandfec=1\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
        "a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-16\r\n"
        "a=ptime:20\r\na=sendrecv\r\n"
    )


def test_the_version_grows_only_with_a_change() -> None:
    origin = Origin(7)
    lines = [origin.describe("192.0.2.1", body).split("\r\n")[1] for body in ("a", "a", "b", "a")]
    assert lines == [f"o=- 7 {version} IN IP4 192.0.2.1" for version in (1, 1, 2, 3)]


def test_an_ipv6_address_is_named_as_such() -> None:
    body = offer_body(LocalAudio(ip="2001:db8::1", rtp_port=4, codecs=LOCAL.codecs), OFFERED)
    assert body.startswith("c=IN IP6 2001:db8::1\r\n")
    assert Origin(1).describe("2001:db8::1", body).split("\r\n")[1] == "o=- 1 1 IN IP6 2001:db8::1"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["m=audio 5000 RTP/AVP 0"], [("PCMU", 0, 0)]),
        (["m=audio 5000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"],
         [("PCMA", 8, 8), ("PCMU", 0, 0), ("telephone-event", 101, 101)]),
        (["m=audio 5000 RTP/AVP 96 97", "a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 telephone-event/48000"],
         [("opus", 111, 96), ("telephone-event", 110, 97)]),
        (["m=audio 5000 RTP/AVP 0 97", "a=rtpmap:97 telephone-event/48000"], [("PCMU", 0, 0)]),
        (["m=audio 5000 RTP/AVP 0 0 18"], [("PCMU", 0, 0)]),
        (["m=audio 5000 RTP/AVP 96 0", "a=rtpmap:96 pcmu/8000/1"], [("PCMU", 0, 96)]),
    ],
    ids=["static", "both G.711", "renumbered Opus", "event of another clock", "twice", "two numbers of one codec"],
)  # fmt: skip
def test_the_codecs_of_an_answer(lines: list[str], expected: list[tuple[str, int, int]]) -> None:
    assert names(accept_answer(LOCAL, OFFERED, sdp(*lines)).codecs) == expected


@pytest.mark.parametrize(
    ("lines", "ip", "rtp_port", "rtcp_port", "direction", "ptime_ms"),
    [
        (["a=sendrecv"], "198.51.100.7", 5000, 5001, Direction.SENDRECV, 20),
        (["c=IN IP4 203.0.113.1/127"], "203.0.113.1", 5000, 5001, Direction.SENDRECV, 20),
        (["c=IN IP6 2001:DB8:0::9"], "2001:db8::9", 5000, 5001, Direction.SENDRECV, 20),
        (["a=rtcp:5555 IN IP4 203.0.113.1"], "198.51.100.7", 5000, 5555, Direction.SENDRECV, 20),
        (["a=rtcp-mux"], "198.51.100.7", 5000, 5000, Direction.SENDRECV, 20),
        (["a=sendonly", "a=ptime:30"], "198.51.100.7", 5000, 5001, Direction.RECVONLY, 30),
        (["a=recvonly", "a=ptime:7"], "198.51.100.7", 5000, 5001, Direction.SENDONLY, 10),
        (["a=ptime:100"], "198.51.100.7", 5000, 5001, Direction.SENDRECV, 60),
        (["a=ptime:40", "a=maxptime:30"], "198.51.100.7", 5000, 5001, Direction.SENDRECV, 30),
        (["a=inactive", "a=ptime:²0"], "198.51.100.7", 5000, 5001, Direction.INACTIVE, 20),
        (["c=IN IP4 0.0.0.0"], "0.0.0.0", 0, 0, Direction.RECVONLY, 20),
    ],
    ids=[
        "plain",
        "own c=",
        "IPv6",
        "RFC 3605",
        "mux",
        "sendonly",
        "recvonly",
        "too long",
        "maximum",
        "inactive",
        "RFC 2543",
    ],
)
def test_the_stream_of_an_answer(
    lines: list[str], ip: str, rtp_port: int, rtcp_port: int, direction: Direction, ptime_ms: int
) -> None:
    remote = accept_answer(LOCAL, OFFERED, sdp("m=audio 5000 RTP/AVP 0", *lines))
    assert (remote.ip, remote.rtp_port, remote.rtcp_port) == (ip, rtp_port, rtcp_port)
    assert (remote.direction, remote.ptime_ms) == (direction, ptime_ms)


def test_a_session_level_direction_counts_unless_the_stream_has_its_own() -> None:
    session = ("c=IN IP4 198.51.100.7", "a=sendonly")
    assert accept_answer(LOCAL, OFFERED, sdp("m=audio 5000 RTP/AVP 0", session=session)).direction is Direction.RECVONLY
    own = sdp("m=audio 5000 RTP/AVP 0", "a=sendrecv", session=session)
    assert accept_answer(LOCAL, OFFERED, own).direction is Direction.SENDRECV


PREVIOUS = RemoteAudio(
    ip="198.51.100.7", rtp_port=5000, rtcp_port=5001, direction=Direction.SENDRECV, codecs=audio_codecs(["PCMA"])
)


@pytest.mark.parametrize(
    ("lines", "body", "direction"),
    [
        (["m=audio 6000 RTP/AVP 0 8", "a=sendonly"],
         "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=recvonly\r\n", Direction.RECVONLY),
        (["m=audio 6000 RTP/AVP 0", "a=rtcp-mux"],
         "m=audio 20000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\na=rtcp-mux\r\n",
         Direction.SENDRECV),
        (["m=audio 6000 RTP/AVP 100 99", "a=rtpmap:100 opus/48000/2", "a=rtpmap:99 telephone-event/48000"],
         "m=audio 20000 RTP/AVP 100 99\r\na=rtpmap:100 opus/48000/2\r\n"
         "a=fmtp:100 maxplaybackrate=8000;useinbandfec=1\r\na=rtpmap:99 telephone-event/48000\r\na=fmtp:99 0-16\r\n"
         "a=ptime:20\r\na=sendrecv\r\n", Direction.SENDRECV),
        (["m=video 0 RTP/AVP 31", "m=audio 6002 RTP/SAVP 0", "m=audio 6000 RTP/AVP 8", "m=application 9 TCP/BFCP *"],
         "m=video 0 RTP/AVP 31\r\nm=audio 0 RTP/SAVP 0\r\n"
         "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n"
         "m=application 0 TCP/BFCP *\r\n", Direction.SENDRECV),
        (["m=audio 6000 RTP/AVP 8", "c=IN IP4 0.0.0.0"],
         "m=audio 20000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=inactive\r\n",
         Direction.INACTIVE),
        (["m=audio 6000 RTP/AVP 8", "a=rtcp-fb:* nack", "a=rtcp-fb:* ccm fir", "a=rtcp-fb:8 transport-cc",
          "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", "a=rtcp-rsize"],
         "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n", Direction.SENDRECV),
    ],
    ids=["codec in use", "mux", "their numbers", "several streams", "RFC 2543", "no feedback"],
)  # fmt: skip
def test_our_answer(lines: list[str], body: str, direction: Direction) -> None:
    answer = answer_offer(LOCAL, sdp(*lines), previous=PREVIOUS)
    assert answer.body == "c=IN IP4 192.0.2.1\r\nt=0 0\r\n" + body
    assert answer.remote.direction is direction
    assert all(codec.payload_type == codec.send_payload_type for codec in answer.remote.codecs)


def test_a_hold_without_an_address_keeps_the_one_that_we_know() -> None:
    remote = answer_offer(LOCAL, sdp("m=audio 6000 RTP/AVP 8", "c=IN IP4 0.0.0.0"), previous=PREVIOUS).remote
    assert (remote.ip, remote.rtp_port, remote.rtcp_port) == ("198.51.100.7", 5000, 5001)


AUDIO = "m=audio 5000 RTP/AVP 0"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid_sdp"),
        ("v=0\r\n", "invalid_sdp"),
        ("v=1\r\n", "invalid_sdp"),
        (sdp(AUDIO, "nonsense"), "invalid_sdp"),
        (sdp("m=audio"), "invalid_sdp"),
        (sdp("m=audio 5000 RTP/AVP"), "invalid_sdp"),
        (sdp("m=audio 65536 RTP/AVP 0"), "invalid_sdp"),
        (sdp("m=audio -1 RTP/AVP 0"), "invalid_sdp"),
        (sdp("m=audio ٣ RTP/AVP 0"), "invalid_sdp"),
        (sdp("m=audio 5000 RTP/AVP 128"), "invalid_sdp"),
        (sdp("m=audio 5000 RTP/AVP 0 " + " ".join("96" for _ in range(64))), "invalid_sdp"),
        (sdp(AUDIO, session=()), "invalid_sdp"),
        (sdp(AUDIO, session=("c=IN IP4 pbx.example.com",)), "invalid_sdp"),
        (sdp(AUDIO, session=("c=IN IP4 2001:db8::1",)), "invalid_sdp"),
        (sdp(AUDIO, session=("c=IN IP4 224.0.0.1",)), "invalid_sdp"),
        (sdp(AUDIO, session=("c=IN IP6 ::",)), "invalid_sdp"),
        (sdp(AUDIO, session=("c=IN",)), "invalid_sdp"),
        (sdp(AUDIO, "a=rtpmap:x PCMU/8000"), "invalid_sdp"),
        (sdp(AUDIO, "a=rtcp:x"), "invalid_sdp"),
        (sdp(AUDIO, "a=rtcp:"), "invalid_sdp"),
        (sdp("m=video 5000 RTP/AVP 31"), "invalid_sdp"),
        (sdp("m=audio 5000 RTP/SAVP 0"), "invalid_sdp"),
        (sdp("m=audio 0 RTP/AVP 0"), "no_common_codec"),
        (sdp("m=audio 5000 RTP/AVP 18"), "no_common_codec"),
        (sdp("m=audio 5000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"), "no_common_codec"),
        (sdp("m=audio 5000 RTP/AVP 96", "a=rtpmap:96 opus/48000"), "no_common_codec"),
        (sdp(AUDIO, *["a=x"] * 600), "sdp_too_large"),
        (sdp(AUDIO, "a=x:" + "y" * 40000), "sdp_too_large"),
        (sdp(AUDIO, "a=x:\0"), "invalid_sdp"),
        (sdp("m=audio 5000 RTP/AVP 18", "a=\udc80"), "no_common_codec"),
    ],
)
def test_an_answer_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        accept_answer(LOCAL, OFFERED, text)
    assert caught.value.reason == reason


@pytest.mark.parametrize("lines", [[], ["m=audio 0 RTP/AVP 0"], ["m=audio 5000 RTP/AVP 18"], ["m=image 5 udptl t38"]])
def test_an_offer_without_audio_that_we_speak_is_refused(lines: list[str]) -> None:
    with pytest.raises(BadRequest) as caught:
        answer_offer(LOCAL, sdp(*lines), previous=PREVIOUS)
    assert caught.value.reason == "no_common_codec"


def test_formats_keep_their_parameters() -> None:
    section = parse(sdp("m=audio 5000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", "a=fmtp:96 stereo=1;cbr=1"))[0]
    assert section.formats[0].fmtp == "stereo=1;cbr=1"
    assert negotiate(LOCAL.codecs, section.formats)[0].name == "opus"


def test_a_damaged_sdp_is_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(3605)
    whole = sdp(
        "m=audio 5000/2 RTP/AVP 0 8 96 101", "c=IN IP6 2001:db8::1", "a=rtpmap:96 opus/48000/2", "a=fmtp:96 x=1",
        "a=rtpmap:101 telephone-event/8000", "a=rtcp:5001 IN IP4 198.51.100.7", "a=ptime:20", "a=sendonly",
        "m=video 0 RTP/AVP 31",
    )  # fmt: skip
    read = 0
    for _ in range(5000):
        text = list(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 3)] = rng.choice(
                ["", "\r", "\n", "=", " ", ":", "/", "٣", "\0", "\udc80", "99999"]
            )
        try:
            answer = answer_offer(LOCAL, "".join(text), previous=PREVIOUS)
        except BadRequest:
            continue
        read += 1
        assert answer.body.count("m=audio 20000 RTP/AVP ") == 1
        assert len(parse(Origin(1).describe(LOCAL.ip, answer.body))) == len(parse("".join(text)))
    assert read > 500


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_we_ask_for_the_packet_time_that_the_peer_asked_for(ptime_ms: int) -> None:
    answer = answer_offer(LOCAL, sdp(AUDIO, f"a=ptime:{ptime_ms}"))
    assert f"a=ptime:{ptime_ms}\r\n" in answer.body
    assert answer.remote.ptime_ms == ptime_ms


def test_how_a_peer_wants_opus_is_kept_with_the_codec() -> None:
    lines = ["m=audio 5000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", "a=fmtp:96 maxplaybackrate=16000;usedtx=1"]
    (codec,) = accept_answer(LOCAL, OFFERED, sdp(*lines)).codecs
    assert OpusReceiver.parse(codec.remote_fmtp) == OpusReceiver(max_playback_rate_hz=16000, use_dtx=True)


def test_an_offer_that_pjsip_made_is_read_back_and_another_leg_is_not_ours() -> None:
    made = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    made += "m=audio 20000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=recvonly\r\n"
    offered = read_own_offer(LOCAL, made)
    assert names(list(offered.codecs)) == [("opus", 96, 96)]
    assert offered.direction is Direction.RECVONLY
    for other in (made.replace("20000", "20002"), made.replace("192.0.2.1\r\nt=", "192.0.2.2\r\nt=")):
        with pytest.raises(BadRequest):
            read_own_offer(LOCAL, other)
