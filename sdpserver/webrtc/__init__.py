"""The WebRTC leg: offers and answers, ICE-lite, DTLS-SRTP and data channels."""

from .data_channel import DataChannel
from .leg import WebRtcEvent, WebRtcLeg
from .offer import Offer, parse_offer
from .plane import WebRtcPlane

__all__ = ["DataChannel", "Offer", "WebRtcEvent", "WebRtcLeg", "WebRtcPlane", "parse_offer"]
