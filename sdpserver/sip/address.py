"""URIs, display names and headers that leave in an INVITE. Pure: what a client sends is checked and encoded here.

A call never goes to a host that the client names: the request URI is always `sip:USER@` the trunk's own server, so a
trunk's credentials cannot be used to call anywhere else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ..config import Transport, Trunk
from ..errors import BadRequest

MAX_USER_LENGTH = 128
MAX_NAME_LENGTH = 128
MAX_HEADERS = 20
MAX_HEADER_NAME = 64
MAX_HEADER_VALUE = 1024
MAX_HEADERS_TOTAL = 4096
# RFC 3261 section 25.1: `unreserved` and `user-unreserved` without ";" and "?", which begin parameters elsewhere.
_SAFE_IN_USER = "-_.!~*'()&=+$,/"
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_ALLOWED_HEADERS = frozenset({"user-to-user", "subject"})
DEFAULT_PORTS: Mapping[str, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}


@dataclass(frozen=True, slots=True)
class Server:
    """A `host`, `host:port`, `[v6]` or `[v6]:port` of the configuration."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, transport: Transport = "udp") -> Server:
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@;?/\s]+))(?::(\d{1,5}))?", text.strip(), re.ASCII)
        if match is None or int(match[3] or 1) not in range(1, 65536):
            raise ValueError(f"{text!r} is no host or host:port")
        return cls((match[1] or match[2]).lower(), int(match[3] or DEFAULT_PORTS[transport]))

    @property
    def is_address(self) -> bool:
        return ip_or_none(self.host) is not None

    def __str__(self) -> str:
        return host_port(self.host, self.port)


def ip_or_none(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def bracketed(host: str) -> str:
    """A host as URIs have it."""
    return f"[{host}]" if ":" in host else host


def host_port(host: str, port: int) -> str:
    return f"{bracketed(host)}:{port}"


def is_unspecified(ip: str) -> bool:
    """0.0.0.0 or ::"""
    found = ip_or_none(ip)
    return found is not None and found.is_unspecified


def encoded_user(text: str) -> str:
    """A user part as URIs have it."""
    return quote(text, safe=_SAFE_IN_USER)


def transport_parameter(transport: Transport) -> str:
    return "" if transport == "udp" else f";transport={transport}"


def _has_controls(text: str) -> bool:
    return any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or 0xD800 <= ord(c) <= 0xDFFF for c in text)


def user_part(text: str, reason: str) -> str:
    """A user part as URIs have it, checked.

    :raises BadRequest: with this `reason`.
    """
    if not text or len(text) > MAX_USER_LENGTH:
        raise BadRequest(f"a user part has 1 to {MAX_USER_LENGTH} characters", reason=reason)
    if _has_controls(text) or "@" in text:
        raise BadRequest("a user part has no control characters and no @", reason=reason)
    return encoded_user(text)


def destination_user(target: str, trunk: Trunk) -> str:
    """The encoded user part to dial for a number, or for a `sip:user@host` whose host is the trunk's own.

    :raises BadRequest: reason `bad_destination`.
    """
    match = re.match(r"sips?:", target, re.IGNORECASE)
    if match is None:
        return user_part(target, "bad_destination")
    user, at, rest = target[match.end() :].rpartition("@")
    host = re.split(r"[;?]", rest, maxsplit=1)[0].lower()
    server = Server.parse(trunk.server, trunk.transport)
    if not at or host not in {server.host, bracketed(server.host), str(server), trunk.from_domain.lower()} - {""}:
        raise BadRequest("that host is not the trunk's own", reason="bad_destination")
    return user_part(unquote(user, errors="replace"), "bad_destination")


def own_hosts(trunk: Trunk, *addresses: str) -> frozenset[str]:
    """All that the host of a URI at this trunk may be, in lower case, with and without its port."""
    server = Server.parse(trunk.server, trunk.transport)
    hosts = {bracketed(ip) for ip in addresses} | {bracketed(server.host), trunk.from_domain.lower()} - {""}
    return frozenset(hosts | {f"{host}:{server.port}" for host in hosts})


def request_uri(user: str, trunk: Trunk) -> str:
    """`sip:USER@server` of the trunk; a default port is left out."""
    server = Server.parse(trunk.server, trunk.transport)
    default = server.port == DEFAULT_PORTS[trunk.transport]
    host = bracketed(server.host) if default else str(server)
    return f"sip:{user}@{host}{transport_parameter(trunk.transport)}"


def from_domain(trunk: Trunk) -> str:
    return trunk.from_domain or bracketed(Server.parse(trunk.server, trunk.transport).host)


def from_header(trunk: Trunk, user: str | None, display_name: str | None) -> str:
    """The From header's name-addr. The user is the trunk's own unless the caller has another.

    :raises BadRequest: reason `bad_header`.
    """
    uri = f"<sip:{user_part(user or trunk.username or 'anonymous', 'bad_header')}@{from_domain(trunk)}>"
    if not display_name:
        return uri
    if len(display_name) > MAX_NAME_LENGTH or _has_controls(display_name):
        raise BadRequest(
            f"a display name has at most {MAX_NAME_LENGTH} characters and no control characters", reason="bad_header"
        )
    quoted = display_name.replace("\\", "\\\\").replace('"', '\\"')  # RFC 3261 section 25.1, quoted-string
    return f'"{quoted}" {uri}'


def check_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The client's headers, each one allowed: `X-*`, `User-to-User` (RFC 7433) and `Subject`.

    :raises BadRequest: reason `bad_header`.
    """
    if len(headers) > MAX_HEADERS:
        raise BadRequest(f"{len(headers)} headers, at most {MAX_HEADERS} are taken", reason="bad_header")
    total = 0
    for name, value in headers.items():
        lower = name.lower()
        if len(name) > MAX_HEADER_NAME or not _TOKEN.fullmatch(name):
            raise BadRequest(f"{name[:MAX_HEADER_NAME]!r} is no header name", reason="bad_header")
        if lower not in _ALLOWED_HEADERS and not (lower.startswith("x-") and len(lower) > 2):
            raise BadRequest(f"header {name}: only X-*, User-to-User and Subject may be set", reason="bad_header")
        if _has_controls(value):
            raise BadRequest(f"header {name}: control characters are not allowed", reason="bad_header")
        size = len(value.encode())
        total += len(name) + size
        if size > MAX_HEADER_VALUE or total > MAX_HEADERS_TOTAL:
            raise BadRequest(
                f"header {name}: a value has at most {MAX_HEADER_VALUE} octets, all together {MAX_HEADERS_TOTAL}",
                reason="bad_header",
            )
    return list(headers.items())
