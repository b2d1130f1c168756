"""What is kept of the SIP messages of calls: all of them as they were on the wire, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial

import pjsua2 as pj
import pytest
from peers.asterisk import Asterisk
from peers.sip_peer import PeerCall, PeerDialog, SipMessage, SipPeer, sdp
from peers.waiting import until

from sdpserver.sip import CallTrace, SipCall, SipEventType, TracedMessage
from sdpserver.sip.blanking import BLANK, blanked

from .conftest import Callee, Events, Scene, local_audio, running_caller

CALL = "a-call"


def trace(scene: Scene, call_id: str = CALL) -> CallTrace:
    return scene.caller.endpoint.traces.read(call_id)


def starts(messages: tuple[TracedMessage, ...]) -> list[str]:
    """`> INVITE` for what we sent, `< 180 Ringing (INVITE)` for what came."""
    return [
        f"{'>' if message.is_sent else '<'} "
        + (f"{message.status} {message.method}" if message.status else message.start_line.split()[0])
        + (" again" if message.is_repeated else "")
        for message in messages
    ]


async def hang_up(scene: Scene, call: SipCall, events: Events) -> None:
    call.hangup()
    bye = await scene.peer.receive("BYE")
    scene.peer.respond(bye, 200)
    await events.ended()


async def ended(scene: Scene, count: int) -> CallTrace:
    """The trace once it has so many messages: what comes after the end of the call is in it too."""
    await until(lambda: len(trace(scene).messages) >= count, timeout_s=5, what=f"{count} messages in the trace")
    return trace(scene)


async def test_a_call_is_kept_to_its_last_answer(scene: Scene) -> None:
    call, events, dialog = await scene.connect(trace_as=CALL)
    await hang_up(scene, call, events)
    found = await ended(scene, 5)
    assert starts(found.messages) == ["> INVITE", "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"]
    received = [SipMessage.parse(message.text.encode(), ("", 0)) for message in found.messages if message.is_sent]
    assert [(message.start, message.headers, message.body) for message in received] == [
        (message.start, message.headers, message.body) for message in scene.peer.received
    ]
    host, port = scene.caller.address
    for message in found.messages:
        assert (message.transport, message.local, message.remote) == ("UDP", f"{host}:{port}", scene.peer.host_port)
        assert message.sip_call_id == dialog.invite["call-id"] == call.call_id
    assert [message.cseq for message in found.messages][:2] == [dialog.invite["cseq"]] * 2
    elapsed = [message.elapsed_ms for message in found.messages]
    assert elapsed[0] == 0
    assert elapsed == sorted(elapsed)
    assert found.dropped == 0
    scene.caller.endpoint.traces.forget(CALL)
    assert trace(scene) == CallTrace()


async def test_what_is_sent_again_is_told_apart(scene: Scene) -> None:
    call, events, dialog = await scene.dial(trace_as=CALL)
    await until(lambda: len(scene.peer.repeats) == 1, timeout_s=5, what="the INVITE once more")
    answer = sdp(30000)
    dialog.respond(200, body=answer)
    dialog.respond(200, body=answer)
    await scene.peer.receive("ACK")
    await events.next(SipEventType.ANSWERED)
    await until(lambda: sum(m.method == "ACK" for m in scene.peer.received) == 2, timeout_s=5, what="two ACKs")
    assert starts(trace(scene).messages) == [
        "> INVITE",
        "> INVITE again",
        "< 200 INVITE",
        "> ACK",
        "< 200 INVITE again",
        "> ACK again",
    ]
    await hang_up(scene, call, events)


async def test_a_challenge_a_refusal_and_a_redirection_are_of_the_same_call(scene: Scene) -> None:
    call, events, dialog = await scene.dial(trace_as=CALL, may_redirect=lambda user: True)
    dialog.respond(302, "Moved", headers=f"Contact: <sip:700@{scene.peer.host_port}>")
    await scene.peer.receive("ACK")
    again = PeerDialog(scene.peer, await scene.peer.receive("INVITE"))
    again.respond(486, "Busy Here")
    await scene.peer.receive("ACK")
    await events.ended()
    assert call.call_id == again.invite["call-id"]
    assert starts(trace(scene).messages) == ["> INVITE", "< 302 INVITE", "> ACK", "> INVITE", "< 486 INVITE", "> ACK"]


async def test_credentials_are_blanked() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, username="1002", password="pw") as caller:
        scene = Scene(caller, peer)
        _, events, dialog = await scene.dial(trace_as=CALL)
        challenge = f'Digest realm="pbx", nonce="{"4" * 16}", qop="auth"'
        dialog.respond(401, "Unauthorized", headers=f"WWW-Authenticate: {challenge}")
        await peer.receive("ACK")
        answered = await peer.receive("INVITE")
        assert "response=" in answered["authorization"]
        text = "".join(message.text for message in trace(scene).messages)
        for secret in ("4" * 16, *answered["authorization"].split('response="')[1:]):
            assert secret.partition('"')[0] not in text
        assert f"response={BLANK}" in text
        PeerDialog(peer, answered).respond(486, "Busy Here")
        await events.ended()


async def test_an_incoming_call_is_kept_from_its_invite_on(callee: Callee) -> None:
    peer = callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    callee.scene.caller.endpoint.traces.add(CALL, call.call_id)
    call.ring()
    await peer.response(180)
    call.answer(local_audio())
    await peer.answered()
    await events.next(SipEventType.ANSWERED)
    peer.request("BYE")
    await peer.response(200)
    await events.ended()
    found = await ended(callee.scene, 7)
    assert starts(found.messages) == [
        *("< INVITE", "> 100 INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK", "< BYE", "> 200 BYE")
    ]
    assert found.messages[0].text == blanked(peer.text)


async def test_a_call_that_nobody_takes_leaves_nothing(callee: Callee) -> None:
    callee.dial(body=sdp(30000))
    call, _, events = await callee.incoming()
    call.reject(486, "busy")
    await callee.peer.receive(486)
    await events.ended()
    assert pj.tracedOctets() == 0


async def test_the_dialog_that_replaces_another_is_of_the_same_call(callee: Callee) -> None:
    peer, call, events = await callee.connect()
    callee.scene.caller.endpoint.traces.add(CALL, call.call_id)
    callee.peer.answer_by_itself("BYE")
    ours, theirs = (header.partition("tag=")[2] for header in (peer.to_header, peer.invite["from"]))
    replaces = f"{peer.invite['call-id']};to-tag={ours};from-tag={theirs}"
    async with await SipPeer.open() as third:
        third.answer_by_itself("BYE")
        headers = f"Replaces: {replaces}\nRequire: replaces"
        to = callee.scene.caller.address
        taker = PeerCall.make(third, "5001", to, headers=headers, body=sdp(33000))
        await taker.answered()
        await events.next(SipEventType.REPLACED)
        call.hangup()
        await events.ended()
        await third.receive("BYE")

        def of_taker() -> tuple[TracedMessage, ...]:
            messages = trace(callee.scene).messages
            return tuple(message for message in messages if message.remote == third.host_port)

        await until(lambda: starts(of_taker())[-1] == "< 200 BYE", timeout_s=5, what="the answer to the BYE")
        found = trace(callee.scene)
    assert {message.sip_call_id for message in found.messages} == {peer.invite["call-id"], taker.invite["call-id"]}
    assert starts(of_taker()) == ["< INVITE", "> 100 INVITE", "> 200 INVITE", "< ACK", "> BYE", "< 200 BYE"]
    numbers = [message.elapsed_ms for message in found.messages]
    assert numbers == sorted(numbers)


async def test_one_dialog_may_be_of_two_calls(scene: Scene) -> None:
    call, events, _ = await scene.connect(trace_as=CALL)
    traces = scene.caller.endpoint.traces
    traces.add("another", call.call_id)
    traces.join(CALL, "third")
    assert trace(scene, "another") == trace(scene, "third") == trace(scene)
    traces.forget(CALL)
    traces.forget("third")
    await hang_up(scene, call, events)
    assert trace(scene) == CallTrace()
    assert starts(trace(scene, "another").messages)[:3] == ["> INVITE", "< 200 INVITE", "> ACK"]
    traces.forget("another")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_each_message_has_its_transport_and_addresses(asterisk: Asterisk, transport: str) -> None:
    user = asterisk.users["any"]
    account = {"username": user.name, "password": user.password, "transport": transport}
    async with running_caller(asterisk.address, **account) as caller:  # type: ignore[arg-type]
        call, events = await caller.call("601", trace_as=CALL)
        await events.next(SipEventType.ANSWERED)
        call.hangup()
        await events.ended()
        traces = caller.endpoint.traces
        await until(lambda: len(traces.read(CALL).messages) == 9, timeout_s=5, what="the answer to the BYE")
        found = traces.read(CALL).messages
    assert starts(found) == [
        *(
            "> INVITE",
            "< 401 INVITE",
            "> ACK",
            "> INVITE",
            "< 100 INVITE",
            "< 200 INVITE",
            "> ACK",
            "> BYE",
            "< 200 BYE",
        )
    ]
    assert {(message.transport, message.remote) for message in found} == {(transport.upper(), asterisk.address)}
    assert len({message.local for message in found}) == 1
    assert found[0].local.startswith("127.0.0.1:")
    await asyncio.to_thread(asterisk.wait_no_channels)


async def test_addresses_of_ipv6_are_in_brackets() -> None:
    async with await SipPeer.open("::1") as peer, running_caller(peer.host_port, sip={"bind": "::1"}) as caller:
        _, events = await caller.call(media=local_audio(ip="::1"), trace_as=CALL)
        peer.respond(await peer.receive("INVITE"), 486, "Busy Here")
        await events.ended()
        found = caller.endpoint.traces.read(CALL).messages
    local = f"[::1]:{caller.endpoint.ports['udp']}"
    assert {(message.local, message.remote) for message in found} == {(local, peer.host_port)}


# -- bounds


async def test_a_long_dialog_keeps_its_beginning_and_its_end() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, sip={"trace_messages": 32}) as caller:
        scene = Scene(caller, peer)
        call, events, dialog = await scene.connect(trace_as=CALL)
        for _ in range(40):
            dialog.request("OPTIONS")
            await peer.receive(200)
        found = trace(scene)
        assert (len(found.messages), found.dropped) == (32, 3 + 80 - 32)
        assert starts(found.messages)[:5] == ["> INVITE", "< 200 INVITE", "> ACK", "< OPTIONS", "> 200 OPTIONS"]
        cseqs = [int(message.cseq.split()[0]) for message in found.messages[3:]]
        assert cseqs[-1] == dialog.cseq
        assert cseqs[:13] == [100 + number // 2 for number in range(2, 15)]  # the first 16 messages
        assert cseqs[13:] == [dialog.cseq - number // 2 for number in reversed(range(16))]
        await hang_up(scene, call, events)


async def test_a_dialog_of_large_messages_is_bounded_by_octets() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, sip={"trace_kb": 64}) as caller:
        scene = Scene(caller, peer)
        call, events, dialog = await scene.connect(trace_as=CALL)
        for _ in range(20):
            dialog.request("OPTIONS", headers=f"X-Large: {'x' * 8000}")
            await peer.receive(200)
        assert 48 << 10 < pj.tracedOctets() <= 64 << 10
        found = trace(scene)
        assert found.dropped == 43 - len(found.messages)
        assert starts(found.messages)[:3] == ["> INVITE", "< 200 INVITE", "> ACK"]
        assert found.messages[-1].cseq == f"{dialog.cseq} OPTIONS"
        await hang_up(scene, call, events)


async def test_what_has_ended_first_makes_room_first_and_live_calls_last() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, sip={"trace_mb": 1}) as caller:
        scene = Scene(caller, peer)
        traces = caller.endpoint.traces
        live, events, _ = await scene.connect(trace_as=CALL)
        callee = Callee(scene)

        def is_whole(call_id: str) -> bool:
            return len(trace(scene, call_id).messages) == 4

        for number in range(100):
            dialog = callee.dial(headers=f"X-Large: {'x' * 12_000}", body=sdp(30000))
            call, _, others = await callee.incoming()
            traces.add(str(number), call.call_id)
            call.reject(486, "busy")
            await dialog.refused(486)
            await others.ended()
            await until(partial(is_whole, str(number)), timeout_s=5, what="the ACK to the refusal")
            assert pj.tracedOctets() <= 1 << 20
        assert [message.start_line.split()[0] for message in trace(scene).messages] == ["INVITE", "SIP/2.0", "ACK"]
        counts = [len(trace(scene, str(number)).messages) for number in range(100)]
        assert (counts[0], counts[-1]) == (0, 4)
        assert counts == sorted(counts)
        assert trace(scene, "0").dropped == 4
        for number in range(100):
            traces.forget(str(number))
        assert pj.tracedOctets() < 10_000
        await hang_up(scene, live, events)


async def test_strangers_take_little_of_a_call_and_nothing_else(scene: Scene) -> None:
    call, events, dialog = await scene.connect(trace_as=CALL)
    before = pj.tracedOctets()
    async with await SipPeer.open("127.0.0.2") as stranger:
        for number in range(300):
            call_id = dialog.invite["call-id"] if number % 3 == 0 else secrets.token_hex(8)
            method = "INVITE" if number % 3 == 1 else "OPTIONS"
            stranger.request(method, "sip:5001@127.0.0.1", scene.caller.address, call_id=call_id, body=sdp(30000))
            await stranger.receive(403 if method == "INVITE" else 200, call_id=call_id)
    found = trace(scene)
    assert len([message for message in found.messages if "127.0.0.2" in message.remote]) == 32
    assert (len(found.messages), found.dropped) == (3 + 32, 200 - 32)
    assert pj.tracedOctets() - before < 32 * 1500
    assert starts(found.messages)[:3] == ["> INVITE", "< 200 INVITE", "> ACK"]
    await hang_up(scene, call, events)


async def test_nothing_is_kept_when_it_is_off() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, sip={"trace": False}) as caller:
        scene = Scene(caller, peer)
        call, events, _ = await scene.connect(trace_as=CALL)
        assert (caller.endpoint.traces.is_on, trace(scene), pj.tracedOctets()) == (False, CallTrace(), 0)
        await hang_up(scene, call, events)
