from __future__ import annotations

import contextlib
import gc
import re
import time
from collections.abc import Iterator, Sequence

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdpserver.errors import BadRequest
from sdpserver.sdp import COMFORT_NOISE, Codec, Direction, audio_codecs
from sdpserver.webrtc.offer import parse_offer
from sdpserver.webrtc.offer_answer import LocalTransport, Negotiated, negotiate, write_answer

from .offers import CAPTURED, FINGERPRINT, captured, offer, section

LIKED = audio_codecs(["PCMU", "PCMA", "opus"])
LOCAL = LocalTransport(
    session_id=77,
    ufrag="ours",
    pwd="o" * 24,
    fingerprint=FINGERPRINT,
    setup="passive",
    addresses=("192.0.2.1", "127.0.0.1"),
    port=10000,
)


def negotiated(sdp: str, wanted: Direction = Direction.SENDRECV) -> Negotiated:
    return negotiate(parse_offer(sdp), LIKED, wanted)


def answer(sdp: str, version: int = 1) -> str:
    return write_answer(negotiated(sdp), LOCAL, version=version)


def media_lines(sdp: str) -> list[str]:
    return re.findall(r"^m=.*?(?=\r?$)", sdp, re.MULTILINE)


def section_of(sdp: str, index: int) -> str:
    return "m=" + sdp.split("\r\nm=")[index + 1]


@contextlib.contextmanager
def cpu_time() -> Iterator[list[float]]:
    """Of this thread, in seconds; without garbage collections, which are of what other tests left."""
    used_s: list[float] = []
    gc.disable()
    started = time.thread_time()
    try:
        yield used_s
    finally:
        used_s.append(time.thread_time() - started)
        gc.enable()


def refusal(sdp: str) -> str:
    with pytest.raises(BadRequest) as caught:
        negotiated(sdp)
    return caught.value.reason


# -- what browsers offer


@pytest.mark.parametrize("name", CAPTURED)
def test_every_captured_offer_gets_an_answer_that_aiortc_can_read(name: str) -> None:
    sdp = captured(name)
    text = answer(sdp)
    offered, answered = SessionDescription.parse(sdp), SessionDescription.parse(text)
    assert [media.kind for media in answered.media] == [media.kind for media in offered.media]
    assert [media.rtp.muxId for media in answered.media] == [media.rtp.muxId for media in offered.media]
    taken = [media for media in answered.media if media.port]
    assert taken
    for media in taken:
        assert media.dtls is not None
        assert media.dtls.role == "server"
        assert media.ice is not None
        assert (media.ice.iceLite, media.ice.usernameFragment) == (True, "ours")
    assert [group.items for group in answered.group] == [[media.rtp.muxId for media in taken]]
    assert "a=ssrc" not in text
    assert "a=extmap" not in text


@pytest.mark.parametrize("name", CAPTURED)
def test_no_feedback_is_asked_for(name: str) -> None:
    """Audio needs neither NACK nor PLI nor transport-cc, so a browser that offers them is told to leave them out."""
    assert name != "chromium/audio" or "transport-cc" in captured(name)
    text = answer(captured(name))
    assert "a=rtcp-fb" not in text
    assert "a=extmap" not in text
    assert "a=rtcp-rsize" not in text


@pytest.mark.parametrize("name", [name for name in CAPTURED if "/data" not in name])
def test_our_order_of_codecs_with_the_offerers_payload_types(name: str) -> None:
    codecs = negotiated(captured(name)).codecs
    opus = 109 if "firefox" in name else 111
    assert [(codec.name, codec.payload_type) for codec in codecs[:3]] == [("PCMU", 0), ("PCMA", 8), ("opus", opus)]
    events = {codec.clock_rate_hz: codec.payload_type for codec in codecs if codec.is_telephone_event}
    assert events == ({8000: 101} if "firefox" in name else {8000: 126, 48000: 110})


def numbers(sdp: str, liked: Sequence[Codec] = LIKED) -> list[int]:
    return [codec.payload_type for codec in negotiate(parse_offer(sdp), liked).codecs]


