"""DNs on a trunk's registrar: accepted, refused, kept registered, taken back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from peers.registrar import Refusal, Registrar
from peers.sip_peer import PeerCall, PeerDialog, sdp
from peers.waiting import until

from sdpserver.errors import BadRequest, RegistrationRefused, SipTimeout, Unavailable
from sdpserver.sip import DnRegistration, RegistrationState, SipEventType
from sdpserver.sip.registration import RegisterOutcome, retry_delay_s

from .conftest import Caller, Events, local_audio, running_caller

REGISTERED, RETRYING, UNREGISTERED = RegistrationState


class Changes:
    """The states that a registration has had."""

    def __init__(self) -> None:
        self.states: list[RegistrationState] = []

    def __call__(self, registration: DnRegistration) -> None:
        self.states.append(registration.state)

    async def become(self, state: RegistrationState, *, timeout_s: float = 5.0) -> None:
        await until(lambda: self.states[-1:] == [state], timeout_s=timeout_s, what=f"{state}, after {self.states}")


class Scene:
    """An endpoint, and a registrar as its trunk."""

    def __init__(self, caller: Caller, registrar: Registrar) -> None:
        self.caller, self.registrar = caller, registrar

    async def register(
        self, dn: str = "1002", password: str | None = None, **options: Any
    ) -> tuple[DnRegistration, Changes]:
        changes = Changes()
        registration = await self.caller.endpoint.register(
            dn, f"pw{dn}" if password is None else password, trunk=self.caller.trunk, on_change=changes, **options
        )
        return registration, changes

    @property
    def agents(self) -> int:
        return int(self.caller.endpoint.trunk_status("peer")["agents"])


@contextlib.asynccontextmanager
async def running_scene(*, by_name: bool = False, **trunk: Any) -> AsyncIterator[Scene]:
    async with await Registrar.open() as registrar:
        registrar.passwords = {dn: f"pw{dn}" for dn in ("1002", "1003")}
        server = f"localhost:{registrar.address[1]}" if by_name else registrar.host_port
        async with running_caller(trunk.pop("server", server), **trunk) as caller:
            yield Scene(caller, registrar)
            registrar.is_silent = False


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with running_scene() as scene:
        yield scene


async def test_a_dn_is_registered_with_its_own_contact_and_taken_back(scene: Scene) -> None:
    registration, changes = await scene.register()
    assert (registration.state, registration.expires_s, registration.sip_status) == (REGISTERED, 300, 200)
    ip, port = scene.caller.address
    assert scene.registrar.bound == {"1002": {f"sip:1002@{ip}:{port}"}}
    assert scene.agents == 1
    await registration.unregister()
    assert not scene.registrar.bound
    assert scene.agents == 0
    assert registration.state is UNREGISTERED
    await registration.unregister()
    assert changes.states == [REGISTERED, UNREGISTERED]


async def test_a_wrong_password_is_refused_and_disturbs_nobody(scene: Scene) -> None:
    mine, _ = await scene.register("1003")
    with pytest.raises(RegistrationRefused) as caught:
        await scene.register(password="wrong")
    assert (caught.value.sip_status, caught.value.sip_reason) == (403, "Forbidden")
    assert (caught.value.reason, caught.value.status) == ("bad_credentials", 502)
    assert scene.registrar.requests["1002"] == 1
    assert (scene.agents, mine.state) == (1, REGISTERED)
    await scene.register()
    assert set(scene.registrar.bound) == {"1002", "1003"}


async def test_a_registrar_that_asks_again_and_again_is_answered_a_few_times(scene: Scene) -> None:
    scene.registrar.refusals["1002"] = Refusal(
        401, "Unauthorized", 'WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"'
    )
    with pytest.raises(RegistrationRefused) as caught:
        await scene.register()
    assert caught.value.sip_status == 401
    assert scene.registrar.requests["1002"] <= 3


async def test_a_stale_nonce_costs_one_more_request(scene: Scene) -> None:
    scene.registrar.stale = 1
    scene.registrar.granted_s = 1
    _, changes = await scene.register()
    assert scene.registrar.challenges["1002"] == 2
    scene.registrar.stale = 1
    await until(lambda: scene.registrar.requests["1002"] >= 3, timeout_s=8, what="two refreshes")
    assert changes.states == [REGISTERED]


async def test_423_raises_what_is_asked_for(scene: Scene) -> None:
    scene.registrar.min_expires_s = 600
    registration, _ = await scene.register(expires_s=60)
    assert registration.expires_s == 600


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "dn_not_found"), (503, "trunk_unavailable"), (500, "trunk_error"), (603, "rejected")]
)
async def test_other_refusals_have_their_status(scene: Scene, status: int, reason: str) -> None:
    scene.registrar.refusals[""] = Refusal(status, "As it is")
    with pytest.raises(RegistrationRefused) as caught:
        await scene.register()
    assert (caught.value.sip_status, caught.value.sip_reason, caught.value.reason) == (status, "As it is", reason)
    scene.registrar.refusals.clear()
    await scene.register()


async def test_a_registrar_that_is_silent_is_a_timeout(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpserver.sip.registration.ANSWER_TIMEOUT_S", 0.3)
    scene.registrar.is_silent = True
    with pytest.raises(SipTimeout) as caught:
        await scene.register()
    assert caught.value.reason == "sip_timeout"
    monkeypatch.setattr("sdpserver.sip.registration.ANSWER_TIMEOUT_S", 5.0)
    scene.registrar.is_silent = False
    registration, _ = await scene.register()
    await registration.unregister()
    assert not scene.registrar.bound


async def test_a_trunk_without_an_address_is_a_timeout() -> None:
    async with running_scene(server="registrar.invalid") as scene:
        with pytest.raises(SipTimeout) as caught:
            await scene.register()
        assert caught.value.reason == "trunk_unreachable"


async def test_an_outbound_proxy_gets_the_register() -> None:
    async with await Registrar.open() as proxy:
        proxy.passwords["1002"] = "pw1002"
        name = f"localhost:{proxy.address[1]}"
        async with running_caller("pbx.invalid", outbound_proxy=name, from_domain="example.com") as caller:
            await caller.endpoint.register("1002", "pw1002", trunk=caller.trunk, on_change=lambda _: None)
            request = proxy.registers[-1]
            assert request.start == "REGISTER sip:pbx.invalid:5060 SIP/2.0"
            assert request["route"] == f"<sip:{name};lr>"
            assert request["to"] == "<sip:1002@example.com>"


async def test_no_user_part_is_refused_before_anything_leaves(scene: Scene) -> None:
    for dn in ("", "a@b", "1\r\n2"):
        with pytest.raises(BadRequest):
            await scene.register(dn)
    with pytest.raises(BadRequest):
        await scene.register(display_name="a\nb")
    assert not scene.registrar.requests


async def test_it_is_refreshed_in_time(scene: Scene) -> None:
    scene.registrar.granted_s = 2
    _, changes = await scene.register()
    await until(lambda: scene.registrar.requests["1002"] >= 4, timeout_s=8, what="three refreshes")
    assert changes.states == [REGISTERED]


async def test_a_password_that_is_changed_ends_it_at_once(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    registration, changes = await scene.register()
    scene.registrar.passwords["1002"] = "changed"
    await changes.become(UNREGISTERED)
    assert (registration.reason, registration.sip_status) == ("bad_credentials", 403)
    asked = scene.registrar.requests["1002"]
    await asyncio.sleep(2.5)  # longer than a retry would take
    assert scene.registrar.requests["1002"] == asked
    assert changes.states == [REGISTERED, UNREGISTERED]
    await registration.unregister()
    _, changes = await scene.register(password="changed")
    assert changes.states == [REGISTERED]


async def test_it_outlives_a_registrar_that_is_ill_for_a_while(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    registration, changes = await scene.register()
    scene.registrar.restart()
    scene.registrar.refusals[""] = Refusal(503, "Service Unavailable")
    await changes.become(RETRYING)
    assert (registration.reason, registration.sip_status, scene.agents) == ("trunk_unavailable", 503, 0)
    await until(lambda: scene.registrar.requests["1002"] >= 4, timeout_s=8, what="two retries")
    scene.registrar.refusals.clear()
    await changes.become(REGISTERED, timeout_s=8)
    assert set(scene.registrar.bound) == {"1002"}
    assert scene.agents == 1


async def test_a_registrar_that_knows_nobody_while_it_starts_is_asked_again(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    registration, changes = await scene.register()
    scene.registrar.refusals[""] = Refusal(503)
    await changes.become(RETRYING)
    scene.registrar.refusals[""] = Refusal(403)
    await until(lambda: registration.sip_status == 403, timeout_s=5, what="the refusal")
    scene.registrar.refusals.clear()
    await changes.become(REGISTERED, timeout_s=8)
    assert changes.states == [REGISTERED, RETRYING, REGISTERED]


async def test_refusals_after_an_outage_are_believed_in_the_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpserver.sip.registration.FIRST_RETRY_S", 0.1)
    scene.registrar.granted_s = 1
    _, changes = await scene.register()
    scene.registrar.refusals[""] = Refusal(503)
    await changes.become(RETRYING)
    scene.registrar.refusals[""] = Refusal(403)
    asked = scene.registrar.requests["1002"]
    await changes.become(UNREGISTERED)
    assert scene.registrar.requests["1002"] <= asked + 4  # one more 503 at the most
    assert changes.states == [REGISTERED, RETRYING, UNREGISTERED]


async def test_retry_after_is_kept_to(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    _, changes = await scene.register()
    scene.registrar.refusals[""] = Refusal(503, "Service Unavailable", "Retry-After: 3 (soon)")
    await changes.become(RETRYING)
    scene.registrar.refusals.clear()
    await changes.become(REGISTERED)
    assert 3 <= time.monotonic() - scene.registrar.refused_s < 4.5


def test_retries_double_from_one_second_to_a_minute_and_are_spread() -> None:
    assert [retry_delay_s(failures, 0, 0.5) for failures in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]
    assert retry_delay_s(1, 0, 0) == pytest.approx(0.8)
    assert retry_delay_s(7, 0, 1) == pytest.approx(72)
    assert retry_delay_s(1, 20, 0) == 20
    assert retry_delay_s(1, 1e6, 0) == 300


async def test_a_registration_that_is_retried_can_be_taken_back(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    registration, changes = await scene.register()
    scene.registrar.refusals[""] = Refusal(503)
    await changes.become(RETRYING)
    await registration.unregister()
    assert changes.states[-1] is UNREGISTERED
    asked = scene.registrar.requests["1002"]
    await asyncio.sleep(1.5)
    assert scene.registrar.requests["1002"] == asked


async def test_taking_back_from_a_silent_registrar_is_bounded(scene: Scene) -> None:
    registration, _ = await scene.register()
    scene.registrar.is_silent = True
    before_s = time.monotonic()
    await registration.unregister()
    assert 1.9 < time.monotonic() - before_s < 4  # pjsip waits for 32 s
    # The REGISTER that takes it back is on its way, so the next one waits for it to be answered.
    again = asyncio.create_task(scene.register())
    await asyncio.sleep(0.1)
    scene.registrar.is_silent = False
    registration, _ = await again
    assert scene.registrar.bound == {"1002": {f"sip:1002@127.0.0.1:{scene.caller.address[1]}"}}
    await registration.unregister()


async def test_taking_back_while_a_refresh_is_on_its_way(scene: Scene) -> None:
    scene.registrar.granted_s = 1
    registration, _ = await scene.register()
    scene.registrar.is_silent = True
    await until(lambda: scene.registrar.ignored > 0, timeout_s=3, what="a refresh")
    ending = asyncio.create_task(registration.unregister())
    await asyncio.sleep(0.1)
    scene.registrar.is_silent = False
    await ending
    assert not scene.registrar.bound


async def test_the_same_password_again_is_the_same_registration(scene: Scene) -> None:
    first, changes = await scene.register()
    again, others = await scene.register()
    assert again is first
    assert scene.registrar.requests["1002"] == 1
    await first.unregister()
    assert (changes.states, others.states) == ([REGISTERED, UNREGISTERED], [])


async def test_another_password_is_for_the_registrar_to_judge(scene: Scene) -> None:
    registration, changes = await scene.register()
    with pytest.raises(RegistrationRefused):
        await scene.register(password="guess")
    assert registration.state is REGISTERED
    scene.registrar.passwords["1002"] = "changed"
    again, _ = await scene.register(password="changed", display_name="Ann")
    assert again is registration
    assert (registration.state, registration.display_name) == (REGISTERED, "Ann")
    assert changes.states == [REGISTERED]
    assert registration.has_password("changed")
    assert len(scene.registrar.bound["1002"]) == 1
    with pytest.raises(RegistrationRefused):
        await scene.register(password="pw1002")
    await registration.unregister()
    assert not scene.registrar.bound


async def test_many_at_once_for_one_dn_are_one_registration(scene: Scene) -> None:
    found = await asyncio.gather(*(scene.register() for _ in range(10)))
    assert len({id(registration) for registration, _ in found}) == 1
    assert scene.registrar.requests["1002"] == 1


async def test_what_follows_the_registration_at_once_is_not_lost(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the loss of its connection, before whoever registers has come to hear of the success."""
    registrations = scene.caller.endpoint._registrations
    tell = registrations.on_outcome

    def tell_and_lose(outcome: RegisterOutcome) -> None:
        tell(outcome)
        monkeypatch.undo()
        tell(RegisterOutcome(key=outcome.key, status=503, phrase="Connection lost"))

    monkeypatch.setattr(registrations, "on_outcome", tell_and_lose)
    registration, changes = await scene.register()
    assert (registration.state, registration.sip_reason) == (RETRYING, "Connection lost")
    await changes.become(REGISTERED)
    assert changes.states == [REGISTERED, RETRYING, REGISTERED]


