"""What a SIP call tells its owner."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..dtmf import Press
from .offer_answer import RemoteAudio


class SipEventType(enum.Enum):
    """RINGING: an 18x without SDP. MEDIA_CHANGED: a re-INVITE or UPDATE of the peer was answered.

    PRESSED: an INFO told of a key. ENDED comes last.
    """

    RINGING = "ringing"
    EARLY_MEDIA = "early_media"
    ANSWERED = "answered"
    MEDIA_CHANGED = "media_changed"
    PRESSED = "pressed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class SipEvent:
    """`media` is what to send to from now on, where the event changes it.

    `status` is the SIP status behind the event (0: none), `reason` our word for it (see `reasons`), `sip_reason` the
    peer's phrase. `by_remote`: the peer did it.
    """

    type: SipEventType
    media: RemoteAudio | None = None
    press: Press | None = None
    status: int = 0
    reason: str = ""
    sip_reason: str = ""
    by_remote: bool = True
