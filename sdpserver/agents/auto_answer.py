"""Whether a caller asks the called one's phone to answer by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# `Call-Info: <...>;answer-after=0` is what Asterisk, Genesys and most phones understand; Alert-Info has no registered
# value for it, these are those that phones' manuals name.
_ANSWER_AFTER = re.compile(r";\s*answer-after\s*=\s*\d{1,3}\b", re.IGNORECASE | re.ASCII)
_ALERTS = re.compile(
    r"info\s*=\s*\"?(?:alert-autoanswer|auto-?answer|ring-?answer|intercom)\b", re.IGNORECASE | re.ASCII
)


def wants_auto_answer(headers: Iterable[tuple[str, str]]) -> bool:
    """By Call-Info (`answer-after`) or Alert-Info (`info=alert-autoanswer` and the like)."""
    for name, value in headers:
        if name.lower() == "call-info" and _ANSWER_AFTER.search(value):
            return True
        if name.lower() == "alert-info" and _ALERTS.search(value):
            return True
    return False
