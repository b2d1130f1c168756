"""A SIP registrar that asks for digests (MD5 with qop=auth), and refuses, forgets or falls silent when told."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .sip_peer import SipMessage, SipPeer

REALM = "registrar.test"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a REGISTER gets instead of its due."""

    status: int
    phrase: str = "No"
    headers: str = ""


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _user(header: str) -> str:
    match = re.search(r"sips?:([^@;>]+)@", header)
    return match[1] if match else ""


class Registrar(SipPeer):
    """`passwords` by user; `contacts` are the bindings, by user. Everything but a REGISTER is left to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.passwords: dict[str, str] = {}
        self.contacts: dict[str, set[str]] = {}
        self.requests: Counter[str] = Counter()
        """REGISTERs that were not answered with a challenge, by user."""
        self.challenges: Counter[str] = Counter()
        self.registers: list[SipMessage] = []
        self.refusals: dict[str, Refusal] = {}
        """By user; "" is for all."""
        self.refused_s = 0.0
        """When it last refused, `time.monotonic()`."""
        self.is_silent = False
        self.ignored = 0
        """How many messages came while it was silent."""
        self.granted_s: int | None = None
        self.min_expires_s = 0
        self._nonces: set[str] = set()
        self._answered: dict[tuple[str, str], str] = {}
        self.stale = 0
        """To so many requests with a nonce it is stale, as far as the registrar is concerned."""

    def restart(self) -> None:
        """It has forgotten everything but the passwords."""
        self.contacts.clear()
        self.expire_nonces()

    def expire_nonces(self) -> None:
        self._nonces.clear()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = SipMessage.parse(data, addr[:2])
        if self.is_silent:
            self.ignored += 1
            return
        if request.status or request.method != "REGISTER":
            super().datagram_received(data, addr)
            return
        key = (request["call-id"], request["cseq"])
        if key not in self._answered:  # a repeated request gets the same response
            self._answered[key] = self._register(request)
        else:
            self.send(self._answered[key], request.source)

    def _register(self, request: SipMessage) -> str:
        self.registers.append(request)
        user = _user(request["to"])
        refusal = self.refusals.get(user) or self.refusals.get("")
        if refusal is not None:
            self.requests[user] += 1
            self.refused_s = time.monotonic()
            return self.respond(request, refusal.status, refusal.phrase, headers=refusal.headers)
        given = _parameters(request["authorization"])
        nonce = given.get("nonce", "")
        if given and self.stale:
            self.stale -= 1
            self.expire_nonces()
        if nonce not in self._nonces:
            return self._challenge(request, user, is_stale=bool(given))
        self.requests[user] += 1
        if user not in self.passwords or not _is_right(given, self.passwords[user]):
            return self.respond(request, 403, "Forbidden")
        return self._bind(request, user)

    def _challenge(self, request: SipMessage, user: str, *, is_stale: bool) -> str:
        self.challenges[user] += 1
        nonce = secrets.token_hex(8)
        self._nonces.add(nonce)
        stale = ", stale=true" if is_stale else ""
        challenge = f'WWW-Authenticate: Digest realm="{REALM}", nonce="{nonce}", algorithm=MD5, qop="auth"{stale}'
        return self.respond(request, 401, "Unauthorized", headers=challenge)

    def _bind(self, request: SipMessage, user: str) -> str:
        contact = re.search(r"<([^>]+)>", request["contact"])
        asked_s = int(request["expires"] or 3600)
        if contact is None:
            return self.respond(request, 400, "No Contact")
        if 0 < asked_s < self.min_expires_s:
            return self.respond(request, 423, "Interval Too Brief", headers=f"Min-Expires: {self.min_expires_s}")
        if asked_s == 0:
            self.contacts.get(user, set()).discard(contact[1])
            return self.respond(request, 200, headers="Expires: 0", contact="")
        granted_s = asked_s if self.granted_s is None else self.granted_s
        self.contacts.setdefault(user, set()).add(contact[1])
        return self.respond(request, 200, contact=f"<{contact[1]}>;expires={granted_s}")

    @property
    def bound(self) -> dict[str, set[str]]:
        """The users that have a contact."""
        return {user: contacts for user, contacts in self.contacts.items() if contacts}


def _parameters(authorization: str) -> Mapping[str, str]:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "digest":
        return {}
    pairs = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^,\s]+))', rest)
    return {name.lower(): quoted or plain for name, quoted, plain in pairs}


def _is_right(given: Mapping[str, str], password: str) -> bool:
    """RFC 7616 section 3.4, with qop=auth."""
    one = _md5(f"{given['username']}:{REALM}:{password}")
    two = _md5(f"REGISTER:{given['uri']}")
    due = _md5(f"{one}:{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}:{two}")
    return secrets.compare_digest(due, given["response"])
