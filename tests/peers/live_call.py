"""A call that is up while something is done to the server: aiortc on one side, a scripted SIP phone on the other."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from .aiortc_client import Client
from .audio import Tone
from .rtp_phone import RtpPhone
from .server import ServerProcess
from .sip_peer import PeerDialog, SipMessage, SipPeer, sdp
from .waiting import until

PHONE_HZ, PAGE_HZ = 500, 1100
TRUNK_IP, STRANGER_IP = "127.0.0.1", "127.0.0.2"


@dataclass(slots=True)
class LiveCall:
    """`dialog` is the phone's side; what it says is heard by `client`, and the other way round."""

    server: ServerProcess
    peer: SipPeer
    phone: RtpPhone
    client: Client
    dialog: PeerDialog

    @property
    def sip_address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server.sip_port)

    async def is_heard(self) -> None:
        """Until both hear each other."""
        await self.client.wait_tone(PHONE_HZ)
        await self.heard_since(time.monotonic(), at_least_s=0.3)

    async def heard_since(self, started_s: float, *, at_least_s: float = 0.2) -> tuple[Tone, Tone]:
        """Assert that both have heard each other without a gap over 60 ms from then until now."""
        sides = ((self.client.heard, PHONE_HZ), (self.phone.heard, PAGE_HZ))
        for recording, _ in sides:
            await until(
                lambda heard=recording: heard.since(started_s).duration_s > at_least_s,  # type: ignore[misc]
                timeout_s=5,
                what="sound of the live call",
            )
        page, phone = (
            recording.since(started_s).check_tone(hz, min_duration_s=at_least_s - 0.05) for recording, hz in sides
        )
        return page, phone

    async def is_unhurt(self, *, since_s: float = 0.0) -> None:
        """The dialog answers, nobody has ended or changed it, and both are heard."""
        self.dialog.request("OPTIONS")
        assert (await self.peer.receive(200)).method == "OPTIONS"
        assert [message.method for message in self.peer.distinct_requests] == ["INVITE", "ACK"]
        await self.heard_since(since_s or time.monotonic(), at_least_s=0.5)

    async def hang_up(self) -> None:
        self.dialog.request("BYE")
        await self.peer.receive(200)
        await until(lambda: not self.server.open_sessions(), timeout_s=5, what="the session to be closed")


async def ask_options(peer: SipPeer, to: tuple[str, int], *, timeout_s: float = 5.0) -> SipMessage:
    """The answer to an OPTIONS out of any dialog: what was sent before has been read by then."""
    text = peer.request("OPTIONS", "sip:sdpserver@127.0.0.1", to)
    call_id = SipMessage.parse(text.encode(), peer.address)["call-id"]
    async with asyncio.timeout(timeout_s):
        while (answer := await peer.receive(200, timeout_s=timeout_s))["call-id"] != call_id:
            pass
    return answer


async def phone_answers(peer: SipPeer, phone: RtpPhone) -> PeerDialog:
    """Take the call that comes to the peer; the phone speaks."""
    dialog = PeerDialog(peer, await peer.receive("INVITE"))
    port = re.search(r"^m=audio (\d+)", dialog.invite.body, re.MULTILINE)
    assert port is not None
    phone.talk(int(port[1]), PHONE_HZ)
    await dialog.answer(sdp(phone.port))
    return dialog


async def connect(server: ServerProcess, peer: SipPeer, phone: RtpPhone, client: Client) -> LiveCall:
    """The page calls the phone, which answers; both speak."""
    calling = asyncio.create_task(client.call("600", trunk="phone"))
    dialog = await phone_answers(peer, phone)
    await calling
    call = LiveCall(server, peer, phone, client, dialog)
    await call.is_heard()
    return call


@contextlib.asynccontextmanager
async def live_call(tables: Mapping[str, Any] | None = None) -> AsyncIterator[LiveCall]:
    """A server of its own with the trunk `phone`, and a call on it. At the end the call is still up, and hung up."""
    async with await SipPeer.open(TRUNK_IP) as peer, await RtpPhone.open() as phone:
        trunk = {"name": "phone", "server": peer.host_port, "options_interval_s": 0}
        everything: dict[str, Any] = {"trunks": [trunk], "log": {"level": "info"}} | dict(tables or {})
        server = ServerProcess(everything)
        try:
            await asyncio.to_thread(server.start)
            async with Client(server.url, codec="PCMU", frequency_hz=PAGE_HZ) as client:
                call = await connect(server, peer, phone, client)
                yield call
                await call.hang_up()
            await asyncio.to_thread(server.terminate)
        except BaseException:
            if server.process is not None:
                sys.stderr.write(f"\n-- the server: status {server.process.poll()}\n{server.log[-8000:]}\n")
            raise
        finally:
            server.close()
