"""Requests that make no call: each gets the answer that its RFC has for it, and the live call goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from peers.sip_peer import SipMessage, SipPeer, sdp

from sdpserver.sip import SipEventType

from .conftest import Scene, assert_call_is_unhurt

ALLOWED = {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY"}
SOME_TAG = "<sip:sdpserver@127.0.0.1>;tag=nothing"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may stand in a dialog or out of one."""

    method: str
    headers: str = ""
    body: str = ""

    def __str__(self) -> str:
        return self.method


NOTIFY = Request("NOTIFY", "Event: presence\nSubscription-State: active")
NOT_ALLOWED = [
    Request("REGISTER", "Expires: 60"),
    Request("PUBLISH", "Event: presence\nExpires: 60"),
    Request("MESSAGE", "Content-Type: text/plain", "hello"),
    Request("TELEPORT"),
]
REFER = Request("REFER", "Refer-To: <sip:900@127.0.0.1>")
SUBSCRIBE = Request("SUBSCRIBE", "Event: dialog\nExpires: 60")
OF_A_CALL = [
    Request("BYE"),
    Request("CANCEL"),
    Request("INFO"),
    Request("PRACK", "RAck: 1 1 INVITE"),
    Request("UPDATE"),
]


def words(header: str) -> set[str]:
    return {word.strip() for word in header.split(",")}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        *((request, 405) for request in NOT_ALLOWED),
        *((request, 403) for request in [SUBSCRIBE, REFER]),
        *((request, 481) for request in [*OF_A_CALL, NOTIFY]),
        (Request("OPTIONS"), 200),
    ],
    ids=str,
)
async def test_a_request_out_of_a_dialog_is_answered(scene: Scene, request_: Request, status: int) -> None:
    _, _, dialog = await scene.connect()
    for ip in ("127.0.0.1", "127.0.0.2"):
        async with await SipPeer.open(ip) as other:
            other.request(
                request_.method,
                "sip:sdpserver@127.0.0.1",
                scene.caller.address,
                headers=request_.headers,
                body=request_.body,
            )
            answer = await other.receive(status)
            assert answer["cseq"] == f"1 {request_.method}"
            assert words(answer["allow"]) == (ALLOWED if status in (200, 405) else {""})
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize(
    "request_",
    [
        NOTIFY,
        Request("TELEPORT"),
        REFER,
        SUBSCRIBE,
        *OF_A_CALL,
        Request("OPTIONS"),
        Request("INVITE", "", sdp(1)),
    ],
    ids=str,
)
async def test_a_request_of_a_dialog_that_is_not_there_gets_481(scene: Scene, request_: Request) -> None:
    _, _, dialog = await scene.connect()
    async with await SipPeer.open("127.0.0.2") as other:
        other.request(
            request_.method,
            "sip:sdpserver@127.0.0.1",
            scene.caller.address,
            to_header=SOME_TAG,
            headers=request_.headers,
            body=request_.body,
        )
        await other.receive(481)
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize("to_header", ["", SOME_TAG], ids=["no tag", "tag"])
async def test_an_ack_of_nothing_is_not_answered(scene: Scene, to_header: str) -> None:
    scene.peer.request("ACK", "sip:sdpserver@127.0.0.1", scene.caller.address, to_header=to_header)
    scene.peer.request("TELEPORT", "sip:sdpserver@127.0.0.1", scene.caller.address)
    await scene.peer.receive(405)
    assert len(scene.peer.received) == 1


async def test_options_out_of_a_dialog_tells_what_is_understood(scene: Scene) -> None:
    scene.peer.request("OPTIONS", "sip:sdpserver@127.0.0.1", scene.caller.address)
    answer = await scene.peer.receive(200)
    assert "application/sdp" in words(answer["accept"])
    assert {"timer", "100rel"} <= words(answer["supported"])