async def test_a_cancelled_registration_leaves_nothing_behind(scene: Scene) -> None:
    scene.registrar.is_silent = True
    task = asyncio.create_task(scene.register())
    await until(lambda: scene.registrar.ignored > 0, timeout_s=2, what="the first REGISTER")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.registrar.is_silent = False
    await until(lambda: scene.registrar.requests["1002"] == 2, timeout_s=5, what="the REGISTER that takes it back")
    assert not scene.registrar.bound
    registration, _ = await scene.register()
    assert registration.state is REGISTERED


async def test_a_trunk_that_comes_back_is_registered_with_anew() -> None:
    async with running_scene(options_interval_s=1) as scene:
        registrar, endpoint = scene.registrar, scene.caller.endpoint
        registrar.answer_by_itself("OPTIONS")
        await scene.register()
        state = endpoint._trunks["peer"]
        await until(lambda: bool(state.is_connected), timeout_s=3, what="the answer to an OPTIONS")
        registrar.restart()
        assert state.options_answer is not None
        # As if it had been silent for the 32 s that an OPTIONS lives.
        endpoint._on_options_answer(type(state.options_answer)("peer", False, 408, "Request Timeout"))
        await until(lambda: "1002" in registrar.bound, timeout_s=6, what="the DN to be registered again")


