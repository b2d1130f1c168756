"""pjsip's own log lines in ours."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import pjsua2 as pj
import structlog

from .sdes import redacted

log = structlog.get_logger("pjsip")

# pjsip's level 1 is also for what any peer can cause (a bad SDP, a lost packet), so it is no error of ours.
_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}
_SECRETS = re.compile(
    r"^((?:Proxy-)?(?:Authorization|Authenticate)|WWW-Authenticate)\s*:.*$", re.IGNORECASE | re.MULTILINE
)
LINES_PER_S = 20
"""Of levels that any stranger's datagram can cause, each of them several lines long."""
QUIET, VERBOSE = 2, 4
"""pjsip's levels for us: each line costs a callback into Python, so the chatty ones are for debugging only."""


class PjLog(pj.LogWriter):  # type: ignore[misc]
    """pjsip's levels go to structlog's; credentials and keys are taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closing = False
        self._second = 0
        self._lines = 0

    def write(self, entry: Any) -> None:
        """Called by pjsip, on the SIP thread."""
        if self.is_closing and entry.level > 0:
            return  # at the end every look at what is gone already is logged as an error
        if 0 < entry.level <= QUIET and self._is_too_much():
            return
        text = entry.msg.encode("utf-8", "replace").decode().strip()
        log.log(_LEVELS.get(entry.level, logging.DEBUG), redacted(_SECRETS.sub(r"\1: [redacted]", text)))

    def _is_too_much(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > LINES_PER_S:
                log.warning("more was said than is logged here", lines=self._lines - LINES_PER_S)
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines > LINES_PER_S