async def test_options_in_a_call_tells_what_is_understood(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    dialog.request("OPTIONS", headers="Accept: application/sdp")
    answer = await scene.peer.receive(200)
    assert answer.method == "OPTIONS"
    assert words(answer["allow"]) == ALLOWED
    assert "application/sdp" in words(answer["accept"])
    assert {"timer", "100rel"} <= words(answer["supported"])
    await assert_call_is_unhurt(scene, dialog)


async def test_options_while_it_rings(scene: Scene) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(180, "Ringing")
    await events.next(SipEventType.RINGING)
    dialog.request("OPTIONS")
    assert (await scene.peer.receive(200)).method == "OPTIONS"
    await dialog.answer(sdp(30000))
    await events.next(SipEventType.ANSWERED)
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize("request_", [*NOT_ALLOWED, SUBSCRIBE], ids=str)
async def test_a_request_in_a_call_that_we_do_not_know_gets_405(scene: Scene, request_: Request) -> None:
    _, events, dialog = await scene.connect()
    dialog.request(request_.method, headers=request_.headers, body=request_.body)
    answer = await scene.peer.receive(405)
    assert (answer.method, words(answer["allow"])) == (request_.method, ALLOWED)
    await assert_call_is_unhurt(scene, dialog)
    assert SipEventType.ENDED not in events.types


async def test_a_notify_of_nothing_in_a_call_gets_481(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    dialog.request(NOTIFY.method, headers=NOTIFY.headers)
    assert (await scene.peer.receive(481)).method == "NOTIFY"
    await assert_call_is_unhurt(scene, dialog)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ("", "", 200),
        ("Content-Type: application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", 200),
        ("Content-Type: application/dtmf", "5", 200),
        ("Content-Type: Application/DTMF; x=1", "5", 200),
        ("Content-Type: application/json", "{}", 415),
        ("Content-Type: text/plain", "hello", 415),
        ("Info-Package: conference", "", 469),
        ("Info-Package: x\nContent-Type: text/plain\nContent-Disposition: Info-Package", "hello", 469),
    ],
)
async def test_an_info_in_a_call_is_answered(scene: Scene, headers: str, body: str, status: int) -> None:
    _, _, dialog = await scene.connect()
    dialog.request("INFO", headers=headers, body=body)
    answer = await scene.peer.receive(status)
    assert answer.method == "INFO"
    if status == 415:
        assert words(answer["accept"]) == {"application/dtmf-relay", "application/dtmf"}
    if status == 469:
        assert answer.start == "SIP/2.0 469 Bad Info Package"
        assert answer.all("recv-info") == [""]
    await assert_call_is_unhurt(scene, dialog)


async def test_a_repeated_request_in_a_call_gets_the_same_answer(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    text = dialog.request("TELEPORT")
    first = await scene.peer.receive(405)
    scene.peer.send(text, scene.caller.address)
    dialog.request("OPTIONS")
    await scene.peer.receive(200)
    assert [message for message in scene.peer.repeats if message.status] == [first]
    await assert_call_is_unhurt(scene, dialog)


async def test_a_request_in_a_call_that_comes_too_late_is_refused(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    dialog.request("OPTIONS")
    await scene.peer.receive(200)
    dialog.send("OPTIONS", dialog.cseq - 1)
    await scene.peer.receive(500)  # RFC 3261 section 12.2.2
    await assert_call_is_unhurt(scene, dialog)


async def test_many_requests_in_a_call(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    for _ in range(200):
        dialog.request("OPTIONS")
        await scene.peer.receive(200)
    await assert_call_is_unhurt(scene, dialog)


async def test_options_after_the_call_gets_481(scene: Scene) -> None:
    _, events, dialog = await scene.connect()
    dialog.request("OPTIONS")
    await scene.peer.receive(200)
    dialog.request("BYE")
    await events.ended()
    assert (await scene.peer.receive(200)).method == "BYE"
    dialog.request("OPTIONS")
    await scene.peer.receive(481)


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("REFER", 403), ("NOTIFY", 481), ("INFO", 481)])
async def test_a_request_over_tcp_is_answered(scene: Scene, method: str, status: int) -> None:
    _, _, dialog = await scene.connect()
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.caller.endpoint.ports["tcp"])
    host, port = writer.get_extra_info("sockname")
    lines = [
        f"{method} sip:sdpserver@127.0.0.1;transport=tcp SIP/2.0",
        f"Via: SIP/2.0/TCP {host}:{port};branch=z9hG4bKtcp",
        "Max-Forwards: 70",
        "From: <sip:stranger@example.com>;tag=s1",
        "To: <sip:sdpserver@127.0.0.1>",
        "Call-ID: over-tcp",
        f"CSeq: 1 {method}",
        "Content-Length: 0",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        answer = SipMessage.parse(await reader.readuntil(b"\r\n\r\n"), (host, port))
    writer.close()
    await writer.wait_closed()
    assert (answer.status, answer.method) == (status, method)
    await assert_call_is_unhurt(scene, dialog)