def test_redundant_audio_stands_with_opus_as_the_offerer_has_it() -> None:
    sdp = captured("chromium/audio")
    assert re.search(r"^m=audio \d+ UDP/TLS/RTP/SAVPF 111 63 ", sdp, re.MULTILINE)
    assert numbers(sdp) == [0, 8, 111, 63, 126, 110]
    preferred = sdp.replace("SAVPF 111 63 ", "SAVPF 63 111 ")
    assert numbers(preferred) == [0, 8, 63, 111, 126, 110]
    assert numbers(preferred, audio_codecs(["opus"])) == [63, 111, 110]
    text = write_answer(negotiate(parse_offer(preferred), audio_codecs(["opus"])), LOCAL, version=1)
    assert "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n" in text


@pytest.mark.parametrize("fmtp", ["a=fmtp:63 111/0", "a=fmtp:63 9/9", "a=fmtp:63 none", "a=x:"])
def test_redundant_audio_of_anything_but_opus_is_left_out(fmtp: str) -> None:
    sdp = captured("chromium/audio").replace("a=fmtp:63 111/111", fmtp)
    assert fmtp in sdp
    assert 63 not in numbers(sdp)


def test_redundant_audio_needs_opus() -> None:
    assert numbers(captured("chromium/audio"), audio_codecs(["PCMU"])) == [0, 126]


def test_comfort_noise_is_taken_if_we_would_and_a_codec_has_its_clock() -> None:
    sdp = captured("chromium/audio")
    assert "a=rtpmap:13 CN/8000" in sdp
    assert 13 not in numbers(sdp)
    assert numbers(sdp, [*LIKED, COMFORT_NOISE])[-1] == 13
    assert 13 not in numbers(sdp, [*audio_codecs(["opus"]), COMFORT_NOISE])


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("audio", "sendrecv"),
        ("recvonly", "sendonly"),
        ("hold_sendonly", "recvonly"),
        ("hold_inactive", "inactive"),
        ("hold_sendrecv", "sendrecv"),
    ],
)
def test_directions_are_answered_by_rfc_3264(browser: str, name: str, direction: str) -> None:
    found = negotiated(captured(f"{browser}/{name}"))
    assert found.direction.value == direction
    text = write_answer(found, LOCAL, version=1)
    assert f"a={direction}\r\n" in text
    assert ("a=msid:" in text) == found.direction.sends


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_video_is_rejected_and_leaves_the_bundle(browser: str) -> None:
    sdp = captured(f"{browser}/audio_video")
    text = answer(sdp)
    video = media_lines(sdp)[1].split(" ", 2)[2]
    assert media_lines(text)[1] == f"m=video 0 {video}"
    assert "a=group:BUNDLE 0\r\n" in text
    assert "a=mid:1\r\n" in section_of(text, 1)
    assert "a=candidate" in section_of(text, 0)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_video_before_audio_on_the_same_transport_is_kept_without_being_used(browser: str) -> None:
    """Chromium with the policy max-bundle cannot let go of it, and its offer looks like that of any other policy."""
    sdp = captured(f"{browser}/video_audio")
    found = negotiated(sdp)
    assert (found.tagged, found.unused, found.audio) == (0, 0, 1)
    text = write_answer(found, LOCAL, version=1)
    assert "a=group:BUNDLE 0 1\r\n" in text
    assert "a=inactive\r\n" in section_of(text, 0)
    assert "a=candidate" in section_of(text, 0)
    assert "a=sendrecv\r\n" in section_of(text, 1)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_when_the_tagged_section_is_rejected_the_next_one_speaks_for_the_transport(browser: str) -> None:
    sdp = captured(f"{browser}/video_audio")
    head, rest = sdp.split("m=video", 1)
    sdp = head + "m=video" + re.sub(r"a=ice-ufrag:\S+", "a=ice-ufrag:another", rest, count=1)
    found = negotiated(sdp)
    assert found.tagged == 1
    text = write_answer(found, LOCAL, version=1)
    assert "a=group:BUNDLE 1\r\n" in text
    assert "a=candidate" in section_of(text, 1)
    assert "a=candidate" not in section_of(text, 0)
    assert f"a=ice-ufrag:{found.transport.ufrag}" in section_of(sdp, 1)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_data_shares_the_transport_of_audio(browser: str) -> None:
    found = negotiated(captured(f"{browser}/audio_data"))
    assert (found.audio, found.data, found.bundle) == (0, 1, ("0", "1"))
    text = write_answer(found, LOCAL, version=1)
    assert "a=sctp-port:5000\r\na=max-message-size:65536\r\n" in section_of(text, 1)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_data_alone_needs_no_audio(browser: str) -> None:
    found = negotiated(captured(f"{browser}/data"))
    assert (found.audio, found.data, found.codecs) == (None, 0, ())


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_of_two_audio_sections_the_first_is_taken(browser: str) -> None:
    text = answer(captured(f"{browser}/two_audio"))
    assert [line.split()[1] for line in media_lines(text)] == ["10000", "0"]
    assert "a=group:BUNDLE 0\r\n" in text


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_offers_of_one_peer_connection_keep_the_session_id_of_their_origin(browser: str) -> None:
    first, second = (parse_offer(captured(f"{browser}/ice_restart_{name}")) for name in ("first", "second"))
    assert first.origin_id == second.origin_id
    transports = [offer.sections[0].transport for offer in (first, second)]
    assert transports[0]
    assert transports[1]
    assert transports[0].fingerprints == transports[1].fingerprints
    assert transports[0].ufrag != transports[1].ufrag