@pytest.mark.parametrize("is_lost", [False, True], ids=["in peace", "lost"])
async def test_a_trunk_that_moves_is_followed(is_lost: bool) -> None:
    async with running_scene(by_name=True) as scene, await Registrar.open("127.0.0.2") as elsewhere:
        elsewhere.passwords = scene.registrar.passwords
        registration, changes = await scene.register()
        if is_lost:
            scene.registrar.is_silent = True
            scene.caller.endpoint._registrations.renew(registration)
            await until(lambda: scene.registrar.ignored > 0, timeout_s=3, what="a REGISTER to the old place")
        state = scene.caller.endpoint._trunks["peer"]
        assert state.resolved is not None
        state.hop = replace(state.hop, port=elsewhere.address[1])
        state.resolved = replace(state.resolved, addresses=("127.0.0.2",))
        scene.caller.endpoint._registrations.trunk_moved("peer")
        await until(lambda: "1002" in elsewhere.bound, timeout_s=3, what="the DN to be registered there")
        asked = scene.registrar.requests["1002"]
        await registration.unregister()
        assert not elsewhere.bound
        assert scene.registrar.requests["1002"] == asked  # the old place is left alone
        assert changes.states == [REGISTERED, UNREGISTERED]


@pytest.mark.parametrize(
    ("status", "challenge", "answer"),
    [(401, "WWW-Authenticate", "authorization"), (407, "Proxy-Authenticate", "proxy-authorization")],
)
async def test_a_call_of_a_dn_is_from_its_number_and_with_its_password(
    scene: Scene, status: int, challenge: str, answer: str
) -> None:
    registration, _ = await scene.register(display_name="Ann")
    events = Events()
    await scene.caller.endpoint.invite(
        trunk=scene.caller.trunk, target="600", media=local_audio(), registration=registration, on_event=events
    )
    invite = await scene.registrar.receive("INVITE")
    assert re.match(r'"Ann" <sip:1002@127\.0\.0\.1>;tag=', invite["from"])
    assert invite["contact"].startswith("<sip:1002@")
    scene.registrar.respond(
        invite,
        status,
        "Who is it",
        headers=f'{challenge}: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"',
    )
    await scene.registrar.receive("ACK")
    again = await scene.registrar.receive("INVITE")
    assert 'username="1002"' in again[answer]
    dialog = PeerDialog(scene.registrar, again)
    await dialog.answer(sdp(30000))
    await events.next(SipEventType.ANSWERED)
    # The call outlives the registration, and its end is still answered for.
    await registration.unregister()
    dialog.request("BYE")
    await scene.registrar.receive(200)
    await events.ended()


