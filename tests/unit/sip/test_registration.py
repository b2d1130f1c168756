"""What the outcomes of REGISTERs make of a DN's registration. Nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sdpserver.sip.accounts import TrunkAccount
from sdpserver.sip.registration import DnRegistration, RegisterOutcome, Registrations, RegistrationState
from sdpserver.sip.stack import Stack

REGISTERED, RETRYING, UNREGISTERED = RegistrationState
TAKEN = RegisterOutcome(key=1, expires_s=300, status=200, phrase="OK", is_from_peer=True)
FAILURES = {
    "no answer": RegisterOutcome(key=1, status=408, phrase="Request Timeout"),
    "transport down": RegisterOutcome(key=1, status=503, phrase="Service Unavailable"),
    "not sent": RegisterOutcome(key=1, phrase="Network is unreachable"),
    "500": RegisterOutcome(key=1, status=500, phrase="Server Internal Error", is_from_peer=True),
    "503": RegisterOutcome(key=1, status=503, phrase="Service Unavailable", is_from_peer=True, retry_after_s=30),
}
REFUSED = RegisterOutcome(key=1, status=403, phrase="Forbidden", is_from_peer=True)


def _no_account(registration: DnRegistration) -> TrunkAccount:
    raise AssertionError(f"{registration.dn} was to be registered")


def _no_call(command: Callable[[Stack], None]) -> asyncio.Future[None]:
    raise AssertionError("the SIP thread was called")


@contextmanager
def registration(trunk: str = "pbx") -> Iterator[tuple[DnRegistration, list[tuple[RegistrationState, bool]]]]:
    """One that is registered, and what it tells from then on: its state, and whether it can be reached."""
    told: list[tuple[RegistrationState, bool]] = []
    owner = Registrations(post=lambda command: None, call=_no_call, account_of=_no_account, also_of=lambda trunk: "")
    found = DnRegistration(
        owner,
        dn="1002",
        trunk=trunk,
        password="pw1002",
        display_name="",
        requested_expires_s=300,
        on_change=lambda it: told.append((it.state, it.is_reachable)),
    )
    found.adopt(1, found, TAKEN)
    assert told == [(REGISTERED, True)]
    told.clear()
    try:
        yield found, told
    finally:
        found.cancel_retry()


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_refresh_that_fails_is_told_once_and_so_is_the_one_that_is_taken(failure: RegisterOutcome) -> None:
    with registration() as (it, told):
        for _ in range(3):
            it.deliver(failure)
            assert not it.is_reachable
        assert told == [(RETRYING, False)]
        for _ in range(2):
            it.deliver(TAKEN)
            assert it.is_reachable
        assert told == [(RETRYING, False), (REGISTERED, True)]


async def test_a_refusal_is_the_end_and_after_an_outage_only_the_third() -> None:
    with registration() as (it, told):
        it.deliver(REFUSED)
        assert told == [(UNREGISTERED, False)]
    with registration() as (it, told):
        it.deliver(FAILURES["503"])
        for _ in range(2):
            it.deliver(REFUSED)
        assert (it.state, it.is_reachable) == (RETRYING, False)
        it.deliver(REFUSED)
        assert told == [(RETRYING, False), (UNREGISTERED, False)]


async def test_one_registrar_of_two_is_enough() -> None:
    with registration("asterisk") as (it, told), registration("genesys") as (also, _):
        it.also = also
        it.deliver(FAILURES["no answer"])
        assert told == [(RETRYING, True)]
        also.deliver(FAILURES["no answer"])
        it.tell()
        assert told == [(RETRYING, True), (RETRYING, False)]
        it.deliver(TAKEN)
        assert told[-1] == (REGISTERED, True)
