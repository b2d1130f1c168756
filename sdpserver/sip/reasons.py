"""Why a SIP call ended: SIP statuses and Q.850 causes in the words of the wire contract. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

NORMAL_CLEARING = "normal_clearing"
TRUNK_UNREACHABLE = "trunk_unreachable"
SIP_TIMEOUT = "sip_timeout"
NOT_ACCEPTABLE = "not_acceptable"
NO_SRTP = "no_srtp"
INTERNAL_ERROR = "internal_error"
SHUTDOWN = "shutdown"
CANCELLED = "cancelled"
ANSWERED_ELSEWHERE = "answered_elsewhere"
REDIRECT_REFUSED = "redirect_refused"
NO_SUCH_DN = "number_not_found"
TRUNK_FULL = "trunk_full"
OTHER = "sip_refused"

# Statuses of RFC 3261 section 21, RFC 8197 (607) and RFC 8688 (608).
BY_STATUS: Mapping[int, str] = {
    401: "trunk_auth_failed",
    403: "forbidden_by_peer",
    404: "number_not_found",
    407: "trunk_auth_failed",
    408: SIP_TIMEOUT,
    410: "number_not_found",
    415: NOT_ACCEPTABLE,
    480: "unavailable",
    484: "number_not_found",
    485: "number_not_found",
    486: "busy",
    487: CANCELLED,
    488: NOT_ACCEPTABLE,
    500: "trunk_error",
    502: "trunk_unavailable",
    503: "trunk_unavailable",
    504: SIP_TIMEOUT,
    600: "busy",
    603: "rejected",
    604: "number_not_found",
    606: NOT_ACCEPTABLE,
    607: "rejected",
    608: "rejected",
}

# Causes of ITU-T Q.850 section 2.2.5. 16 (normal clearing) says nothing that the status does not.
BY_CAUSE: Mapping[int, str] = {
    1: "number_not_found",
    3: "number_not_found",
    17: "busy",
    18: "no_answer",
    19: "no_answer",
    20: "unavailable",
    21: "rejected",
    22: "number_not_found",
    27: "unavailable",
    28: "number_not_found",
    34: "trunk_unavailable",
    38: "trunk_unavailable",
    41: "trunk_unavailable",
    42: "trunk_unavailable",
    44: "trunk_unavailable",
    47: "trunk_unavailable",
    58: NOT_ACCEPTABLE,
    65: NOT_ACCEPTABLE,
    79: NOT_ACCEPTABLE,
    88: NOT_ACCEPTABLE,
    102: SIP_TIMEOUT,
}

# Gateways use these for whatever they have no better status for, so a cause says more (RFC 6432).
GENERIC_STATUSES = frozenset({403, 480, 500, 502, 503, 603})

# How a call that rings here is refused, by why.
STATUS_BY_REASON: Mapping[str, int] = {
    "busy": 486,
    "rejected": 603,
    "no_answer": 480,
    "unavailable": 480,
    "client_gone": 480,
    "setup_timeout": 480,
    "server_shutdown": 503,
    INTERNAL_ERROR: 500,
}

# What HTTP says when a call that a client waits for ends so: 504 for silence, 502 for a refusal.
SILENCE = frozenset({SIP_TIMEOUT, TRUNK_UNREACHABLE, "no_answer"})


def q850_cause(reason_header: str) -> int:
    """The cause of a Reason header (RFC 3326), 0 without one."""
    match = re.search(r"\bq\.850\s*;(?:[^,]*;)?\s*cause\s*=\s*(\d{1,3})\b", reason_header, re.IGNORECASE | re.ASCII)
    return int(match[1]) if match else 0


def reason_for(status: int, cause: int = 0) -> str:
    """Our word for a final response to our INVITE."""
    if status in GENERIC_STATUSES and cause in BY_CAUSE:
        return BY_CAUSE[cause]
    if 300 <= status < 400:
        return "redirected"  # never followed: the trunk, not its answer, decides where a call may go
    return BY_STATUS.get(status, OTHER)


def reason_for_registration(status: int) -> str:
    """Our word for a registrar's refusal."""
    if status in (401, 403, 407):
        return "bad_credentials"
    return "dn_not_found" if status in (404, 410) else reason_for(status)


def reason_for_bye(cause: int = 0) -> str:
    """Our word for the peer's BYE."""
    return BY_CAUSE.get(cause, NORMAL_CLEARING)


def retry_after_s(header: str) -> int:
    """The seconds of a Retry-After header (RFC 3261 section 20.33), 0 without one."""
    match = re.match(r"\s*(\d{1,9})\b", header, re.ASCII)
    return int(match[1]) if match else 0


def http_status(reason: str) -> int:
    """502, or 504 when nobody answered."""
    return 504 if reason in SILENCE else 502
