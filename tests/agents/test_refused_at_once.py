"""A call that is refused before its caller has been told that it is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from peers.in_process import in_process
from peers.waiting import until

from sdpserver.agents.signalling import Signalling
from sdpserver.models.webrtc import OfferRequest, OfferResponse
from sdpserver.passwords import hash_password
from sdpserver.session import Sessions

DNS = [{"number": number, "password_hash": hash_password(number)} for number in ("7001", "7002")]


class Client:
    """One agent's messages, without a socket. Rejects what rings."""

    def __init__(self, sessions: Sessions, agents: Any) -> None:
        self.received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.signalling = Signalling(agents, sessions, self, owner=None, client="127.0.0.1")

    async def order(self, type_: str, **payload: Any) -> None:
        await self.signalling.receive(orjson.dumps({"type": type_, "payload": payload, "id": type_}).decode())

    def send(self, type_: str, payload: Mapping[str, Any], id_: Any = None) -> None:
        self.received.put_nowait({"type": type_, "payload": payload, "id": id_})

    def send_raw(self, message: Mapping[str, Any]) -> None:
        self.received.put_nowait(dict(message))

    def close(self, code: int, reason: str) -> None:
        pass

    async def next(self, type_: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (message := await self.received.get())["type"] != type_:
                pass
        return message


async def test_its_reply_comes_first_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process({"dn": DNS}) as server:
        sessions, agents = server.app.state.sessions, server.app.state.agents
        caller, callee = Client(sessions, agents), Client(sessions, agents)
        await caller.order("register", dn="7001", password="7001")
        await callee.order("register", dn="7002", password="7002")

        async def reject() -> None:
            ringing = await callee.next("incomingCall")
            await callee.order("reject", callId=ringing["payload"]["callId"])

        rejecting = asyncio.create_task(reject())
        offer = sessions.offer

        async def held_up(request: OfferRequest, **options: Any) -> OfferResponse:
            response: OfferResponse = await offer(request, **options)
            await rejecting
            call = sessions.find_call(response.call.call_id, owner=None)
            await until(lambda: call.call_state == "ended", timeout_s=5, what="the call to end")
            return response

        monkeypatch.setattr(sessions, "offer", held_up)
        async with server.client() as browser:
            await caller.order("call", to="7002", sdp=await browser.offer())
            reply = await caller.next("callProgress")
            assert (reply["id"], reply["payload"]["state"]) == ("call", "calling")
            assert (await caller.next("callEnded"))["payload"]["reason"] == "rejected"
        for client in (caller, callee):
            client.signalling.closed()
