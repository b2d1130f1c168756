"""Servers with DNs of their own, and agents that are registered there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from peers.agent import Agent
from peers.asterisk import Asterisk, User, running_asterisk
from peers.server import ServerProcess, running

from sdpserver.passwords import hash_password

PASSWORDS = {"7001": "ann's", "7002": "bob's", "7003": "cem's"}
NAMES = {"7001": "Ann", "7002": "Bob", "7003": "Cem"}
REATTACH_S = 2


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


EXTENSIONS = ("1002", "1003", "5001")


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


@contextlib.asynccontextmanager
async def registered(server: ServerProcess, number: str) -> AsyncIterator[Agent]:
    """An agent with this DN."""
    async with Agent(server.url) as agent:
        await agent.register(number, PASSWORDS[number])
        yield agent
