"""Bodies of the routes about DNs."""

from __future__ import annotations

from typing import Literal, TypedDict

from .base import PageResponse

DnStatus = Literal["available", "busy", "offline"]


class DnInfo(TypedDict):
    """GET /api/dn/{dn}. `connections`: how many clients are there, `since` when; `calls`: their ids.

    `status`: `busy` while one of its clients talks, `available` while one is there and can be called, else `offline`:
    no client is there, or the DN is `upstream` and no registrar has it since a REGISTER failed, until one is taken.
    """

    dn: str
    displayName: str
    status: DnStatus
    contact: Literal["local", "upstream"]
    genesysAgent: bool
    connections: int
    since: str | None
    calls: list[str]
    skills: list[str]


class DnList(PageResponse, kw_only=True):
    """GET /api/dn/list: those of the configuration, and those that are registered upstream, by number."""

    dns: list[DnInfo]