# -- the answer's text


def test_the_whole_answer() -> None:
    sdp = offer(
        section(formats="96 0 97", lines=("a=rtpmap:96 opus/48000/2", "a=rtpmap:97 telephone-event/8000")),
        section("video", mid="1", formats="98"),
        section("application", mid="2"),
        bundle="0 1 2",
    )
    transport = (
        f"a=ice-ufrag:ours\r\na=ice-pwd:{'o' * 24}\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:passive\r\n"
    )
    expected = (
        "v=0\r\no=- 77 3 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        "a=ice-lite\r\na=group:BUNDLE 0 2\r\na=msid-semantic:WMS *\r\n"
        + transport
        + "m=audio 10000 UDP/TLS/RTP/SAVPF 0 96 97\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\na=sendrecv\r\n"
        "a=msid:sdpserver audio\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2\r\n"
        "a=fmtp:96 maxplaybackrate=8000;useinbandfec=1\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-16\r\n"
        "a=ptime:20\r\na=maxptime:60\r\n" + transport + "a=candidate:1 1 udp 2130706175 192.0.2.1 10000 typ host\r\n"
        "a=candidate:2 1 udp 2130705919 127.0.0.1 10000 typ host\r\na=end-of-candidates\r\n"
        "m=video 0 UDP/TLS/RTP/SAVPF 98\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=inactive\r\na=rtcp-mux\r\n"
        "m=application 10000 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 192.0.2.1\r\na=mid:2\r\n"
        "a=sctp-port:5000\r\na=max-message-size:65536\r\n" + transport
    )
    assert answer(sdp, version=3) == expected


@pytest.mark.parametrize(("offered", "ours"), [("actpass", "passive"), ("active", "passive"), ("passive", "active")])
def test_the_offers_dtls_role_is_kept_for_the_leg_to_choose(offered: str, ours: str) -> None:
    assert negotiated(offer(section(setup=offered))).transport.setup == offered
    assert ours in ("active", "passive")


@pytest.mark.parametrize(
    ("line", "ptime"),
    [("a=maxptime:10", 10), ("a=maxptime:20", 20), ("a=maxptime:0", 20), ("a=maxptime:15", 10), ("a=ptime:40", 40)],
)
def test_ptime_keeps_to_the_offers_maximum(line: str, ptime: int) -> None:
    assert negotiated(offer(section(lines=(line,)))).ptime_ms == ptime


