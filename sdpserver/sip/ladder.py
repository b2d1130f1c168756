"""A call's SIP messages as a diagram that is read from top to bottom, with a column for each party, or as text. Pure.

12:00:00.000 A      |------- INVITE 600 (SDP) ------>|                                |
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..timestamps import utc_text
from . import message
from .traces import CallTrace, TracedMessage

WIDTH = 100
MARGIN = len("12:00:00.000 A ")
WE = "sdpserver"
FIRST_COLUMN, RIGHT_MARGIN = MARGIN + len(WE) // 2 + 1, 11
MIN_STEP, MAX_STEP = 17, 42
"""Between two columns; with more than four others the diagram is wider than `WIDTH`."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIRECTION = re.compile(r"^a=(sendonly|recvonly|inactive)\s*$", re.MULTILINE)
_USER = re.compile(r"(?:sips?:([^@;:>\s]+)[^>\s]*@|tel:([^;>\s]+))", re.IGNORECASE)
_TAG = re.compile(r";\s*tag\s*=", re.IGNORECASE)
_FRAGMENT = re.compile(r"\r?\n\r?\nSIP/2\.0 ([1-6]\d\d [^\r\n]*)")


def ladder(trace: CallTrace, call_id: str) -> str:
    """The diagram, each line with its time (UTC) and the letter of its Call-ID; repeated messages are dotted."""
    letters: dict[str, str] = {}
    for sent in trace.messages:
        letters.setdefault(sent.sip_call_id, _LETTERS[min(len(letters), len(_LETTERS) - 1)])
    parties = _parties(trace.messages)
    columns = _columns(len(set(parties)))
    places = {party: columns[index] for index, party in enumerate(dict.fromkeys(parties), 1)}
    lines = [heading(trace, call_id), *(f"{letter}  Call-ID {name}" for name, letter in letters.items()), ""]
    if trace.messages:
        lines += [_names(columns, [WE, *places]), _row(columns)]
    day = trace.messages[0].at.date() if trace.messages else None
    for sent, party in zip(trace.messages, parties, strict=True):
        if sent.at.date() != day:
            day = sent.at.date()
            lines.append(f"{day}".ljust(MARGIN) + _row(columns)[MARGIN:])
        start, end = (columns[0], places[party])
        time = f"{sent.at:%H:%M:%S}.{sent.at.microsecond // 1000:03}"
        row = _arrow(_row(columns), start, end, label(sent), to_right=sent.is_sent, dotted=sent.is_repeated)
        lines.append(f"{time} {letters[sent.sip_call_id]} " + row[MARGIN:])
    return "".join(line.rstrip() + "\n" for line in lines)


def text(trace: CallTrace, call_id: str) -> str:
    """Each message in full, after a line of when and where."""
    parts = [heading(trace, call_id) + "\n"]
    for sent in trace.messages:
        ends = f"{sent.local} -> {sent.remote}" if sent.is_sent else f"{sent.remote} -> {sent.local}"
        repeated = " (repeated)" if sent.is_repeated else ""
        at = utc_text(sent.at, "microseconds")
        parts.append(f"\n---- {at} +{sent.elapsed_ms:.3f} ms {sent.transport} {ends}{repeated}\n")
        parts.append(re.sub(r"\r\n?", "\n", sent.text).rstrip("\n") + "\n")
    return "".join(parts)


def heading(trace: CallTrace, call_id: str) -> str:
    """One line of what follows."""
    count = len(trace.messages)
    begin = f", from {utc_text(trace.messages[0].at)}" if count else ""
    dropped = f"; {trace.dropped} more had to make room" if trace.dropped else ""
    return f"Call {call_id}: {count} SIP message{'' if count == 1 else 's'}{begin}{dropped}"


def label(sent: TracedMessage) -> str:
    """What a message is, in few words."""
    words = sent.start_line.split(" ", 2)
    if sent.status:
        name = f"{sent.status} {words[2] if len(words) > 2 else ''}".rstrip()
        if sent.method != "INVITE":
            name += f" ({sent.method})"
    else:
        name = f"{words[0]} {_object(sent, words)}".rstrip()
    sdp = message.sdp(sent.text)
    if sdp:
        direction = _DIRECTION.search(sdp)
        name += f" (SDP {direction[1]})" if direction else " (SDP)"
    return name + (" again" if sent.is_repeated else "")


def _object(sent: TracedMessage, words: Sequence[str]) -> str:
    """Who is called, where a REFER points to, what a NOTIFY tells; "" for others, and within a dialog."""
    match words[0]:
        case "INVITE" if len(words) > 1 and not _TAG.search(message.header(sent.text, "To")):
            return _user(words[1])
        case "REFER":
            return _user(message.header(sent.text, "Refer-To"))
        case "NOTIFY":
            fragment = _FRAGMENT.search(sent.text)
            return fragment[1] if fragment is not None else ""
    return ""


def _user(uri: str) -> str:
    found = _USER.search(uri)
    return (found[1] or found[2]) if found is not None else ""


def _parties(messages: Sequence[TracedMessage]) -> list[str]:
    """Who is at the other end of each. A dialog's connection from another port of the same host is no other party."""
    parties: list[str] = []
    by_host: dict[tuple[str, str], str] = {}
    for sent in messages:
        party = sent.remote
        if sent.transport != "UDP":
            party = by_host.setdefault((sent.sip_call_id, party.rpartition(":")[0]), party)
        parties.append(party)
    return parties


def _columns(others: int) -> list[int]:
    """Where the lines of ourselves and of so many others stand."""
    room = WIDTH - FIRST_COLUMN - RIGHT_MARGIN
    step = max(MIN_STEP, min(MAX_STEP, room // max(others, 1)))
    return [FIRST_COLUMN + step * index for index in range(others + 1)]


def _row(columns: Sequence[int]) -> str:
    row = [" "] * (columns[-1] + 1)
    for column in columns:
        row[column] = "|"
    return "".join(row)


def _names(columns: Sequence[int], names: Sequence[str]) -> str:
    row = ""
    for column, name in zip(columns, names, strict=True):
        room = min(columns[1] - columns[0] - 2, 2 * RIGHT_MARGIN)
        shown = name if len(name) <= room else "~" + name[len(name) - room + 1 :]
        row = row.ljust(column - len(shown) // 2) + shown
    return row


def _arrow(row: str, left: int, right: int, text: str, *, to_right: bool, dotted: bool) -> str:
    room = right - left - 1
    shown = f" {_cut(text, room - 5)} "
    line = ("." if dotted else "-") * (room - 1)
    before = (room - 1 - len(shown)) // 2
    line = line[:before] + shown + line[before + len(shown) :]
    return row[: left + 1] + (line + ">" if to_right else "<" + line) + row[right:]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "~"
