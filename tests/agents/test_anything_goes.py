"""Agents who do whatever they like, in any order: each request has one reply, nothing fails, and nothing is left."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import structlog
from peers.aiortc_client import Client
from peers.in_process import InProcess, in_process
from peers.waiting import until

from sdpserver.agents import Signalling

from .conftest import PASSWORDS
from .test_fuzz import Line, signalling, told

NUMBERS = ("7001", "7001", "7002", "7003")
STEPS, REATTACH_S = 150, 0.3
ORDERS = (
    *("call",) * 3,
    *("answer",) * 6,
    *("hold", "hold", "mute", "conference", "conference", "send", "consult", "complete", "cancel", "record", "dtmf"),
    *("offer again", "hangup", "reject", "drop", "come back"),
)


class Person:
    """An agent, and those of its calls that it may know of."""

    def __init__(self, server: InProcess, number: str) -> None:
        self.number = number
        self.line = Line()
        self.talk: Signalling = signalling(server, self.line)
        self.token = ""

    async def says(self, type_: str, **payload: Any) -> None:
        before = len(self.line.messages)
        reply = await asyncio.wait_for(told(self.talk, self.line, type_, **payload), 5)
        replies = [message["type"] for message in self.line.messages[before:] if message["id"] == "x"]
        assert len(replies) == 1, (type_, replies)
        assert reply.get("code") != 500, (type_, payload)
        self.token = reply.get("resumeToken", self.token)

    def calls(self, *types: str) -> list[dict[str, Any]]:
        """The payloads of these messages, of calls that have not ended."""
        messages = self.line.messages
        ended = {message["payload"]["callId"] for message in messages if message["type"] == "callEnded"}
        found = [message["payload"] for message in messages if message["type"] in types]
        return [payload for payload in found if payload["callId"] not in ended]


class Scene:
    def __init__(self, server: InProcess, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.people: list[Person] = []
        self.clients: list[Client] = []
        self.offers: list[str] = []

    def client(self) -> Client:
        self.clients.append(Client(self.server.url))
        return self.clients[-1]

    async def newcomer(self, number: str) -> Person:
        person = Person(self.server, number)
        await person.says("register", dn=number, password=PASSWORDS[number])
        return person

    async def step(self) -> None:
        index = self.chance.randrange(len(self.people))
        person, order = self.people[index], self.chance.choice(ORDERS)
        ringing = person.calls("incomingCall")
        live = [payload["callId"] for payload in person.calls("callAccepted")]
        if order in ("drop", "come back"):
            self.people[index] = await self.replaced(person, drops=order == "drop")
        elif order == "call" or not (ringing or live):
            to = self.chance.choice((*PASSWORDS, *PASSWORDS, "echo", "conference/x"))
            await person.says("call", to=to, sdp=self.chance.choice(self.offers))
        elif ringing and (order == "answer" or not live):
            incoming = self.chance.choice(ringing)
            answer = await self.client().answer_to(incoming["sdp"])
            await person.says("answer", callId=incoming["callId"], sdp=answer)
        elif live:
            await self.act(person, order, live)

    async def act(self, person: Person, order: str, live: list[str]) -> None:
        call_id, yes = self.chance.choice(live), self.chance.random() < 0.5
        match order:
            case "hold" | "mute" | "record":
                await person.says(order, callId=call_id, **{order: yes})
            case "conference":
                await person.says(order, callIds=list(dict.fromkeys(live))[:3], **({"room": "x"} if yes else {}))
            case "send":
                to = self.chance.choice((*PASSWORDS, "echo", "nowhere"))
                await person.says("transfer", callId=call_id, to=to)
            case "consult":
                to = self.chance.choice(tuple(PASSWORDS))
                await person.says("transfer", callId=call_id, to=to, sdp=self.chance.choice(self.offers))
            case "complete":
                await person.says("transfer", callId=call_id, consultCallId=self.chance.choice(live))
            case "cancel":
                await person.says("transfer", callId=call_id, cancel=True)
            case "dtmf":
                await person.says("dtmf", callId=call_id, digits="12")
            case "offer again":
                await person.says("call", callId=call_id, sdp=self.chance.choice(self.offers))
            case "hangup" | "reject":
                await person.says(order, callId=call_id, reason="busy")

    async def replaced(self, person: Person, *, drops: bool) -> Person:
        """By another socket, after the first has dropped or beside it; or it never comes back."""
        if drops:
            person.talk.closed()
            if self.chance.random() < 0.4:
                return await self.newcomer(person.number)
        other = Person(self.server, person.number)
        other.line.messages = list(person.line.messages)
        await other.says("register", resumeToken=person.token)
        if not drops:
            assert person.line.closed is not None
            person.talk.closed()
        return other


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_agents_do_nothing_fails_and_nothing_is_left(seed: int, dns: list[dict[str, Any]]) -> None:
    tables = {"dn": dns, "session": {"reattach_s": REATTACH_S, "linger_s": 0}}
    async with in_process(tables) as server:
        scene = Scene(server, seed)
        with structlog.testing.capture_logs() as logs:
            scene.offers = [await scene.client().offer() for _ in range(4)]
            scene.people = [await scene.newcomer(number) for number in NUMBERS]
            for _ in range(STEPS):
                await scene.step()
                if scene.chance.random() < 0.3:
                    await asyncio.sleep(scene.chance.random() * 0.02)
            for person in scene.people:
                person.talk.closed()
            sessions, agents = server.app.state.sessions, server.app.state.agents
            await until(lambda: not sessions.calls(), timeout_s=5, what="all calls to end")
            await until(lambda: not sessions.stats["legs"], timeout_s=5, what="all legs to be freed")
            await until(lambda: not any(dn.connections for dn in agents.all), timeout_s=5, what="the connections")
            assert not any(dn.ringing for dn in agents.all)
        for client in scene.clients:
            await client.close()
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical") or entry.get("exc_info")]
