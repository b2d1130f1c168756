"""The HTTP routes: what the wire contract says, from the octets of a request to those of its response."""
