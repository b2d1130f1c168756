"""What an offer whose answer is held waits for: that its call is on the way, and by `wait_for` how far it gets."""

from __future__ import annotations

import asyncio

from sdpserver.errors import SdpServerError

DIAL_WAIT_S = 0.2
"""How long an answer waits for the INVITE to leave: that takes milliseconds, unless the trunk has to be looked up."""


class CallProgress:
    """Of one call. Whoever waits is woken by each step, and by what ends the waiting."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialled: asyncio.Future[None] = self._loop.create_future()
        self._waiters: list[asyncio.Future[None]] = []

    # -- dialling

    def dialled(self) -> None:
        """The call is on its way. Idempotent."""
        if not self._dialled.done():
            self._dialled.set_result(None)

    def fail_dialling(self, error: SdpServerError) -> bool:
        """It cannot be made. False: the answer is out, so nobody is told by this."""
        if self._dialled.done():
            return False
        self._dialled.set_exception(error)
        self._dialled.exception()  # whoever waits sees it; nobody has to
        return True

    async def wait_dialled(self) -> None:
        """Until the call is on its way, or for `DIAL_WAIT_S`.

        :raises SdpServerError: it cannot be made.
        """
        await asyncio.wait({self._dialled}, timeout=DIAL_WAIT_S)
        self.dialled()
        self._dialled.result()

    # -- what follows

    @property
    def awaited(self) -> bool:
        """Somebody waits for the next step."""
        return any(not waiter.done() for waiter in self._waiters)

    def step(self) -> None:
        """The call has got further."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: SdpServerError) -> None:
        """It will not."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    async def wait_step(self) -> None:
        """Until the next `step`.

        :raises SdpServerError: that of `fail`.
        """
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
