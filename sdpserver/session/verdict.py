"""Why there is no audio, from a session's JSON: one sentence and its evidence. Pure.

The steps of a call are looked at in the order in which one needs the other; the first that is not as it should be is
the cause. Before a step has had its time (`PATIENCE_S`), nothing is wrong yet and the verdict is open (`ok` null). That
time begins anew whenever something is: a reloaded page's handshake, a re-INVITE, another far end after a transfer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from sdpserver.models.webrtc import Cause, Verdict
from sdpserver.sdp import Direction

PATIENCE_S = 3.0
"""A browser checks within 50 ms of its answer, DTLS takes 100 ms more, and RTP comes every 20 ms."""

SILENCE_S = 10.0
"""A peer that pauses its RTP goes on with RTCP, at most 6.2 s apart (RFC 3550 section 6.3.1: 5 s, randomised)."""

MISMATCHED_PACKETS = 50
"""A second of them: a codec or a key changes with a packet of the old one on its way."""

RINGING_TAIL_S = 0.2
"""What was heard before a far end was there, a ringing tone, ends this much later at most."""


def judge(session: Mapping[str, Any]) -> Verdict:
    """The verdict on a session, live or ended, as `Session.describe` has it."""
    for step in (_call, _ice, _dtls, _browser_media, _hold, _sip_media, _to_browser):
        if (verdict := step(session)) is not None:
            return verdict
    flows = "flows" if session["close_reason"] is None else "flowed"
    muted = "; the browser's side is muted by command" if session["call"]["muted"] else ""
    return Verdict(ok=True, cause="ok", text=f"Audio {flows} in both directions{muted}.", evidence=_counts(session))


def _bad(cause: Cause, text: str, **evidence: Any) -> Verdict:
    return Verdict(ok=False, cause=cause, text=text, evidence=evidence)


def _open(text: str, **evidence: Any) -> Verdict:
    return Verdict(ok=None, cause="too_early", text=text, evidence=evidence)


def _since_s(session: Mapping[str, Any], *steps: str) -> float:
    """How long ago the last of these steps was reached, the last time; the offer, if none was."""
    latest = session["latest"]
    reached_ms = max((latest[step] for step in steps if step in latest), default=0.0)
    return float(session["duration_s"]) - float(reached_ms) / 1000


def _unless_early(waited_s: float, waiting_for: str, verdict: Verdict) -> Verdict:
    """The verdict, once the step has had its time."""
    if waited_s < PATIENCE_S:
        return _open(waiting_for, waited_s=round(waited_s, 1))
    return Verdict(
        ok=verdict.ok,
        cause=verdict.cause,
        text=verdict.text,
        evidence={"waited_s": round(waited_s, 1), **verdict.evidence},
    )


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
    return _unless_early(
        waited_s,
        "No ICE check has come yet.",
        _bad(
            "no_ice_check",
            f"No ICE check came from the browser in the {waited_s:.0f} s since the answer: UDP to its candidates is "
            "blocked on the way, or this server is not reached by their addresses ([webrtc] announced_ips).",
            remote_candidates=ice["remote_candidates"],
        ),
    )


def _dtls(session: Mapping[str, Any]) -> Verdict | None:
    dtls, remote = session["webrtc"]["dtls"], session["webrtc"]["ice"]["remote_address"]
    if dtls["state"] == "failed":
        return _bad("dtls_failed", f"ICE is up with {remote}, but DTLS failed: {dtls['error']}.", error=dtls["error"])
    if dtls["state"] == "closed" and session["close_reason"] is None:
        return _open("The page has closed its connection; it may yet come back with the session's resume_token.")
    if "dtls" in session["timeline"] and dtls["state"] in ("connected", "closed"):
        return None
    waited_s = _since_s(session, "ice")
    return _unless_early(
        waited_s,
        "ICE is up, and DTLS is under way.",
        _bad(
            "dtls_not_connected",
            f"ICE is up with {remote}, but no DTLS handshake has ended in {waited_s:.0f} s: packets larger than checks "
            "are lost on the way (MTU), or the browser did not take the answer.",
            flights_resent=dtls["flights_resent"],
        ),
    )


def _browser_media(session: Mapping[str, Any]) -> Verdict | None:
    webrtc = session["webrtc"]
    media, direction = webrtc["media"], Direction(webrtc["direction"])
    if media is None:
        return None
    if not webrtc["codecs"]:
        return _bad("no_audio_agreed", "The browser's SDP has no audio: its session has data channels only.")
    waited_s = _since_s(session, "dtls", "renegotiated")
    if (failed := _srtp_failed(media, "browser", waited_s)) is not None:
        return failed
    if (mismatch := _mismatch(media, "browser", webrtc["codecs"], waited_s)) is not None:
        return mismatch
    if not direction.receives:
        return _bad(
            "browser_does_not_send",
            f"The browser's SDP says that it does not send: our side of the audio is {direction.value}.",
            direction=direction.value,
        )
    remote = webrtc["ice"]["remote_address"]
    if media["packets_received"] == 0:
        return _unless_early(
            waited_s,
            "ICE and DTLS are up, and no RTP has come yet.",
            _bad(
                "no_rtp_from_browser",
                f"ICE and DTLS are up; 0 RTP packets came from the browser at {remote} in {waited_s:.0f} s: it has no "
                "microphone, or its track is not sent.",
                **_counts(session),
            ),
        )
    if not direction.sends:
        return _bad(
            "browser_does_not_listen",
            f"The browser's SDP says that it does not listen: our side of the audio is {direction.value}.",
            direction=direction.value,
        )
    return _stopped(media, f"the browser at {remote}", waited_s)


def _srtp_failed(media: Mapping[str, Any], who: str, waited_s: float) -> Verdict | None:
    """From the first packet on, or from some time on: RTCP may be fine all the while, since the two sides can differ
    about the upper half of a packet's index, which RTCP carries and RTP does not (RFC 3711 sections 3.3.1 and 3.4)."""
    received, failed, in_a_row = (
        media[name] for name in ("packets_received", "auth_failures", "auth_failures_in_a_row")
    )
    if received == 0 and failed >= (1 if waited_s >= PATIENCE_S else MISMATCHED_PACKETS):
        text = f"{failed} SRTP packets came from the {who}, and none has a right tag"
    elif received and in_a_row >= MISMATCHED_PACKETS:
        text = f"The last {in_a_row} SRTP packets from the {who} have wrong tags, after {received} good ones"
    else:
        return None
    return _bad(
        "srtp_failed",
        f"{text}: the keys differ, or what it sends is not encrypted.",
        auth_failures=failed,
        auth_failures_in_a_row=in_a_row,
        packets_received=received,
    )


