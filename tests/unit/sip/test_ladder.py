"""A call's messages as a diagram."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sdpserver.sip.ladder import WIDTH, label, ladder, text
from sdpserver.sip.traces import CallTrace, TracedMessage

BEGIN = datetime(2026, 1, 31, 23, 59, 59, 500_000, UTC)
SDP = "Content-Type: application/sdp\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n"


def traced(
    start: str,
    *,
    after_ms: float = 0,
    is_sent: bool = True,
    is_repeated: bool = False,
    remote: str = "10.0.0.1:5060",
    transport: str = "UDP",
    call_id: str = "one",
    method: str = "INVITE",
    rest: str = "\r\n",
) -> TracedMessage:
    return TracedMessage(
        at=BEGIN + timedelta(milliseconds=after_ms),
        elapsed_ms=after_ms,
        is_sent=is_sent,
        is_repeated=is_repeated,
        transport=transport,
        local="10.0.0.9:5070",
        remote=remote,
        sip_call_id=call_id,
        cseq=f"1 {method}",
        method=method,
        status=int(start.split()[1]) if start.startswith("SIP/2.0") else 0,
        text=f"{start}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n{rest}",
    )


OTHER = "10.0.0.2:5060"


def test_a_call_that_moves_to_another_party() -> None:
    messages = (
        traced("INVITE sip:600@pbx SIP/2.0", rest=SDP),
        traced("INVITE sip:600@pbx SIP/2.0", after_ms=500, is_repeated=True, rest=SDP),
        traced("SIP/2.0 200 OK", after_ms=501, is_sent=False, rest=SDP),
        traced("ACK sip:600@pbx SIP/2.0", after_ms=501.25, method="ACK"),
        traced("INVITE sip:5001@pbx SIP/2.0", after_ms=620, is_sent=False, remote=OTHER, call_id="two", rest=SDP),
        traced("BYE sip:600@pbx SIP/2.0", after_ms=700, method="BYE"),
    )
    assert ladder(CallTrace(messages=messages, dropped=3), "abc").splitlines() == [
        "Call abc: 6 SIP messages, from 2026-01-31T23:59:59.500Z; 3 more had to make room",
        "A  Call-ID one",
        "B  Call-ID two",
        "",
        "                sdpserver                       10.0.0.1:5060                     10.0.0.2:5060",
        "                    |                                 |                                 |",
        "23:59:59.500 A      |------- INVITE 600 (SDP) ------->|                                 |",
        "2026-02-01          |                                 |                                 |",
        "00:00:00.000 A      |.... INVITE 600 (SDP) again ....>|                                 |",
        "00:00:00.001 A      |<--------- 200 OK (SDP) ---------|                                 |",
        "00:00:00.001 A      |------------- ACK -------------->|                                 |",
        "00:00:00.120 B      |<----------------------- INVITE 5001 (SDP) ------------------------|",
        "00:00:00.200 A      |------------- BYE -------------->|                                 |",
    ]


@pytest.mark.parametrize(
    ("start", "options", "shown"),
    [
        ("INVITE sip:600@pbx SIP/2.0", {}, "INVITE 600"),
        ("INVITE sip:+49%2030;x=y@pbx SIP/2.0", {}, "INVITE +49%2030"),
        ("INVITE sip:600:[blanked]@pbx SIP/2.0", {}, "INVITE 600"),
        ("INVITE tel:+4930;phone-context=x SIP/2.0", {}, "INVITE +4930"),
        ("INVITE sip:pbx:5060 SIP/2.0", {}, "INVITE"),
        ("INVITE sip:600@pbx SIP/2.0", {"rest": "To: <sip:600@pbx>;tag=1\r\n\r\n"}, "INVITE"),
        ("INVITE sip:a@b SIP/2.0", {"rest": SDP + "a=sendonly\r\n"}, "INVITE a (SDP sendonly)"),
        ("SIP/2.0 200 OK", {}, "200 OK"),
        ("SIP/2.0 200 OK", {"method": "BYE"}, "200 OK (BYE)"),
        ("SIP/2.0 200 ", {}, "200"),
        ("SIP/2.0 183 Session Progress", {"rest": SDP, "is_repeated": True}, "183 Session Progress (SDP) again"),
        ("REFER sip:a@b SIP/2.0", {"method": "REFER", "rest": "r: <sip:5001@pbx?Replaces=1>\r\n\r\n"}, "REFER 5001"),
        (
            "NOTIFY sip:a@b SIP/2.0",
            {"method": "NOTIFY", "rest": "c: message/sipfrag\r\n\r\nSIP/2.0 486 Busy Here\r\n"},
            "NOTIFY 486 Busy Here",
        ),
        ("NOTIFY sip:a@b SIP/2.0", {"method": "NOTIFY"}, "NOTIFY"),
        ("OPTIONS", {"method": ""}, "OPTIONS"),
        ("", {"method": ""}, ""),
    ],
)
def test_what_a_message_is_called(start: str, options: dict[str, object], shown: str) -> None:
    assert label(traced(start, **options)) == shown  # type: ignore[arg-type]


def test_another_port_of_a_connection_is_no_other_party() -> None:
    messages = (
        traced("INVITE sip:600@pbx SIP/2.0", is_sent=False, transport="TCP", remote="10.0.0.1:40000"),
        traced("BYE sip:600@pbx SIP/2.0", transport="TCP", method="BYE"),
        traced("OPTIONS sip:600@pbx SIP/2.0", transport="UDP", method="OPTIONS"),
    )
    shown = ladder(CallTrace(messages=messages), "abc")
    assert "10.0.0.1:40000" in shown.splitlines()[3]
    assert [line.count("|") for line in shown.splitlines()[-3:]] == [3, 3, 2]


@pytest.mark.parametrize("count", range(1, 12))
def test_it_is_readable_in_a_terminal_with_up_to_four_others_and_wider_with_more(count: int) -> None:
    messages = tuple(
        traced(
            f"INVITE sip:{'9' * 60}@pbx SIP/2.0", remote=f"[2001:db8:aaaa:bbbb:cccc:dddd:eeee:{number}]:5060", rest=SDP
        )
        for number in range(count)
    )
    lines = ladder(CallTrace(messages=messages), "abc").splitlines()
    assert (max(len(line) for line in lines) <= WIDTH) == (count <= 4)
    assert sum("INVITE 9" in line for line in lines) == count
    assert lines[-1].endswith(">|")


def test_nothing_at_all() -> None:
    assert ladder(CallTrace(), "abc") == "Call abc: 0 SIP messages\n\n"
    assert text(CallTrace(), "abc") == "Call abc: 0 SIP messages\n"


def test_text_has_each_message_in_full() -> None:
    messages = (
        traced("INVITE sip:600@pbx SIP/2.0", rest=SDP),
        traced("SIP/2.0 100 Trying", after_ms=0.5, is_sent=False),
    )
    assert text(CallTrace(messages=messages), "abc") == (
        "Call abc: 2 SIP messages, from 2026-01-31T23:59:59.500Z\n"
        "\n---- 2026-01-31T23:59:59.500000Z +0.000 ms UDP 10.0.0.9:5070 -> 10.0.0.1:5060\n"
        "INVITE sip:600@pbx SIP/2.0\nCall-ID: one\nCSeq: 1 INVITE\nContent-Type: application/sdp\n\n"
        "v=0\nm=audio 1 RTP/AVP 0\n"
        "\n---- 2026-01-31T23:59:59.500500Z +0.500 ms UDP 10.0.0.1:5060 -> 10.0.0.9:5070\n"
        "SIP/2.0 100 Trying\nCall-ID: one\nCSeq: 1 INVITE\n"
    )
