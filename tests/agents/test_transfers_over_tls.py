"""Transfers through Asterisk over TLS, where its Contact is an address that its certificate does not name."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.ami import AmiEvent
from peers.asterisk import Asterisk, User, running_asterisk
from peers.certificates import Authority
from peers.server import ServerProcess, running

from .conftest import (
    ANN,
    BOB,
    CEM,
    EXTENSIONS,
    HZ,
    agents,
    consulted_and_transferred,
    talk_to_the_end,
    transferred_blindly,
)


@pytest.fixture(scope="module")
def pbx(certificate: Path) -> Iterator[Asterisk]:
    with running_asterisk(
        *(User(number, f"pw{number}", "ulaw", "sdes") for number in EXTENSIONS), certificate=certificate
    ) as peer:
        yield peer


@pytest.fixture(scope="module")
def upstream(pbx: Asterisk, authority: Authority, certificate: Path) -> Iterator[ServerProcess]:
    trunk = {"name": "pbx", "server": f"localhost:{pbx.tls_port}", "transport": "tls", "srtp": "required"}
    tables = {
        "sip": {"transports": ["tls"], "tls_ca": str(authority.ca), "tls_cert": str(certificate)}
        | {"tls_key": str(certificate)},
        "trunks": [trunk | {"agent_registrar": True}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
    }
    with running(ServerProcess(tables)) as process:
        yield process


def is_named(name: str) -> Callable[[AmiEvent], bool]:
    return lambda event: event.name == name


async def test_a_call_that_came_in_is_held_resumed_and_sent_on(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN, BOB, CEM) as (ann, bob, cem):
        calling = await ann.call(BOB, frequency_hz=HZ[ANN])
        answered = await bob.answer(await bob.incoming(), frequency_hz=HZ[BOB])
        await calling.client.wait_tone(HZ[BOB])
        mark = pbx.ami.mark()
        for held, name in ((True, "Hold"), (False, "Unhold")):
            await answered.order("hold", hold=held)
            await to_thread(pbx.ami.wait_for, is_named(name), since=mark)
        await calling.client.wait_tone(HZ[BOB])
        await answered.client.wait_tone(HZ[ANN])
        taken = await transferred_blindly(answered, cem, CEM)
        await talk_to_the_end(taken, calling, numbers=(CEM, ANN))
    await to_thread(pbx.wait_no_channels)


async def test_an_attended_transfer(upstream: ServerProcess, pbx: Asterisk) -> None:
    async with agents(upstream, ANN, BOB, CEM) as (ann, bob, cem):
        first, _, _, second_there = await consulted_and_transferred(ann, bob, cem)
        await talk_to_the_end(first, second_there, numbers=(ANN, CEM))
    await to_thread(pbx.wait_no_channels)
