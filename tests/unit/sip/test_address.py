"""What a client may put into an INVITE."""

from __future__ import annotations

import pytest

from sdpserver.config import Trunk
from sdpserver.errors import BadRequest
from sdpserver.sip.address import Server, check_headers, destination_user, from_header, request_uri

TRUNK = Trunk(name="t", server="PBX.example.com:5070", username="1002", from_domain="corp.example")


@pytest.mark.parametrize(
    ("text", "transport", "host", "port"),
    [
        ("pbx.example", "udp", "pbx.example", 5060),
        ("pbx.example", "tls", "pbx.example", 5061),
        ("10.0.0.1:5080", "tcp", "10.0.0.1", 5080),
        ("[2001:db8::1]", "udp", "2001:db8::1", 5060),
        ("[2001:db8::1]:6", "udp", "2001:db8::1", 6),
    ],
)
def test_a_server(text: str, transport: str, host: str, port: int) -> None:
    assert Server.parse(text, transport) == Server(host, port)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", ":5060", "a:0", "a:65536", "a b", "sip:a", "2001:db8::1", "a;lr", "u@a", "a:٣"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        Server.parse(text)


@pytest.mark.parametrize(
    ("target", "user"),
    [
        ("600", "600"),
        ("+49 30", "+49%2030"),
        ("*21#", "*21%23"),
        ("a;b?c", "a%3Bb%3Fc"),
        ("50%", "50%25"),
        ("Zoë", "Zo%C3%AB"),
        ("sip:600@pbx.example.com", "600"),
        ("SIP:600@pbx.example.com:5070;user=phone", "600"),
        ("sip:6%230@corp.example", "6%230"),
        ("sip:a%3Bb@corp.example?X=1", "a%3Bb"),
    ],
)
def test_a_destination(target: str, user: str) -> None:
    assert destination_user(target, TRUNK) == user
    assert request_uri(user, TRUNK) == f"sip:{user}@pbx.example.com:5070"


@pytest.mark.parametrize(
    "target",
    ["", "x" * 129, "6\n00", "6\r00", "6\0", "6\x7f", "6\x85", "6\ud800", "600@evil.example", "sip:600@evil.example",
     "sip:600@pbx.example.com:5060", "sip:@pbx.example.com", "sip:600", "sip:6%0d%0a@corp.example",
     "sip:600@pbx.example.com@evil.example", "sips:600@evil.example", "sip:600@evil.example;x@corp.example"],
)  # fmt: skip
def test_a_destination_that_is_refused(target: str) -> None:
    with pytest.raises(BadRequest) as caught:
        destination_user(target, TRUNK)
    assert caught.value.reason == "bad_destination"


@pytest.mark.parametrize(
    ("trunk", "uri"),
    [
        (Trunk(name="t", server="10.0.0.1"), "sip:600@10.0.0.1"),
        (Trunk(name="t", server="10.0.0.1:5060", transport="tcp"), "sip:600@10.0.0.1;transport=tcp"),
        (Trunk(name="t", server="pbx:5061", transport="tls"), "sip:600@pbx;transport=tls"),
        (Trunk(name="t", server="[::1]:5062"), "sip:600@[::1]:5062"),
    ],
)
def test_a_request_uri(trunk: Trunk, uri: str) -> None:
    assert request_uri("600", trunk) == uri


@pytest.mark.parametrize(
    ("user", "name", "header"),
    [
        (None, None, "<sip:1002@corp.example>"),
        ("5001", None, "<sip:5001@corp.example>"),
        (None, "Ann", '"Ann" <sip:1002@corp.example>'),
        (None, 'a"b\\c<d>, e;f', '"a\\"b\\\\c<d>, e;f" <sip:1002@corp.example>'),
        (None, "Zoë 🎧", '"Zoë 🎧" <sip:1002@corp.example>'),
    ],
)
def test_a_from_header(user: str | None, name: str | None, header: str) -> None:
    assert from_header(TRUNK, user, name) == header


@pytest.mark.parametrize(
    ("user", "name"),
    [("a@b", None), ("a\nb", None), (None, "a\rb"), (None, "\0"), (None, "x" * 129), (None, "\udc80")],
)
def test_a_from_header_that_is_refused(user: str | None, name: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        from_header(TRUNK, user, name)
    assert caught.value.reason == "bad_header"


def test_headers_that_may_be_set() -> None:
    headers = {"X-Case": "42", "x-a.b": "", "User-To-User": "00;encoding=hex", "subject": "über"}
    assert check_headers(headers) == list(headers.items())


@pytest.mark.parametrize(
    "headers",
    [
        {"From": "x"},
        {"Route": "x"},
        {"X-": "x"},
        {"X": "x"},
        {"X-A B": "x"},
        {"X-A:": "x"},
        {"X-A\r\nVia": "x"},
        {"X-Ä": "x"},
        {"X-A": "1\r\nVia: x"},
        {"X-A": "1\n 2"},
        {"X-A": "\0"},
        {"X-A": "\ud800"},
        {"X-A": "y" * 1025},
        {"X-" + "a" * 63: "x"},
        {f"X-{number}": "x" for number in range(21)},
        {f"X-{number}": "x" * 1000 for number in range(5)},
    ],
)
def test_headers_that_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as caught:
        check_headers(headers)
    assert caught.value.reason == "bad_header"
