"""DNs on a real Asterisk's registrar."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from peers.asterisk import Asterisk, User, running_asterisk
from peers.waiting import until, wait_until

from sdpserver.errors import RegistrationRefused
from sdpserver.sip import DnRegistration, RegistrationState

from .conftest import Caller, running_caller

DNS = ("1002", "1003", "5001")


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    with running_asterisk(*(User(dn, f"pw{dn}", "ulaw,alaw,opus") for dn in DNS)) as peer:
        yield peer


@contextlib.asynccontextmanager
async def caller_of(pbx: Asterisk, **trunk: Any) -> AsyncIterator[Caller]:
    async with running_caller(pbx.address, **trunk) as caller:
        yield caller


async def contacts(pbx: Asterisk) -> str:
    return await asyncio.to_thread(pbx.rx, "pjsip show contacts")


async def register(
    caller: Caller, dn: str, password: str = "", **options: Any
) -> tuple[DnRegistration, list[RegistrationState]]:
    states: list[RegistrationState] = []
    registration = await caller.endpoint.register(
        dn,
        password or f"pw{dn}",
        trunk=caller.trunk,
        on_change=lambda registration: states.append(registration.state),
        **options,
    )
    return registration, states


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_all_dns_are_registered_and_taken_back(pbx: Asterisk, transport: str) -> None:
    async with caller_of(pbx, transport=transport) as caller:
        found = await asyncio.gather(*(register(caller, dn) for dn in DNS))
        shown = await contacts(pbx)
        port = caller.endpoint.ports["tcp" if transport == "tcp" else "udp"]
        for dn in DNS:
            assert f"{dn}/sip:{dn}@127.0.0.1:{port}" in shown
        await found[0][0].unregister()
        assert "sip:1002@" not in await contacts(pbx)
    assert "sip:" not in await contacts(pbx)
    assert {registration.state for registration, _ in found} == {RegistrationState.UNREGISTERED}


async def test_a_wrong_password_is_refused(pbx: Asterisk) -> None:
    async with caller_of(pbx) as caller:
        mine, _ = await register(caller, "1003")
        with pytest.raises(RegistrationRefused) as caught:
            await register(caller, "1002", "wrong")
        assert (caught.value.reason, caught.value.sip_status in (401, 403)) == ("bad_credentials", True)
        with pytest.raises(RegistrationRefused):
            await register(caller, "9999")
        assert mine.state is RegistrationState.REGISTERED
        await register(caller, "1002")


async def test_423_of_asterisk_is_met(pbx: Asterisk) -> None:
    async with caller_of(pbx) as caller:
        registration, _ = await register(caller, "1002", expires_s=10)
        assert registration.expires_s in (59, 60)  # what is left when it answers


async def test_a_refresh_is_of_the_same_contact(pbx: Asterisk) -> None:
    async with caller_of(pbx) as caller:
        registration, states = await register(caller, "1002", expires_s=60)
        before = await contacts(pbx)
        registration.sip_status = 0
        caller.endpoint._registrations.renew(registration)
        await until(lambda: registration.sip_status == 200, timeout_s=3, what="the answer to a refresh")
        assert await contacts(pbx) == before
        assert states == [RegistrationState.REGISTERED]


async def test_500_dns_register_at_once_and_leave_with_the_endpoint() -> None:
    dns = [str(number) for number in range(2000, 2500)]
    peer = Asterisk(tuple(User(dn, f"pw{dn}", "ulaw") for dn in dns))
    try:
        await asyncio.to_thread(peer.start)
        async with caller_of(peer) as caller:
            await asyncio.gather(*(register(caller, dn) for dn in dns))
            assert (await contacts(peer)).count("/sip:2") == 500
            assert caller.endpoint.trunk_status("peer")["agents"] == 500
            before_s = time.monotonic()
            await caller.endpoint.stop()
            assert time.monotonic() - before_s < 1.5
            assert "sip:2" not in await contacts(peer)
    finally:
        await asyncio.to_thread(peer.close)


@pytest.fixture
def own_pbx() -> Iterator[Asterisk]:
    """One for a single test, which stops and starts it."""
    with running_asterisk(User("1002", "pw1002", "ulaw")) as peer:
        yield peer


async def wait_contact(pbx: Asterisk) -> None:
    await asyncio.to_thread(
        wait_until, lambda: "sip:1002@" in pbx.rx("pjsip show contacts"), timeout_s=15, what="the contact"
    )


def forget_contacts(pbx: Asterisk) -> None:
    """Asterisk keeps those over UDP in a file."""
    for file in pbx.folder.rglob("astdb.sqlite3*"):
        file.unlink()


async def test_a_refresh_that_meets_a_restart_of_asterisk_is_taken_after_it(own_pbx: Asterisk) -> None:
    async with caller_of(own_pbx) as caller:
        registration, states = await register(caller, "1002")
        await asyncio.to_thread(own_pbx.kill)
        forget_contacts(own_pbx)
        caller.endpoint._registrations.renew(registration)
        await asyncio.to_thread(own_pbx.start)
        await wait_contact(own_pbx)
        await until(lambda: registration.state is RegistrationState.REGISTERED, timeout_s=5, what="the answer")
        await registration.unregister()
        assert "sip:1002@" not in await contacts(own_pbx)
        assert states[-1] is RegistrationState.UNREGISTERED


async def test_a_first_registration_meets_a_restart_of_asterisk(own_pbx: Asterisk) -> None:
    async with caller_of(own_pbx) as caller:
        await asyncio.to_thread(own_pbx.kill)
        registering = asyncio.create_task(register(caller, "1002"))
        await asyncio.to_thread(own_pbx.start)
        registration, states = await registering
        assert states == [RegistrationState.REGISTERED]
        await wait_contact(own_pbx)
        await registration.unregister()


async def test_a_connection_that_is_lost_with_asterisk_is_noticed_at_once(own_pbx: Asterisk) -> None:
    async with caller_of(own_pbx, transport="tcp") as caller:
        registration, states = await register(caller, "1002")
        await asyncio.to_thread(own_pbx.kill)
        await until(lambda: states[-1] is RegistrationState.RETRYING, timeout_s=5, what="the loss to be noticed")
        forget_contacts(own_pbx)
        await asyncio.to_thread(own_pbx.start)
        await until(lambda: states[-1] is RegistrationState.REGISTERED, timeout_s=10, what="the DN to be back")
        await wait_contact(own_pbx)
        await registration.unregister()
        assert "sip:1002@" not in await contacts(own_pbx)
