"""What a REFER asks for, and what its NOTIFYs say (RFC 3515). Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

from ..errors import BadRequest
from . import message
from .events import Refer
from .invite import MAX_URI_LENGTH, name_addr, uri_host, uri_user

SIPFRAG = "message/sipfrag"
BAD_REQUEST, DECLINE = 400, 603
MAX_REPLACES_LENGTH = 512
MAX_CONTACT_LENGTH = 4096
SUBSCRIPTION_S = 180
_REPLACES = re.compile(r"[^\s;,]+(?:;[A-Za-z0-9.!%*_+`'~-]+(?:=[A-Za-z0-9.!%*_+`'~-]+)?)+")


class RefusedRefer(Exception):
    """A REFER that is not carried out, whoever asks."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_refer(text: str, hosts: frozenset[str]) -> Refer:
    """What this REFER asks for. Only a user at one of these hosts (lower case, with or without a port) may be called.

    :raises RefusedRefer: 400, it cannot be understood; 603, it names another host, method or kind of URI.
    """
    values = [value for name, value in message.all_headers(text) if name.lower() in ("refer-to", "r")]
    if len(values) != 1:  # RFC 3515 section 2.4.1
        raise RefusedRefer(BAD_REQUEST, f"{len(values)} Refer-To headers")
    _, whole = name_addr(values[0])
    uri, _, headers = whole.partition("?")
    if not uri.lower().startswith(("sip:", "sips:")):
        raise RefusedRefer(DECLINE, "the Refer-To is no sip: URI")
    user = uri_user(uri)
    if not user or len(whole) > 4 * MAX_URI_LENGTH:
        raise RefusedRefer(BAD_REQUEST, "the Refer-To has no user")
    if re.search(r";method=(?!invite(?:;|$))", uri, re.IGNORECASE):
        raise RefusedRefer(DECLINE, "the Refer-To asks for another method than INVITE")
    if uri_host(uri) not in hosts:
        raise RefusedRefer(DECLINE, "the Refer-To is not at the trunk's own host")
    return Refer(
        user=user,
        uri=message.printable(uri, MAX_URI_LENGTH),
        replaces=_replaces(headers),
        referred_by=message.printable(name_addr(message.header(text, "Referred-By"))[1], MAX_URI_LENGTH),
    )


def _replaces(headers: str) -> str | None:
    """The Replaces among a URI's headers (RFC 3891 section 4), decoded."""
    for pair in headers.split("&"):
        name, _, value = pair.partition("=")
        if name.lower() == "replaces":
            decoded = unquote(value, errors="replace").strip()
            if not is_replaces(decoded):
                raise RefusedRefer(BAD_REQUEST, "the Refer-To's Replaces is malformed")
            return decoded
    return None


def is_replaces(value: str) -> bool:
    """Whether this may stand in a Replaces header: a Call-ID and its parameters, both tags among them."""
    names = {parameter.partition("=")[0].lower() for parameter in value.split(";")[1:]}
    is_whole = _REPLACES.fullmatch(value) is not None and value.isprintable() and value.isascii()
    return is_whole and len(value) <= MAX_REPLACES_LENGTH and {"to-tag", "from-tag"} <= names


def checked_replaces(value: str) -> str:
    """The same value.

    :raises BadRequest: reason `bad_header`.
    """
    if not is_replaces(value):
        raise BadRequest("this is no Replaces header", reason="bad_header")
    return value


def wants_notifies(text: str) -> bool:
    """Unless its Refer-Sub says otherwise (RFC 4488)."""
    return message.header(text, "Refer-Sub").partition(";")[0].strip().lower() != "false"


def redirected_users(text: str, hosts: frozenset[str]) -> list[str]:
    """The users that a 3xx names at one of these hosts, preferred first (RFC 3261 section 20.10)."""
    found = []
    for name, value in message.all_headers(text):
        if name.lower() not in ("contact", "m"):
            continue
        for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|<[^>]*>|[^,"<])+', value[:MAX_CONTACT_LENGTH]):
            _, uri = name_addr(part)
            user = uri_user(uri)
            if uri.lower().startswith("sip:") and user and "?" not in uri and uri_host(uri) in hosts:
                quality = re.search(r">[^>]*;\s*q\s*=\s*([01](?:\.\d{1,3})?)", part)
                found.append((float(quality[1]) if quality else 1.0, user))
    return [user for _, user in sorted(found, key=lambda entry: -entry[0])]


def sipfrag(status: int, phrase: str) -> str:
    """The body of a NOTIFY."""
    clean = message.printable(phrase, 64) or PHRASES.get(status, "Failed" if status >= 300 else "OK")
    return f"SIP/2.0 {status} {clean.encode('ascii', 'replace').decode()}\r\n"


PHRASES = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    503: "Service Unavailable",
    603: "Decline",
}
