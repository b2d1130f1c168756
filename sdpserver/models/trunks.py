"""Bodies of the routes about trunks."""

from __future__ import annotations

from typing import TypedDict

from .base import Response


class LastOptions(TypedDict):
    """`sip_status` is 0, or one of ours (408, 503), where no answer came."""

    answered: bool
    sip_status: int
    sip_reason: str
    at: str


class TrunkInfo(TypedDict):
    """`address` is null until the name has been resolved, `error` says why it could not be; `registered`, `sip_status`
    and `sip_reason` are of the last REGISTER; `agents`: DNs registered there."""

    name: str
    connected: bool | None
    server: str
    address: str | None
    error: str | None
    registered: bool
    sip_status: int
    sip_reason: str
    last_options: LastOptions | None
    agents: int
    calls: int


class TrunkList(Response):
    """GET /api/genesys/status: every trunk, in the order of the configuration.

    `connected`: it answered the last OPTIONS; null while that is not known.
    """

    trunks: list[TrunkInfo]
