from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdpserver.errors import BadRequest
from sdpserver.webrtc.sdpfrag import Fragment, FragmentSection, parse_fragment, write_fragment

PWD = "vw5LmwG4y/e6dPP/zAP9Gp5k"
ICE = f"a=ice-ufrag:ysXw\r\na=ice-pwd:{PWD}\r\n"
AUDIO = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
HOST = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0"


def test_the_example_of_the_rfc_is_read() -> None:
    """RFC 9725 section 4.3.2, with candidates of transports that nobody here uses."""
    text = (
        "a=ice-ufrag:EsAw\r\n"
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
        "m=audio 9 RTP/AVP 0\r\n"
        "a=mid:0\r\n"
        "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
        "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw\r\n"
        "a=end-of-candidates\r\n"
    )
    fragment = parse_fragment(text)
    assert (fragment.ufrag, fragment.pwd) == ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert fragment.mids == ("0",)
    assert [candidate.split()[2] for candidate in fragment.candidates] == ["udp", "tcp"]
    assert fragment.sections[0].complete
    assert not fragment.complete


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(ICE, Fragment(ufrag="ysXw", pwd=PWD), id="credentials alone"),
        pytest.param(ICE.replace("\r\n", "\n"), Fragment(ufrag="ysXw", pwd=PWD), id="LF"),
        pytest.param(ICE.rstrip(), Fragment(ufrag="ysXw", pwd=PWD), id="last line unended"),
        pytest.param(ICE + "a=end-of-candidates", Fragment(ufrag="ysXw", pwd=PWD, complete=True), id="the end for all"),
        pytest.param(
            AUDIO + ICE,
            Fragment(ufrag="ysXw", pwd=PWD, sections=(FragmentSection(mid="0"),)),
            id="credentials of the section",
        ),
        pytest.param(
            ICE + AUDIO + ICE + f"a={HOST}\r\na=end-of-candidates\r\n",
            Fragment(ufrag="ysXw", pwd=PWD, sections=(FragmentSection(mid="0", candidates=(HOST,), complete=True),)),
            id="credentials twice",
        ),
        pytest.param(
            "a=group:BUNDLE 0 d\r\na=ice-options:trickle ice2\r\na=ice-lite\r\na=foo\r\n"
            + ICE
            + AUDIO
            + "a=rtcp-mux\r\n"
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n",
            Fragment(ufrag="ysXw", pwd=PWD, sections=(FragmentSection(mid="0"), FragmentSection(mid="d"))),
            id="other attributes",
        ),
        pytest.param(
            ICE + AUDIO + f"a={HOST} ufrag old+ network-id 1\r\na={HOST} ufrag ysXw\r\n",
            Fragment(ufrag="ysXw", pwd=PWD, sections=(FragmentSection(mid="0", candidates=(f"{HOST} ufrag ysXw",)),)),
            id="candidates of an earlier ICE session are discarded",
        ),
    ],
)
def test_fragments_are_read(text: str, expected: Fragment) -> None:
    assert parse_fragment(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "invalid_sdpfrag", id="empty"),
        pytest.param("{}", "invalid_sdpfrag", id="JSON"),
        pytest.param("v=0\r\n" + ICE, "invalid_sdpfrag", id="SDP"),
        pytest.param(AUDIO + f"a={HOST}\r\n", "invalid_sdpfrag", id="no credentials"),
        pytest.param("a=ice-ufrag:ysXw\r\n", "invalid_sdpfrag", id="no password"),
        pytest.param("a=ice-ufrag:y\r\na=ice-pwd:x\r\n", "invalid_sdpfrag", id="short credentials"),
        pytest.param(ICE + ICE, "invalid_sdpfrag", id="credentials twice on one level"),
        pytest.param(ICE + AUDIO + ICE.replace("ysXw", "ysXx"), "invalid_sdpfrag", id="two ufrags"),
        pytest.param(ICE + f"a={HOST}\r\n" + AUDIO, "invalid_sdpfrag", id="candidate of no section"),
        pytest.param(ICE + "m=audio 9 RTP/AVP 0\r\n", "invalid_sdpfrag", id="no mid"),
        pytest.param(ICE + AUDIO + "a=mid:1\r\n", "invalid_sdpfrag", id="two mids"),
        pytest.param(ICE + AUDIO + AUDIO, "invalid_sdpfrag", id="one mid twice"),
        pytest.param(ICE + "m=audio\r\na=mid:0\r\n", "invalid_sdpfrag", id="m-line"),
        pytest.param(ICE + "\r\n" + AUDIO, "invalid_sdpfrag", id="empty line"),
        pytest.param(ICE + AUDIO.replace("mid:0", "mid:0\0"), "invalid_sdpfrag", id="NUL"),
        pytest.param(ICE.replace("\r\n", "\r"), "invalid_sdpfrag", id="bare CR"),
        pytest.param(ICE + AUDIO + "a=candidate:1 1 udp\r\n", "invalid_candidate", id="candidate"),
        pytest.param(
            ICE + AUDIO + "a=candidate:1 0 udp 1 10.0.0.1 9 typ host\r\n", "invalid_candidate", id="component"
        ),
        pytest.param(ICE + AUDIO + f"a={HOST}\r\n" * 65, "sdp_too_large", id="65 candidates"),
        pytest.param(ICE + "a=x\r\n" * 600, "sdp_too_large", id="600 lines"),
        pytest.param(
            ICE + "".join(f"m=audio 9 X 0\r\na=mid:{n}\r\n" for n in range(17)), "sdp_too_large", id="m-lines"
        ),
        pytest.param(ICE + "a=x:" + "y" * 33_000, "sdp_too_large", id="33 KB"),
    ],
)
def test_malformed_fragments_are_refused(text: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_fragment(text)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 200


def test_ours_is_read_back() -> None:
    ours = write_fragment(ufrag="0123", pwd=PWD, kind="audio", mid="a", bundle=["a", "d"], candidates=[HOST])
    section = FragmentSection(mid="a", candidates=(HOST,), complete=True)
    assert parse_fragment(ours) == Fragment(ufrag="0123", pwd=PWD, sections=(section,))
    assert "a=group:BUNDLE a d\r\n" in ours
    assert ours.endswith("\r\n")


lines = st.lists(
    st.sampled_from([*ICE.splitlines(), *AUDIO.splitlines(), f"a={HOST}", "a=end-of-candidates", "a=mid:1", "a=", "m="])
    | st.text(max_size=40),
    max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(text=st.text() | lines.map("\r\n".join) | lines.map("\n".join))
@example(text=ICE + AUDIO + "a=candidate:" + " a" * 15_000)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        fragment = parse_fragment(text)
    except BadRequest:
        return
    assert fragment.ufrag.isascii()
    assert len(fragment.mids) == len(set(fragment.mids))
    for value in (fragment.pwd, *fragment.mids, *fragment.candidates):
        assert value
        assert "\n" not in value
