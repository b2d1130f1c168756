from __future__ import annotations

import pytest

from sdpserver.errors import BadRequest
from sdpserver.webrtc.candidates import check_candidate


@pytest.mark.parametrize(
    "text",
    [
        "candidate:4052404590 1 udp 2122194687 192.0.2.10 34500 typ host generation 0 network-id 3 network-cost 50",
        "candidate:1 1 UDP 2122252543 2001:db8::10 42212 typ host",
        "candidate:2 1 TCP 2105458943 192.0.2.10 9 typ host tcptype active",
        "candidate:842163049 1 udp 1677729535 192.0.2.10 61015 typ srflx raddr 10.0.0.1 rport 61015 generation 0",
        "candidate:1 1 udp 1 1b4f2a05-6f35-4d12-9e0a-3b1a0b9d7b5f.local 5 typ host ufrag a+/b network-cost 999",
        "a=candidate:1 1 udp 1 192.0.2.10 5 typ host",
    ],
)
def test_candidates_of_browsers_are_taken(text: str) -> None:
    assert check_candidate(text)


@pytest.mark.parametrize("text", ["", " ", "end-of-candidates", "a=end-of-candidates"])
def test_the_end_of_candidates_is_none(text: str) -> None:
    assert not check_candidate(text)


@pytest.mark.parametrize(
    "text",
    [
        "candidate:",
        "hello",
        "candidate:1 1 udp 1 192.0.2.10 5 typ",
        "candidate:1 0 udp 1 192.0.2.10 5 typ host",
        "candidate:1 1 udp 0 192.0.2.10 5 typ host",
        "candidate:1 1 udp 4294967295 192.0.2.10 5 typ host",
        "candidate:1 1 udp 1 192.0.2.10 70000 typ host",
        "candidate:1 1 udp 1 192.0.2.10 ٣ typ host",
        "candidate:1 1 udp 1 192.0.2.10\r\na=x 5 typ host",
        "candidate:1 1 udp 1 192.0.2.10 5 typ host generation",
        "candidate:1 1 udp 1 192.0.2.10 5 typ host \ud800 x",
        "candidate:1 1 udp 1 " + "x" * 300 + " 5 typ host",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_candidate(text)
    assert caught.value.reason == "invalid_candidate"
