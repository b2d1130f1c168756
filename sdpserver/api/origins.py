"""Which names the server answers to, and which web pages may use it. Pure.

A page from anywhere can make the browser of somebody inside send requests here. Two things tell them apart:

- `Host`: in DNS rebinding an attacker's own name comes to point at our address, and the browser then takes the
  attacker's page for one of ours. An IP address cannot be rebound, so IP addresses are taken, and beside them only
  names that are known to be ours. Without authentication both must be loopback's.
- `Origin` (RFC 6454 section 7) and `Sec-Fetch-Site` (W3C Fetch Metadata): a page of another site is refused unless
  `[http] cors_origins` lists it. Programs that are no browsers send neither header and are not meant by this.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from sdpserver.config import Config
from sdpserver.config_checks import is_loopback

OPEN_PATHS = frozenset({"/", "/health", "/api/health", "/ready", "/openapi.json", "/docs"})
"""Nothing is read from or done to a session there, so a link from any page may lead there."""

OPEN_FOLDERS = ("/examples/", "/sdk/")

ALLOWED_HEADERS = "authorization, content-type, if-match, last-event-id, x-api-key, x-request-id"
ALLOWED_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
EXPOSED_HEADERS = b"accept-patch, accept-post, etag, link, location, retry-after, x-request-id"
PREFLIGHT_MAX_AGE_S = 600

_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Origins:
    """The rules of one configuration."""

    def __init__(self, config: Config) -> None:
        self._open_to_all = config.auth.mode != "none"
        self._names = {"localhost", *(name.lower() for name in config.http.server_names)}
        if self._open_to_all:
            self._names.add(socket.gethostname().lower())
        self._allowed = {_normal(origin) for origin in config.http.cors_origins}

    def knows_host(self, host: str) -> bool:
        """Whether the value of a `Host` header names this server. HTTP/1.0 without one comes from no browser."""
        if not host:
            return True
        name = _without_port(host).lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._open_to_all or address.is_loopback

    def allows(self, origin: str, host: str) -> bool:
        """Whether a page from `origin` may use the server that it reached as `host`."""
        return self._same(origin, host) or self.lists(origin)

    def lists(self, origin: str) -> bool:
        """Whether `[http] cors_origins` has it."""
        return "*" in self._allowed or _normal(origin) in self._allowed

    def _same(self, origin: str, host: str) -> bool:
        # The scheme is not compared: behind a proxy that ends TLS it is not ours to see.
        scheme, separator, authority = origin.lower().partition("://")
        if not separator or not host:
            return False
        return _with_port(authority, scheme) == _with_port(host.lower(), scheme)


def is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the browser itself says that another site's page made this request, without an `Origin`."""
    return headers.get(b"sec-fetch-site", b"") in (b"cross-site", b"same-site")


def is_open(path: str) -> bool:
    """Whether pages from anywhere may link to it."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


def _with_port(authority: str, scheme: str) -> str:
    return authority if authority != _without_port(authority) else f"{authority}:{_DEFAULT_PORTS.get(scheme, '')}"


def _normal(origin: str) -> str:
    scheme, _, authority = origin.lower().partition("://")
    return origin if origin in ("*", "null") else f"{scheme}://{_with_port(authority, scheme)}"


def bound_to_loopback(config: Config) -> bool:
    """Whether only this machine can reach the server."""
    return is_loopback(config.http.bind)
