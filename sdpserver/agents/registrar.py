"""Who may be which DN: passwords of `[[dn]]`, and registrars of trunks that know the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sdpserver.config import Config
from sdpserver.errors import NotFound, PeerError, TooManyRequests, Unauthorized
from sdpserver.passwords import check_password
from sdpserver.sip import DnRegistration, RegistrationState, SipEndpoint

log = structlog.get_logger(__name__)

CHECKS_AT_ONCE = 2
"""Each is 50 ms of a core and 16 MB."""

MAX_UPSTREAM_S = 300
"""A registrar that has lost us is noticed within that time."""

MAX_FAILURES = 5
FORGIVEN_AFTER_S = 30.0
MAX_REMEMBERED = 10_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0


class Registrar:
    """Decides, and keeps DNs registered upstream."""

    def __init__(
        self,
        config: Config,
        sip: SipEndpoint | None,
        *,
        on_lost: Callable[[str, DnRegistration], None],
        on_reachable: Callable[[str], None],
    ) -> None:
        """:param on_lost: called when a DN's registrar does not want it any more.
        :param on_reachable: called when `is_reachable` of a DN may have become another one.
        """
        self._sip = sip
        self._on_lost = on_lost
        self._on_reachable = on_reachable
        self._hashes = {dn.number: dn.password_hash for dn in config.dn}
        self._trunk = next((trunk for trunk in config.trunks if trunk.agent_registrar), None)
        self._upstream: dict[str, DnRegistration] = {}
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._failures: dict[tuple[str, str], _Failures] = {}

    async def admit(
        self, number: str, password: str, *, is_local: bool, display_name: str, expires_s: int, client: str
    ) -> int:
        """Let in who knows the DN's password; for how many seconds.

        :param client: its address, which is shut out for a while after several wrong passwords.
        :raises Unauthorized: `wrong_password`; :raises NotFound: `dn_not_found`.
        :raises PeerError: the registrar's refusal, or silence.
        :raises TooManyRequests: `too_many_attempts`.
        """
        self._check_attempts(number, client)
        try:
            if is_local:
                await self._check_local(number, password)
                granted_s = expires_s
            else:
                granted_s = await self._register(number, password, display_name=display_name, expires_s=expires_s)
        except Unauthorized:
            self._failed(number, client)
            raise
        except PeerError as exc:
            if getattr(exc, "sip_status", 0) in (401, 403, 407):
                self._failed(number, client)
            raise
        self._failures.pop((number, client), None)
        return granted_s

    def _check_attempts(self, number: str, client: str) -> None:
        failures = self._failures.get((number, client))
        if failures is None or failures.count < MAX_FAILURES:
            return
        left_s = failures.last_s + FORGIVEN_AFTER_S - time.monotonic()
        if left_s > 0:
            raise TooManyRequests("too many wrong passwords", reason="too_many_attempts", retry_after_s=int(left_s) + 1)
        failures.count = 0

    def _failed(self, number: str, client: str) -> None:
        log.warning("wrong password", dn=number, client=client)
        while len(self._failures) >= MAX_REMEMBERED:
            del self._failures[next(iter(self._failures))]
        failures = self._failures.setdefault((number, client), _Failures())
        failures.count += 1
        failures.last_s = time.monotonic()

    async def _check_local(self, number: str, password: str) -> None:
        async with self._checks:
            known = await asyncio.to_thread(check_password, password, self._hashes[number])
        if not known:
            raise Unauthorized("the password is wrong", reason="wrong_password")

    async def _register(self, number: str, password: str, *, display_name: str, expires_s: int) -> int:
        if self._trunk is None or self._sip is None:
            raise NotFound("no such DN", reason="dn_not_found")
        # One that is registered already is asked for again, which says whether the password is right.
        registration = await self._sip.register(
            number,
            password,
            trunk=self._trunk,
            display_name=display_name,
            expires_s=min(expires_s, MAX_UPSTREAM_S),
            on_change=lambda changed: self._changed(number, changed),
        )
        self._upstream[number] = registration
        return registration.expires_s

    def _changed(self, number: str, registration: DnRegistration) -> None:
        if self._upstream.get(number) is not registration:
            return  # being registered, or taken back by us
        if registration.state is RegistrationState.UNREGISTERED:
            del self._upstream[number]
            self._on_lost(number, registration)
        else:
            self._on_reachable(number)

    def is_reachable(self, number: str) -> bool:
        """Whether a registrar knows where a DN of its is; of those of `[[dn]]`, yes."""
        if number in self._hashes:
            return True
        registration = self._upstream.get(number)
        return registration is not None and registration.is_reachable

    def registration(self, number: str, trunk: str) -> DnRegistration | None:
        """By which a call of the DN goes out over a trunk; None: it has none there."""
        registration = self._upstream.get(number)
        return registration.on(trunk) if registration is not None else None

    async def release(self, number: str) -> None:
        """Unregister a DN upstream. Idempotent."""
        if (registration := self._upstream.pop(number, None)) is not None:
            await registration.unregister()

    async def stop(self) -> None:
        """Unregister all; the SIP endpoint's own stop does it for all at once."""
        self._upstream.clear()
