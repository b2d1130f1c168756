"""Pages of lists that change while they are read. Pure.

A cursor names the last item that was handed out, by what the list is ordered by, and not a number of items: whatever
comes or goes meanwhile, nothing is told twice and nothing that stays is left out.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from sdpserver.errors import BadRequest

from .operations import Parameter

T = TypeVar("T")
Key = tuple[str, ...]

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


def page_parameters(by_default: str) -> tuple[Parameter, Parameter]:
    """`limit` and `cursor`. `by_default`: how many items there are without a limit, as a reader of /openapi.json is
    told."""
    return (
        Parameter(
            name="limit",
            type=Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
            description=f"At most so many; by default {by_default}.",
        ),
        Parameter(
            name="cursor",
            type=Annotated[str, Meta(max_length=512)],
            description="`next_cursor` of the page before; the filters stay the same.",
        ),
    )


PARAMETERS = page_parameters(f"all, or with a cursor {DEFAULT_LIMIT}")


class PageMembers(TypedDict, total=False):
    """Of `PageResponse`."""

    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """`total`: of what the filters let through, on all pages, now; `next_cursor`: None on the last one."""

    items: list[T]
    total: int
    next_cursor: str | None

    def members(self, query: Mapping[str, Any]) -> PageMembers:
        """What an answer has beside the items: nothing if nothing was asked for, as clients of whole lists know it."""
        return {"total": self.total, "next_cursor": self.next_cursor} if query else {}


def page(items: Iterable[T], key: Callable[[T], Key], query: Mapping[str, Any]) -> Page[T]:
    """One page in the order of `key`, which is an item's own; all of them unless `query` has a limit or a cursor.

    :raises BadRequest: `invalid_cursor`.
    """
    ordered = sorted(items, key=key)
    after = _decode(query["cursor"]) if "cursor" in query else None
    limit: int | None = query.get("limit", None if after is None else DEFAULT_LIMIT)
    rest = ordered if after is None else [item for item in ordered if key(item) > after]
    found = rest if limit is None else rest[:limit]
    more = len(found) < len(rest)
    return Page(items=found, total=len(ordered), next_cursor=_encode(key(found[-1])) if more else None)


def _encode(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _decode(cursor: str) -> Key:
    try:
        octets = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return tuple(msgspec.json.decode(octets, type=list[str]))
    except (ValueError, binascii.Error, msgspec.DecodeError) as exc:
        raise BadRequest("cursor must be the next_cursor of an earlier answer", reason="invalid_cursor") from exc
