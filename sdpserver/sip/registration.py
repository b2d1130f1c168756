"""DNs on the registrars of trunks, on the event loop: who is registered, what a failure means, when to try again."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import hmac
import itertools
import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from ..errors import RegistrationRefused, SipTimeout, Unavailable
from .reasons import SHUTDOWN, SIP_TIMEOUT, TRUNK_UNREACHABLE, reason_for_registration

if TYPE_CHECKING:
    from .accounts import TrunkAccount
    from .stack import Stack

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 10.0
UNREGISTER_TIMEOUT_S = 2.0
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 60.0
JITTER = 0.2
MAX_RETRY_AFTER_S = 300.0
# A registrar that comes back may have lost what it knew; its DNs do not all ask at once.
RENEW_WITHIN_S = 2.0
# A registrar that starts may know nobody yet: after an outage so many refusals are taken for "not now".
DOUBTED_REFUSALS = 2
# Of the statuses that say no, these say not now.
NOT_NOW = frozenset({408, 423, 425, 429, 480, 491})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterOutcome:
    """What a REGISTER of the account `key` brought. `expires_s` 0: it is not registered.

    `is_from_peer`: a registrar said so; else pjsip itself, with a status of its own. `is_over`: the account's last.
    """

    key: int
    expires_s: int = 0
    status: int = 0
    phrase: str = ""
    is_from_peer: bool = False
    retry_after_s: int = 0
    is_over: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the registrar would say the same to the next REGISTER."""
        refused = 300 <= self.status < 500 or self.status >= 600
        return self.is_from_peer and refused and self.status not in NOT_NOW


def retry_delay_s(failures: int, retry_after_s: float, chance: float) -> float:
    """How long to wait after so many failures in a row (from 1): doubling, spread by `chance` (0 to 1) over ±20 %."""
    delay_s: float = min(FIRST_RETRY_S * 2 ** min(failures - 1, 16), MAX_RETRY_S) * (1 - JITTER + 2 * JITTER * chance)
    return max(delay_s, min(retry_after_s, MAX_RETRY_AFTER_S))


class RegistrationState(enum.Enum):
    """RETRYING: it was registered, and a REGISTER failed since. UNREGISTERED is the end."""

    REGISTERED = "registered"
    RETRYING = "retrying"
    UNREGISTERED = "unregistered"


