"""Peers, strangers and agents who may not send a call anywhere are refused; the call that is up does not hear it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from peers.agent import Agent, AgentCall, Refused
from peers.live_call import PAGE_HZ, STRANGER_IP, TRUNK_IP, LiveCall, phone_answers
from peers.rtp_phone import RtpPhone
from peers.server import ServerProcess
from peers.sip_peer import PeerCall, PeerDialog, SipPeer, sdp

from .conftest import PASSWORDS

pytestmark = pytest.mark.asyncio(loop_scope="module")
OTHER_IP = "127.0.0.3"
NO_ROUTE = "5999"
"""Routes lead to what begins with 6."""


@dataclass(slots=True)
class Talk:
    """Ann has called the trunk's 600 and talks to it."""

    live: LiveCall
    ann: Agent
    call: AgentCall

    @property
    def server(self) -> ServerProcess:
        return self.live.server

    @property
    def trunk(self) -> SipPeer:
        return self.live.peer

    @property
    def replaces(self) -> str:
        """The Replaces that names this call, as its peer would write it for a third party."""
        dialog = self.live.dialog
        ours = re.search(r"tag=([^;]+)", dialog.invite["from"])
        assert ours is not None
        return f"{dialog.invite['call-id']};to-tag={ours[1]};from-tag={dialog.tag}"

    @contextlib.asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Both have heard each other all the time, no call was made or ended, and the agent was told of nothing."""
        sent, told, started = len(self._sent), len(self.call.messages), time.monotonic()
        sessions = self.server.open_sessions()
        yield
        await self.live.heard_since(started, at_least_s=0.4)
        self.live.dialog.request("OPTIONS")
        while (await self.trunk.receive(200)).method != "OPTIONS":
            pass
        assert self._sent[sent:] == []
        assert [message["type"] for message in self.call.messages[told:] if message["type"] != "quality"] == []
        assert await asyncio.to_thread(self.server.open_sessions) == sessions

    @property
    def _sent(self) -> list[str]:
        """The calls' own requests that the trunk has got."""
        return [
            message.start
            for message in self.trunk.distinct_requests
            if message.method not in ("NOTIFY", "ACK", "OPTIONS")
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(dns: list[dict[str, Any]]) -> AsyncIterator[Talk]:
    async with (
        await SipPeer.open(TRUNK_IP) as peer,
        await SipPeer.open(OTHER_IP) as other,
        await RtpPhone.open() as phone,
    ):
        trunks = [
            {"name": "phone", "server": peer.host_port, "options_interval_s": 0},
            {"name": "other", "server": other.host_port, "options_interval_s": 0},
        ]
        routes = [{"match": "^6[0-9]+$", "trunk": "phone"}, {"match": "^8[0-9]+$", "trunk": "other"}]
        server = ServerProcess({"dn": dns, "trunks": trunks, "routes": routes, "session": {"reattach_s": 1}})
        try:
            await asyncio.to_thread(server.start)
            async with Agent(server.url) as ann:
                await ann.register("7001", PASSWORDS["7001"])
                calling = asyncio.create_task(ann.call("600", frequency_hz=PAGE_HZ, codec="PCMU"))
                dialog = await phone_answers(peer, phone)
                call = await calling
                live = LiveCall(server, peer, phone, call.client, dialog)
                await live.is_heard()
                yield Talk(live, ann, call)
                peer.answer_by_itself("BYE")
                await call.hang_up()
            await asyncio.to_thread(server.terminate)
        finally:
            server.close()


@pytest.mark.parametrize(
    "refer_to",
    [
        "<sip:900@192.0.2.1>",
        "<sip:600@evil.example;maddr=127.0.0.1>",
        "<sip:600@{trunk}@evil.example>",
        "<sip:600@{other}>",
        "<tel:+4930>",
    ],
)
async def test_a_refer_of_the_trunk_to_another_host_is_declined(talk: Talk, refer_to: str) -> None:
    async with talk.unchanged():
        other = f"{OTHER_IP}:5060"
        header = f"Refer-To: {refer_to.format(trunk=talk.trunk.host_port, other=other)}"
        talk.live.dialog.request("REFER", headers=header)
        assert (await talk.trunk.receive(603)).method == "REFER"


@pytest.mark.parametrize("number", [NO_ROUTE, "800", "echo", "conference/x"])
async def test_a_refer_of_the_trunk_to_a_number_of_no_route_of_its_own_fails(talk: Talk, number: str) -> None:
    async with talk.unchanged():
        talk.live.dialog.request("REFER", headers=f"Refer-To: <sip:{number}@{talk.trunk.host_port}>")
        assert (await talk.trunk.receive(202)).method == "REFER"
        while "terminated" not in (notify := await talk.trunk.receive("NOTIFY"))["subscription-state"]:
            talk.trunk.respond(notify, 200)
        talk.trunk.respond(notify, 200)
        assert notify.body.startswith("SIP/2.0 403")


@pytest.mark.parametrize("ip", [TRUNK_IP, OTHER_IP, STRANGER_IP], ids=["trunk", "other trunk", "stranger"])
@pytest.mark.parametrize("number", ["600", "7001", NO_ROUTE])
async def test_a_refer_out_of_a_call_is_forbidden(talk: Talk, ip: str, number: str) -> None:
    async with talk.unchanged(), await SipPeer.open(ip) as sender:
        headers = f"Refer-To: <sip:{number}@{talk.trunk.host_port}>\nReferred-By: <sip:7001@127.0.0.1>"
        sender.request("REFER", "sip:7001@127.0.0.1", talk.live.sip_address, headers=headers)
        await sender.receive(403)


@pytest.mark.parametrize("ip", [OTHER_IP, STRANGER_IP], ids=["other trunk", "stranger"])
async def test_a_refer_in_the_call_by_somebody_else_is_not_heeded(talk: Talk, ip: str) -> None:
    """He knows the Call-ID but not the tags."""
    async with talk.unchanged(), await SipPeer.open(ip) as sender:
        invite = talk.live.dialog.invite
        sender.request(
            "REFER",
            "sip:7001@127.0.0.1",
            talk.live.sip_address,
            from_=f"{invite['to']};tag=guessed",
            to_header=invite["from"],
            call_id=invite["call-id"],
            cseq=500,
            headers=f"Refer-To: <sip:601@{talk.trunk.host_port}>",
        )
        await sender.receive(481)


@pytest.mark.parametrize("ip", [OTHER_IP, STRANGER_IP], ids=["other trunk", "stranger"])
async def test_only_its_own_trunk_replaces_a_call(talk: Talk, ip: str) -> None:
    async with talk.unchanged(), await SipPeer.open(ip) as sender:
        headers = f"Replaces: {talk.replaces}\nRequire: replaces"
        taker = PeerCall.make(sender, "7001", talk.live.sip_address, headers=headers, body=sdp(33000))
        await taker.response(403)


@pytest.mark.parametrize(
    ("old", "new"),
    [("to-tag=", "to-tag=x"), ("from-tag=", "from-tag=x"), ("", "x"), (";to-tag=", ";early-only;to-tag=")],
    ids=["our tag", "its tag", "Call-ID", "early only"],
)
@pytest.mark.parametrize("ip", [TRUNK_IP, STRANGER_IP], ids=["trunk", "stranger"])
async def test_replaces_that_names_the_call_wrongly_replaces_nothing(talk: Talk, ip: str, old: str, new: str) -> None:
    async with talk.unchanged(), await SipPeer.open(ip) as sender:
        value = talk.replaces.replace(old, new, 1) if old else new + talk.replaces
        headers = f"Replaces: {value}\nRequire: replaces"
        PeerCall.make(sender, "7001", talk.live.sip_address, headers=headers, body=sdp(33000))
        answer = await sender.receive(486 if "early" in new else 481)
        assert answer.method == "INVITE"


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:601@192.0.2.1>",
        f"<sip:{NO_ROUTE}@{{trunk}}>",
        "<sip:800@{trunk}>",
        "<sip:7001@{trunk}>",
        "<sip:602@{trunk}?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>",
        "<sip:601@{trunk}>",
        "",
    ],
    ids=["another host", "no route", "another trunk's", "a DN", "with headers", "a loop", "nowhere"],
)
async def test_a_redirection_that_may_not_be_is_not_followed(talk: Talk, contact: str) -> None:
    async with Agent(talk.server.url) as bob:
        await bob.register("7002", PASSWORDS["7002"])
        client = bob.client(codec="PCMU")
        started = time.monotonic()
        reply = await bob.request("call", to="601", sdp=await client.offer())
        dialog = PeerDialog(talk.trunk, await talk.trunk.receive("INVITE"))
        header = f"Contact: {contact.format(trunk=talk.trunk.host_port)}" if contact else ""
        talk.trunk.respond(dialog.invite, 302, "Moved", contact="", headers=header)
        ended = await bob.wait("callEnded", callId=reply["callId"])
        assert (ended["sipStatus"], ended["reason"]) == (302, "redirect_refused")
        await talk.trunk.receive("ACK")
        await client.close()
        await talk.live.heard_since(started)
    async with talk.unchanged():
        pass


@pytest.mark.parametrize(
    "to",
    [
        NO_ROUTE,
        "sip:x@evil",
        "sip:600@evil.example",
        "sip:600@evil.example;maddr=127.0.0.1",
        "sip:@",
        "600@evil",
        "tel:+",
    ],
)
@pytest.mark.parametrize("order", ["transfer", "call"])
async def test_an_agent_gets_nowhere_that_no_route_leads_to(talk: Talk, order: str, to: str) -> None:
    async with talk.unchanged():
        client = talk.ann.client()
        orders = {"transfer": {"callId": talk.call.call_id}, "call": {"sdp": await client.offer()}}
        with pytest.raises(Refused) as refused:
            await talk.ann.request(order, to=to, **orders[order])
        await client.close()
        assert (refused.value.code, refused.value.reason) == (400, "bad_destination")


async def test_an_agent_transfers_no_call_of_another(talk: Talk) -> None:
    async with talk.unchanged(), Agent(talk.server.url) as bob:
        await bob.register("7002", PASSWORDS["7002"])
        with pytest.raises(Refused) as refused:
            await bob.request("transfer", callId=talk.call.call_id, to="601")
        assert refused.value.code == 404
