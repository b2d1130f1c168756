"""Trunks are asked with OPTIONS whether they are there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from peers.sip_peer import SipPeer, sdp
from peers.waiting import until

from sdpserver.sip import SipEventType

from .conftest import Caller, Scene, assert_call_is_unhurt, running_caller


async def last_options(caller: Caller, *, timeout_s: float = 5.0) -> dict[str, Any]:
    """The outcome of the first OPTIONS."""

    def outcome() -> Any:
        return caller.endpoint.trunk_status("peer")["last_options"]

    await until(lambda: outcome() is not None, timeout_s=timeout_s, what="the outcome of an OPTIONS")
    return dict(outcome())


@pytest.mark.parametrize("status", [200, 401, 404, 405, 503])
async def test_any_answer_is_a_sign_of_life(status: int) -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, options_interval_s=60) as caller:
        request = await peer.receive("OPTIONS")
        assert request.start == f"OPTIONS sip:{peer.host_port} SIP/2.0"
        assert request.source == caller.address
        assert caller.endpoint.trunk_status("peer")["connected"] is None
        peer.respond(request, status, "As it is")
        outcome = await last_options(caller)
        assert (outcome["answered"], outcome["sip_status"], outcome["sip_reason"]) == (True, status, "As it is")
        assert caller.endpoint.trunk_status("peer")["connected"] is True


async def test_a_trunk_that_refuses_the_connection_is_not_there() -> None:
    async with (
        await SipPeer.open() as peer,
        running_caller(peer.host_port, transport="tcp", options_interval_s=60) as caller,
    ):
        assert (await last_options(caller))["answered"] is False
        assert caller.endpoint.trunk_status("peer")["connected"] is False


async def test_a_trunk_is_asked_again_and_what_it_says_last_counts() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port, options_interval_s=1) as caller:
        first = await peer.receive("OPTIONS")
        peer.respond(first, 200)
        second = await peer.receive("OPTIONS")
        peer.respond(second, 503)

        def is_refused() -> bool:
            last = caller.endpoint.trunk_status("peer")["last_options"]
            return last is not None and last["sip_status"] == 503

        await until(is_refused, timeout_s=5, what="the second outcome")
        assert first["call-id"] != second["call-id"]


async def test_a_trunk_that_is_never_asked_is_unknown(scene: Scene) -> None:
    _, _, dialog = await scene.connect()
    assert scene.caller.endpoint.trunk_status("peer")["connected"] is None
    assert not [message for message in scene.peer.received if message.method == "OPTIONS"]
    await assert_call_is_unhurt(scene, dialog)


async def test_an_unanswered_options_neither_disturbs_calls_nor_the_stop() -> None:
    async with await SipPeer.open() as peer:
        async with running_caller(peer.host_port, options_interval_s=1) as caller:
            await peer.receive("OPTIONS")
            scene = Scene(caller, peer)
            call, events, dialog = await scene.connect(sdp(30000))
            dialog.request("OPTIONS")
            assert (await peer.receive(200)).method == "OPTIONS"
            call.hangup()
            peer.answer_by_itself("BYE")
            await events.ended()
            assert SipEventType.ENDED in events.types
            async with asyncio.timeout(2):
                await caller.endpoint.stop()
        asked = {message["call-id"] for message in peer.received if message.start.startswith("OPTIONS ")}
        assert len(asked) == 1  # the next one waits for the outcome of this one
