"""DNs that register on a second trunk too, by `also_register`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from peers.registrar import Refusal, Registrar
from peers.waiting import until

from sdpserver.config import Config, Sip, Trunk
from sdpserver.sip import DnRegistration, RegistrationState, SipEndpoint

REGISTERED, RETRYING, UNREGISTERED = RegistrationState


class TwoRegistrars:
    """An endpoint whose agents register on two trunks."""

    def __init__(self, endpoint: SipEndpoint, trunk: Trunk, first: Registrar, second: Registrar) -> None:
        self.endpoint, self.trunk = endpoint, trunk
        self.first, self.second = first, second

    async def register(self, password: str = "pw1002") -> tuple[DnRegistration, DnRegistration]:
        found = await self.endpoint.register("1002", password, trunk=self.trunk, on_change=lambda _: None)
        assert found.also is not None
        return found, found.also

    async def become(self, state: RegistrationState, registration: DnRegistration) -> None:
        await until(lambda: registration.state is state, timeout_s=5, what=f"{registration.trunk} to be {state}")


@pytest.fixture
async def two() -> AsyncIterator[TwoRegistrars]:
    async with await Registrar.open() as first, await Registrar.open() as second:
        first.passwords, second.passwords = {"1002": "pw1002"}, {"1002": "pw1002"}
        trunk = Trunk(
            name="asterisk",
            server=first.host_port,
            agent_registrar=True,
            also_register="genesys",
            options_interval_s=0,
        )
        other = Trunk(name="genesys", server=second.host_port, options_interval_s=0)
        endpoint = SipEndpoint(Config(sip=Sip(bind="127.0.0.1", port=0), trunks=[trunk, other]))
        await endpoint.start()
        try:
            yield TwoRegistrars(endpoint, trunk, first, second)
        finally:
            first.is_silent = second.is_silent = False
            await endpoint.stop()
        assert not first.bound
        assert not second.bound


async def test_a_dn_is_registered_on_both_trunks_and_taken_back_from_both(two: TwoRegistrars) -> None:
    registration, also = await two.register()
    await two.become(REGISTERED, also)
    assert list(two.first.bound) == list(two.second.bound) == ["1002"]
    agents = {status["name"]: status["agents"] for status in two.endpoint.trunks_status()}
    assert agents == {"asterisk": 1, "genesys": 1}
    assert registration.on("genesys") is also
    await registration.unregister()
    assert not two.first.bound
    assert not two.second.bound


async def test_the_second_trunk_is_tried_until_it_is_there(two: TwoRegistrars) -> None:
    two.second.refusals[""] = Refusal(503)
    registration, also = await two.register()
    await until(lambda: two.second.requests["1002"] >= 2, timeout_s=5, what="a second attempt")
    assert (registration.state, also.state) == (REGISTERED, RETRYING)
    two.second.refusals.clear()
    await two.become(REGISTERED, also)
    again, also_again = await two.register()
    assert (again, also_again) == (registration, also)


async def test_what_the_second_trunk_refuses_does_not_touch_the_first(two: TwoRegistrars) -> None:
    two.second.passwords.clear()
    registration, also = await two.register()
    await two.become(UNREGISTERED, also)
    assert (registration.state, also.reason) == (REGISTERED, "bad_credentials")
    two.second.passwords["1002"] = "pw1002"
    _, also = await two.register()  # the agent comes back
    await two.become(REGISTERED, also)


async def test_a_password_that_is_changed_is_so_on_both(two: TwoRegistrars) -> None:
    registration, also = await two.register()
    await two.become(REGISTERED, also)
    two.first.passwords["1002"] = two.second.passwords["1002"] = "changed"
    again, also = await two.register("changed")
    await two.become(REGISTERED, also)
    assert again is registration
    assert two.second.requests["1002"] == 2
    assert also.has_password("changed")


async def test_a_refusal_of_the_first_trunk_ends_the_second(two: TwoRegistrars) -> None:
    two.first.granted_s = 1
    registration, also = await two.register()
    await two.become(REGISTERED, also)
    two.first.passwords.clear()
    await two.become(UNREGISTERED, registration)
    await until(lambda: not two.second.bound, timeout_s=3, what="the second to be taken back")
    two.first.contacts.clear()


async def test_leaving_and_coming_back_while_the_second_trunk_is_silent(two: TwoRegistrars) -> None:
    registration, also = await two.register()
    await two.become(REGISTERED, also)
    two.second.is_silent = True
    await registration.unregister()
    assert not two.first.bound
    _, also = await two.register()
    two.second.is_silent = False
    await two.become(REGISTERED, also)
    assert list(two.second.bound) == ["1002"]