def test_without_bundle_there_is_no_group_and_only_one_section() -> None:
    text = answer(offer(section(mid="a"), section("application", mid="b"), bundle=None))
    assert "BUNDLE" not in text
    assert [line.split()[1] for line in media_lines(text)] == ["10000", "0"]


def test_without_mid_the_answer_has_none() -> None:
    assert "a=mid" not in answer(offer(section(mid=None), bundle=None))


def test_sections_of_another_bundle_are_rejected() -> None:
    sdp = offer(section(mid="a"), section("application", mid="b"), bundle="a", session_lines=("a=group:BUNDLE b",))
    assert "a=group:BUNDLE a\r\n" in answer(sdp)
    assert media_lines(answer(sdp))[1].startswith("m=application 0 ")


def test_a_bundle_only_section_takes_the_transport_of_the_first() -> None:
    data = section("application", mid="1", port=0, lines=("a=bundle-only",), transport=False)
    for first in (section(), section("video", formats="98")):
        found = negotiated(offer(first, data, bundle="0 1"))
        assert found.data == 1
        assert found.transport.ufrag == "ufrag"


def test_video_that_alone_has_the_transport_is_kept_without_being_used() -> None:
    audio = section(mid="1", port=0, lines=("a=bundle-only",), transport=False)
    sdp = offer(section("video", formats="98 99", lines=("a=rtpmap:98 VP8/90000",)), audio, bundle="0 1")
    text = answer(sdp)
    assert "a=group:BUNDLE 0 1\r\n" in text
    assert media_lines(text)[0] == "m=video 10000 UDP/TLS/RTP/SAVPF 98"
    assert "a=inactive\r\na=rtcp-mux\r\na=rtpmap:98 VP8/90000\r\n" in section_of(text, 0)
    assert "a=candidate" in section_of(text, 0)
    assert "a=sendrecv" in section_of(text, 1)


def test_transport_attributes_may_be_those_of_the_session() -> None:
    lines = (
        "a=ice-ufrag:sess",
        f"a=ice-pwd:{'s' * 22}",
        f"a=fingerprint:SHA-256 {FINGERPRINT.lower()}",
        "a=setup:actpass",
    )
    found = negotiated(offer(section(transport=False), session_lines=lines))
    assert found.transport.ufrag == "sess"
    assert found.transport.fingerprints == {("sha-256", FINGERPRINT)}


def test_the_group_keeps_the_offers_order_of_mids() -> None:
    sdp = offer(section(mid="a"), section("application", mid="b"), bundle="b a")
    assert "a=group:BUNDLE b a\r\n" in answer(sdp)
    assert "a=candidate" in section_of(answer(sdp), 1)


def test_unknown_sections_keep_their_place_and_words() -> None:
    text = section("text", mid="t", protocol="TCP/WSS/x-1", formats="* 7")
    image = section("application", mid="u", protocol="udp", formats="t38")
    sdp = offer(text, image, section(mid="a"), bundle="t u a")
    assert media_lines(answer(sdp)) == [
        "m=text 0 TCP/WSS/x-1 * 7",
        "m=application 0 udp t38",
        "m=audio 10000 UDP/TLS/RTP/SAVPF 0",
    ]


def test_a_second_audio_section_is_taken_when_the_first_has_no_codec_of_ours() -> None:
    first = section(mid="0", formats="18", lines=("a=rtpmap:18 G729/8000",))
    found = negotiated(offer(first, section(mid="1"), bundle="0 1"))
    assert (found.audio, found.unused, found.bundle) == (1, 0, ("0", "1"))


def test_a_codec_is_matched_by_name_rate_and_channels() -> None:
    lines = ("a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 opus/48000", "a=rtpmap:98 PCMU/16000", "a=rtpmap:99 pcma/8000/1")
    found = negotiated(offer(section(formats="98 97 96 99", lines=lines)))
    assert [(codec.name, codec.payload_type) for codec in found.codecs] == [("PCMA", 99), ("opus", 96)]


