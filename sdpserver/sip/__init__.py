"""SIP calls over trunks: signalling by pjsip, the media plane's addresses in our own SDP."""

from .call import SipCall, SipCallState
from .endpoint import SipEndpoint
from .events import Refer, SipEvent, SipEventType
from .invite import IncomingInvite
from .offer_answer import LocalAudio, RemoteAudio
from .reasons import http_status
from .registration import DnRegistration, RegistrationState
from .sdes import SrtpKeys
from .traces import CallTrace, TracedMessage, Traces

__all__ = [
    "CallTrace",
    "DnRegistration",
    "IncomingInvite",
    "LocalAudio",
    "Refer",
    "RegistrationState",
    "RemoteAudio",
    "SipCall",
    "SipCallState",
    "SipEndpoint",
    "SipEvent",
    "SipEventType",
    "SrtpKeys",
    "TracedMessage",
    "Traces",
    "http_status",
]
