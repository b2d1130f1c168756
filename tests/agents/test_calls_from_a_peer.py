"""INVITEs of a scripted SIP peer for DNs of this server: what a well-behaved PBX seldom does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from peers.agent import Agent, AgentCall
from peers.rtp_phone import RtpPhone
from peers.server import ServerProcess, running
from peers.sip_peer import PeerCall, SipMessage, SipPeer, sdp
from peers.waiting import until

from .conftest import PASSWORDS, registered

AGENT_HZ, PEER_HZ = 700.0, 1100.0
RING_S = 0.5


@pytest.fixture(scope="module")
def server(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    """Its trunk is whoever calls from this machine."""
    trunk = {"name": "peer", "server": "127.0.0.1:9", "options_interval_s": 0}
    session = {"ring_timeout_s": 5, "reattach_s": 1}
    with running(ServerProcess({"dn": dns, "trunks": [trunk], "session": session})) as process:
        yield process


@pytest.fixture
async def peer(server: ServerProcess) -> AsyncIterator[SipPeer]:
    async with await SipPeer.open() as made:
        yield made
        made.answer_by_itself("BYE")
        await nothing_left(server)


async def nothing_left(server: ServerProcess, *, timeout_s: float = 5.0) -> None:
    """No call, no SIP call, no port."""
    await until(
        lambda: not server.calls() and not server.sip_calls() and not server.rtp_ports(),
        timeout_s=timeout_s,
        what="everything to be freed",
    )
    server.check_log()


def dial(peer: SipPeer, server: ServerProcess, number: str = "7001", **options: Any) -> PeerCall:
    return PeerCall.make(peer, number, ("127.0.0.1", server.sip_port), **options)


@contextlib.asynccontextmanager
async def talking(peer: SipPeer, server: ServerProcess) -> AsyncIterator[tuple[PeerCall, AgentCall, RtpPhone]]:
    """An answered call with audio both ways."""
    async with registered(server, "7001") as ann, await RtpPhone.open() as phone:
        call = dial(peer, server, body=sdp(phone.port))
        answered = await ann.answer(await ann.incoming(), frequency_hz=AGENT_HZ)
        ok = await call.answered()
        phone.talk(rtp_port(ok), PEER_HZ)
        await answered.client.wait_tone(PEER_HZ)
        yield call, answered, phone


def rtp_port(message: SipMessage) -> int:
    return int(next(line for line in message.body.split("\r\n") if line.startswith("m=")).split()[1])


async def test_what_the_agent_is_told_of_the_caller(server: ServerProcess, peer: SipPeer) -> None:
    headers = "X-Case: 42\nX-Queue: billing; de\nUser-to-User: 00ff;encoding=hex\nP-Secret: no"
    async with registered(server, "7001") as ann:
        call = dial(
            peer, server, from_='"Ann \\"A\\" Öz" <sip:+49301234@example.com>', headers=headers, body=sdp(30000)
        )
        await call.response(180)
        incoming = await ann.incoming()
        assert (incoming["from"], incoming["displayName"]) == ("+49301234", 'Ann "A" Öz')
        shown = {"X-Case": "42", "X-Queue": "billing; de", "User-to-User": "00ff;encoding=hex"}
        assert incoming["headers"] == shown
        assert "autoAnswer" not in incoming
        call.cancel()
        await call.response(487)
        assert (await ann.wait("callEnded"))["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("header", "asks"),
    [
        ("Call-Info: <sip:x>;answer-after=0", True),
        ('Alert-Info: <http://x>;info=alert-autoanswer;delay="0"', True),
        ("Alert-Info: Ring Answer", False),
        ("Call-Info: <sip:x>;purpose=icon", False),
        ("X-Auto-Answer: true", False),
    ],
)
async def test_who_asks_for_an_automatic_answer(server: ServerProcess, peer: SipPeer, header: str, asks: bool) -> None:
    async with registered(server, "7001") as ann:
        call = dial(peer, server, headers=header, body=sdp(30000))
        assert (await ann.incoming()).get("autoAnswer", False) == asks
        call.cancel()
        await call.response(487)


async def test_both_hear_each_other_and_a_bye_ends_it(server: ServerProcess, peer: SipPeer) -> None:
    async with talking(peer, server) as (call, answered, phone):
        (await answered.client.listen(1.2)).check_tone(PEER_HZ)
        phone.heard.check_tone(AGENT_HZ)
        call.request("BYE")
        await call.response(200)
        assert (await answered.wait("callEnded"))["reason"] == "normal_clearing"
        assert await answered.client.wait_closed(2)


async def test_a_late_offer_is_answered_in_the_ack(server: ServerProcess, peer: SipPeer) -> None:
    async with registered(server, "7001") as ann, await RtpPhone.open() as phone:
        call = dial(peer, server)
        answered = await ann.answer(await ann.incoming(), frequency_hz=AGENT_HZ)
        ok = await call.response(200)
        call.ack(body=sdp(phone.port))
        phone.talk(rtp_port(ok), PEER_HZ)
        await answered.client.wait_tone(PEER_HZ)
        await until(lambda: phone.heard.duration_s > 1.2, timeout_s=3, what="the agent's tone")
        phone.heard.check_tone(AGENT_HZ)
        await answered.order("hangup")
        peer.respond(await peer.receive("BYE"), 200)


async def test_the_peers_hold_is_told_and_the_agents_is_sent(server: ServerProcess, peer: SipPeer) -> None:
    async with talking(peer, server) as (call, answered, phone):
        call.request("INVITE", body=sdp(phone.port, "a=sendonly"))
        await call.answered()
        await answered.wait("held", by="remote")
        (await answered.client.listen(0.6)).check_tone(PEER_HZ, min_duration_s=0.5)
        call.request("INVITE", body=sdp(phone.port, "a=sendrecv"))
        await call.answered()
        await answered.wait("resumed", by="remote")
        await answered.order("hold")
        hold = await peer.receive("INVITE")
        assert "a=sendonly" in hold.body
        peer.respond(hold, 200, body=sdp(phone.port, "a=recvonly"))
        await peer.receive("ACK")
        await answered.order("hold", hold=False)
        resume = await peer.receive("INVITE")
        assert "a=sendonly" not in resume.body
        peer.respond(resume, 200, body=sdp(phone.port))
        await peer.receive("ACK")
        await answered.client.wait_tone(PEER_HZ)
        assert not any(m["payload"].get("by") == "remote" for m in answered.messages[-2:] if m["type"] == "held")
        call.request("BYE")
        await call.response(200)
        await answered.wait("callEnded")


async def test_nobody_is_there_or_known(server: ServerProcess, peer: SipPeer) -> None:
    await dial(peer, server, "7003", body=sdp(30000)).response(480)
    await dial(peer, server, "7999", body=sdp(30000)).response(404)


@pytest.mark.parametrize(("reason", "status"), [(None, 603), ("busy", 486), ("rejected", 603)])
async def test_the_agents_refusal_is_the_callers(
    server: ServerProcess, peer: SipPeer, reason: str | None, status: int
) -> None:
    async with registered(server, "7001") as ann:
        call = dial(peer, server, body=sdp(30000))
        incoming = await ann.incoming()
        await ann.request("reject", callId=incoming["callId"], **({"reason": reason} if reason else {}))
        await call.response(status)


async def test_who_is_the_ninth_hears_busy(server: ServerProcess, peer: SipPeer) -> None:
    async with registered(server, "7001") as ann:
        calls = [dial(peer, server, body=sdp(30000)) for _ in range(8)]
        await ann.incoming(number=7)
        await dial(peer, server, body=sdp(30000)).response(486)
        for call in calls:
            call.cancel()
        for number in range(8):
            incoming = await ann.incoming(number=number)
            assert (await ann.wait("callEnded", callId=incoming["callId"]))["reason"] == "cancelled"


async def test_nobody_answers(server: ServerProcess, peer: SipPeer) -> None:
    async with registered(server, "7001") as ann:
        call = dial(peer, server, body=sdp(30000))
        await call.response(180)
        await ann.incoming()
        assert (await ann.wait("callEnded", timeout_s=7))["reason"] == "no_answer"
        await call.response(480)


async def test_a_cancel_after_the_answer_is_too_late(server: ServerProcess, peer: SipPeer) -> None:
    async with registered(server, "7001") as ann:
        call = dial(peer, server, body=sdp(30000))
        answered = await ann.answer(await ann.incoming())
        await call.response(200)
        call.cancel()
        call.ack()
        call.request("BYE")
        assert (await answered.wait("callEnded"))["reason"] == "normal_clearing"


async def test_the_agents_socket_goes_while_it_rings(server: ServerProcess, peer: SipPeer) -> None:
    agent = Agent(server.url)
    await agent.connect()
    await agent.register("7002", PASSWORDS["7002"])
    call = dial(peer, server, "7002", body=sdp(30000))
    await agent.incoming()
    await agent.drop()
    await call.response(480)
    await agent.close()


async def test_a_codec_that_nobody_speaks_is_refused(server: ServerProcess, peer: SipPeer) -> None:
    async with registered(server, "7001") as ann:
        call = dial(peer, server, body=sdp(30000, "a=rtpmap:18 G729/8000", formats="18"))
        await call.response(488)
        await ann.request("ping")
        assert not any(message["type"] == "incomingCall" for message in ann.received)