class DnRegistration:
    """A DN that a trunk's registrar has taken, kept registered. Used on the event loop only.

    `also` is the same DN on the trunk's `also_register`, which begins and ends with this one and whose failures are its
    own: it is tried again until its registrar says yes, or no.

    `on_change` is called when its state, or that of `also`, has become another one.

    `expires_s` is what the registrar granted last, 0 at the end; `since` when `state` became what it is. `sip_status`,
    `sip_reason` and `reason` (a word of ours) say what the last REGISTER brought.
    """

    def __init__(
        self,
        owner: Registrations,
        *,
        dn: str,
        trunk: str,
        password: str,
        display_name: str,
        requested_expires_s: int,
        on_change: Callable[[DnRegistration], None],
    ) -> None:
        self.dn = dn
        self.trunk = trunk
        self.display_name = display_name
        self.requested_expires_s = requested_expires_s
        self.state = RegistrationState.UNREGISTERED
        self.expires_s = 0
        self.sip_status = 0
        self.sip_reason = ""
        self.reason = ""
        self.since = datetime.now(UTC)
        self.key = 0
        """Of its account on the SIP thread, 0 before there is one."""
        self.also: DnRegistration | None = None
        self._owner = owner
        self.password = password
        self._on_change = on_change
        self._failures = 0
        self._refusals = 0
        self._retry: asyncio.TimerHandle | None = None
        self._log = log.bind(dn=dn, trunk=trunk)

    async def unregister(self) -> None:
        """Take it back; done when the registrar has answered, or after 2 s. Idempotent."""
        await self._owner.unregister(self)

    def on(self, trunk: str) -> DnRegistration | None:
        """The DN's registration on that trunk, if it has an account there."""
        known = (each for each in (self, self.also) if each is not None and each.is_live and each.key)
        return next((each for each in known if each.trunk == trunk), None)

    @property
    def is_live(self) -> bool:
        """Whether it is kept registered."""
        return self.state is not RegistrationState.UNREGISTERED

    @property
    def is_reachable(self) -> bool:
        """Whether a registrar knows where the DN is, this one's or that of `also`: calls from outside find it."""
        known = (each for each in (self, self.also) if each is not None)
        return any(each.state is RegistrationState.REGISTERED for each in known)

    def has_password(self, password: str) -> bool:
        """Whether it is the one that the registrar took."""
        return hmac.compare_digest(*(each.encode("utf-8", "surrogatepass") for each in (password, self.password)))

    # -- called by `Registrations`

    def adopt(self, key: int, asked: DnRegistration, outcome: RegisterOutcome) -> None:
        """From now on the account `key` is this DN's: its REGISTER was taken, with what was `asked` for."""
        self.key, self.password, self.display_name = key, asked.password, asked.display_name
        self.deliver(outcome)

    def begin(self, key: int) -> None:
        """The account `key` is to register it, be it at the first attempt or later."""
        self.key, self.state = key, RegistrationState.RETRYING

    def deliver(self, outcome: RegisterOutcome) -> None:
        """The outcome of a refresh or a retry."""
        self.sip_status, self.sip_reason = outcome.status, outcome.phrase
        if outcome.expires_s:
            self.cancel_retry()
            self._failures = self._refusals = 0
            self.expires_s, self.reason = outcome.expires_s, ""
            self._become(RegistrationState.REGISTERED)
            return
        self.reason = _reason(outcome)
        if outcome.is_final:
            self._refusals += 1
            if self._failures == 0 or self._refusals > DOUBTED_REFUSALS:
                self.end(self.reason)
                return
        self._failures += 1
        if self._failures == 1:
            self._log_refusal("DN not registered, to be tried again")
        delay_s = retry_delay_s(self._failures, outcome.retry_after_s, random.random())
        self.renew_in(delay_s)
        self._become(RegistrationState.RETRYING)

    def renew_in(self, delay_s: float) -> None:
        """Send a REGISTER then, unless the answer to another one comes first."""
        self.cancel_retry()
        self._retry = asyncio.get_running_loop().call_later(delay_s, self._owner.renew, self)

    def cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def end(self, reason: str) -> None:
        """It is registered no more, for `reason`."""
        self.cancel_retry()
        self.expires_s, self.reason = 0, reason
        self._become(RegistrationState.UNREGISTERED)

    def _become(self, state: RegistrationState) -> None:
        if state is self.state:
            return
        self.state, self.since = state, datetime.now(UTC)
        if state is RegistrationState.REGISTERED:
            self._log.info("DN registered", expires_s=self.expires_s)
        elif state is RegistrationState.UNREGISTERED and self.reason in ("", SHUTDOWN):
            self._log.info("DN unregistered")
        elif state is RegistrationState.UNREGISTERED:
            self._log_refusal("DN refused by its registrar")
        self.tell()

    def tell(self) -> None:
        """Its state, or that of `also`, is another one."""
        try:
            self._on_change(self)
        except Exception:
            self._log.exception("a change of a DN's registration failed")

    def _log_refusal(self, text: str) -> None:
        self._log.warning(text, reason=self.reason, status=self.sip_status, text=self.sip_reason)


def _reason(outcome: RegisterOutcome) -> str:
    if not outcome.is_from_peer:
        return SIP_TIMEOUT if outcome.status == 408 else TRUNK_UNREACHABLE
    return reason_for_registration(outcome.status)


def _refusal(dn: str, outcome: RegisterOutcome) -> RegistrationRefused | SipTimeout:
    if not outcome.is_from_peer:
        return SipTimeout(f"the registrar of DN {dn} does not answer", reason=_reason(outcome))
    return RegistrationRefused(
        f"the registrar refused DN {dn}: {outcome.status} {outcome.phrase}".rstrip(),
        reason=_reason(outcome),
        sip_status=outcome.status,
        sip_reason=outcome.phrase,
    )