async def test_a_dn_that_is_not_registered_makes_no_call(scene: Scene) -> None:
    registration, _ = await scene.register()
    await registration.unregister()
    with pytest.raises(Unavailable):
        await scene.caller.endpoint.invite(
            trunk=scene.caller.trunk, target="600", media=local_audio(), registration=registration, on_event=Events()
        )
    assert scene.caller.endpoint.trunk_status("peer")["calls"] == 0


async def test_an_incoming_call_for_a_dn_is_its_accounts(scene: Scene) -> None:
    await scene.register()
    taken = asyncio.get_running_loop().create_future()
    scene.caller.endpoint.on_incoming = lambda call, invite: taken.set_result((call, invite))
    peer_call = PeerCall.make(scene.registrar, "1002", scene.caller.address, body=sdp(30000))
    call, invite = await asyncio.wait_for(taken, 5)
    assert (invite.user, invite.trunk) == ("1002", "peer")
    call.on_event = Events()
    call.answer(local_audio())
    answer = await peer_call.answered()
    assert answer["contact"].startswith("<sip:1002@")
    scene.registrar.answer_by_itself("BYE")
    call.hangup()
    await until(lambda: scene.caller.endpoint.trunk_status("peer")["calls"] == 0, timeout_s=3, what="the call's end")


