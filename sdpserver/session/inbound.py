"""What far ends are made of, and how a DN is made to ring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdpserver._media import Sound
from sdpserver.config import Config, Trunk
from sdpserver.media import MediaPlane
from sdpserver.sip import DnRegistration, SipEndpoint

from .rooms import Rooms

if TYPE_CHECKING:
    from .far_end import FarEnd
    from .session import Session


_DN_OWNER = "dn:"


def owner_of_dn(number: str) -> str:
    """Whose sessions those of a DN are. No API key can have this name, since none has a colon."""
    return _DN_OWNER + number


def dn_of(owner: str) -> str | None:
    """The DN whose sessions an owner's are; None: they are those of a credential."""
    return owner.removeprefix(_DN_OWNER) if owner.startswith(_DN_OWNER) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls a DN. `headers` are those that its client may see."""

    number: str
    display_name: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEndParts:
    """What far ends are made of."""

    config: Config
    media: MediaPlane
    sip: SipEndpoint | None
    hold_music: Sound | None
    rooms: Rooms
    ring: Ringer | None
    """Rings the DNs; None: there are none."""
    registration_of: RegistrationOf
    may_redirect: Callable[[str, Trunk], bool]
    """Whether a trunk may send a call on to this user of its own. Pure: called on the SIP thread."""


CreateFarEnd = Callable[["Session", FarEndParts], "FarEnd"]
"""Makes the far end of the session that rings."""

RegistrationOf = Callable[[str, str], DnRegistration | None]
"""That of the DN whose sessions an owner's are, on a trunk: by which its calls go out there."""

Ringer = Callable[[str, Caller, CreateFarEnd], "Session"]
"""Has a DN ring; the session that does.

It raises `SipRefused` when nobody is there or the DN is busy, and `Unavailable` when the server is full.
"""
