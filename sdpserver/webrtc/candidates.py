"""Trickled candidates of a client: ICE-lite does not need them, but a client should hear of its mistakes."""

from __future__ import annotations

import re

from sdpserver.errors import BadRequest

_CANDIDATE = re.compile(  # RFC 8839 section 5.1
    r"(?:a=)?candidate:[A-Za-z0-9+/]{1,32} [0-9]{1,3} [A-Za-z0-9-]{1,16} [0-9]{1,10} [0-9A-Za-z.:%_-]{1,253} [0-9]{1,5}"
    r" typ [!-~]{1,32}(?: [!-~]{1,64} [!-~]{0,256})*"
)


def check_candidate(candidate: str) -> bool:
    """Whether this is a candidate; False for the empty one, which says that no more come (RFC 8838 section 8.2).

    :raises BadRequest: `invalid_candidate`.
    """
    text = candidate.strip()
    if text in ("", "end-of-candidates", "a=end-of-candidates"):
        return False
    if _CANDIDATE.fullmatch(text) is None:
        raise BadRequest("candidate is not in the form of RFC 8839 section 5.1", reason="invalid_candidate")
    component, priority, port = (int(text.split()[index]) for index in (1, 3, 5))
    if not (1 <= component <= 256 and 1 <= priority < 1 << 31 and port < 65536):
        raise BadRequest("candidate has a number out of range", reason="invalid_candidate")
    return True
