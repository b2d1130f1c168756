"""Messages over /ws: their form, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from peers.agent import Agent, Message, Refused
from peers.server import ServerProcess
from peers.waiting import until

from .conftest import PASSWORDS, registered

NO_CALL = "no-such-call"
SDP = "v=0\r\n"


@pytest.fixture
async def agent(server: ServerProcess) -> AsyncIterator[Agent]:
    """Connected, and not registered."""
    async with Agent(server.url) as made:
        yield made


async def said(agent: Agent, data: str | bytes) -> Message:
    """The next message after something was sent as it is."""
    before = len(agent.received)
    await agent.send(data)
    return await agent.next(before)


def reason_of(message: Message) -> tuple[str, int, str]:
    payload = message["payload"]
    assert payload["message"]
    return message["type"], payload["code"], payload["details"]["reason"]


async def assert_alive(agent: Agent) -> None:
    assert (await agent.exchange("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "hello",
        "[]",
        '"ping"',
        "17",
        "null",
        "NaN",
        '{"type": "ping", }',
        '{"type": "ping"} {}',
        '{"a": "\\ud800"}',
        "[" * 5000,
        '{"payload":' * 2000 + "1" + "}" * 2000,
    ],
)
async def test_what_is_no_json_object_gets_an_error_and_the_connection_goes_on(agent: Agent, text: str) -> None:
    assert reason_of(await said(agent, text)) == ("error", 400, "invalid_json")
    await assert_alive(agent)


async def test_a_binary_message_gets_an_error_and_the_connection_goes_on(agent: Agent) -> None:
    assert reason_of(await said(agent, b'{"type": "ping"}')) == ("error", 400, "not_text")
    await assert_alive(agent)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "unknown_type"),
        ({"type": None}, "unknown_type"),
        ({"type": 1}, "unknown_type"),
        ({"type": ["ping"]}, "unknown_type"),
        ({"type": "Ping"}, "unknown_type"),
        ({"type": "x" * 10_000}, "unknown_type"),
        ({"type": "ping", "extra": 1}, "unknown_field"),
        ({"type": "ping", "payload": {"extra": 1}}, "unknown_field"),
        ({"type": "ping", "payload": []}, "invalid_field"),
        ({"type": "ping", "payload": None}, "invalid_field"),
        ({"type": "ping", "payload": "x"}, "invalid_field"),
    ],
)
async def test_an_envelope_that_is_wrong_is_named(agent: Agent, message: Message, reason: str) -> None:
    answer = await said(agent, orjson.dumps(message | {"id": "mine"}).decode())
    assert (reason_of(answer), answer["id"]) == (("error", 400, reason), "mine")
    assert len(answer["payload"]["message"]) < 300
    await assert_alive(agent)


@pytest.mark.parametrize("id_", ["", "a", "x" * 128, 0, -1, 7, 2**53 - 1, 1.5])
async def test_a_reply_repeats_the_id(agent: Agent, id_: str | float) -> None:
    for type_, reply in (("ping", "pong"), ("nonsense", "error")):
        answer = await said(agent, orjson.dumps({"type": type_, "id": id_}).decode())
        assert (answer["type"], answer["id"]) == (reply, id_)


@pytest.mark.parametrize("message", [{"type": "ping"}, {"type": "ping", "id": None}])
async def test_a_reply_to_a_message_without_an_id_has_one_of_its_own(agent: Agent, message: Message) -> None:
    ids = [(await said(agent, orjson.dumps(message).decode()))["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(isinstance(id_, str) for id_ in ids)


@pytest.mark.parametrize("id_", [True, [], {}, "x" * 129, 2**53, -(2**53)])
async def test_an_id_that_is_none_is_refused(agent: Agent, id_: Any) -> None:
    answer = await said(agent, orjson.dumps({"type": "ping", "id": id_}).decode())
    assert reason_of(answer) == ("error", 400, "invalid_field")
    assert isinstance(answer["id"], str)


# For each type: a payload that is right, and the members that it cannot be without.
COMPLETE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "register": ({"dn": "7001", "password": "x"}, ("dn", "password")),
    "unregister": ({}, ()),
    "call": ({"to": "echo", "sdp": SDP}, ("to", "sdp")),
    "answer": ({"callId": NO_CALL, "sdp": SDP}, ("callId", "sdp")),
    "reject": ({"callId": NO_CALL}, ("callId",)),
    "hangup": ({"callId": NO_CALL}, ("callId",)),
    "hold": ({"callId": NO_CALL, "hold": True}, ("callId",)),
    "mute": ({"callId": NO_CALL, "mute": True}, ("callId",)),
    "dtmf": ({"callId": NO_CALL, "digits": "1"}, ("callId", "digits")),
    "iceCandidate": ({"callId": NO_CALL, "candidate": None}, ("callId",)),
    "transfer": ({"callId": NO_CALL, "to": "7002"}, ("callId",)),
    "conference": ({"callIds": [NO_CALL]}, ("callIds",)),
    "record": ({"callId": NO_CALL, "record": True}, ("callId",)),
    "ping": ({}, ()),
}
ABOUT_A_CALL = sorted(COMPLETE.keys() - {"register", "unregister", "call", "ping"})
MISSING = [(type_, member) for type_, (_, needed) in COMPLETE.items() for member in needed]
MEMBERS = [(type_, member) for type_, (payload, _) in COMPLETE.items() for member in payload]


def failure(type_: str) -> str:
    return "registrationFailed" if type_ == "register" else "error"


@pytest.mark.parametrize(("type_", "member"), MISSING)
async def test_a_missing_member_is_named(agent: Agent, type_: str, member: str) -> None:
    payload = {name: value for name, value in COMPLETE[type_][0].items() if name != member}
    answer = await agent.exchange(type_, **payload)
    assert reason_of_any(answer) == (failure(type_), 400, "missing_field")
    assert member in str(answer["payload"])
    await assert_alive(agent)


@pytest.mark.parametrize("type_", COMPLETE)
async def test_an_unknown_member_is_named(agent: Agent, type_: str) -> None:
    answer = await agent.exchange(type_, **COMPLETE[type_][0], callID="x")
    assert reason_of(answer) == ("error", 400, "unknown_field")
    assert "callID" in answer["payload"]["message"]


@pytest.mark.parametrize(("type_", "member"), MEMBERS)
async def test_a_member_of_the_wrong_type_is_named(agent: Agent, type_: str, member: str) -> None:
    answer = await agent.exchange(type_, **(COMPLETE[type_][0] | {member: 17}))
    assert reason_of(answer) == ("error", 400, "invalid_field")
    assert member in answer["payload"]["message"]


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("register", {"dn": "70 01", "password": "x"}),
        ("register", {"dn": "7" * 65, "password": "x"}),
        ("register", {"dn": "7001", "password": "x" * 513}),
        ("register", {"dn": "7001", "password": "x", "expires": -1}),
        ("register", {"dn": "7001", "password": "x", "displayName": "x" * 129}),
        ("call", {"to": "", "sdp": SDP}),
        ("call", {"to": "x" * 257, "sdp": SDP}),
        ("call", {"to": "echo", "sdp": "x" * 40_000}),
        ("call", {"to": "echo", "sdp": SDP, "codecs": ["G729"]}),
        ("answer", {"callId": "not/one", "sdp": SDP}),
        ("dtmf", {"callId": NO_CALL, "digit": "12"}),
        ("dtmf", {"callId": NO_CALL, "digits": "1" * 65}),
        ("dtmf", {"callId": NO_CALL, "digits": "1", "durationMs": 1}),
        ("dtmf", {"callId": NO_CALL, "digits": "1", "method": "smoke"}),
        ("iceCandidate", {"callId": NO_CALL, "candidate": {"candidate": "x" * 1025}}),
        ("conference", {"callIds": []}),
        ("conference", {"callIds": [NO_CALL], "room": "a/b"}),
    ],
)
async def test_a_value_out_of_bounds_is_refused(agent: Agent, type_: str, payload: dict[str, Any]) -> None:
    assert reason_of(await agent.exchange(type_, **payload)) == ("error", 400, "invalid_field")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"digits": "12x"}, "invalid_digits"),
        ({"digit": "x"}, "invalid_digits"),
        ({"digit": "1", "digits": "1"}, "missing_field"),
        ({}, "missing_field"),
    ],
)
async def test_digits_that_are_none_are_refused(agent: Agent, payload: dict[str, Any], reason: str) -> None:
    assert reason_of(await agent.exchange("dtmf", callId=NO_CALL, **payload)) == ("error", 400, reason)


@pytest.mark.parametrize("type_", ABOUT_A_CALL)
@pytest.mark.parametrize("call_id", [NO_CALL, "another's"])
async def test_calls_that_are_not_ones_own_do_not_exist(server: ServerProcess, type_: str, call_id: str) -> None:
    async with Agent(server.url) as agent, Agent(server.url) as other:
        if call_id != NO_CALL:
            call_id = (await other.call("echo")).call_id
        payload = dict(COMPLETE[type_][0])
        payload |= {"callIds": [call_id]} if type_ == "conference" else {"callId": call_id}
        if type_ == "dtmf":
            payload["method"] = "rfc4733"
        assert reason_of(await agent.exchange(type_, **payload)) == ("error", 404, "call_not_found")


async def test_a_re_offer_for_a_call_that_is_not_there_is_refused(agent: Agent) -> None:
    assert reason_of(await agent.exchange("call", callId=NO_CALL, sdp=SDP)) == ("error", 404, "call_not_found")


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        ({"to": "nowhere"}, 400, "bad_destination"),
        ({"to": "conference/a b"}, 400, "bad_destination"),
        ({"to": "echo", "sdp": "hello"}, 400, "invalid_sdp"),
        ({"to": "echo", "metadata": {"a": "x" * 17_000}}, 400, "metadata_too_large"),
    ],
)
async def test_a_call_that_cannot_be_made_leaves_nothing(
    server: ServerProcess, agent: Agent, payload: dict[str, Any], code: int, reason: str
) -> None:
    await until(lambda: server.calls() == [], timeout_s=5, what="the calls of sockets that were closed before to end")
    sdp = await agent.client().offer()
    assert reason_of(await agent.exchange("call", **({"sdp": sdp} | payload))) == ("error", code, reason)
    assert server.calls() == []


async def test_all_that_a_call_may_say_is_taken(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann:
        ice_servers = [{"urls": ["stun:stun.example.com"]}]
        call = await ann.call("echo", iceServers=ice_servers, headers={"X-Case": "1"}, metadata={"a": 1})
        assert (await call.wait("callAccepted"))["sdp"].startswith("v=0")
        for candidate in (None, "", {"candidate": ""}, "candidate:1 1 UDP 1 127.0.0.1 9 typ host"):
            await ann.send_message("iceCandidate", callId=call.call_id, candidate=candidate)
        with pytest.raises(Refused) as refused:
            await call.order("iceCandidate", candidate="candidate:nonsense")
        assert (refused.value.code, refused.value.reason) == (400, "invalid_candidate")
        await call.hang_up()
        ended = await call.wait("callEnded")
        assert (ended["reason"], ended["sipStatus"]) == ("normal_clearing", 0)
        assert 0 < ended["duration"] < 10


async def test_unregister_without_a_registration_is_refused(agent: Agent) -> None:
    assert reason_of(await agent.exchange("unregister")) == ("error", 409, "not_registered")


async def test_messages_are_taken_in_their_order(server: ServerProcess) -> None:
    async with Agent(server.url) as agent:
        replies = await agent.exchange_all(
            ("register", {"dn": "7001", "password": PASSWORDS["7001"]}), ("ping", {}), ("unregister", {}), ("ping", {})
        )
        assert [message["type"] for message in replies] == ["registered", "pong", "registered", "pong"]
        assert replies[2]["payload"]["expires"] == 0


def reason_of_any(message: Message) -> tuple[str, int, str]:
    """Also of `registrationFailed`, whose sentence is its `reason`."""
    payload = message["payload"]
    assert payload.get("message") or payload["reason"]
    return message["type"], payload["code"], payload["details"]["reason"]
