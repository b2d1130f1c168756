"""WHIP (RFC 9725): what its offers must be like, and what its PATCH does to a session."""

from __future__ import annotations

import re

from sdpserver.errors import BadRequest, Conflict, PreconditionFailed, PreconditionRequired, UnprocessableContent
from sdpserver.webrtc import Offer, WebRtcLeg
from sdpserver.webrtc.sdpfrag import Fragment

from .session import Session

ANY = "*"
_ENTITY_TAG = re.compile(r'\s*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')  # RFC 9110 section 8.8.3


def check_offer(offer: Offer) -> None:
    """What RFC 9725 asks of an offer beyond what any session does: one BUNDLE group, and no m-section that the answer
    would reject (sections 4.4.1 to 4.4.3). Here that is one of audio, and one of data channels if there is any.

    :raises BadRequest: `bundle_required`, or why an m-section cannot be taken.
    :raises UnprocessableContent: `partial_answer`, `direction_not_allowed`.
    """
    for section in offer.sections:
        if section.problem is not None:
            raise section.problem
        if section.kind not in ("audio", "application"):
            text = f"m={section.kind} would be rejected, and WHIP has no sessions that are successful in part"
            raise UnprocessableContent(f"{text}: offer audio alone", reason="partial_answer")
    kinds = [section.kind for section in offer.sections]
    if kinds.count("audio") != 1 or kinds.count("application") > 1:
        raise UnprocessableContent(
            f"one m=audio is taken, and m=application beside it: offered {', '.join(kinds)}", reason="partial_answer"
        )
    mids = [section.mid for section in offer.sections]
    if len(offer.bundles) != 1 or set(offer.bundles[0]) != set(mids):
        raise BadRequest("all m-sections must be in one a=group:BUNDLE", reason="bundle_required")
    direction = next(section.direction for section in offer.sections if section.kind == "audio")
    if not direction.sends:
        raise UnprocessableContent(
            f"a WHIP client sends: a=sendrecv or a=sendonly, not a={direction.value}", reason="direction_not_allowed"
        )


def entity_tag(session: Session) -> str:
    """Of its ICE session, strong.

    :raises Conflict: `not_answered`: it has no leg yet.
    """
    return f'"{_leg(session).ice_tag}"'


def _leg(session: Session) -> WebRtcLeg:
    if session.browser.leg is None:
        raise Conflict("nobody has answered the call yet", reason="not_answered", session_id=session.id)
    return session.browser.leg


def patch(session: Session, fragment: Fragment, if_match: str) -> str | None:
    """Trickled candidates or an ICE restart (RFC 9725 section 4.3).

    A restart is a request for any ICE session (`*`) with credentials that are not the current ones. The same request
    again has the same answer, since a client whose answer was lost has nothing else to say.

    :param if_match: the header; "": there is none.
    :returns: the fragment that answers a restart, None if there was none.
    :raises PreconditionRequired: `if_match_required`.
    :raises PreconditionFailed: `ice_session_over`: `if_match` or the credentials are of an earlier ICE session.
    :raises UnprocessableContent: `unknown_ufrag`, `unknown_mid`. Nothing has changed.
    :raises Conflict: `leg_closed`.
    """
    leg = _leg(session)
    if not if_match:
        raise PreconditionRequired(
            "If-Match must have the ETag of the ICE session, or * for an ICE restart", reason="if_match_required"
        )
    for_any = if_match.strip() in (ANY, f'"{ANY}"')  # the RFC's own examples have quotes that HTTP has not
    if not for_any and entity_tag(session) not in _ENTITY_TAG.findall(if_match):
        raise PreconditionFailed(
            f"If-Match does not have the ETag of the ICE session, which is {entity_tag(session)}",
            reason="ice_session_over",
        )
    if unknown := [mid for mid in fragment.mids if mid not in leg.remote_mids]:
        raise UnprocessableContent(f"no m-section of the session has a=mid:{unknown[0]}", reason="unknown_mid")
    restarts = for_any and (fragment.ufrag, fragment.pwd) != leg.remote_ice
    if not restarts and fragment.ufrag != leg.remote_ice[0]:
        raise UnprocessableContent(
            "a=ice-ufrag is not that of the ICE session; an ICE restart has If-Match: *", reason="unknown_ufrag"
        )
    if restarts:
        _restart(session, leg, fragment)
    for candidate in fragment.candidates:
        leg.add_remote_candidate(candidate, None, None)
    return leg.ice_fragment if restarts or (for_any and leg.has_restarted_ice) else None


def _restart(session: Session, leg: WebRtcLeg, fragment: Fragment) -> None:
    try:
        leg.restart_ice(fragment.ufrag, fragment.pwd)
    except Conflict as exc:
        if exc.reason != "ice_session_over":
            raise
        raise PreconditionFailed(str(exc), reason=exc.reason) from exc
    session.events.emit("renegotiated", direction=leg.direction.value)
