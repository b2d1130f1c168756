"""Calls from Asterisk to agents of this server, judged by what each side hears."""

from __future__ import annotations

from asyncio import to_thread

import pytest
from peers import audio
from peers.asterisk import Asterisk
from peers.server import ServerProcess

from .conftest import registered

AGENT_HZ = 1100.0


def uri_of(server: ServerProcess, number: str) -> str:
    return f"sip:{number}@127.0.0.1:{server.sip_port}"


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_an_agent_answers_and_both_sides_hear_each_other(
    trunked: ServerProcess, asterisk: Asterisk, codec: str
) -> None:
    async with registered(trunked, "7001") as ann:
        channel = await to_thread(asterisk.originate, uri_of(trunked, "7001"), "601")
        incoming = await ann.incoming()
        assert (incoming["from"], incoming["displayName"]) == ("4711", "The Caller")
        call = await ann.answer(incoming, frequency_hz=AGENT_HZ, codec=codec)
        await call.client.wait_tone(440)
        recording = await to_thread(asterisk.record, channel)
        (await call.client.listen(1.2)).check_tone(440)
        pcm, rate = await to_thread(recording.stop)
        audio.check_tone(pcm, rate, AGENT_HZ, min_duration_s=1.0)
        await call.order("hangup")
        assert (await call.wait("callEnded"))["reason"] == "normal_clearing"
        await to_thread(asterisk.wait_hangup, channel)
