"""Why there is no audio, from a session's JSON: one sentence and its evidence. Pure.

The steps of a call are looked at in the order in which one needs the other; the first that is not as it should be is
the cause. Before a step has had its time (`PATIENCE_S`), nothing is wrong yet and the verdict is open (`ok` null).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdpserver.sdp import Direction

PATIENCE_S = 3.0
"""A browser checks within 50 ms of its answer, DTLS takes 100 ms more, and RTP comes every 20 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`ok` None: it cannot be told yet. `cause` is a stable word, `text` a sentence for people."""

    ok: bool | None
    cause: str
    text: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """GET /webrtc/sessions/{id}/verdict."""
        return {"ok": self.ok, "cause": self.cause, "text": self.text, "evidence": self.evidence}


def judge(session: Mapping[str, Any]) -> Verdict:
    """The verdict on a session, live or ended, as `Session.describe` has it."""
    for step in (_call, _ice, _dtls, _browser_media, _sip_media):
        if (verdict := step(session)) is not None:
            return verdict
    return Verdict(ok=True, cause="ok", text="Audio flows in both directions.", evidence=_counts(session))


def _bad(cause: str, text: str, **evidence: Any) -> Verdict:
    return Verdict(ok=False, cause=cause, text=text, evidence=evidence)


def _open(text: str, **evidence: Any) -> Verdict:
    return Verdict(ok=None, cause="too_early", text=text, evidence=evidence)


def _since_s(session: Mapping[str, Any], *steps: str) -> float:
    """How long ago the first of these steps that was reached was reached; that of the offer if none was."""
    timeline = session["timeline"]
    reached_ms = next((timeline[step] for step in steps if step in timeline), 0.0)
    return float(session["duration_s"]) - float(reached_ms) / 1000


def _counts(session: Mapping[str, Any]) -> dict[str, Any]:
    counts = {}
    for side in ("webrtc", "sip"):
        if (media := (session[side] or {}).get("media")) is not None:
            counts[side] = {name: media[name] for name in ("packets_received", "packets_sent")}
    return counts


def _call(session: Mapping[str, Any]) -> Verdict | None:
    call = session["call"]
    if call["reason"] is not None and "answered" not in session["timeline"]:
        status = f" ({call['sip_status']})" if call["sip_status"] else ""
        return _bad(
            "call_failed",
            f"The call to {call['to']} was not answered: {call['reason']}{status}.",
            reason=call["reason"],
            sip_status=call["sip_status"],
        )
    if session["webrtc"] is None:
        return _open("No browser has answered the call yet." if session["close_reason"] is None else "It has ended.")
    return None


def _ice(session: Mapping[str, Any]) -> Verdict | None:
    ice = session["webrtc"]["ice"]
    if ice["state"] == "disconnected":
        return _bad(
            "ice_lost",
            f"The browser at {ice['remote_address']} has not been heard of for 30 s: it has gone, or its network has.",
            remote_address=ice["remote_address"],
        )
    if ice["state"] != "new":
        return None
    waited_s = _since_s(session, "answer")
    if waited_s < PATIENCE_S:
        return _open("No ICE check has come yet.", waited_s=round(waited_s, 1))
    return _bad(
        "no_ice_check",
        f"No ICE check came from the browser in the {waited_s:.0f} s since the answer: UDP to its candidates is "
        "blocked on the way, or this server is not reached by their addresses ([webrtc] announced_ips).",
        waited_s=round(waited_s, 1),
        remote_candidates=ice["remote_candidates"],
    )


def _dtls(session: Mapping[str, Any]) -> Verdict | None:
    dtls, remote = session["webrtc"]["dtls"], session["webrtc"]["ice"]["remote_address"]
    if dtls["state"] == "failed":
        return _bad("dtls_failed", f"ICE is up with {remote}, but DTLS failed: {dtls['error']}.", error=dtls["error"])
    if "dtls" in session["timeline"]:
        return None
    waited_s = _since_s(session, "ice")
    if waited_s < PATIENCE_S:
        return _open("ICE is up, and DTLS is under way.", waited_s=round(waited_s, 1))
    return _bad(
        "dtls_not_connected",
        f"ICE is up with {remote}, but no DTLS handshake has ended in {waited_s:.0f} s: packets larger than checks are "
        "lost on the way (MTU), or the browser did not take the answer.",
        waited_s=round(waited_s, 1),
        flights_resent=dtls["flights_resent"],
    )


def _browser_media(session: Mapping[str, Any]) -> Verdict | None:
    webrtc = session["webrtc"]
    media, direction = webrtc["media"], Direction(webrtc["direction"])
    if media is None:
        return None
    if media["packets_received"] == 0 and media["auth_failures"]:
        return _bad(
            "srtp_failed",
            f"{media['auth_failures']} SRTP packets came from the browser, and none has a right tag: the keys differ.",
            auth_failures=media["auth_failures"],
        )
    if (mismatch := _mismatch(media, "browser", webrtc["codecs"])) is not None:
        return mismatch
    if not direction.receives:
        return _bad(
            "browser_does_not_send",
            f"The browser's SDP says that it does not send: our side of the audio is {direction.value}.",
            direction=direction.value,
        )
    waited_s = _since_s(session, "dtls")
    if media["packets_received"] == 0:
        if waited_s < PATIENCE_S:
            return _open("ICE and DTLS are up, and no RTP has come yet.", waited_s=round(waited_s, 1))
        return _bad(
            "no_rtp_from_browser",
            f"ICE and DTLS are up; 0 RTP packets came from the browser at {webrtc['ice']['remote_address']} in "
            f"{waited_s:.0f} s: it has no microphone, or its track is not sent.",
            waited_s=round(waited_s, 1),
            **_counts(session),
        )
    if not direction.sends:
        return _bad(
            "browser_does_not_listen",
            f"The browser's SDP says that it does not listen: our side of the audio is {direction.value}.",
            direction=direction.value,
        )
    return None


def _mismatch(media: Mapping[str, Any], who: str, codecs: list[str]) -> Verdict | None:
    unusable = media["dropped_payload_type"] + media["dropped_conversion"]
    if not unusable or unusable < media["packets_received"]:
        return None
    return _bad(
        "codec_mismatch",
        f"{unusable} packets came from the {who} in a format that was not agreed on; agreed are {', '.join(codecs)}.",
        dropped_payload_type=media["dropped_payload_type"],
        dropped_conversion=media["dropped_conversion"],
        codecs=codecs,
    )


def _sip_media(session: Mapping[str, Any]) -> Verdict | None:
    sip, timeline = session["sip"], session["timeline"]
    if sip is None or sip.get("media") is None:
        return None
    if not timeline.keys() & {"answered", "early"}:
        return _open(f"The far end has not answered: {session['call']['state']}.")
    media, remote = sip["media"], sip["remote"]
    if (mismatch := _mismatch(media, "SIP peer", sip["codecs"])) is not None:
        return mismatch
    direction = Direction(sip["direction"] or "sendrecv")
    if sip["on_hold"]:
        return _bad("on_hold", "The browser's side has put the call on hold.", direction=direction.value)
    if not (direction.sends and direction.receives):
        who = {"sendonly": "does not send", "recvonly": "does not listen", "inactive": "neither sends nor listens"}
        return _bad(
            "sip_direction",
            f"The SIP peer's SDP says that it {who[direction.value]}: our side is {direction.value}, as on hold.",
            direction=direction.value,
        )
    if media["packets_received"]:
        return None
    waited_s = _since_s(session, "answered", "early")
    if waited_s < PATIENCE_S:
        return _open("The call is answered, and no RTP has come from the SIP peer yet.", waited_s=round(waited_s, 1))
    if media["dropped_source"]:
        return _bad(
            "rtp_from_elsewhere",
            f"{media['dropped_source']} RTP packets came, but none from {remote}, the address in the SIP peer's SDP; "
            'a peer behind NAT needs rtp_learning = "first_packet" on its trunk.',
            dropped_source=media["dropped_source"],
            sdp_address=remote,
        )
    if media["auth_failures"]:
        return _bad(
            "srtp_failed",
            f"{media['auth_failures']} SRTP packets came from the SIP peer, and none has a right tag: the keys differ.",
            auth_failures=media["auth_failures"],
        )
    return _bad(
        "no_rtp_from_sip_peer",
        f"ICE and DTLS are up; 0 RTP packets came from {remote}, the address in the SIP peer's SDP{_kind(remote)}.",
        waited_s=round(waited_s, 1),
        sdp_address=remote,
        **_counts(session),
    )


def _kind(remote: str | None) -> str:
    """What is to be said of the address itself."""
    try:
        address = ipaddress.ip_address((remote or "").partition(" ")[0])
    except ValueError:
        return ""
    if address.is_loopback:
        return ", which is this machine"
    if address.is_private:
        return ", which is private: it can be reached only from its own network"
    return ""
