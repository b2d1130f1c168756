"""What an INVITE says to the one that it is for."""

import time

import pytest

from sdpserver.sip.invite import name_addr, read_invite, uri_host, uri_user


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<sip:a@b>;tag=1", ("", "sip:a@b")),
        ("sip:a@b;tag=1", ("", "sip:a@b")),
        ("Ann B <sip:a@b;x=y>;tag=1", ("Ann B", "sip:a@b;x=y")),
        ('"Ann \\"B\\\\" <sip:a@b>', ('Ann "B\\', "sip:a@b")),
        ('"<sip:evil@x>"<sip:a@b>', ("<sip:evil@x>", "sip:a@b")),
        ("", ("", "")),
    ],
)
def test_a_name_and_its_address(text: str, expected: tuple[str, str]) -> None:
    assert name_addr(text) == expected


@pytest.mark.parametrize("text", ["A" + " " * 15000 + "B <sip:a@b>", '"' + "\\" * 15000, "<" * 15000])
def test_long_names_take_no_long_time(text: str) -> None:
    before_s = time.process_time()
    name_addr(text)
    assert time.process_time() - before_s < 0.1


@pytest.mark.parametrize(
    ("uri", "user", "host"),
    [
        ("sip:5001@host", "5001", "host"),
        ("SIPS:%2b49%2030;x=y@[::1]:5061;transport=tls", "+49 30", "[::1]:5061"),
        ("sip:user:secret@Host:5060?Subject=x", "user", "host:5060"),
        ("sip:host", "", "host"),
        ("tel:+49-30;phone-context=x", "+49-30", "tel:+49-30"),
        ("http://x@y", "", "y"),
        ("sip:%00%0d%0a\u00fc@h", "\u00fc", "h"),
        ("", "", ""),
    ],
)
def test_a_user_and_its_host(uri: str, user: str, host: str) -> None:
    assert (uri_user(uri), uri_host(uri)) == (user, host)


def test_only_what_is_for_the_owner_is_shown() -> None:
    text = (
        "INVITE sip:5001@us SIP/2.0\r\nf: Ann <sip:1@x>;tag=2\r\ni: id\r\nX-Case: 4\r\n 2\r\nX-: no\r\n"
        "Route: <sip:x>\r\nAuthorization: Digest x\r\nALERT-INFO: <urn:x>\r\nX-Case: 43\r\n\r\nX-Body: no"
    )
    invite = read_invite(text, call_id="ours", trunk="pbx", codecs=(), has_offer=False)
    assert invite.headers == (("X-Case", "4 2"), ("ALERT-INFO", "<urn:x>"), ("X-Case", "43"))
    assert (invite.user, invite.from_user, invite.display_name, invite.sip_call_id) == ("5001", "1", "Ann", "id")
