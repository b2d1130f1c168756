"""Two agents of this server call each other, without any PBX; judged by what each hears."""

from __future__ import annotations

from peers.server import ServerProcess

from .conftest import registered

ANN_HZ, BOB_HZ = 700.0, 1100.0


async def test_a_call_rings_is_answered_and_both_hear_each_other(server: ServerProcess) -> None:
    async with registered(server, "7001") as ann, registered(server, "7002") as bob:
        calling = await ann.call("7002", frequency_hz=ANN_HZ)
        await calling.wait("callProgress", state="ringing")
        incoming = await bob.incoming()
        assert (incoming["from"], incoming["displayName"]) == ("7001", "Ann")
        await calling.client.wait_tone(425)
        answered = await bob.answer(incoming, frequency_hz=BOB_HZ)
        await calling.wait("callAccepted")
        await calling.client.wait_tone(BOB_HZ)
        await answered.client.wait_tone(ANN_HZ)
        (await calling.client.listen(1.2)).check_tone(BOB_HZ)
        (await answered.client.listen(1.2)).check_tone(ANN_HZ)
        await calling.hang_up()
        ended = await answered.wait("callEnded")
        assert ended["reason"] == "normal_clearing"
        assert (await calling.wait("callEnded"))["reason"] == "normal_clearing"
