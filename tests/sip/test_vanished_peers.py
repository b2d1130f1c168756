"""Peers that fall silent in the middle of something: no call of theirs is left behind."""

from __future__ import annotations

import asyncio

from peers.sip_peer import SipPeer, sdp

from sdpserver.sdp import Direction
from sdpserver.sip import SipEventType

from .conftest import Callee, Scene, local_audio, running_caller


async def test_a_peer_that_vanishes_in_any_state_ends_its_calls() -> None:
    """Within 64 T1, the time limit of RFC 3261 (32 s)."""
    async with await SipPeer.open() as peer, running_caller(peer.host_port) as caller:
        scene = Scene(caller, peer)
        callee = Callee(scene)
        held, no_hold, _ = await scene.connect()
        over, no_bye, _ = await scene.connect()
        cancelled, no_cancel, dialog = await scene.dial()
        dialog.respond(180, "Ringing")
        await no_cancel.next(SipEventType.RINGING)
        _, taken, no_resume = await callee.connect()
        callee.dial(body=sdp(30000))
        answered, _, no_ack = await callee.incoming()
        # From here on nothing is answered.
        answered.answer(local_audio())
        held.set_direction(Direction.SENDONLY)
        taken.set_direction(Direction.INACTIVE)
        over.hangup()
        cancelled.hangup()
        ends = await asyncio.gather(*(e.ended(timeout_s=35) for e in (no_ack, no_hold, no_resume, no_bye, no_cancel)))
        assert [end.reason for end in ends] == ["sip_timeout"] * 3 + ["normal_clearing"] * 2
        assert not any(end.by_remote for end in ends)
        assert caller.endpoint.trunk_status("peer")["calls"] == 0
        await caller.endpoint.stop(timeout_s=0.1)
