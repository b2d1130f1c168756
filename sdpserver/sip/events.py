"""What a SIP call tells its owner."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..dtmf import Press
from .offer_answer import RemoteAudio


class SipEventType(enum.Enum):
    """RINGING: an 18x without SDP. ANSWERED: the call is up, whoever made it.

    MEDIA_CHANGED: a re-INVITE or UPDATE, the peer's or ours (`by_remote`), was answered. PRESSED: an INFO told of a
    key. TRANSFER: how far our REFER has come. REFERRED: the peer sent a REFER. REPLACED: another dialog of the same
    trunk took this one's place; the call goes on with `media`. ENDED comes last.
    """

    RINGING = "ringing"
    EARLY_MEDIA = "early_media"
    ANSWERED = "answered"
    MEDIA_CHANGED = "media_changed"
    PRESSED = "pressed"
    TRANSFER = "transfer"
    REFERRED = "referred"
    REPLACED = "replaced"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer:
    """What a peer asks for with a REFER (RFC 3515): a call to `user`, at one of the trunk's own hosts.

    `uri` is the Refer-To without headers, `replaces` the Replaces header that the call is to have (RFC 3891), decoded,
    `referred_by` who asks, as the peer says.
    """

    user: str
    uri: str
    replaces: str | None = None
    referred_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SipEvent:
    """`media` is what to send to from now on, where the event changes it.

    `status` is the SIP status behind the event (0: none), `reason` our word for it (see `reasons`), `sip_reason` the
    peer's phrase. `by_remote`: the peer did it. `final`: no further TRANSFER follows. `retry_after_s`: how long a peer
    that refused wants to be left alone (0: it did not say).
    """

    type: SipEventType
    media: RemoteAudio | None = None
    press: Press | None = None
    refer: Refer | None = None
    status: int = 0
    reason: str = ""
    sip_reason: str = ""
    by_remote: bool = True
    final: bool = False
    retry_after_s: int = 0