class Registrations:
    """All of an endpoint. Each attempt has an account of its own on the SIP thread, so that a wrong password for a DN
    that is registered disturbs nobody.
    """

    def __init__(
        self,
        *,
        post: Callable[[Callable[[Stack], None]], None],
        call: Callable[[Callable[[Stack], None]], asyncio.Future[None]],
        account_of: Callable[[DnRegistration], TrunkAccount],
        also_of: Callable[[str], str],
    ) -> None:
        """`post` and `call` run a command on the SIP thread; `account_of` makes a DN's account, `also_of` names the
        trunk on which those of another one register too, or is "".

        :raises SipTimeout: from `account_of`, while the trunk has no address.
        """
        self._post = post
        self._call = call
        self._account_of = account_of
        self._also_of = also_of
        self._keys = itertools.count(1)
        self._live: dict[tuple[str, str], DnRegistration] = {}
        self._by_key: dict[int, DnRegistration] = {}
        self._attempts: dict[int, asyncio.Future[RegisterOutcome]] = {}
        # What followed the answer to an attempt at once, such as a connection's loss, before its maker has come to it.
        self._sequels: dict[int, RegisterOutcome] = {}
        # What is being taken back, by DN and trunk: an old REGISTER with Expires 0 must not meet a new one.
        self._ending: dict[tuple[str, str], dict[int, asyncio.Event]] = {}
        self._ending_name: dict[int, tuple[str, str]] = {}
        self._turns: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def count(self, trunk: str) -> int:
        """How many DNs are registered on a trunk."""
        return sum(
            1 for each in self._live.values() if each.trunk == trunk and each.state is RegistrationState.REGISTERED
        )

    async def register(self, registration: DnRegistration) -> DnRegistration:
        """As `SipEndpoint.register`; `registration` is a new one, which is returned unless the DN has one already."""
        name = (registration.dn, registration.trunk)
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with turn:
            known = self._live.get(name)
            if known is not None and known.has_password(registration.password):
                self._follow(known)
                return known
            await self._wait_for_endings(name)
            key, outcome = await self._attempt(registration)
            known = self._live.get(name)  # it may have ended meanwhile
            if known is None:
                known = self._live[name] = registration
            else:
                self._by_key.pop(known.key, None)
                self._forget(known.key)  # the same Contact has been registered anew
            self._by_key[key] = known
            known.adopt(key, registration, outcome)
            self._follow(known)
            if (sequel := self._sequels.pop(key, None)) is not None:
                self.on_outcome(sequel)
            return known

    def _follow(self, registration: DnRegistration) -> None:
        """See that the DN is registered where it has to be too, with the same password."""
        trunk = self._also_of(registration.trunk)
        also = registration.also
        if not trunk or (also is not None and also.is_live and also.has_password(registration.password)):
            return
        if also is not None and also.is_live:
            self._drop(also)
            self._forget(also.key)
            also.end("")
        also = registration.also = DnRegistration(
            self,
            dn=registration.dn,
            trunk=trunk,
            password=registration.password,
            display_name=registration.display_name,
            requested_expires_s=registration.requested_expires_s,
            on_change=lambda _: registration.tell(),
        )
        name = (also.dn, also.trunk)
        also.begin(0)
        self._live[name] = also
        if name not in self._ending:  # else once that is over
            self._begin(also)

    def _begin(self, registration: DnRegistration) -> None:
        """Register without anybody who waits for it."""
        try:
            account = self._account_of(registration)
        except SipTimeout:  # the trunk has no address yet
            registration.deliver(RegisterOutcome(key=0))
            return
        key = next(self._keys)
        registration.begin(key)
        self._by_key[key] = registration
        self._post(functools.partial(_register, key, account))

    async def _wait_for_endings(self, name: tuple[str, str]) -> None:
        endings = self._ending.get(name, {})
        for key in endings:
            self._forget(key)  # unless it waits for an answer already
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                for ended in list(endings.values()):
                    await ended.wait()
        except TimeoutError:
            raise SipTimeout(f"the registrar of DN {name[0]} does not answer", reason=SIP_TIMEOUT) from None

    async def _attempt(self, registration: DnRegistration) -> tuple[int, RegisterOutcome]:
        """
        :raises RegistrationRefused: the registrar's no.
        :raises SipTimeout: nobody's answer.
        """
        key = next(self._keys)
        account = self._account_of(registration)
        answer = self._attempts[key] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._call(lambda stack: stack.dns.register(key, account))
                outcome = await answer
        except BaseException as exc:
            self._sequels.pop(key, None)
            self._take_back(key, (registration.dn, registration.trunk))
            if isinstance(exc, TimeoutError):
                text = f"the registrar of DN {registration.dn} does not answer"
                raise SipTimeout(text, reason=SIP_TIMEOUT) from None
            raise
        finally:
            del self._attempts[key]
        if not outcome.expires_s:
            self._sequels.pop(key, None)
            self._forget(key)
            raise _refusal(registration.dn, outcome)
        return key, outcome

    async def unregister(self, registration: DnRegistration) -> None:
        name = (registration.dn, registration.trunk)
        if self._live.get(name) is registration:
            self._end(registration, "")
        if registration.also is not None:
            await asyncio.gather(self._wait_for_end(registration.also), self._wait_for_end(registration))
        else:
            await self._wait_for_end(registration)

    def _end(self, registration: DnRegistration, reason: str) -> None:
        """Take it back."""
        self._drop(registration)
        if registration.key:
            self._take_back(registration.key, (registration.dn, registration.trunk))
        registration.end(reason)
        self._end_also(registration)

    def _end_also(self, registration: DnRegistration) -> None:
        if registration.also is not None and registration.also.is_live:
            self._end(registration.also, "")

    async def _wait_for_end(self, registration: DnRegistration) -> None:
        name = (registration.dn, registration.trunk)
        ended = self._ending.get(name, {}).get(registration.key)
        if ended is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNREGISTER_TIMEOUT_S):
                    await ended.wait()

    def renew(self, registration: DnRegistration) -> None:
        """Send a REGISTER now."""
        if (key := registration.key) == 0:
            self._begin(registration)
        else:
            self._post(lambda stack: stack.dns.renew(key))

    def trunk_moved(self, trunk: str) -> None:
        """It has another address: register there."""
        for registration in self._on(trunk):
            if registration.key:
                self._post(functools.partial(_move, registration.key, self._account_of(registration)))
            else:
                registration.renew_in(0)

    def trunk_is_back(self, trunk: str) -> None:
        """It did not answer for a while, and may have lost its registrations."""
        for registration in self._on(trunk):
            registration.renew_in(random.random() * RENEW_WITHIN_S)

    def _on(self, trunk: str) -> list[DnRegistration]:
        return [registration for registration in self._live.values() if registration.trunk == trunk]

    def _drop(self, registration: DnRegistration) -> None:
        self._live.pop((registration.dn, registration.trunk), None)
        self._by_key.pop(registration.key, None)

    def _forget(self, key: int) -> None:
        self._post(lambda stack: stack.dns.forget(key))

    def _take_back(self, key: int, name: tuple[str, str]) -> None:
        self._ending.setdefault(name, {})[key] = asyncio.Event()
        self._ending_name[key] = name
        self._post(lambda stack: stack.dns.unregister(key))

    # -- what the SIP thread tells

    def on_outcome(self, outcome: RegisterOutcome) -> None:
        if outcome.is_over:
            self._ended(outcome.key)
        elif (answer := self._attempts.get(outcome.key)) is not None:
            if answer.done():
                self._sequels[outcome.key] = outcome
            else:
                answer.set_result(outcome)
        elif (registration := self._by_key.get(outcome.key)) is not None:
            registration.deliver(outcome)
            if not registration.is_live:
                self._drop(registration)
                self._forget(registration.key)
                self._end_also(registration)

    def _ended(self, key: int) -> None:
        name = self._ending_name.pop(key, None)
        if name is None:
            return
        endings = self._ending[name]
        endings.pop(key).set()
        if not endings:
            del self._ending[name]
            waiting = self._live.get(name)
            if waiting is not None and waiting.key == 0 and waiting.state is RegistrationState.RETRYING:
                self._begin(waiting)

    # -- the end

    def stop(self) -> None:
        """Nothing is sent by itself any more."""
        for registration in self._live.values():
            registration.cancel_retry()

    def on_thread_over(self) -> None:
        """Whatever ended the thread, nobody waits for it, and nothing is registered."""
        for answer in self._attempts.values():
            if not answer.done():
                text = "the SIP endpoint is stopped"
                answer.set_exception(Unavailable(text, reason="draining", retry_after_s=5))
        for registration in list(self._live.values()):
            self._drop(registration)
            registration.end(SHUTDOWN)
        for key in list(self._ending_name):
            self._ended(key)


def _register(key: int, account: TrunkAccount, stack: Stack) -> None:
    try:
        stack.dns.register(key, account)
    except Unavailable as exc:
        stack.dns.told_nothing(key, str(exc))


def _move(key: int, account: TrunkAccount, stack: Stack) -> None:
    stack.dns.move(key, account)
