"""INVITEs as values: those that we send, and what an owner may know of those that come. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from ..sdp import Codec
from . import message
from .address import MAX_HEADER_VALUE, MAX_HEADERS, MAX_HEADERS_TOTAL, MAX_NAME_LENGTH, MAX_USER_LENGTH
from .offer_answer import LocalAudio

MAX_URI_LENGTH = 256
MAX_NAME_ADDR_LENGTH = 2048
# What an owner may see of an INVITE: what it may set itself, and what asks for a ringing tone or for auto-answer.
_SHOWN_HEADERS = frozenset({"user-to-user", "subject", "call-info", "alert-info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """An INVITE to send. URIs and headers are checked and encoded already. `dn`: the key of a DN's own account."""

    call_id: str
    trunk: str
    uri: str
    from_header: str
    headers: tuple[tuple[str, str], ...]
    local: LocalAudio
    dn: int | None = None
    redirection: Redirection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """Which 3xx are followed: `allows` judges a user, decoded, of the trunk's own host, `uri_of` makes its Request-URI.

    Both are called on the SIP thread. `past` are the URIs that have been tried.
    """

    allows: Callable[[str], bool]
    uri_of: Callable[[str], str]
    past: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingInvite:
    """An INVITE from a trunk. Its texts are printable and limited in length.

    `user` is the Request-URI's, decoded. `headers` are `X-*`, User-to-User, Subject, Call-Info and Alert-Info, named as
    the peer wrote them. `codecs` are those that the offer and the trunk have in common, in the offerer's order; empty
    when the offer is to be ours (`has_offer` False).
    """

    call_id: str
    sip_call_id: str
    trunk: str
    user: str
    from_user: str
    from_uri: str
    display_name: str
    headers: tuple[tuple[str, str], ...]
    codecs: tuple[Codec, ...]
    has_offer: bool


def read_invite(text: str, *, call_id: str, trunk: str, codecs: Sequence[Codec], has_offer: bool) -> IncomingInvite:
    """What the INVITE in this message says."""
    display_name, from_uri = name_addr(message.header(text, "From"))
    return IncomingInvite(
        call_id=call_id,
        sip_call_id=message.printable(message.header(text, "Call-ID")),
        trunk=trunk,
        user=request_user(text),
        from_user=uri_user(from_uri),
        from_uri=message.printable(from_uri)[:MAX_URI_LENGTH],
        display_name=message.printable(display_name)[:MAX_NAME_LENGTH],
        headers=tuple(_shown(text)),
        codecs=tuple(codecs),
        has_offer=has_offer,
    )


def request_user(text: str) -> str:
    """The user part of a request's URI, as `uri_user`."""
    words = text.partition("\r\n")[0].split()
    return uri_user(words[1]) if len(words) > 1 else ""


def name_addr(text: str) -> tuple[str, str]:
    """(display name, URI) of a From, To, Contact, Refer-To or Referred-By (RFC 3261 section 20.10)."""
    text = text[:MAX_NAME_ADDR_LENGTH]
    match = re.match(r'\s*(?:"((?:[^"\\]|\\.)*)"\s*|([^<"]*))<([^>]*)>', text, re.DOTALL)
    if match is None:
        return "", text.partition(";")[0].strip()  # an addr-spec: what follows the semicolon is the header's
    quoted = re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
    return quoted.strip(), match[3].strip()


def uri_user(uri: str) -> str:
    """The user part, decoded, without its parameters; the number of a `tel:` URI; "" without one."""
    match = re.match(r"(sips?|tel):(.*)", uri.strip(), re.IGNORECASE | re.DOTALL)
    if match is None:
        return ""
    user, at, _ = match[2].rpartition("@")
    if match[1].lower() == "tel":
        user = match[2]
    elif not at:
        return ""
    user = re.split(r"[;:]", user, maxsplit=1)[0]
    return message.printable(unquote(user, errors="replace"))[:MAX_USER_LENGTH]


def uri_host(uri: str) -> str:
    """The host of a `sip:` URI, with its port if it has one, in lower case."""
    rest = re.sub(r"^sips?:", "", uri.strip(), count=1, flags=re.IGNORECASE)
    return re.split(r"[;?]", rest.rpartition("@")[2], maxsplit=1)[0].strip().lower()


def _shown(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    total = 0
    for name, value in message.all_headers(text):
        lower = name.lower()
        if lower in _SHOWN_HEADERS or (lower.startswith("x-") and len(lower) > 2):
            shown = (message.printable(name, 64), message.printable(value, MAX_HEADER_VALUE))
            total += len(shown[0]) + len(shown[1])
            if len(found) == MAX_HEADERS or total > MAX_HEADERS_TOTAL:
                break
            found.append(shown)
    return found
