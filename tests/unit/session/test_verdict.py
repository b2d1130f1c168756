"""What a session's JSON is judged to mean, where no peer can easily be made to misbehave so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sdpserver.session.verdict import judge

MEDIA = {
    "packets_received": 500,
    "packets_sent": 500,
    "auth_failures": 0,
    "auth_failures_in_a_row": 0,
    "dropped_source": 0,
    "dropped_payload_type": 0,
    "dropped_conversion": 0,
    "dropped_send": 0,
    "heard_ms_ago": 20.0,
    "sent_ms_ago": 20.0,
}
GOOD: dict[str, Any] = {
    "duration_s": 10.0,
    "close_reason": None,
    "call": {"to": "sip:600@pbx", "state": "answered", "reason": None, "sip_status": None}
    | dict.fromkeys(("on_hold", "held_by_remote", "muted"), False),
    "webrtc": {
        "ice": {"state": "connected", "remote_address": "192.0.2.1 5000", "remote_candidates": 0},
        "dtls": {"state": "connected", "flights_resent": 0, "error": ""},
        "direction": "sendrecv",
        "codecs": ["0 PCMU/8000"],
        "media": dict(MEDIA),
    },
    "sip": {
        "remote": "198.51.100.1 4002",
        "direction": "sendrecv",
        "on_hold": False,
        "codecs": ["0 PCMU/8000"],
        "media": dict(MEDIA),
    },
    "timeline": {"offer": 0.0, "answer": 1.0, "ice": 20.0, "dtls": 60.0, "answered": 500.0},
}


def session(**changes: Any) -> dict[str, Any]:
    """A good call with these members changed; `__` leads inside."""
    changed = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *folders, name = path.split("__")
        inside = changed
        for folder in folders:
            inside = inside[folder]
        inside[name] = value
    changed.setdefault("latest", changed["timeline"])
    return changed


EARLY = {"offer": 0.0, "answer": 1.0}


@pytest.mark.parametrize(
    ("changes", "ok", "cause"),
    [
        ({}, True, "ok"),
        ({"sip": None}, True, "ok"),
        ({"webrtc": None, "timeline": {"ringing": 0.0}}, None, "too_early"),
        ({"call__reason": "busy", "call__sip_status": 486, "timeline": EARLY}, False, "call_failed"),
        ({"call__reason": "normal_clearing"}, True, "ok"),  # it ended, and was well before
        ({"webrtc__ice__state": "new", "duration_s": 1.0, "timeline": EARLY}, None, "too_early"),
        ({"webrtc__ice__state": "new", "timeline": EARLY}, False, "no_ice_check"),
        ({"webrtc__ice__state": "disconnected"}, False, "ice_lost"),
        ({"webrtc__dtls__state": "failed", "webrtc__dtls__error": "no profile"}, False, "dtls_failed"),
        ({"timeline": {**EARLY, "ice": 9000.0}}, None, "too_early"),
        ({"timeline": {**EARLY, "ice": 20.0}}, False, "dtls_not_connected"),
        ({"webrtc__media__packets_received": 0, "webrtc__media__auth_failures": 50}, False, "srtp_failed"),
        (
            {"webrtc__media__packets_received": 0, "webrtc__media__auth_failures": 1, "latest": {"dtls": 9900.0}},
            None,
            "too_early",
        ),
        ({"webrtc__media__auth_failures_in_a_row": 50}, False, "srtp_failed"),
        ({"sip__media__auth_failures_in_a_row": 50}, False, "srtp_failed"),
        ({"webrtc__media__auth_failures": 90, "webrtc__media__auth_failures_in_a_row": 9}, True, "ok"),
        ({"webrtc__media__packets_received": 0}, False, "no_rtp_from_browser"),
        ({"webrtc__media__packets_received": 0, "webrtc__direction": "sendonly"}, False, "browser_does_not_send"),
        ({"webrtc__direction": "recvonly"}, False, "browser_does_not_listen"),
        ({"webrtc__media__dropped_conversion": 500}, False, "codec_mismatch"),
        ({"webrtc__media__dropped_payload_type": 3}, True, "ok"),
        ({"sip__media__packets_received": 0}, False, "no_rtp_from_sip_peer"),
        ({"sip__media__packets_received": 0, "sip__media__dropped_source": 9}, False, "rtp_from_elsewhere"),
        ({"sip__media__packets_received": 0, "sip__media__auth_failures": 9}, False, "srtp_failed"),
        ({"sip__media__packets_received": 0, "timeline__answered": 9000.0}, None, "too_early"),
        ({"sip__direction": "inactive"}, False, "sip_direction"),
        ({"sip__direction": "sendonly", "sip__on_hold": True}, False, "on_hold"),
        ({"timeline": {**EARLY, "ice": 20.0, "dtls": 60.0}, "call__state": "ringing"}, None, "too_early"),
        ({"call__muted": True}, True, "ok"),
        ({"close_reason": "normal_clearing"}, True, "ok"),
        ({"webrtc__codecs": [], "webrtc__direction": "inactive"}, False, "no_audio_agreed"),
        ({"webrtc__dtls__state": "closed"}, None, "too_early"),  # a page that may come back
        ({"webrtc__dtls__state": "closed", "close_reason": "client_closed"}, True, "ok"),
        # A page reloaded: the steps are gone through again.
        ({"webrtc__ice__state": "new", "latest": {"answer": 9900.0}}, None, "too_early"),
        ({"webrtc__dtls__state": "connecting", "latest": {"ice": 9900.0}}, None, "too_early"),
        ({"webrtc__dtls__state": "connecting", "latest": {"ice": 5000.0}}, False, "dtls_not_connected"),
        ({"webrtc__media__packets_received": 0, "latest": {"dtls": 9900.0}}, None, "too_early"),
        ({"webrtc__media__packets_received": 0, "latest": {"renegotiated": 9900.0}}, None, "too_early"),
        # What has come and comes no more.
        ({"webrtc__media__heard_ms_ago": 9000.0, "duration_s": 99.0}, True, "ok"),
        ({"webrtc__media__heard_ms_ago": 11000.0, "duration_s": 99.0}, False, "rtp_stopped"),
        ({"sip__media__heard_ms_ago": 11000.0, "duration_s": 99.0}, False, "rtp_stopped"),
        ({"sip__media__heard_ms_ago": 60000.0, "duration_s": 99.0, "latest": {"hold": 98000.0}}, True, "ok"),
        # A packet or two from before the codec was changed.
        (
            {
                "webrtc__media__packets_received": 2,
                "webrtc__media__dropped_payload_type": 2,
                "latest": {"dtls": 9900.0},
            },
            True,
            "ok",
        ),
        ({"webrtc__media__dropped_conversion": 9}, True, "ok"),
        # Hold, by either side; and just after.
        ({"sip": None, "call__on_hold": True}, False, "on_hold"),
        ({"sip": None, "call__held_by_remote": True}, False, "on_hold"),
        ({"sip__direction": "sendonly", "latest": {"hold": 9900.0}}, None, "too_early"),
        ({"sip__direction": "sendonly", "latest": {"hold": 5000.0}}, False, "sip_direction"),
        (
            {"sip__direction": "sendonly", "call__held_by_remote": True, "latest": {"hold": 9900.0}},
            False,
            "sip_direction",
        ),
        # Another far end.
        ({"sip__media__packets_received": 0, "latest": {"answered": 1.0, "far_end": 9900.0}}, None, "too_early"),
        (
            {"sip__media__packets_received": 0, "latest": {"answered": 1.0, "far_end": 5000.0}},
            False,
            "no_rtp_from_sip_peer",
        ),
        ({"webrtc__media__packets_sent": 0, "sip": None}, False, "no_rtp_to_browser"),
        ({"webrtc__media__packets_sent": 0, "sip": None, "latest": {"far_end": 9900.0}}, None, "too_early"),
        # What it rang with was heard, and nothing of the far end.
        ({"webrtc__media__sent_ms_ago": 9450.0, "sip": None}, False, "no_rtp_to_browser"),
        ({"webrtc__media__sent_ms_ago": 9200.0, "sip": None}, True, "ok"),
        ({"webrtc__media__sent_ms_ago": 9450.0, "sip": None, "latest": {"answered": 7500.0}}, None, "too_early"),
        ({"webrtc__media__sent_ms_ago": 9450.0}, True, "ok"),  # a SIP peer that pauses
        ({"webrtc__media__dropped_conversion": 500, "webrtc__media__packets_sent": 0}, False, "codec_mismatch"),
    ],
)
def test_the_first_step_that_is_not_as_it_should_be_is_the_cause(
    changes: dict[str, Any], ok: bool | None, cause: str
) -> None:
    found = judge(session(**changes))
    assert (found.ok, found.cause) == (ok, cause)
    assert found.text.endswith((".", "that."))


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ("10.0.0.5 4002", "private"),
        ("127.0.0.1 4002", "this machine"),
        ("fd00::5 4002", "private"),
        ("8.8.8.8 4002", "SDP."),
        (None, "SDP."),
    ],
)
def test_what_the_sip_peers_address_is_worth_is_said(remote: str | None, said: str) -> None:
    found = judge(session(sip__remote=remote, sip__media__packets_received=0))
    assert said in found.text


def test_an_address_that_this_machine_cannot_send_to_is_said_to_be_unreachable() -> None:
    found = judge(
        session(
            sip__remote="10.0.0.5 4002",
            sip__media__packets_received=0,
            sip__media__packets_sent=150,
            sip__media__dropped_send=150,
        )
    )
    assert "private" in found.text
    assert "cannot be reached: this machine would not send 150 packets there." in found.text
    assert found.evidence["dropped_send"] == 150
