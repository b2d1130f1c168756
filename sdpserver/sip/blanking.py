"""SIP messages without what gives access, tells what somebody has typed, or would be obeyed by a terminal. Pure.

Blanked are credentials and challenges (of which who, where and how stays), passwords in URIs, keys in SDP, and presses
of keys. Whatever cannot be read for certain is blanked as a whole: of an `Authorization` only the parameters that are
known to be harmless are left, and of an INFO only the bodies that are known to hold no press.
"""

from __future__ import annotations

import re

BLANK = "[blanked]"
MAX_DEPTH = 4
"""Of bodies in bodies; what is deeper is not shown."""

_LINE_END = r"(?>\r\n|\n|\r)"
_LINE_ENDS = re.compile(rf"{_LINE_END}+")
_BLANK_LINE = re.compile(rf"{_LINE_END}{_LINE_END}")
_LOGICAL_LINE = re.compile(rf"[^\r\n]*(?:{_LINE_END}[ \t][^\r\n]*)*")  # with its continuation lines
_HEADER = re.compile(r"[ \t]*([^\s:]+)[ \t]*:(.*)", re.DOTALL)
_CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "authentication-info",
        "proxy-authentication-info",
    }
)
_SECRET_HEADER = re.compile(r"authori[sz]|authent|passw|secret|token|cookie|api-?key|credential", re.IGNORECASE)
# RFC 7616 section 3.4: what is left says who wants to go where, and nothing of the password.
_HARMLESS = frozenset({"realm", "username", "uri", "algorithm", "qop", "nc", "stale", "domain", "charset", "userhash"})
_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",;=]+)\s*(?:,|$)', re.DOTALL)
_ATTRIBUTE = re.compile(r"([ \t]*([a-z])[ \t]*=[ \t]*)(.*)", re.DOTALL | re.IGNORECASE)
_SECRET_ATTRIBUTES = ("crypto", "ice-pwd", "key-mgmt", "zrtp", "3ge2ae")
_CRYPTO = re.compile(r"crypto\s*:\s*([0-9]{1,9}\s+(?:AES|AEAD|F8|ARIA|SEED|NULL)[A-Z0-9_]*)(?=\s)", re.IGNORECASE)
_INLINE = re.compile(r"(inline\s*:)[^\r\n]*", re.IGNORECASE)
_PASSWORDS = re.compile(
    r"\b(response|cnonce|nonce|nextnonce|rspauth|password|passwd|pwd|pin|secret|token|digits?|postd|(?:proxy-)?authorization)"
    r"(\s*=\s*|%3d)"
    r'("(?:[^"\\]|\\.)*"?|\'[^\']*\'?|[^\s,;&>"\']+)',
    re.IGNORECASE | re.DOTALL,
)
_TOKEN_BORDERS = re.compile(r'([\s<>"]+)')
_SCHEME = re.compile(r"(?:sips?|https?|ftps?|wss?|pres|im|xmpp|turns?|stuns?|rtsps?|mailto):(?://)?", re.IGNORECASE)
_ENCODED_SCHEME = re.compile(r"(?:sips?|https?)%3a(?:%2f%2f)?", re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"\r\n]+)"|([^\s;,"]+))', re.IGNORECASE)
_DURATION = re.compile(r"\s*Duration\s*=\s*[0-9]{1,9}\s*", re.IGNORECASE | re.ASCII)
_SIGNAL = re.compile(r"\s*Signal\s*=", re.IGNORECASE)
_PLAIN_ENCODINGS = frozenset({"", "identity", "7bit", "8bit", "binary"})
_PRESSES = ("application/dtmf", "audio/telephone-event", "application/kpml", "application/vnd.nortelnetworks.digits")
_SHOWN_IN_INFO = frozenset({"application/sdp", "application/media_control+xml", "message/sipfrag", "message/sip"})
_TEXTS = ("text/", "application/sdp", "message/", "multipart/")


def blanked(message: str) -> str:
    """A message as it was on the wire, octets that are no UTF-8 as `surrogateescape` has them, fit to be shown.

    Its lines end as they did. Characters that are not printable are escaped (`\\x1b`); a body that is not text is
    told by its length and type.
    """
    return printable(_message(message, depth=0, is_info=False))


def printable(text: str) -> str:
    """With an escape for each character that is neither printable nor the end of a line or a tab."""
    if text.isascii() and text.replace("\r", "").replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\r\n\t" else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # an octet, as `surrogateescape` keeps it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _message(text: str, *, depth: int, is_info: bool) -> str:
    """A message, or what is like one: headers, perhaps after a start line, and perhaps a body."""
    begin = _LINE_ENDS.match(text)
    border = _BLANK_LINE.search(text, begin.end() if begin else 0)
    if border is None:
        return _lines(text)
    head, body = text[: border.start()], text[border.end() :]
    if not body:
        return _lines(head) + border[0]
    headers = _headers(head)
    is_info = is_info or _is_info(head, headers)
    return _lines(head) + border[0] + _body(body, headers, depth=depth, is_info=is_info)


def _headers(head: str) -> dict[str, list[str]]:
    """Their values by their names in lower case."""
    headers: dict[str, list[str]] = {}
    for line in _LOGICAL_LINE.findall(head):
        if (match := _HEADER.fullmatch(line)) is not None:
            headers.setdefault(match[1].lower(), []).append(" ".join(match[2].split()))
    return headers


def _is_info(head: str, headers: dict[str, list[str]]) -> bool:
    """Also an answer to one."""
    return head.lstrip()[:5].upper() == "INFO " or any("INFO" in cseq.upper() for cseq in headers.get("cseq", []))


def _lines(text: str) -> str:
    """What is a header or a line of an SDP, wherever it stands."""
    return _LOGICAL_LINE.sub(lambda match: _line(match[0]), text)


def _line(line: str) -> str:
    header = _HEADER.fullmatch(line)
    if header is not None and _SECRET_HEADER.search(header[1]):
        start = line[: header.start(2)]
        return f"{start} {_uris(_credentials(header[2]))}" if header[1].lower() in _CREDENTIALS else f"{start} {BLANK}"
    if _SIGNAL.match(line):
        return f"Signal={BLANK}"
    attribute = _ATTRIBUTE.fullmatch(line)
    if attribute is not None and attribute[2].lower() == "k":
        return attribute[1] + BLANK
    if attribute is not None and attribute[2].lower() == "a":
        value = attribute[3].lstrip().lower()
        if value.startswith("crypto"):
            crypto = _CRYPTO.match(attribute[3])
            return f"{attribute[1]}crypto:{crypto[1]} inline:{BLANK}" if crypto else f"{attribute[1]}crypto:{BLANK}"
        if (name := next((name for name in _SECRET_ATTRIBUTES if value.startswith(name)), None)) is not None:
            return f"{attribute[1]}{name}:{BLANK}"
    line = _INLINE.sub(rf"\1{BLANK}", line)
    return _uris(_PASSWORDS.sub(rf"\1\2{BLANK}", line))


def _credentials(value: str) -> str:
    """Of a challenge or its answer, in one line: the scheme and what is harmless."""
    scheme, _, rest = value.strip().partition(" ")
    if "=" in scheme:  # Authentication-Info has none
        scheme, rest = "", value
    elif scheme.lower() != "digest":
        return f"{scheme if scheme.isalpha() and len(scheme) <= 12 and rest else ''} {BLANK}".strip()
    shown = []
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            shown.append(BLANK)
            break
        name = match[1].lower()
        shown.append(f"{match[1]}={' '.join(match[2].split())}" if name in _HARMLESS else f"{_name(name)}={BLANK}")
        position = match.end()
    return f"{scheme} {', '.join(shown)}".strip()


def _name(name: str) -> str:
    """A parameter's name, if it is one that there is."""
    return name if name in ("response", "nonce", "cnonce", "opaque", "nextnonce", "rspauth", "auts") else "other"


def _uris(text: str) -> str:
    """Without the passwords in URIs (RFC 3261 section 19.1.1), also in those that are part of another's headers."""
    if "@" not in text and "%40" not in text:
        return text
    return "".join(_without_password(token) for token in _TOKEN_BORDERS.split(text))


def _without_password(token: str) -> str:
    for scheme, colon, at in ((_SCHEME, ":", "@"), (_ENCODED_SCHEME, "%3a", "%40")):
        lower = token.lower()
        start, end = scheme.search(token), lower.rfind(at)
        if start is None or end < start.end():
            continue
        found = lower.find(colon, start.end(), end)
        if found >= 0:
            token = token[: found + len(colon)] + BLANK + token[end:]
    return token


def _body(body: str, headers: dict[str, list[str]], *, depth: int, is_info: bool) -> str:
    types = {value.partition(";")[0].strip().lower() for value in _values(headers, "content-type", "c")}
    encodings = _values(headers, "content-encoding", "e") + _values(headers, "content-transfer-encoding")
    if not body.strip("\r\n"):
        return body
    type_ = next(iter(types)) if len(types) == 1 else ""
    if len(types) > 1 or depth > MAX_DEPTH or any(name.lower() not in _PLAIN_ENCODINGS for name in encodings):
        return _not_shown(body, ", ".join([*sorted(types), *encodings]))
    if type_.startswith("multipart/"):
        return _multipart(body, _values(headers, "content-type", "c")[0], depth=depth, is_info=is_info)
    if type_ == "application/dtmf-relay":
        return _LOGICAL_LINE.sub(lambda match: _press_line(match[0]), body)
    if type_.startswith(_PRESSES):
        return BLANK
    if is_info and type_ not in _SHOWN_IN_INFO:
        return _not_shown(body, type_)
    if type_ in ("message/sip", "message/sipfrag"):
        return _message(body, depth=depth + 1, is_info=is_info)
    if not type_.startswith(_TEXTS) and printable(body) != body:
        return _not_shown(body, type_)
    return _lines(body)


def _values(headers: dict[str, list[str]], *names: str) -> list[str]:
    return [value for name in names for value in headers.get(name, [])]


def _not_shown(body: str, what: str) -> str:
    octets = len(body.encode("utf-8", "surrogateescape"))
    return f"[{octets} octets{' of ' + what if what else ''}, not shown]"


def _press_line(line: str) -> str:
    if not line.strip() or _DURATION.fullmatch(line):
        return line
    return f"Signal={BLANK}" if _SIGNAL.match(line) else BLANK


def _multipart(body: str, content_type: str, *, depth: int, is_info: bool) -> str:
    """Each part by its own headers (RFC 2046 section 5.1)."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return _not_shown(body, content_type)
    delimiter = re.compile(
        rf"((?:^|{_LINE_END})--{re.escape(boundary[1] or boundary[2])}(?:--)?[ \t]*(?:{_LINE_END}|$))"
    )
    pieces = delimiter.split(body)
    if len(pieces) < 3:
        return _not_shown(body, content_type)
    # What is before the first and after the last delimiter is nobody's.
    shown = [piece if index % 2 else _part(piece, depth=depth, is_info=is_info) for index, piece in enumerate(pieces)]
    for index in (0, len(pieces) - 1):
        shown[index] = _not_shown(pieces[index], "") if pieces[index].strip() else pieces[index]
    return "".join(shown)


def _part(part: str, *, depth: int, is_info: bool) -> str:
    if (empty_head := re.match(_LINE_END, part)) is not None:  # no headers: plain text, or so it says
        return empty_head[0] + _body(part[empty_head.end() :], {}, depth=depth + 1, is_info=is_info)
    if _BLANK_LINE.search(part) is None:
        return _not_shown(part, "") if is_info else _lines(part)
    return _message(part, depth=depth + 1, is_info=is_info)
