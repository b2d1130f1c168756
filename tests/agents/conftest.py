"""Servers with DNs of their own, and agents that are registered there."""

from __future__ import annotations

import contextlib
from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from peers.agent import Agent, AgentCall
from peers.asterisk import Asterisk, User, running_asterisk
from peers.certificates import Authority
from peers.server import ServerProcess, running

from sdpserver.passwords import hash_password

from .sipp_lines import Line, Lines

PASSWORDS = {"7001": "ann's", "7002": "bob's", "7003": "cem's"}
NAMES = {"7001": "Ann", "7002": "Bob", "7003": "Cem"}
REATTACH_S = 2
ANN_HZ, BOB_HZ, CEM_HZ = 700.0, 1100.0, 1700.0
ANN, BOB, CEM = EXTENSIONS = "1002", "1003", "5001"
HZ = dict(zip(EXTENSIONS, (ANN_HZ, BOB_HZ, CEM_HZ), strict=True))


@pytest.fixture(scope="session")
def dns() -> list[dict[str, Any]]:
    return [
        {"number": number, "password_hash": hash_password(word), "display_name": NAMES[number]}
        for number, word in PASSWORDS.items()
    ]


@pytest.fixture(scope="module")
def server(dns: list[dict[str, Any]]) -> Iterator[ServerProcess]:
    """Without trunks."""
    with running(ServerProcess({"dn": dns, "session": {"reattach_s": REATTACH_S}})) as process:
        yield process


@pytest.fixture(scope="module")
def trunked(dns: list[dict[str, Any]], asterisk: Asterisk) -> Iterator[ServerProcess]:
    """With a trunk to Asterisk."""
    tables = {"dn": dns, "session": {"reattach_s": REATTACH_S}}
    with running(ServerProcess.for_asterisk(asterisk, tables)) as process:
        yield process


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    """Whose users agents register as; the password of 1002 is pw1002."""
    with running_asterisk(*(User(number, f"pw{number}", "ulaw,alaw") for number in EXTENSIONS)) as peer:
        yield peer


@pytest.fixture(scope="module")
def upstream(pbx: Asterisk) -> Iterator[ServerProcess]:
    """Whose agents register there."""
    tables = {
        "trunks": [{"name": "pbx", "server": pbx.address, "agent_registrar": True}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
        "session": {"reattach_s": 1},
    }
    with running(ServerProcess(tables)) as process:
        yield process


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "ca")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Path:
    """Asterisk's, and the server's. Asterisk's Contact has its address, which is not in it."""
    return authority.issue(x509.DNSName("localhost"))


@contextlib.asynccontextmanager
async def registered(server: ServerProcess, number: str) -> AsyncIterator[Agent]:
    """An agent with this DN."""
    async with Agent(server.url) as agent:
        await agent.register(number, PASSWORDS[number])
        yield agent


async def connected(
    caller: Agent, callee: Agent, number: str, *, hz: tuple[float, float]
) -> tuple[AgentCall, AgentCall]:
    """A call from one agent to another that is answered and heard on both sides."""
    before = sum(message["type"] == "incomingCall" for message in callee.received)
    calling = await caller.call(number, frequency_hz=hz[0])
    answered = await callee.answer(await callee.incoming(number=before), frequency_hz=hz[1])
    await calling.client.wait_tone(hz[1])
    await answered.client.wait_tone(hz[0])
    return calling, answered


@contextlib.asynccontextmanager
async def agents(upstream: ServerProcess, *numbers: str) -> AsyncIterator[list[Agent]]:
    """With these DNs, by the PBX's passwords."""
    found = [Agent(upstream.url) for _ in numbers]
    try:
        for agent, number in zip(found, numbers, strict=True):
            await agent.connect()
            await agent.register(number, f"pw{number}")
        yield found
    finally:
        for agent in found:
            await agent.close()


async def transferred_blindly(talking: AgentCall, to: Agent, number: str) -> AgentCall:
    """The call is sent on to the agent with this number, who has answered, and has ended for who has sent it on."""
    assert (await talking.order("transfer", to=number))["state"] == "trying"
    incoming = await to.incoming()
    assert incoming["from"] == ANN
    taken = await to.answer(incoming, frequency_hz=HZ[number])
    await talking.wait("transferred", state="completed")
    assert (await talking.wait("callEnded"))["reason"] == "transferred"
    return taken


async def talk_to_the_end(one: AgentCall, other: AgentCall, *, numbers: tuple[str, str]) -> None:
    """Each hears the other's tone, without a gap; then the first hangs up, which the other is told."""
    ends = ((one, HZ[numbers[1]]), (other, HZ[numbers[0]]))
    for call, frequency_hz in ends:
        await call.client.wait_tone(frequency_hz)
    for call, frequency_hz in ends:
        (await call.client.listen(1.2)).check_tone(frequency_hz)
    await one.hang_up()
    await other.wait("callEnded")


async def consulted_and_transferred(ann: Agent, bob: Agent, cem: Agent) -> tuple[AgentCall, ...]:
    """Ann has called Bob, who has called Cem and connected the two, by REFER with Replaces; Ann hears Cem.

    The four ends: Ann's, Bob's of her call, Bob's of his own, Cem's.
    """
    first = await ann.call(BOB, frequency_hz=HZ[ANN])
    first_there = await bob.answer(await bob.incoming(), frequency_hz=HZ[BOB])
    await first.client.wait_tone(HZ[BOB])
    second = await bob.call(CEM, frequency_hz=HZ[BOB])
    await first_there.wait("held", by="local")
    second_there = await cem.answer(await cem.incoming(), frequency_hz=HZ[CEM])
    await second.client.wait_tone(HZ[CEM])
    await first_there.order("transfer", consultCallId=second.call_id)
    for call in (first_there, second):
        assert (await call.wait("callEnded"))["reason"] == "transferred"
    await first.client.wait_tone(HZ[CEM])
    return first, first_there, second, second_there


async def sent_on(pbx: Asterisk, ann: Agent) -> AgentCall:
    """Ann's call to the PBX's echo, which the PBX has sent on to its 440 Hz, by REFER; she hears them."""
    mark = pbx.ami.mark()
    call = await ann.call("600", frequency_hz=HZ[ANN])
    channel = await to_thread(pbx.wait_channel, since=mark)
    await call.client.wait_tone(HZ[ANN])
    await to_thread(pbx.redirect, channel, "640")
    await call.client.wait_tone(440)
    return call


@pytest.fixture
def line(lines: Lines, tmp_path: Path) -> Iterator[Line]:
    """To SIPp, of the module's `lines`."""
    yield lines.next(tmp_path)
    lines.check_idle()
