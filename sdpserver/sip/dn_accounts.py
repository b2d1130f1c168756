"""DNs on the registrars of trunks, on the SIP thread: for each registration an account of pjsip, with a key of ours.

pjsip refreshes a registration in time and raises Expires to a registrar's Min-Expires (RFC 3261 section 10.2.8). What a
failure means, and when to try again, is decided on the event loop (`registration`).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import pjsua2 as pj
import structlog

from ..errors import Unavailable
from . import message
from .accounts import TrunkAccount
from .dialog import guarded
from .offer_answer import LocalAudio
from .reasons import retry_after_s
from .registration import RegisterOutcome

log = structlog.get_logger(__name__)

PJSIP_EBUSY = 171001  # sip_errno.h: this registration waits for an answer already
# pjsip keeps a call until its BYE is answered or given up (RFC 3261 section 17.1.2.2), which needs the account.
CALL_LINGERS_S = 33.0
# What a registrar's socket takes at once.
GOODBYES_AT_A_TIME = 50
# pjsip notices when a registration's TCP connection is lost, and tries again by itself: so soon, then rarely, both
# spread over ±1 s. Only then it comes before the back-off of `registration`, which replaces what pjsip has planned.
FIRST_RETRY_S, RETRY_S, SPREAD_S = 1, 60, 1


class AccountsOwner(Protocol):
    """The stack, as these accounts see it."""

    def config_of(self, trunk: TrunkAccount) -> Any: ...
    def has_call_on(self, account: Any) -> bool: ...
    def take(self, account: Any, trunk: str, local: LocalAudio, pjsua_call_id: int, text: str) -> None: ...
    def soon(self, command: Callable[[], None]) -> None: ...


class DnAccount(pj.Account):  # type: ignore[misc]
    """A registration. `is_ending`: it is to be taken back, or has been."""

    def __init__(self, key: int, spec: TrunkAccount, owner: DnAccounts) -> None:
        super().__init__()
        self.key = key
        self.spec = spec
        self._owner = owner
        self.registered = False
        self.is_ending = False
        self.is_taken_back = False
        """A REGISTER with Expires 0 is on its way."""
        self._is_waiting = False  # for the answer to a request of ours; refreshes are pjsip's own
        self.deletable_at_s = 0.0

    def register(self) -> None:
        """Send a REGISTER now, unless one waits for its answer."""
        if not self._is_waiting and not self.is_ending:
            self._request(True)

    def register_anew(self) -> None:
        """Send a REGISTER by a configuration that has changed: pjsip has dropped the one that waited."""
        self._is_waiting = False
        self.register()

    def take_back(self) -> None:
        """REGISTER with Expires 0, once the answer to what was sent before is there."""
        self.is_ending = True
        if self._is_waiting:
            return
        if not self.registered:
            self._owner.over(self)
            return
        self.is_taken_back = True
        self._request(False)

    def _request(self, renew: bool) -> None:
        self._is_waiting = True
        try:
            self.setRegistration(renew)
        except pj.Error as exc:
            if exc.status == PJSIP_EBUSY:
                self.is_taken_back = False  # a refresh is on its way: its outcome comes first
            elif self._is_waiting:  # no callback has told
                self._is_waiting = False
                self._tell(0, 0, str(exc.reason))

    @guarded
    def onIncomingCall(self, prm: Any) -> None:
        self._owner.stack.take(self, self.spec.name, self.spec.local, prm.callId, prm.rdata.wholeMsg)

    @guarded
    def onRegState(self, prm: Any) -> None:
        self._is_waiting = False
        self.registered = prm.status == 0 and 200 <= prm.code < 300 and prm.expiration > 0
        self._tell(prm.expiration if self.registered else 0, prm.code, prm.reason, str(prm.rdata.wholeMsg))

    def _tell(self, expires_s: int, status: int, phrase: str, response: str = "") -> None:
        if not self.is_ending:
            outcome = RegisterOutcome(
                key=self.key,
                expires_s=expires_s,
                status=status,
                phrase=message.printable(phrase),
                is_from_peer=bool(response),
                retry_after_s=retry_after_s(message.header(response, "Retry-After")),
            )
            self._owner.told(self, outcome)
        elif self.registered and not self.is_taken_back:
            self._owner.stack.soon(self.take_back)  # outside the callback
        else:
            self._owner.over(self)


class DnAccounts:
    """All of them. One that is over stays until no call of pjsip's needs it."""

    def __init__(self, stack: AccountsOwner, on_outcome: Callable[[RegisterOutcome], None]) -> None:
        self.stack = stack
        self._on_outcome = on_outcome
        self._accounts: dict[int, DnAccount] = {}
        self._registered: dict[tuple[str, str], DnAccount] = {}  # by trunk and DN
        self._over: list[DnAccount] = []

    def register(self, key: int, spec: TrunkAccount) -> None:
        """Make an account and send its first REGISTER; its outcome follows.

        :raises Unavailable: pjsip takes no account more.
        """
        account = DnAccount(key, spec, self)
        try:
            account.create(self._config(spec))
        except pj.Error as exc:
            log.error("the account of a DN cannot be made", dn=spec.dn, trunk=spec.name, error=exc.info())
            raise Unavailable("the SIP stack takes no DN now", reason="sip_unavailable", retry_after_s=5) from None
        self._accounts[key] = account
        account.register()

    def _config(self, spec: TrunkAccount) -> Any:
        config = self.stack.config_of(spec)
        # Sent to where the trunk was before, a REGISTER with Expires 0 could come after the new one.
        config.regConfig.disableRegOnModify = True
        # Those who registered together do not all come back together.
        config.regConfig.delayBeforeRefreshSec = random.randint(spec.expires_s // 10, spec.expires_s // 5) or 1
        if spec.transport == "udp":
            config.regConfig.retryIntervalSec = 0
        else:
            config.regConfig.firstRetryIntervalSec, config.regConfig.retryIntervalSec = FIRST_RETRY_S, RETRY_S
            config.regConfig.randomRetryIntervalSec = SPREAD_S
        return config

    def find(self, key: int) -> DnAccount | None:
        """The account for calls of that DN, None once it is over."""
        return self._accounts.get(key)

    def of(self, trunk: str, dn: str) -> DnAccount | None:
        """The account of a DN that is registered on a trunk."""
        return self._registered.get((trunk, dn))

    def move(self, key: int, spec: TrunkAccount) -> None:
        """The trunk is somewhere else now: register there."""
        account = self._accounts.get(key)
        if account is not None and not account.is_ending:
            account.spec = spec
            self._modify(account, self._config(spec))
            account.register_anew()

    def renew(self, key: int) -> None:
        """Send a REGISTER now."""
        account = self._accounts.get(key)
        if account is not None:
            account.register()

    def unregister(self, key: int) -> None:
        """Take a registration back. Its last outcome (`is_over`) follows when that is answered, within 33 s."""
        account = self._accounts.get(key)
        if account is not None:
            account.take_back()
        else:
            self._on_outcome(RegisterOutcome(key=key, is_over=True))

    def forget(self, key: int) -> None:
        """No REGISTER any more, also none to take back what the last one brought, unless that one has left already."""
        account = self._accounts.get(key)
        if account is None or account.is_taken_back:
            return
        account.is_ending = True
        config = self._config(account.spec)
        config.regConfig.registrarUri = ""
        self._modify(account, config)
        self.over(account)

    def _modify(self, account: DnAccount, config: Any) -> None:
        try:
            account.modify(config)
        except pj.Error as exc:
            log.error("the account of a DN cannot be changed", dn=account.spec.dn, error=exc.info())

    # -- called by the accounts

    def told(self, account: DnAccount, outcome: RegisterOutcome) -> None:
        """The outcome of a REGISTER."""
        if account.registered:
            self._registered[account.spec.name, account.spec.dn] = account
        self._on_outcome(outcome)

    def told_nothing(self, key: int, phrase: str) -> None:
        """Nothing could be sent."""
        self._on_outcome(RegisterOutcome(key=key, phrase=phrase))

    def over(self, account: DnAccount) -> None:
        """Its registration has ended."""
        account.registered = False
        name = (account.spec.name, account.spec.dn)
        if self._registered.get(name) is account:
            del self._registered[name]
        if self._accounts.pop(account.key, None) is not None:
            self._over.append(account)
            self._on_outcome(RegisterOutcome(key=account.key, is_over=True))

    # -- the end

    def sweep(self) -> None:
        """Delete what is over, outside of callbacks. pjsip would let a call go on with whichever account is next."""
        now_s = time.monotonic()
        for account in [each for each in self._over if each.deletable_at_s <= now_s]:
            if self.stack.has_call_on(account):
                account.deletable_at_s = now_s + CALL_LINGERS_S
                continue
            parameter = pj.AccountShutdownParam()
            parameter.force = False
            try:
                account.shutdown2(parameter)
            except pj.Error:
                log.debug("a call still ends on the account of a DN that is over")
                account.deletable_at_s = now_s + CALL_LINGERS_S
            else:
                self._over.remove(account)

    def say_goodbye(self) -> bool:
        """Take registrations back, so many of a trunk at a time; call it until there are none (True)."""
        registered = [account for account in self._accounts.values() if account.registered]
        waiting = Counter(account.spec.name for account in registered if account.is_ending)
        for account in registered:
            if not account.is_ending and waiting[account.spec.name] < GOODBYES_AT_A_TIME:
                waiting[account.spec.name] += 1
                account.take_back()
        return not registered

    def destroy(self) -> None:
        """Before pjsip's own end."""
        for account in (*self._accounts.values(), *self._over):
            account.shutdown()
        self._accounts.clear()
        self._registered.clear()
        self._over.clear()
