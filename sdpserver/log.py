"""Logging: text for people or JSON for machines, on stderr, with secrets taken out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from .config import SECRET_KEYS, Log

HIDDEN = "***"

_SECRET_NAMES = (SECRET_KEYS - {"sha256"}) | {  # elsewhere a sha256 is a certificate's, and public
    "authorization",
    "api_key",
    "x_api_key",
    "resume_token",
    "ice_pwd",
    "local_pwd",
    "remote_pwd",
    "digit",
    "digits",
}
# RFC 8839 section 5.4, RFC 4568 section 4, RFC 7616 section 3.4 and RFC 6750 section 2.1.
_SECRET_TEXT = re.compile(
    r"(?P<name>\ba=ice-pwd:|\ba=crypto:\d+ \S+ inline:|\b(?:proxy-)?authorization:\s*(?:\w+ )?"
    r"|\bx-api-key:\s*|\bbearer |\bpassword[=:]\s*|[?&]token=)[^\s&,;\"']+",
    re.IGNORECASE,
)
_MAX_DEPTH = 6


def redact(value: Any, *, depth: int = 0) -> Any:
    """`value` without what its names or its text show to be secret."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\g<name>{HIDDEN}", value)
    if depth >= _MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {
            name: HIDDEN if _is_secret(name) and item else redact(item, depth=depth + 1) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item, depth=depth + 1) for item in value]
    return value


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and name.lower().replace("-", "_") in _SECRET_NAMES


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name not in ("exc_info", "_record", "_from_structlog"):
            event[name] = HIDDEN if _is_secret(name) and value else redact(value)
    return event


def _redact_text(_: Any, __: str, line: Any) -> Any:
    return redact(line)


def configure(config: Log) -> None:
    """Set up structlog, and the standard library's logging to go the same way. Once, at the start of the process."""
    level = logging.getLevelNamesMapping()[config.level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if config.format == "json":
        # The traceback is text by then, and passes the redaction too.
        last += [structlog.processors.format_exc_info, _redact, structlog.processors.JSONRenderer(default=str)]
    else:
        formatter = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=formatter)
        last += [_redact, console, _redact_text]  # the console writes the traceback itself
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # They tell of every packet, request or check at their lower levels.
    for noisy in ("asyncio", "aioice", "aiortc", "httpx", "httpcore", "hypercorn"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
