"""The SIP messages of each call, as they went over the wire.

The binding keeps them (`scripts/pjsua2_trace.i`), by SIP call. Here is which of those a call of the server has had, as
it was transferred; all of it on the event loop. The functions of the binding that are used here lock for themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pjsua2 as pj

from . import message
from .blanking import blanked

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedMessage:
    """One message. `elapsed_ms` is since the first of its trace, `local` and `remote` are `host:port`.

    `text` has no credentials any more (`blanking`), and no character that a terminal would obey; `cseq` is `1 INVITE`,
    `status` 0 for a request. `is_repeated`: the same octets had gone the same way before.
    """

    at: datetime
    elapsed_ms: float
    is_sent: bool
    is_repeated: bool
    transport: str
    local: str
    remote: str
    sip_call_id: str
    cseq: str
    method: str
    status: int
    text: str

    @property
    def start_line(self) -> str:
        """Its first line."""
        return self.text.partition("\n")[0].rstrip("\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTrace:
    """A call's messages in the order of time, and how many more there were before they had to go."""

    messages: tuple[TracedMessage, ...] = ()
    dropped: int = 0


class Traces:
    """Of all calls, by the server's `call_id`; `sip_call` is `SipCall.call_id`."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self._sip_calls: dict[str, dict[str, None]] = {}  # of each call, in their order
        self._holders: Counter[str] = Counter()

    def add(self, call_id: str, sip_call: str) -> None:
        """A call has this SIP call, from now on or since long. Idempotent."""
        of_call = self._sip_calls.setdefault(call_id, {})
        if self.is_on and sip_call not in of_call:
            of_call[sip_call] = None
            self._holders[sip_call] += 1

    def join(self, one: str, other: str) -> None:
        """What either of two calls has is the other's too: one was the consultation for the transfer of the other."""
        for call_id, source in ((one, other), (other, one)):
            for sip_call in tuple(self._sip_calls.get(source, ())):
                self.add(call_id, sip_call)

    def sip_call_ended(self, sip_call: str) -> None:
        """What is still to come of it is kept too; one that is no call's is forgotten."""
        if not self.is_on:
            return
        if sip_call in self._holders:
            pj.endTrace(sip_call)
        else:
            pj.releaseTrace(sip_call)

    def forget(self, call_id: str) -> None:
        """Nobody may ask for this call any more."""
        for sip_call in self._sip_calls.pop(call_id, ()):
            self._holders[sip_call] -= 1
            if not self._holders[sip_call]:
                del self._holders[sip_call]
                pj.releaseTrace(sip_call)

    def read(self, call_id: str) -> CallTrace:
        """What is kept of a call; it takes about 0.3 ms a message, and may be done on any thread."""
        sip_calls = tuple(self._sip_calls.get(call_id, ()))
        if not sip_calls:
            return CallTrace()
        found = pj.readTrace(pj.StringVector(sip_calls))
        kept = list(found.messages)
        return CallTrace(messages=tuple(_message(entry, kept[0].steady_us) for entry in kept), dropped=found.dropped)


def _message(entry: pj.TracedMessage, first_us: int) -> TracedMessage:
    text = blanked(entry.text)
    status, _ = message.status_line(text)
    cseq = " ".join(message.header(text, "CSeq").split())
    return TracedMessage(
        at=_EPOCH + timedelta(microseconds=entry.time_us),
        elapsed_ms=(entry.steady_us - first_us) / 1000,
        is_sent=entry.sent,
        is_repeated=entry.repeated,
        transport=entry.transport,
        local=entry.local,
        remote=entry.remote,
        sip_call_id=message.header(text, "Call-ID"),
        cseq=cseq,
        method=cseq.partition(" ")[2],
        status=status,
        text=text,
    )