def test_what_we_want_limits_the_direction() -> None:
    assert negotiated(offer(section()), Direction.SENDONLY).direction is Direction.SENDONLY
    assert negotiated(offer(section(lines=("a=sendonly",))), Direction.SENDONLY).direction is Direction.INACTIVE


# -- what is refused


REFUSED = [
    ("", "invalid_sdp"),
    ("hello", "invalid_sdp"),
    ("v=0", "invalid_sdp"),
    (offer(bundle=None), "no_audio"),
    (offer(section("video", formats="96")), "no_audio"),
    (offer(section(port=0)), "section_rejected"),
    (offer(section(formats="18", lines=("a=rtpmap:18 G729/8000",))), "no_common_codec"),
    (
        offer(section(formats="18", lines=("a=rtpmap:18 G729/8000",)), section("application", mid="1"), bundle="0 1"),
        "no_common_codec",
    ),
    (offer(section()).replace("a=rtcp-mux\r\n", ""), "rtcp_mux_required"),
    (
        offer(section(), section("application", mid="1"), bundle="0 1").replace("a=rtcp-mux\r\n", ""),
        "rtcp_mux_required",
    ),
    (offer(section(protocol="RTP/AVP")), "unsupported_protocol"),
    (offer(section("application", protocol="DTLS/SCTP", formats="5000")), "unsupported_protocol"),
    (offer(section()).replace("a=ice-ufrag:ufrag\r\n", ""), "no_ice"),
    (offer(section()).replace("a=ice-ufrag:ufrag", "a=ice-ufrag:u f"), "no_ice"),
    (offer(section()).replace("a=ice-ufrag:ufrag", "a=ice-ufrag:abc"), "no_ice"),
    (offer(section()).replace("a=ice-pwd:" + "p" * 24, "a=ice-pwd:short"), "no_ice"),
    (offer(section()).replace("sha-256", "sha-1"), "no_fingerprint"),
    (offer(section()).replace(FINGERPRINT, "zz"), "no_fingerprint"),
    (offer(section(setup="both")), "invalid_sdp"),
    (offer(section(formats="128")), "invalid_sdp"),
    (offer(section(formats="0x1")), "invalid_sdp"),
    (offer(section(formats="٣")), "invalid_sdp"),
    (offer(section(formats="9" * 5000)), "invalid_sdp"),
    (offer(section(port=123456)), "invalid_sdp"),
    (offer(section(mid="a b")), "invalid_sdp"),
    (offer(section(mid="a\u2028b")), "invalid_sdp"),
    (offer(section(mid="ä")), "invalid_sdp"),
    (offer(section(mid="")), "invalid_sdp"),
    (offer(section(mid="x" * 256)), "invalid_sdp"),
    (offer(section(), section("application")), "invalid_sdp"),
    (offer(section(), bundle="0 0"), "invalid_sdp"),
    (offer(section(), bundle="0 1"), "invalid_sdp"),
    (offer(section("application", lines=("a=sctp-port:0",))), "invalid_sdp"),
    (offer(section("application", lines=("a=sctp-port:70000",))), "invalid_sdp"),
    (offer(section("application", lines=("a=max-message-size:" + "9" * 5000,))), "invalid_sdp"),
    (offer(section()).replace("o=- 1 1", "o=- "), "invalid_sdp"),
    (offer(section()) + "a=x:\ud800\r\n", "invalid_sdp"),
    (offer(section()) + "a=x:\0\r\n", "invalid_sdp"),
    (offer(section(), session_lines=tuple(f"a=x:{number}" for number in range(600))), "sdp_too_large"),
    (offer(section(lines=("a=x:" + "x" * 40000,))), "sdp_too_large"),
    (offer(section(lines=("a=x:" + "ä" * 20000,))), "sdp_too_large"),
    (offer(*(section(mid=str(number)) for number in range(17))), "sdp_too_large"),
]


@pytest.mark.parametrize(
    ("sdp", "reason"), REFUSED, ids=[f"{number}-{reason}" for number, (_, reason) in enumerate(REFUSED)]
)
def test_bad_offers_are_refused_with_a_reason(sdp: str, reason: str) -> None:
    assert refusal(sdp) == reason


