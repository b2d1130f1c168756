"""Two agents of this server call each other, without any PBX; judged by what each hears."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from peers.agent import Agent
from peers.server import ServerProcess, running

from sdpserver.passwords import hash_password

ANN_HZ, BOB_HZ = 700.0, 1100.0
PASSWORDS = {"5001": "ann's", "5002": "bob's"}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    dns = [{"number": number, "password_hash": hash_password(word)} for number, word in PASSWORDS.items()]
    dns[0]["display_name"] = "Ann"
    with running(ServerProcess({"dn": dns, "session": {"reattach_s": 2}})) as process:
        yield process


@contextlib.asynccontextmanager
async def registered(server: ServerProcess, number: str) -> AsyncIterator[Agent]:
    async with Agent(server.url) as agent:
        await agent.register(number, PASSWORDS[number])
        yield agent


async def test_a_call_rings_is_answered_and_both_hear_each_other(server: ServerProcess) -> None:
    async with registered(server, "5001") as ann, registered(server, "5002") as bob:
        calling = await ann.call("5002", frequency_hz=ANN_HZ)
        await calling.wait("callProgress", state="ringing")
        incoming = await bob.incoming()
        assert (incoming["from"], incoming["displayName"]) == ("5001", "Ann")
        await calling.client.wait_tone(425)
        answered = await bob.answer(incoming, frequency_hz=BOB_HZ)
        await calling.wait("callAccepted")
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        (await calling.client.listen(1.2)).check_tone(BOB_HZ)
        (await answered.client.listen(1.2)).check_tone(ANN_HZ)
        await calling.hang_up()
        ended = await answered.wait("callEnded")
        assert ended["reason"] == "normal_clearing"
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"
