"""SDP fragments of trickle ICE (RFC 8840 section 9): functions of text.

A fragment has the sender's ICE credentials, and its candidates below an m-line and an `a=mid` of the section that they
are for. Attributes that are not of ICE are left aside, as section 9.2 leaves room for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sdpserver.errors import BadRequest
from sdpserver.sdp import MAX_CANDIDATES, MAX_LINES, MAX_MEDIA, MAX_OCTETS

from .candidates import check_candidate
from .offer import ICE_PWD, ICE_UFRAG, MAX_MID, MEDIA_LINE, MID

MEDIA_TYPE = "application/trickle-ice-sdpfrag"
REASON = "invalid_sdpfrag"

_ATTRIBUTE = re.compile(r"a=([!#-'*+.0-9A-Z^-~-]+)(?::(.+))?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SEEN_BEFORE = ("ice-ufrag", "ice-pwd", "mid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentSection:
    """What a fragment says of one m-section.

    :ivar candidates: as `a=candidate` has them, without `a=`.
    :ivar complete: no more come.
    """

    mid: str
    candidates: tuple[str, ...] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A checked fragment. Candidates that name another `ufrag` than its own are left out of it."""

    ufrag: str
    pwd: str
    sections: tuple[FragmentSection, ...] = ()
    complete: bool = False

    @property
    def mids(self) -> tuple[str, ...]:
        return tuple(section.mid for section in self.sections)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Of all sections."""
        return tuple(candidate for section in self.sections for candidate in section.candidates)


def parse_fragment(text: str) -> Fragment:
    """Read a fragment; lines end with CR LF or LF.

    :raises BadRequest: `invalid_sdpfrag`, `invalid_candidate`, or `sdp_too_large`.
    """
    if len(text) > MAX_OCTETS:
        raise BadRequest(f"the fragment has more than {MAX_OCTETS} characters", reason="sdp_too_large")
    levels = _levels(text)
    if len(levels) - 1 > MAX_MEDIA:
        raise BadRequest(f"the fragment has more than {MAX_MEDIA} m-lines", reason="sdp_too_large")
    credentials = {pair for level in levels if (pair := _credentials(level)) is not None}
    if len(credentials) != 1:
        text = "two different pairs" if credentials else "no pair"
        raise BadRequest(f"the fragment has {text} of a=ice-ufrag and a=ice-pwd", reason=REASON)
    ((ufrag, pwd),) = credentials
    if any(name == "candidate" for name, _ in levels[0]):
        raise BadRequest("a=candidate comes before an m-line and its a=mid", reason=REASON)
    sections = tuple(_section(level, ufrag) for level in levels[1:])
    mids = [section.mid for section in sections]
    if len(set(mids)) != len(mids):
        raise BadRequest("two m-lines of the fragment have the same a=mid", reason=REASON)
    if sum(len(section.candidates) for section in sections) > MAX_CANDIDATES:
        raise BadRequest(f"the fragment has more than {MAX_CANDIDATES} candidates", reason="sdp_too_large")
    return Fragment(ufrag=ufrag, pwd=pwd, sections=sections, complete=("end-of-candidates", "") in levels[0])


_Level = list[tuple[str, str]]
"""Name and value of the attributes before the first m-line, or of those below one."""


def _levels(text: str) -> list[_Level]:
    levels: list[_Level] = [[]]
    lines = text.split("\n", MAX_LINES + 1)
    if len(lines) > MAX_LINES + 1:
        raise BadRequest(f"the fragment has more than {MAX_LINES} lines", reason="sdp_too_large")
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r")
        if not line and number == len(lines):
            break
        if _CONTROL.search(line):
            raise BadRequest(f"line {number} of the fragment has a control character", reason=REASON)
        if line.startswith("m="):
            if MEDIA_LINE.fullmatch(line) is None:
                raise BadRequest(f"line {number} of the fragment is no valid m-line", reason=REASON)
            levels.append([])
        elif (match := _ATTRIBUTE.fullmatch(line)) is not None:
            name, value = match[1], match[2] or ""
            if name in _SEEN_BEFORE and any(name == before for before, _ in levels[-1]):
                raise BadRequest(f"line {number} of the fragment has a={name} a second time", reason=REASON)
            levels[-1].append((name, value))
        else:
            raise BadRequest(f"line {number} of the fragment is neither a=... nor m=...", reason=REASON)
    return levels


def _credentials(level: _Level) -> tuple[str, str] | None:
    attributes = dict(level)
    ufrag, pwd = attributes.get("ice-ufrag"), attributes.get("ice-pwd")
    if ufrag is None and pwd is None:
        return None
    if ICE_UFRAG.fullmatch(ufrag or "") is None or ICE_PWD.fullmatch(pwd or "") is None:
        raise BadRequest("the fragment has no valid a=ice-ufrag and a=ice-pwd (RFC 8839 section 5.4)", reason=REASON)
    return ufrag or "", pwd or ""


def _section(level: _Level, ufrag: str) -> FragmentSection:
    mid = next((value for name, value in level if name == "mid"), None)
    if mid is None or len(mid) > MAX_MID or MID.fullmatch(mid) is None:
        raise BadRequest("an m-line of the fragment has no valid a=mid", reason=REASON)
    candidates = [f"candidate:{value}" for name, value in level if name == "candidate"]
    for candidate in candidates:
        check_candidate(candidate)
    return FragmentSection(
        mid=mid,
        # One of an ICE session that is over is to be discarded (RFC 8838 section 11).
        candidates=tuple(candidate for candidate in candidates if _ufrag_of(candidate) in (None, ufrag)),
        complete=("end-of-candidates", "") in level,
    )


def _ufrag_of(candidate: str) -> str | None:
    """Of the extension `ufrag` (RFC 8839 section 5.1), None if it has none."""
    extensions = candidate.split(" ")[8:]
    return dict(zip(extensions[::2], extensions[1::2], strict=False)).get("ufrag")


def write_fragment(
    *, ufrag: str, pwd: str, kind: str, mid: str, bundle: Sequence[str], candidates: Sequence[str]
) -> str:
    """The fragment of an ICE-lite agent that has all of its candidates, as RFC 9725 section 4.3.3 shows one.

    :param mid: of the section that speaks for the transport.
    :param bundle: the mids of its BUNDLE group.
    :param candidates: without `a=`.
    """
    lines = [
        "a=ice-lite",
        *([f"a=group:BUNDLE {' '.join(bundle)}"] if bundle else []),
        f"m={kind} 9 RTP/AVP 0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{pwd}",
        *(f"a={candidate}" for candidate in candidates),
        "a=end-of-candidates",
    ]
    return "\r\n".join(lines) + "\r\n"
