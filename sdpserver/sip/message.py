"""Reading a SIP message's text, as pjsua2 hands it over (`wholeMsg`). Pure.

pjsip has parsed the message already, so only what it does not pass on is looked for here.
"""

from __future__ import annotations

import re

_COMPACT = {
    "content-type": "c",
    "call-id": "i",
    "from": "f",
    "to": "t",
    "contact": "m",
    "refer-to": "r",
    "referred-by": "b",
}
_SDP = "application/sdp"


def header(message: str, name: str) -> str:
    """The first header of that name, unfolded, or ""."""
    names = {name.lower(), _COMPACT.get(name.lower(), name.lower())}
    for line in _unfolded(message):
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() in names:
            return value.strip()
    return ""


def headers(message: str, name: str) -> str:
    """All headers of that name, joined by commas."""
    values = [line.partition(":")[2].strip() for line in _unfolded(message) if _key(line) == name.lower()]
    return ", ".join(values)


def all_headers(message: str) -> list[tuple[str, str]]:
    """(name, value) of each header, as written but unfolded."""
    pairs = (line.partition(":") for line in _unfolded(message))
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]


def _key(line: str) -> str:
    return line.partition(":")[0].strip().lower()


def _unfolded(message: str) -> list[str]:
    head = message.partition("\r\n\r\n")[0]
    return re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")[1:]


def status_line(message: str) -> tuple[int, str]:
    """(status, phrase) of a response; (0, "") for a request."""
    match = re.match(r"SIP/2\.0 (\d{3}) ?([^\r\n]*)", message)
    return (int(match[1]), printable(match[2])) if match else (0, "")


def printable(text: str, length: int = 200) -> str:
    """A peer's text without control characters and lone surrogates, short enough for a log line."""
    clean = text.encode("utf-8", "replace").decode()[:length]
    return "".join(c if c.isprintable() else " " for c in clean).strip()


def sdp(message: str) -> str:
    """The SDP in the body, also as a part of a multipart body (RFC 5621), or ""."""
    body = message.partition("\r\n\r\n")[2]
    if not body.strip():
        return ""
    content_type = header(message, "Content-Type")
    if content_type.lower().startswith(_SDP):
        return body
    boundary = re.match(r'multipart/[^;]+;.*?boundary="?([^";,\s]{1,70})', content_type, re.IGNORECASE)
    if boundary is None:
        return ""
    for part in body.split("--" + boundary[1])[1:]:
        head, _, content = part.lstrip("\r\n").partition("\r\n\r\n")
        if header("\r\n" + head, "Content-Type").lower().startswith(_SDP):
            return content.rstrip("\r\n") + "\r\n"
    return ""
