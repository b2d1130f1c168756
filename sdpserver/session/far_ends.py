"""Which far end serves a destination."""

from __future__ import annotations

from sdpserver.errors import SdpServerError
from sdpserver.models.webrtc import CallOptions
from sdpserver.webrtc import WebRtcLeg

from .far_end import BuiltInFarEnd, ConferenceFarEnd, FarEnd, FarEndListener
from .inbound import FarEndParts
from .local_far_end import LocalFarEnd
from .routing import Destination
from .sip_far_end import SipFarEnd


def create_far_end(
    destination: Destination, listener: FarEndListener, *, options: CallOptions, leg: WebRtcLeg, parts: FarEndParts
) -> FarEnd:
    """The far end for a destination. A trunk without a SIP endpoint cannot be: the configuration's check refuses it."""
    if destination.room is not None:
        return ConferenceFarEnd(destination, listener, parts.rooms)
    if destination.dn:
        return LocalFarEnd(destination, listener, options=options, parts=parts, ring=parts.ring)
    if destination.trunk is None:
        return BuiltInFarEnd(destination, listener)
    if parts.sip is None:
        raise SdpServerError("no SIP endpoint is running", reason="sip_off")
    return SipFarEnd(
        destination, listener, options=options, parts=parts, worker=leg.media.worker, browser_codecs=leg.codecs
    )