def _mismatch(media: Mapping[str, Any], who: str, codecs: list[str], waited_s: float) -> Verdict | None:
    """What comes is not what was agreed on, or nothing that was agreed on can be made of what is to be sent."""
    received, unsent = media["dropped_payload_type"], media["dropped_conversion"]
    enough = 1 if waited_s >= PATIENCE_S else MISMATCHED_PACKETS
    if received >= max(media["packets_received"], enough):
        text = f"{received} packets came from the {who} in a format that was not agreed on"
    elif unsent >= max(media["packets_sent"], enough):
        text = f"{unsent} packets could not be sent to the {who} in a format that was agreed on"
    else:
        return None
    return _bad(
        "codec_mismatch",
        f"{text}; agreed are {', '.join(codecs)}.",
        dropped_payload_type=received,
        dropped_conversion=unsent,
        codecs=codecs,
    )


def _stopped(media: Mapping[str, Any], who: str, waited_s: float) -> Verdict | None:
    """Both RTP and RTCP: a side that is silent on purpose still reports."""
    heard_s_ago = media["heard_ms_ago"] / 1000
    if min(heard_s_ago, waited_s) < SILENCE_S:
        return None
    return _bad(
        "rtp_stopped",
        f"Neither RTP nor RTCP has come from {who} for {heard_s_ago:.0f} s, after {media['packets_received']} packets: "
        "it has gone, or its network has.",
        heard_s_ago=round(heard_s_ago, 1),
        packets_received=media["packets_received"],
    )


def _hold(session: Mapping[str, Any]) -> Verdict | None:
    sip = session["sip"] or {}
    direction = {"direction": sip["direction"]} if sip else {}
    if session["call"]["on_hold"] or sip.get("on_hold"):
        return _bad("on_hold", "The browser's side has put the call on hold.", by="local", **direction)
    if session["call"]["held_by_remote"] and not sip:
        return _bad("on_hold", "The far end has put the call on hold.", by="remote")
    return None


