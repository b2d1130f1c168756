"""What REFERs and 3xx name, and what NOTIFYs say."""

import pytest

from sdpserver.errors import BadRequest
from sdpserver.sip import Refer
from sdpserver.sip.refer import (
    RefusedRefer,
    checked_replaces,
    read_refer,
    redirected_users,
    sipfrag,
    wants_notifies,
)

HOSTS = frozenset({"pbx.example", "pbx.example:5060", "[::1]:5060"})
REPLACES = "a@b;to-tag=1;from-tag=2"


def refer(*headers: str) -> str:
    return "\r\n".join(["REFER sip:us@host SIP/2.0", "Call-ID: x", *headers, "", ""])


@pytest.mark.parametrize(
    ("refer_to", "expected"),
    [
        ("<sip:900@pbx.example>", Refer(user="900", uri="sip:900@pbx.example")),
        ("sip:900@PBX.example;x=y", Refer(user="900", uri="sip:900@PBX.example")),
        ("Ann <sip:900@pbx.example:5060;user=phone>", Refer(user="900", uri="sip:900@pbx.example:5060;user=phone")),
        ("<sips:%2b49@[::1]:5060>", Refer(user="+49", uri="sips:%2b49@[::1]:5060")),
        ("<sip:9@pbx.example;method=INVITE>", Refer(user="9", uri="sip:9@pbx.example;method=INVITE")),
        (
            "<sip:9@pbx.example?Subject=x&Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>",
            Refer(user="9", uri="sip:9@pbx.example", replaces=REPLACES),
        ),
    ],
)
@pytest.mark.parametrize("name", ["Refer-To", "r", "REFER-TO"])
def test_what_is_asked_for(name: str, refer_to: str, expected: Refer) -> None:
    assert read_refer(refer(f"{name}: {refer_to}"), HOSTS) == expected


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        (["Refer-To: <sip:1@pbx.example>", "r: <sip:1@pbx.example>"], 400),
        (["Refer-To: <sip:pbx.example>"], 400),
        (["Refer-To: <sip:@pbx.example>"], 400),
        (["Refer-To: <sip:1@pbx.example?Replaces=x>"], 400),
        ([f"Refer-To: <sip:1@pbx.example;x={'y' * 2000}>"], 400),
        (["Refer-To: <sip:1@pbx.example:5061>"], 603),
        (["Refer-To: <sip:1@evil;x=@pbx.example.evil>"], 603),
        (["Refer-To: <tel:1>"], 603),
        (["Refer-To: <sip:1@pbx.example;method=BYE>"], 603),
        (["Refer-To: <sip:1@pbx.example;METHOD=INVITES>"], 603),
    ],
)
def test_what_is_refused(headers: list[str], status: int) -> None:
    with pytest.raises(RefusedRefer) as caught:
        read_refer(refer(*headers), HOSTS)
    assert caught.value.status == status


def test_who_asks() -> None:
    text = refer("Refer-To: <sip:1@pbx.example>", 'b: "Boss" <sip:boss@example.com>;x=y')
    assert read_refer(text, HOSTS).referred_by == "sip:boss@example.com"


@pytest.mark.parametrize(
    ("header", "expected"), [("", True), ("Refer-Sub: true", True), ("refer-sub:  FALSE ;x", False)]
)
def test_whether_it_wants_to_be_told(header: str, expected: bool) -> None:
    assert wants_notifies(refer(header)) is expected


@pytest.mark.parametrize("value", [REPLACES, "x;from-tag=a;to-tag=b;early-only"])
def test_a_replaces(value: str) -> None:
    assert checked_replaces(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "x;to-tag=1",
        ";to-tag=1;from-tag=2",
        "a b;to-tag=1;from-tag=2",
        "x;to-tag=1;from-tag=2\r\nX: y",
        "x;to-tag=1;from-tag=ü",
        "x;to-tag=1;from-tag=2;" + "y" * 600,
    ],
)
def test_no_replaces(value: str) -> None:
    with pytest.raises(BadRequest):
        checked_replaces(value)


@pytest.mark.parametrize(
    ("contacts", "expected"),
    [
        (["<sip:1@pbx.example>"], ["1"]),
        (["sip:1@pbx.example;q=0.1"], ["1"]),
        (['"a, <sip:9@pbx.example>" <sip:1@pbx.example>;q=0.2,<sip:2@pbx.example>;expires=9;q=0.7'], ["2", "1"]),
        (["<sip:1@evil>", "<sip:2@pbx.example>"], ["2"]),
        (["<sips:1@pbx.example>, <tel:1>, <sip:pbx.example>, <sip:1@pbx.example?X=y>"], []),
        (["*"], []),
        (["<" * 4000 + '"' * 4000], []),
    ],
)
def test_whom_a_redirection_names(contacts: list[str], expected: list[str]) -> None:
    lines = ["SIP/2.0 302 Moved", *(f"Contact: {contact}" for contact in contacts), "", ""]
    assert redirected_users("\r\n".join(lines), HOSTS) == expected


@pytest.mark.parametrize(
    ("status", "phrase", "expected"),
    [
        (200, "", "SIP/2.0 200 OK\r\n"),
        (486, "", "SIP/2.0 486 Busy Here\r\n"),
        (183, "", "SIP/2.0 183 Session Progress\r\n"),
        (499, "", "SIP/2.0 499 Failed\r\n"),
        (404, "no\r\nEvil: ü", "SIP/2.0 404 no  Evil: ?\r\n"),
    ],
)
def test_a_fragment(status: int, phrase: str, expected: str) -> None:
    assert sipfrag(status, phrase) == expected
