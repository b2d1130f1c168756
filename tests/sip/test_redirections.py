"""3xx to a call of ours, where its maker allows some of them to be followed."""

from __future__ import annotations

from typing import Any

import pytest
from peers.sip_peer import PeerDialog, sdp

from sdpserver.sip import SipEventType

from .conftest import Scene, sent_by_us


def allow(*users: str) -> dict[str, Any]:
    return {"may_redirect": lambda user: user in users}


async def test_the_preferred_user_that_is_allowed_is_called(scene: Scene) -> None:
    host = scene.peer.host_port
    _, _, dialog = await scene.dial(**allow("700", "800"))
    contact = f"<sip:700@{host}>;q=0.3, <sip:666@{host}>;q=0.9, <sip:800@{host}>;q=0.5"
    again = await redirect(scene, dialog, contact)
    assert again.invite.start.startswith("INVITE sip:800@")
    again.respond(486, "Busy Here")


async def redirect(scene: Scene, dialog: PeerDialog, contact: str, status: int = 302) -> PeerDialog:
    """The INVITE that follows."""
    dialog.respond(status, "Moved", headers=f"Contact: {contact}")
    await scene.peer.receive("ACK")
    return PeerDialog(scene.peer, await scene.peer.receive("INVITE"))


@pytest.mark.parametrize("status", [300, 301, 302])
async def test_a_user_of_the_trunks_own_is_called(scene: Scene, status: int) -> None:
    host = scene.peer.host_port
    call, events, dialog = await scene.dial(headers={"X-Case": "42"}, **allow("+49 30"))
    contact = f'"Elsewhere, Inc." <sip:1@192.0.2.1>;q=0.9, <sip:+49%2030@{host};x=y>'
    again = await redirect(scene, dialog, contact, status)
    assert again.invite.start == f"INVITE sip:+49%2030@{host} SIP/2.0"
    assert (again.invite["x-case"], again.invite.body) != ("", "")
    assert again.invite["call-id"] == call.call_id
    await again.answer(sdp(30000))
    await events.next(SipEventType.ANSWERED)


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:900@192.0.2.1>",
        "<sip:901@{trunk}>",
        "<sip:{trunk}>",
        "<sip:900@{trunk}?Route=x>",
        "<tel:900>",
        "<sip:900@192.0.2.1;maddr=127.0.0.1>",
        "sip:900@192.0.2.1",
    ],
)
async def test_others_are_not(scene: Scene, contact: str) -> None:
    _, events, dialog = await scene.dial(**allow("900"))
    dialog.respond(302, "Moved", headers=f"Contact: {contact.format(trunk=scene.peer.host_port)}")
    end = await events.ended()
    assert (end.reason, end.status, end.by_remote) == ("redirect_refused", 302, True)
    assert len(sent_by_us(scene.peer, "INVITE")) == 1


async def test_a_circle_ends(scene: Scene) -> None:
    _, events, dialog = await scene.dial("600", **allow("600", "700"))
    again = await redirect(scene, dialog, f"<sip:700@{scene.peer.host_port}>")
    again.respond(302, "Moved", headers=f"Contact: <sip:600@{scene.peer.host_port}>")
    assert (await events.ended()).reason == "redirect_refused"


async def test_a_chain_ends(scene: Scene) -> None:
    _, events, dialog = await scene.dial("600", may_redirect=lambda user: True)
    for number in range(5):
        dialog = await redirect(scene, dialog, f"<sip:70{number}@{scene.peer.host_port}>")
    dialog.respond(302, "Moved", headers=f"Contact: <sip:800@{scene.peer.host_port}>")
    assert (await events.ended()).reason == "redirect_refused"
    assert len(sent_by_us(scene.peer, "INVITE")) == 6


async def test_a_judge_that_fails_ends_the_call(scene: Scene) -> None:
    def judge(user: str) -> bool:
        raise LookupError(user)

    _, events, dialog = await scene.dial(may_redirect=judge)
    dialog.respond(302, "Moved", headers=f"Contact: <sip:700@{scene.peer.host_port}>")
    assert (await events.ended()).reason == "internal_error"


async def test_a_hangup_while_it_is_redirected(scene: Scene) -> None:
    call, events, dialog = await scene.dial(**allow("700"))
    again = await redirect(scene, dialog, f"<sip:700@{scene.peer.host_port}>")
    again.respond(180, "Ringing")
    await events.next(SipEventType.RINGING)
    call.hangup()
    await events.ended()
    scene.peer.respond(await scene.peer.receive("CANCEL"), 200)
    again.respond(487, "Request Terminated")
    await scene.peer.receive("ACK")


@pytest.mark.parametrize(
    ("header", "seconds"), [("Retry-After: 30", 30), ("Retry-After: 5 (soon);duration=9", 5), ("", 0)]
)
async def test_a_503_tells_when_to_come_back(scene: Scene, header: str, seconds: int) -> None:
    _, events, dialog = await scene.dial()
    dialog.respond(503, "Full", headers=header)
    end = await events.ended()
    assert (end.reason, end.sip_reason, end.retry_after_s) == ("trunk_unavailable", "Full", seconds)
