"""Which far end serves a destination."""

from __future__ import annotations

from sdpserver._media import Sound
from sdpserver.config import Config
from sdpserver.errors import SdpServerError
from sdpserver.media import MediaPlane
from sdpserver.messages import CallOptions
from sdpserver.sip import SipEndpoint
from sdpserver.webrtc import WebRtcLeg

from .far_end import BuiltInFarEnd, ConferenceFarEnd, FarEnd, FarEndListener
from .inbound import Ringer
from .local_far_end import LocalFarEnd
from .rooms import Rooms
from .routing import Destination
from .sip_far_end import SipFarEnd


def create_far_end(
    destination: Destination,
    listener: FarEndListener,
    *,
    config: Config,
    options: CallOptions,
    media: MediaPlane,
    sip: SipEndpoint | None,
    rooms: Rooms,
    leg: WebRtcLeg,
    hold_music: Sound | None = None,
    ring: Ringer | None = None,
) -> FarEnd:
    """The far end for a destination. A trunk without a SIP endpoint cannot be: the configuration's check refuses it.

    :param ring: has DNs ring.
    """
    if destination.room is not None:
        return ConferenceFarEnd(destination, listener, rooms)
    if destination.dn and ring is not None:
        return LocalFarEnd(destination, listener, config=config, options=options, hold_music=hold_music, ring=ring)
    if destination.trunk is None:
        return BuiltInFarEnd(destination, listener)
    if sip is None:
        raise SdpServerError("no SIP endpoint is running", reason="sip_off")
    return SipFarEnd(
        destination,
        listener,
        config=config,
        options=options,
        media=media,
        sip=sip,
        worker=leg.media.worker,
        browser_codecs=leg.codecs,
        hold_music=hold_music,
    )
