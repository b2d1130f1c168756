"""kill -9 of the server in mid-call, and its next start on the same ports."""

from __future__ import annotations

import asyncio
import time
from asyncio import to_thread
from collections.abc import Callable

import httpx
from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk
from peers.server import ServerProcess
from peers.waiting import until

EPHEMERAL = 32_768
"""Ports from here on are the kernel's choice, of sockets that only send."""
GONE_S = 0.5
"""Nothing that was on its way takes longer."""


async def test_a_killed_servers_ports_serve_the_next_one_at_once_and_old_packets_reach_nobody(
    own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server(asterisk=asterisk)
    async with Client(server.url) as old, Client(server.url) as new:
        await dial(old, asterisk, "601", trunk="any")
        await old.wait_tone(440)
        old_session = old.session_id
        used = server.usage().udp
        process = server.process
        assert process is not None
        process.kill()
        await to_thread(process.wait, 5)

        heard = len(old.heard.packets)
        await asyncio.sleep(GONE_S)  # proof of absence: the tone would have brought 25 packets
        assert len(old.heard.packets) - heard <= 1, "media ends with the process"

        # The old caller and Asterisk know nothing yet and go on sending to the old ports.
        started = time.monotonic()
        await to_thread(server.start)
        assert time.monotonic() - started < 10
        assert {port for port in server.usage().udp if port < EPHEMERAL} <= used, "the same ports"
        assert server.sessions() == []
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            status = (await http.get(f"{server.url}/webrtc/sessions/{old_session}")).status_code
        assert status == 404

        heard = len(old.heard.packets)
        await dial(new, asterisk, "601", trunk="any")
        await new.wait_tone(440)
        recording = await new.listen(1.0)
        recording.check_tone(440)
        assert len(old.heard.packets) == heard, "the next server sends nothing to callers of the last one"

        await new.hang_up()
        asterisk.rx("channel request hangup all")  # its BYE for the old call meets a server that does not know it
        await to_thread(asterisk.wait_no_channels)
        await until(lambda: not server.open_sessions(), timeout_s=5, what="the session's end")
