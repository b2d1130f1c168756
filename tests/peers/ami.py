"""The Asterisk Manager Interface: commands in, events out, each with the time at which it was read."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class AmiEvent:
    """`at_s` is `time.monotonic()`."""

    name: str
    at_s: float
    fields: Fields


@dataclass(slots=True)
class _Reply:
    fields: Fields
    output: list[str] = field(default_factory=list)


class Ami:
    """One logged-in connection. Safe to use from several threads; a thread of its own reads."""

    def __init__(self, port: int, *, timeout_s: float = 10.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._socket.settimeout(None)
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._replies: dict[str, _Reply] = {}
        self._closed = False
        self.events: list[AmiEvent] = []
        self._thread = threading.Thread(target=self._read, name=f"ami-{port}", daemon=True)
        self._thread.start()
        self.action("Login", Username="test", Secret="test")

    def _read(self) -> None:
        with self._socket.makefile("r", encoding="utf-8", errors="replace", newline="\r\n") as lines:
            next(lines, None)  # the greeting
            message: Fields = {}
            output: list[str] = []
            try:
                for raw in lines:
                    if line := raw.rstrip("\r\n"):
                        key, _, value = line.partition(":")
                        if key == "Output":
                            output.append(value[1:])
                        else:
                            message[key] = value.strip()
                    else:
                        self._deliver(message, output)
                        message, output = {}, []
            except OSError:
                pass  # closed by us, or Asterisk is gone: told below
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _deliver(self, message: Fields, output: list[str]) -> None:
        with self._changed:
            if "Response" in message:
                self._replies[message.get("ActionID", "")] = _Reply(message, output)
            elif "Event" in message:
                self.events.append(AmiEvent(message["Event"], time.monotonic(), message))
            self._changed.notify_all()

    def action(self, name: str, *, timeout_s: float = 10.0, **fields: str) -> _Reply:
        """Send an action and wait for its response."""
        action_id = str(next(self._ids))
        lines = [f"Action: {name}", f"ActionID: {action_id}", *(f"{key}: {value}" for key, value in fields.items())]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with self._changed:
            answered = self._changed.wait_for(lambda: action_id in self._replies or self._closed, timeout_s)
            if not answered or action_id not in self._replies:
                raise TimeoutError(f"Asterisk did not answer {name}")
            reply = self._replies.pop(action_id)
        if reply.fields["Response"] == "Error" and name != "Command":
            raise RuntimeError(f"{name}: {reply.fields.get('Message')}")
        return reply

    def command(self, text: str) -> str:
        """What the command line would print."""
        return "\n".join(self.action("Command", Command=text).output)

    def mark(self) -> int:
        """The place in `events` after the last one."""
        with self._changed:
            return len(self.events)

    def wait_for(self, matches: Callable[[AmiEvent], bool], *, since: int = 0, timeout_s: float = 10.0) -> AmiEvent:
        """The first event from `since` on that matches, already there or still to come."""
        found: list[AmiEvent] = []

        def look() -> bool:
            found.extend(itertools.islice((event for event in self.events[since:] if matches(event)), 1))
            return bool(found) or self._closed

        with self._changed:
            self._changed.wait_for(look, timeout_s)
        if not found:
            names = [event.name for event in self.events[since:]]
            raise TimeoutError(f"no such event from Asterisk within {timeout_s} s; there were {names}")
        return found[0]

    def close(self) -> None:
        """Idempotent."""
        with contextlib.suppress(OSError):  # Asterisk was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
