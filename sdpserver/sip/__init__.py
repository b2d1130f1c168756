"""SIP calls over trunks: signalling by pjsip, the media plane's addresses in our own SDP."""

from .call import SipCall, SipCallState
from .endpoint import SipEndpoint
from .events import SipEvent, SipEventType
from .offer_answer import LocalAudio, RemoteAudio
from .reasons import http_status
from .sdes import SrtpKeys

__all__ = [
    "LocalAudio",
    "RemoteAudio",
    "SipCall",
    "SipCallState",
    "SipEndpoint",
    "SipEvent",
    "SipEventType",
    "SrtpKeys",
    "http_status",
]
