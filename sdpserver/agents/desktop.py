"""What an agent desktop, which has no audio of its own, does with the softphone page that is connected for its DN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from sdpserver.errors import Conflict, no_such_call
from sdpserver.session import Session

from .connection import Connection, Registration
from .directory import Agents, Dn

MAX_DESKTOPS = 10_000

DesktopKey = tuple[str, str]
"""The credential that a desktop has, and its address."""


class Desktops:
    """Which DNs each desktop has signed on to, since its orders name none; those that were heard of longest ago are
    forgotten when there are `MAX_DESKTOPS`. And the pages of DNs that are signed off, which wait."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._signed_on: OrderedDict[DesktopKey, dict[str, None]] = OrderedDict()
        self._signed_off: dict[str, list[tuple[Connection, Registration]]] = {}

    # -- signing on and off

    async def sign_on(self, desktop: DesktopKey, numbers: Sequence[str]) -> None:
        """Orders of this desktop are for these DNs from now on. Pages that have been signed off are registered again.

        :raises NotFound: `dn_not_found`. :raises Conflict: `unavailable`: no page is connected for one of them.
        :raises SdpServerError: as `Agents.register`. The desktop is signed on to none of them then.
        """
        for number in numbers:
            await self._register(number)
        self._signed_on.setdefault(desktop, {}).update(dict.fromkeys(numbers))
        self._signed_on.move_to_end(desktop)
        while len(self._signed_on) > MAX_DESKTOPS:
            self._signed_on.popitem(last=False)

    async def _register(self, number: str) -> None:
        for connection, registration in self._waiting(number):
            await self._agents.register(connection, registration)
            connection.send_registered()
            self._agents.ring_here_too(connection)
        self._signed_off.pop(number, None)
        if not self._agents.find(number).connections:
            raise _nobody_there(number)

    def sign_off(self, desktop: DesktopKey, numbers: Sequence[str] | None) -> None:
        """These DNs, all of the desktop's if none is named, are registered no more. Their pages stay connected.

        :raises NotFound: `dn_not_found`; nothing is done then. :raises Conflict: `not_signed_on`: there is none.
        """
        mine = self._signed_on.get(desktop, {})
        chosen = tuple(mine) if numbers is None else numbers
        if not chosen:
            raise _not_signed_on()
        gone = [number for number in chosen if self._waiting(number) and not self._agents.is_connected(number)]
        dns = [self._agents.find(number) for number in chosen if number not in gone]
        for dn in dns:
            for connection in tuple(dn.connections.values()):
                registration = connection.registration
                self._agents.unregister(connection)
                connection.send_unregistered(dn.number)
                if registration is not None and connection.socket is not None:
                    self._signed_off.setdefault(dn.number, []).append((connection, registration))
        for number in chosen:
            mine.pop(number, None)
        if not mine:
            self._signed_on.pop(desktop, None)

    def _waiting(self, number: str) -> list[tuple[Connection, Registration]]:
        """The pages that are signed off and still there."""
        waiting = [
            (connection, registration)
            for connection, registration in self._signed_off.pop(number, ())
            if connection.socket is not None and connection.dn is None
        ]
        if waiting:
            self._signed_off[number] = waiting
        return waiting

    # -- which one is meant

    def is_active(self, desktop: DesktopKey, number: str | None) -> bool:
        """Whether a page is connected: for this DN, for those that the desktop has signed on to, or for any."""
        numbers = [number] if number is not None else list(self._signed_on.get(desktop, ()))
        if not numbers:
            numbers = [*(dn.number for dn in self._agents.all), *self._signed_off]
        return any(self._is_connected(number) for number in numbers)

    def _is_connected(self, number: str) -> bool:
        return self._agents.is_connected(number) or bool(self._waiting(number))

    def dn(self, desktop: DesktopKey, number: str | None) -> Dn:
        """The one that an order is for. Of several behind one address (a proxy), the order has to name it: nothing is
        done to somebody else's phone by guess.

        :raises NotFound: `dn_not_found`. :raises Conflict: `not_signed_on`, `several_dns`.
        """
        if number is not None:
            return self._agents.find(number)
        mine = self._signed_on.get(desktop, {})
        present = [number for number in mine if self._agents.is_connected(number)] or list(mine)
        if not present:
            raise _not_signed_on()
        if len(present) > 1:
            raise Conflict(f"dn is missing: signed on to {', '.join(present)}", reason="several_dns")
        return self._agents.find(present[0])


def _not_signed_on() -> Conflict:
    return Conflict("RegisterDn comes first, or the order names its DN", reason="not_signed_on")


def _nobody_there(number: str) -> Conflict:
    return Conflict(f"no softphone page is connected for {number}", reason="unavailable")


# -- orders


def ask_to_answer(dn: Dn, call_id: str | None) -> Session:
    """Have the page that came last answer a call, the one that has rung longest unless another is named: it is told of
    it once more, with the same offer and `autoAnswer`.

    :raises NotFound: `call_not_found`. :raises Conflict: `not_ringing`, `unavailable`.
    """
    if call_id is not None and call_id not in dn.calls:
        raise no_such_call()
    ringing = next(iter(dn.ringing.values()), None) if call_id is None else dn.ringing.get(call_id)
    if ringing is None:
        raise Conflict("no call rings there", reason="not_ringing")
    session = ringing.session
    for connection in reversed(dn.connections.values()):
        if connection.socket is not None and session.call_id in connection.calls:
            connection.send_incoming(session, session.browser.offer_to(connection.id), auto_answer=True)
            return session
    raise _nobody_there(dn.number)


def hang_up(dn: Dn, call_id: str | None) -> Session:
    """A call that rings is rejected, for the whole DN.

    :raises NotFound: `call_not_found`. :raises Conflict: `no_call`, `several_calls`.
    """
    session = _call(dn, call_id)
    session.close("rejected" if session.call_id in dn.ringing else "normal_clearing")
    return session


def hold(dn: Dn, call_id: str | None) -> Session:
    """:raises NotFound: `call_not_found`. :raises Conflict: `no_call`, `several_calls`; as `Session.hold`."""
    session = _call(dn, call_id)
    session.hold(True)
    return session


def retrieve(dn: Dn, call_id: str | None) -> Session:
    """Talk to a call again, the one that is on hold unless another is named; the agent's others are held then.

    :raises NotFound: `call_not_found`. :raises Conflict: `no_call`, `several_calls`; as `Session.hold`.
    """
    held = [call for call in dn.calls.values() if call.on_hold]
    session = held[0] if call_id is None and len(held) == 1 else _call(dn, call_id)
    session.hold(False)
    for connection in dn.connections.values():
        if session.call_id in connection.calls:
            connection.hold_others(session)
    return session


def _call(dn: Dn, call_id: str | None) -> Session:
    if call_id is None:
        return dn.active_call
    session = dn.calls.get(call_id)
    if session is None:
        raise no_such_call()
    return session
