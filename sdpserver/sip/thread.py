"""The SIP thread: the one that pjsip lives on. Commands come in by a queue that wakes it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import structlog

from ..config import Transport
from ..errors import Unavailable
from .stack import Stack

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
# pjsip wakes for its own timers and for the wake-up; this only bounds what a lost datagram could cost.
MAX_WAIT_MS = 500
# pjsip's state is the process's: a second endpoint would end it, since pjsua2's constructor throws where SWIG does not
# catch.
_only_endpoint = threading.Lock()


class SipThread:
    """Runs a stack: its commands in order, its events between them.

    A command sent from another thread runs within a fraction of a millisecond: a datagram to the stack's wake-up socket
    ends its wait. While nothing happens the thread sleeps in epoll.
    """

    def __init__(
        self, make_stack: Callable[[Callable[[Callable[[], None]], None]], Stack], *, on_over: Callable[[], None]
    ) -> None:
        """`on_over` is called on the thread when it ends, asked to or not."""
        self._make_stack = make_stack
        self._on_over = on_over
        self._commands: deque[tuple[Callable[[Stack], None], Callable[[], None]]] = deque()
        self._is_woken = False
        self._is_over = False
        self._stop_timeout_s: float | None = None
        self._wake_up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wake_up.setblocking(False)
        self.started: Future[dict[Transport, int]] = Future()
        self._thread = threading.Thread(target=self._run, name="sip", daemon=True)

    def start(self) -> None:
        """`started` then has the ports by transport, or what went wrong."""
        self._thread.start()

    def post(self, command: Callable[[Stack], None], *, or_else: Callable[[], None] = lambda: None) -> None:
        """Run a command on the thread; one that raises is logged. `or_else` runs instead once the thread is over."""
        self._commands.append((command, or_else))
        if self._is_over:
            self._refuse_commands()
        elif not self._is_woken:
            self._is_woken = True
            try:
                self._wake_up.send(b"\0")
            except OSError:
                # Not connected before the start, when no wait needs ending. Otherwise the socket's buffer is full, so
                # the thread is awake.
                log.debug("the SIP thread is not woken")

    def call(self, command: Callable[[Stack], Result]) -> Future[Result]:
        """Run a command on the thread and hand its result over. Cancelled before it runs, it does not run.

        The future's exception is `Unavailable` when the thread ends first.
        """
        future: Future[Result] = Future()

        def run(stack: Stack) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(command(stack))
            except BaseException as exc:
                future.set_exception(_without_frames(exc))

        def refuse() -> None:
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable("the SIP endpoint is stopped", reason="draining", retry_after_s=5))

        self.post(run, or_else=refuse)
        return future

    def stop(self, timeout_s: float) -> None:
        """Ask the thread to end all calls and itself. `join` waits for it."""

        def stop(_stack: Stack) -> None:
            self._stop_timeout_s = timeout_s

        self.post(stop)

    def join(self) -> None:
        """Wait for the end of the thread, from another one."""
        if self._thread.ident is not None:
            self._thread.join()
        self._wake_up.close()

    def _run(self) -> None:
        if not _only_endpoint.acquire(blocking=False):
            self.started.set_exception(RuntimeError("this process has a SIP endpoint already"))
            return
        try:
            self._serve()
        except BaseException as exc:
            if self.started.done():
                log.exception("the SIP thread failed")
            else:
                self.started.set_exception(_without_frames(exc))
        finally:
            _only_endpoint.release()
            self._is_over = True
            self._refuse_commands()
            self._on_over()

    def _serve(self) -> None:
        stack = self._make_stack(lambda command: self.post(lambda _stack: command()))
        try:
            self._wake_up.connect(stack.open_wake_up())
            self.started.set_result(stack.ports)
            self._run_commands(stack)
            while self._stop_timeout_s is None:
                stack.handle_events(MAX_WAIT_MS)
                self._run_commands(stack)
        finally:
            stack.close(self._stop_timeout_s or 0.0)

    def _run_commands(self, stack: Stack) -> None:
        self._is_woken = False  # first, so that a command appended from now on wakes us again
        while self._commands:
            command, _ = self._commands.popleft()
            try:
                command(stack)
            except Exception:
                log.exception("a SIP command failed")

    def _refuse_commands(self) -> None:
        """On whichever thread comes first: taking one from the deque is atomic."""
        with contextlib.suppress(IndexError):
            while True:
                _, or_else = self._commands.popleft()
                or_else()


def _without_frames(exc: BaseException) -> BaseException:
    """The frames of a traceback hold pjsua2 objects, which may not leave the SIP thread."""
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)
