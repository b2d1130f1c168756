"""Bodies of the routes about SIP traces."""

from __future__ import annotations

from typing import Literal

from .base import Response


class TraceMessage(Response):
    """A SIP message. `time` has microseconds, `elapsed_ms` is since the first message; `local` and `remote` are
    `host:port`. `retransmission`: the same octets had gone the same way before. `text`: without credentials, keys of
    SRTP and digits, lines ending as on the wire.
    """

    time: str
    elapsed_ms: float
    direction: Literal["in", "out"]
    transport: str
    local: str
    remote: str
    sipCallId: str
    cseq: str
    startLine: str
    retransmission: bool
    text: str


class TraceResponse(Response):
    """GET /api/calls/{callId}/trace. `dropped`: how many messages have had to make room for others."""

    callId: str
    messages: list[TraceMessage]
    dropped: int
