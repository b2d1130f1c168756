"""sdpserver: an HTTP SDP offer/answer server with SIP egress."""

__version__ = "0.1.0"
