"""Clients that speak the bridge dialect: flat messages over the same socket."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from peers.agent import Agent
from peers.aiortc_client import Client
from peers.server import ServerProcess
from websockets.asyncio.client import ClientConnection, connect

from .conftest import PASSWORDS, registered


async def receive(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(await asyncio.wait_for(socket.recv(), 5))
    return found


async def send(socket: ClientConnection, **message: object) -> None:
    await socket.send(orjson.dumps(message).decode())


def bridge(server: ServerProcess) -> connect:
    return connect(server.url.replace("http", "ws", 1) + "/ws", proxy=None)


async def test_an_offer_is_answered_and_a_bye_ends_the_call(server: ServerProcess) -> None:
    async with bridge(server) as socket, Client(server.url, codec="PCMU") as client:
        await send(socket, type="offer", target="echo", sdp=await client.offer())
        answer = await receive(socket)
        assert answer["type"] == "answer"
        await client.accept({"sdp": {"sdp": answer["sdp"]}})
        await client.wait_connected()
        await send(socket, type="candidate", candidate={"candidate": "", "sdpMid": "0"})
        await client.wait_tone(1000)
        await send(socket, type="bye")
        bye = await receive(socket)
        assert bye["type"] == "bye", bye
        assert (bye["type"], bye["callId"], bye["reason"]) == ("bye", answer["callId"], "normal_clearing")


async def test_a_call_comes_in(server: ServerProcess) -> None:
    async with bridge(server) as socket, registered(server, "7002") as bob, Client(server.url) as client:
        await send(socket, type="register", dn="7001", password=PASSWORDS["7001"])
        assert (await receive(socket))["type"] == "registered"
        calling = await bob.call("7001", frequency_hz=1100)
        incoming = await receive(socket)
        assert (incoming["type"], incoming["from"]) == ("incoming-call", "7002")
        await send(socket, type="answer", sdp=await client.answer_to(incoming["sdp"]))
        await client.wait_connected()
        await client.wait_tone(1100)
        await calling.client.wait_tone(1000)
        await calling.hang_up()
        assert (await receive(socket))["type"] == "bye"


async def test_errors_are_flat_too(server: ServerProcess) -> None:
    async with bridge(server) as socket, Agent(server.url) as other:
        await send(socket, type="bye", reason="x")
        error = await receive(socket)
        assert (error["type"], error["code"], error["details"]["reason"]) == ("error", 400, "call_not_found")
        await send(socket, type="offer", target="echo", sdp="v=0", id="o1")
        error = await receive(socket)
        assert (error["type"], error["id"]) == ("error", "o1")
        assert (await other.request("ping")) == {}