async def test_stop_takes_all_back(scene: Scene) -> None:
    registration, changes = await scene.register()
    await scene.register("1003")
    await scene.caller.endpoint.stop()
    assert not scene.registrar.bound
    assert changes.states == [REGISTERED, UNREGISTERED]
    await registration.unregister()
    with pytest.raises(Unavailable):
        await scene.register()


async def test_stop_does_not_wait_for_a_silent_registrar(scene: Scene) -> None:
    registration, _ = await scene.register()
    scene.registrar.is_silent = True
    waiting = asyncio.create_task(scene.register("1003"))
    await asyncio.sleep(0.05)
    before_s = time.monotonic()
    await scene.caller.endpoint.stop()
    assert time.monotonic() - before_s < 1.5
    assert registration.state is UNREGISTERED
    with pytest.raises(Unavailable):
        await waiting


async def test_500_dns_register_at_once_and_are_taken_back_within_a_second(scene: Scene) -> None:
    dns = [str(number) for number in range(2000, 2500)]
    scene.registrar.passwords = {dn: f"pw{dn}" for dn in dns}
    before_s = time.monotonic()
    found = await asyncio.gather(*(scene.register(dn) for dn in dns))
    registered_s = time.monotonic() - before_s
    assert set(scene.registrar.bound) == set(dns)
    assert scene.agents == 500
    assert registered_s < 5
    before_s = time.monotonic()
    await scene.caller.endpoint.stop()
    stopped_s = time.monotonic() - before_s
    assert not scene.registrar.bound
    assert stopped_s < 1.5
    assert {registration.state for registration, _ in found} == {UNREGISTERED}
