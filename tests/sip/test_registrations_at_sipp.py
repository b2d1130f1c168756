"""DNs at registrars that keep to a script: challenges of each kind, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peers.sipp import Sipp, Step, pause, receive, receive_authorized, respond

from sdpserver.errors import RegistrationRefused
from sdpserver.sip import DnRegistration, RegistrationState

from .conftest import Caller, running_caller


def challenge(status: str, nonce: str, *, proxy: bool = False, extra: str = "", algorithm: str = "MD5") -> Step:
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return respond(status, f'{name}: Digest realm="sipp.test", nonce="{nonce}", algorithm={algorithm}{extra}')


def taken(expires_s: int = 300) -> Step:
    return respond("200 OK", f"Expires: {expires_s}")


def taken_back() -> Step:
    return receive("REGISTER", expires="^ *0") + respond("200 OK", "Expires: 0")


async def register(caller: Caller, password: str = "pw1002", **options: Any) -> DnRegistration:
    return await caller.endpoint.register(
        "1002", password, trunk=caller.trunk, on_change=options.pop("on_change", lambda _: None), **options
    )


QOP = ', qop="auth"'
UNAUTHORIZED, PROXY = "401 Unauthorized", "407 Proxy Authentication Required"


# SIPp checks digests of 401 only; Asterisk's and our own registrar's tests have the passwords.
@pytest.mark.parametrize(
    ("challenged", "answer"),
    [
        (challenge(UNAUTHORIZED, "n1"), receive_authorized("REGISTER", "1002", "pw1002")),
        (challenge(UNAUTHORIZED, "n1", algorithm="SHA-256"), receive("REGISTER", authorization="SHA-256")),
        (challenge(PROXY, "n1", proxy=True), receive("REGISTER", proxy_authorization='username=.1002"')),
    ],
    ids=["401", "401 SHA-256", "407"],
)
async def test_a_challenge_is_met_and_the_registration_taken_back(
    challenged: Step, answer: Step, tmp_path: Path
) -> None:
    scenario = receive("REGISTER") + challenged + answer + taken() + taken_back()
    async with Sipp.running(scenario, tmp_path) as sipp:
        async with running_caller(sipp.host_port) as caller:
            registration = await register(caller)
            assert registration.expires_s == 300
            await registration.unregister()
        await sipp.finished()


async def test_a_wrong_password_is_tried_once(tmp_path: Path) -> None:
    scenario = (
        receive("REGISTER") + challenge(UNAUTHORIZED, "n1") + receive_authorized("REGISTER", "1002", "pw1002") + taken()
    )
    async with Sipp.running(scenario, tmp_path) as sipp:
        async with running_caller(sipp.host_port) as caller:
            with pytest.raises(RegistrationRefused) as caught:
                await register(caller, "wrong")
            assert (caught.value.sip_status, caught.value.reason) == (403, "bad_credentials")
        await sipp.finished()


async def test_the_same_challenge_again_ends_it(tmp_path: Path) -> None:
    scenario = (
        receive("REGISTER")
        + challenge(UNAUTHORIZED, "n1")
        + receive("REGISTER")
        + challenge(UNAUTHORIZED, "n1")
        + pause(1500)
    )
    async with Sipp.running(scenario, tmp_path) as sipp, running_caller(sipp.host_port) as caller:
        with pytest.raises(RegistrationRefused) as caught:
            await register(caller)
        assert (caught.value.sip_status, caught.value.reason) == (401, "bad_credentials")
        await sipp.finished()


@pytest.mark.parametrize("extra", [f"{QOP}, stale=true", ", stale=TRUE", QOP], ids=["stale", "no qop", "not said"])
async def test_a_stale_nonce_is_replaced(extra: str, tmp_path: Path) -> None:
    scenario = (
        receive("REGISTER")
        + challenge(UNAUTHORIZED, "n1", extra=QOP)
        + receive_authorized("REGISTER", "1002", "pw1002")
        + challenge(UNAUTHORIZED, "n2", extra=extra)
        + receive_authorized("REGISTER", "1002", "pw1002")
        + taken()
        + taken_back()
    )
    states: list[RegistrationState] = []
    async with Sipp.running(scenario, tmp_path) as sipp:
        async with running_caller(sipp.host_port) as caller:
            await register(caller, on_change=lambda changed: states.append(changed.state))
        await sipp.finished()
    assert states == [RegistrationState.REGISTERED, RegistrationState.UNREGISTERED]


async def test_423_is_met_with_what_the_registrar_asks_for(tmp_path: Path) -> None:
    scenario = (
        receive("REGISTER", expires="^ *300")
        + respond("423 Interval Too Brief", "Min-Expires: 900")
        + receive("REGISTER", expires="^ *900")
        + taken(900)
        + taken_back()
    )
    async with Sipp.running(scenario, tmp_path) as sipp:
        async with running_caller(sipp.host_port) as caller:
            assert (await register(caller)).expires_s == 900
        await sipp.finished()


@pytest.mark.parametrize(
    ("response", "headers", "reason"),
    [
        ("403 Forbidden", "", "bad_credentials"),
        ("404 Not Found", "", "dn_not_found"),
        ("302 Moved Temporarily", "Contact: <sip:127.0.0.1:9>", "redirected"),
        ("503 Service Unavailable", "Retry-After: 1", "trunk_unavailable"),
        ("600 Busy Everywhere", "", "busy"),
        (UNAUTHORIZED, "", "bad_credentials"),  # without a challenge
    ],
)
async def test_a_first_refusal_is_told_and_nothing_follows(
    response: str, headers: str, reason: str, tmp_path: Path
) -> None:
    scenario = receive("REGISTER") + respond(response, headers) + pause(1500)
    async with Sipp.running(scenario, tmp_path) as sipp, running_caller(sipp.host_port) as caller:
        with pytest.raises(RegistrationRefused) as caught:
            await register(caller)
        assert caught.value.reason == reason
        assert caught.value.sip_status == int(response.split()[0])
        await sipp.finished()