def test_what_is_not_understood_does_not_matter() -> None:
    lines = (
        "a=extmap:x",
        "a=rtcp-fb",
        "a=fmtp:zz",
        "a=fmtp:9 x",
        "a=ssrc:",
        "a=candidate:",
        "a=rtpmap:x/y",
        "b=",
        "i=ü",
    )
    assert negotiated(offer(section(lines=lines))).codecs[0].name == "PCMU"


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_any_line_ending_is_read(newline: str) -> None:
    assert answer(offer(section()).replace("\r\n", newline)) == answer(offer(section()))


# -- what no text may do

NASTY = [
    "\r",
    "\n",
    "\0",
    "\u2028",
    "\x85",
    "\x0b",
    "\ud800",
    "a=mid:",
    "m=audio ",
    " ",
    "/",
    ":",
    "9" * 400,
    "-1",
    "٣",
    "=",
    ";",
]
TEXTS = [captured(name) for name in ("chromium/audio_video", "firefox/audio_data", "safari/audio")]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A captured offer with pieces cut out, doubled, or replaced by what parsers stumble over."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from([*NASTY, text[start:end] * 2, ""]) | st.text(max_size=8))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def shuffled(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).split("\r\n")
    return "\r\n".join(["v=0", *draw(st.permutations(lines[1:]))])


@settings(max_examples=400, deadline=None)
@given(st.text() | damaged() | shuffled() | st.text().map(lambda text: "v=0\r\no=- 1 1 IN IP4 x\r\n" + text))
@example("v=0\n" + "a=ssrc:1 x\n" * 499)
@example("v=0\no=- 1 1 IN IP4 x\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n" * 16)
def test_no_text_raises_anything_but_bad_request_or_writes_a_line_of_ours(text: str) -> None:
    with cpu_time() as used_s:
        try:
            found = negotiated(text)
        except BadRequest:
            found = None
    assert used_s[0] < 0.02
    if found is None:
        return
    written = write_answer(found, LOCAL, version=1)
    assert written.isascii()
    allowed = re.compile(
        r"[vost]=.*|c=IN IP[46] [0-9a-f.:]+|m=\S+ (0|10000)( \S+)+"
        r"|a=(ice-lite|rtcp-mux|end-of-candidates|sendrecv|sendonly|recvonly|inactive)"
        r"|a=(group|mid|msid|msid-semantic|ice-ufrag|ice-pwd|fingerprint|setup|rtpmap|fmtp|ptime|maxptime|candidate"
        r"|sctp-port|max-message-size):[!-~ ]+"
    )
    for line in written.removesuffix("\r\n").split("\r\n"):
        assert allowed.fullmatch(line), line
    assert len(media_lines(written)) == len(found.remote.sections)


@pytest.mark.parametrize("name", ["chromium/audio_video", "firefox/audio_video"])
def test_an_answer_takes_a_small_part_of_its_budget(name: str) -> None:
    sdp = captured(name)
    answer(sdp)
    with cpu_time() as used_s:
        for _ in range(50):
            answer(sdp)
    assert used_s[0] / 50 < 0.0025


@pytest.mark.parametrize(
    "sdp",
    [
        offer(section(lines=("a=ssrc:1 cname:x",) * 64)),
        offer(section(lines=tuple(f"a=rtpmap:{number} x/8000" for number in range(450)))),
        offer(*(section(mid=str(number), lines=("a=candidate:x",) * 4) for number in range(16))),
        offer(section(lines=("a=x:" + " " * 30000,))),
        offer(section(formats=" ".join(["1"] * 15000))),
        offer(section(mid="-" * 250, lines=("a=rtcp-fb:* x",) * 400), bundle=None),
    ],
)
def test_the_largest_offers_take_less_than_20_ms(sdp: str) -> None:
    with cpu_time() as used_s, contextlib.suppress(BadRequest):
        answer(sdp)
    assert used_s[0] < 0.02
