"""Where a session goes. Pure: the request and the configuration in, a destination out."""

from __future__ import annotations

import enum
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sdpserver.config import Config, Trunk
from sdpserver.errors import BadRequest
from sdpserver.models.webrtc import CallOptions
from sdpserver.sounds import check_name

MAX_DESTINATION_LENGTH = 256
CONFERENCE = "conference/"
_ROOM = re.compile(r"[A-Za-z0-9._~-]{1,64}")
PLAYBACK = "playback/"


class BuiltIn(enum.Enum):
    """Far ends that need no PBX."""

    ECHO = "echo"
    TONE = "tone"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`built_in`, `room`, `sound`, `dn`, or `trunk` with the `user` part to dial there.

    `uri` is what the client is told.
    """

    uri: str
    built_in: BuiltIn | None = None
    room: str | None = None
    sound: str = ""
    dn: str = ""
    trunk: Trunk | None = None
    user: str = ""

    @property
    def trunk_name(self) -> str:
        """Of the trunk that carries the call; "": none does."""
        return self.trunk.name if self.trunk is not None else ""


def wanted(call: CallOptions | None, metadata: Mapping[str, Any], default: str) -> str:
    """`call.to`, else `metadata.to`, else the conference `metadata.room_id`, else the default."""
    if call is not None and call.to:
        return call.to
    for member, prefix in (("to", ""), ("room_id", CONFERENCE)):
        value = metadata.get(member)
        if value is None:
            continue
        if not isinstance(value, str) or not 0 < len(value) <= MAX_DESTINATION_LENGTH:
            raise BadRequest(f"metadata.{member} must be a string that names a destination", reason="bad_destination")
        return prefix + value
    return default


def room_name(name: str) -> str:
    """A room's name that may be one.

    :raises BadRequest: `bad_destination`.
    """
    if not _ROOM.fullmatch(name):
        raise BadRequest(
            f"{name!r} is no name of a conference: 1 to 64 of A-Z a-z 0-9 . _ ~ -", reason="bad_destination"
        )
    return name


@lru_cache(maxsize=256)
def _pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


def _split_uri(to: str) -> tuple[str, str]:
    """(user, host) of a number, a `tel:` URI (RFC 3966) or a `sip:` URI (RFC 3261 section 19.1); host may be empty."""
    scheme, colon, rest = to.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips", "tel"):
        return to, ""
    if scheme.lower() == "tel":
        return re.sub(r"[-.()]", "", rest.partition(";")[0]), ""
    user, at, host = rest.partition("@")
    if not at or not user or not host:
        raise BadRequest(f"{to!r} is no sip:user@host", reason="bad_destination")
    return user, re.split(r"[;?]", host, maxsplit=1)[0].lower()


def host_of(server: str) -> str:
    """The host of a `host`, `host:port` or `[v6]:port`, in lower case."""
    match = re.match(r"\[([^\]]+)\]|([^:]+)(?::\d+)?$", server)
    return (match[1] or match[2]).lower() if match else server.lower()


def _check_host(host: str, trunk: Trunk) -> None:
    """A caller must not reach any host of the world through a trunk, only the trunk's own."""
    if host and host not in {trunk.server.lower(), host_of(trunk.server), trunk.from_domain.lower()} - {""}:
        raise BadRequest(f"{host!r} is not served by trunk {trunk.name!r}", reason="bad_destination")


def resolve(
    config: Config, call: CallOptions | None, metadata: Mapping[str, Any], *, registered: Container[str] = ()
) -> Destination:
    """Find the far end.

    A DN of `[[dn]]` comes before the routes, which often match all digits. One that is `registered` upstream comes
    after them: its PBX is the one to ring it.

    :raises BadRequest: reason `bad_destination` when nothing is known by that name, `unknown_trunk` for a trunk that
        is not configured.
    """
    to = wanted(call, metadata, config.routing.default)
    trunks = {trunk.name: trunk for trunk in config.trunks}
    named = call.trunk if call is not None else None
    if named is not None and named not in trunks:
        raise BadRequest(f"no trunk is named {named!r}", reason="unknown_trunk")
    if named is None:
        if to in {far_end.value for far_end in BuiltIn}:
            return Destination(uri=to, built_in=BuiltIn(to))
        if to.startswith(CONFERENCE):
            return Destination(uri=to, room=room_name(to.removeprefix(CONFERENCE)))
        if to.startswith(PLAYBACK):
            check_name(sound := to.removeprefix(PLAYBACK))
            return Destination(uri=to, sound=sound)
    user, host = _split_uri(to)
    if named is None and not host and any(dn.number == user for dn in config.dn):
        return Destination(uri=user, dn=user)
    for route in config.routes:
        if (named is None or route.trunk == named) and _pattern(route.match).search(user):
            trunk = trunks[route.trunk]
            dialled = route.prefix + user[route.strip :]
            break
    else:
        if named is None and not host and user in registered:
            return Destination(uri=user, dn=user)
        if named is None:
            raise BadRequest(f"no route leads to {to!r}", reason="bad_destination")
        trunk, dialled = trunks[named], user
    _check_host(host, trunk)
    if not dialled:
        raise BadRequest(f"nothing is left of {to!r} to dial", reason="bad_destination")
    return Destination(uri=f"sip:{dialled}@{trunk.server}", trunk=trunk, user=dialled)
