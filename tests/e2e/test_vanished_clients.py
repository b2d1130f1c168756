"""A client that vanishes without a word is noticed by its missing ICE checks."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import to_thread
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]
import pytest
from peers.aiortc_client import Client
from peers.asterisk import Asterisk
from peers.chromium import browser, caller
from peers.server import ServerProcess
from playwright.async_api import Error as PlaywrightError

GONE_S = 30
SLACK_S = 6
"""The last check before the end may be one interval old; both ends' timers have their grain."""


@pytest.mark.timeout(120)
async def test_a_killed_browser_and_a_dead_socket_end_their_calls_in_time(
    own_server: Callable[..., ServerProcess], asterisk: Asterisk
) -> None:
    server = own_server(asterisk=asterisk)
    loop = asyncio.get_running_loop()
    async with Client(server.url) as client:
        await client.call("601")
        await client.wait_tone(440)
        children = set(psutil.Process().children(recursive=True))
        channel, killed = "", False
        with contextlib.suppress(PlaywrightError):  # closing what is gone
            async with browser() as process, caller(process, server.url) as page:
                mark = asterisk.ami.mark()
                await page.call("601")
                channel = await to_thread(asterisk.wait_channel, since=mark)
                await page.wait_tone(440)
                for child in set(psutil.Process().children(recursive=True)) - children:
                    if "chrom" in child.name():
                        child.kill()
                killed = True
        assert killed
        vanished_s = loop.time()
        await client.vanish()
        hangup = await to_thread(asterisk.wait_hangup, channel, timeout_s=GONE_S + SLACK_S)
        assert hangup.at_s - vanished_s < GONE_S + SLACK_S
        await to_thread(asterisk.wait_no_channels, timeout_s=SLACK_S)
        assert loop.time() - vanished_s > GONE_S - SLACK_S
        assert (await client.describe())["close_reason"] == "client_gone"
        assert not server.open_sessions()
