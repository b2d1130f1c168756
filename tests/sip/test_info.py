"""INFO within a call, to and from a peer that follows a script."""

from __future__ import annotations

import pytest

from sdpserver.dtmf import DtmfMethod, Press
from sdpserver.sip import SipEventType

from .conftest import Scene


@pytest.mark.parametrize("signal", ["5", "#", "D"])
async def test_a_press_by_info_is_told_once_and_answered(scene: Scene, signal: str) -> None:
    call, events, dialog = await scene.connect()
    headers = "Content-Type: application/dtmf-relay"
    dialog.request("INFO", headers=headers, body=f"Signal={signal}\r\nDuration=160\r\n")
    assert (await scene.peer.receive(200)).method == "INFO"
    pressed = await events.next(SipEventType.PRESSED)
    assert pressed.press == Press(digit=signal, duration_ms=160, method=DtmfMethod.INFO)
    call.hangup()
    await events.ended()


async def test_presses_are_sent_by_info_in_their_order(scene: Scene) -> None:
    call, events, _ = await scene.connect()
    scene.peer.answer_by_itself("INFO")
    for digit in "7*":
        call.press(digit, 120)
    for digit in "7*":
        request = await scene.peer.receive("INFO")
        assert request["content-type"] == "application/dtmf-relay"
        assert request.body == f"Signal={digit}\r\nDuration=120\r\n"
    call.hangup()
    await events.ended()
    call.press("1", 100)  # nobody is there any more


async def test_a_peer_that_refuses_info_keeps_its_call(scene: Scene) -> None:
    call, events, _ = await scene.connect()
    call.press("1", 100)
    scene.peer.respond(await scene.peer.receive("INFO"), 415, "Unsupported Media Type")
    call.press("2", 100)
    assert (await scene.peer.receive("INFO")).body.startswith("Signal=2")
    call.hangup()
    assert (await events.ended()).reason == "normal_clearing"
