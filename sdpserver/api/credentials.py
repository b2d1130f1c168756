"""Who is asking: API keys and their scopes. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from sdpserver.config import AccessScope, Auth
from sdpserver.errors import Forbidden, Unauthorized

ANONYMOUS_NAME = "anonymous"
MAX_KEY_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller. `name` owns the sessions that it makes."""

    name: str
    scopes: frozenset[str]

    def require(self, scope: AccessScope) -> None:
        """:raises Forbidden: the caller lacks `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"this credential lacks the scope {scope!r}", reason="scope_missing")

    @property
    def supervises(self) -> bool:
        """It sees everybody's calls and rooms, and has its say in them."""
        return "supervise" in self.scopes

    @property
    def limited_to(self) -> str | None:
        """The owner whose calls and rooms it is kept to, where a supervisor is not; None: it is one."""
        return None if self.supervises else self.name

    @property
    def sees_all(self) -> bool:
        """It may read what is told of everybody: events, call records and figures."""
        return self.supervises or "admin" in self.scopes


ANONYMOUS = Principal(name=ANONYMOUS_NAME, scopes=frozenset({"session", "call", "dn"}))
"""Everybody, while `[auth] mode = "none"`: then only this machine can connect."""


def hash_key(key: str) -> str:
    """The form in which the configuration keeps a key. Keys are long and random, so one round is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


class Credentials:
    """The keys of the configuration."""

    def __init__(self, auth: Auth) -> None:
        self._asks = auth.mode != "none"
        self._keys = [
            (bytes.fromhex(key.sha256), Principal(name=key.name, scopes=frozenset(key.scopes))) for key in auth.api_keys
        ]

    def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Whose key is in `X-API-Key` or `Authorization: Bearer` (RFC 6750 section 2.1).

        :raises Unauthorized: none or a wrong one is.
        """
        if not self._asks:
            return ANONYMOUS
        given = _key(headers)
        if not given:
            raise Unauthorized(
                "an API key is needed, by X-API-Key or Authorization: Bearer", reason="credentials_missing"
            )
        return self._known(given)

    def principal_of_event_stream(self, headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> Principal:
        """The same for an EventSource, which can set no header: also by `?token=`.

        :raises Unauthorized: none or a wrong one is.
        """
        found = self.principal_of_websocket(headers, query)
        return self.principal(headers) if found is None else found

    def principal_of_websocket(self, headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> Principal | None:
        """The same for a WebSocket, whose browser can set no header: also by `?token=`. None: no key is given, which is
        right for a client that registers as a DN.

        :raises Unauthorized: a wrong one is.
        """
        if not self._asks:
            return ANONYMOUS
        given = _key(headers) or query.get("token", "").encode()
        return self._known(given) if given else None

    def _known(self, given: bytes) -> Principal:
        digest = hashlib.sha256(given[: MAX_KEY_LENGTH + 1]).digest()
        found: Principal | None = None
        for known, principal in self._keys:
            # No early exit: how long it takes says nothing about which key was near.
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None:
            raise Unauthorized("this API key is not known", reason="credentials_invalid")
        return found


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    if key := headers.get(b"x-api-key"):
        return key.strip()
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""