def _sip_media(session: Mapping[str, Any]) -> Verdict | None:
    sip, timeline = session["sip"], session["timeline"]
    if sip is None or sip.get("media") is None:
        return None
    if not timeline.keys() & {"answered", "early"}:
        return _open(f"The far end has not answered: {session['call']['state']}.")
    media, remote = sip["media"], sip["remote"]
    waited_s = _since_s(session, "answered", "early", "far_end", "media_changed", "hold")
    if (mismatch := _mismatch(media, "SIP peer", sip["codecs"], waited_s)) is not None:
        return mismatch
    direction = Direction(sip["direction"] or "sendrecv")
    if not (direction.sends and direction.receives):
        return _one_way(session, direction)
    failed = _srtp_failed(media, "SIP peer", waited_s)
    if media["packets_received"]:
        return failed or _stopped(media, f"the SIP peer at {remote}", waited_s)
    if waited_s >= PATIENCE_S and media["dropped_source"]:
        return _bad(
            "rtp_from_elsewhere",
            f"{media['dropped_source']} RTP packets came, but none from {remote}, the address in the SIP peer's SDP; "
            'a peer behind NAT needs rtp_learning = "first_packet" on its trunk.',
            dropped_source=media["dropped_source"],
            sdp_address=remote,
        )
    if failed is not None:
        return failed
    return _unless_early(
        waited_s,
        f"The call is {session['call']['state']}, and no RTP has come from the SIP peer yet.",
        _bad(
            "no_rtp_from_sip_peer",
            f"ICE and DTLS are up; 0 RTP packets came from {remote}, the address in the SIP peer's SDP"
            f"{_kind(remote, media)}.",
            sdp_address=remote,
            dropped_send=media["dropped_send"],
            **_counts(session),
        ),
    )


def _one_way(session: Mapping[str, Any], direction: Direction) -> Verdict:
    """By the SIP peer's SDP. Just after our own hold has ended it is our re-INVITE that is not answered yet."""
    if "hold" in session["latest"] and not session["call"]["held_by_remote"]:
        waited_s = _since_s(session, "hold")
        if waited_s < PATIENCE_S:
            return _open("The call is being taken back from hold.", waited_s=round(waited_s, 1))
    who = {"sendonly": "does not send", "recvonly": "does not listen", "inactive": "neither sends nor listens"}
    return _bad(
        "sip_direction",
        f"The SIP peer's SDP says that it {who[direction.value]}: our side is {direction.value}, as on hold.",
        direction=direction.value,
    )


def _kind(remote: str | None, media: Mapping[str, Any]) -> str:
    """What is to be said of the address itself."""
    unreachable = ""
    if media["dropped_send"] and 2 * media["dropped_send"] >= media["packets_sent"]:  # which counts these too
        unreachable = f", and it cannot be reached: this machine would not send {media['dropped_send']} packets there"
    try:
        address = ipaddress.ip_address((remote or "").partition(" ")[0])
    except ValueError:
        return unreachable
    if address.is_loopback:
        return f", which is this machine{unreachable}"
    if address.is_private:
        return f", which is private: it can be reached only from its own network{unreachable}"
    return unreachable


def _to_browser(session: Mapping[str, Any]) -> Verdict | None:
    """A far end that is another browser, or whatever else should be heard, gives nothing that could be sent.

    Once it has given something it may be silent: of a SIP peer `_stopped` tells whether it is still there.
    """
    media, timeline = session["webrtc"]["media"], session["timeline"]
    if media is None or not timeline.keys() & {"answered", "early"}:
        return None
    there_s = _since_s(session, "answered", "early", "far_end")
    if media["packets_sent"] and (session["sip"] or media["sent_ms_ago"] / 1000 < there_s - RINGING_TAIL_S):
        return None
    waited_s = _since_s(session, "dtls", "renegotiated", "answered", "early", "far_end", "hold")
    return _unless_early(
        waited_s,
        "Nothing has been sent to the browser yet.",
        _bad(
            "no_rtp_to_browser",
            f"ICE and DTLS are up, and there was nothing to send to the browser in {waited_s:.0f} s: the far end gives "
            "no audio.",
            **_counts(session),
        ),
    )
