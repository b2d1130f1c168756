"""The browser's page is proved against itself: what it says into the fake microphone it must hear back."""

from __future__ import annotations

import pytest
from peers import audio
from peers.chromium import MICROPHONE_HZ, caller
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOWHERE = "http://127.0.0.1:9"  # the page is put in by the test, nothing is asked of a server


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_page_hears_its_own_voice(chromium: Browser, codec: str) -> None:
    async with caller(chromium, NOWHERE) as page:
        await page.page.evaluate("codec => loopback(codec)", codec)
        await page.wait_tone(MICROPHONE_HZ)
        pcm, rate = await page.listen(1.2)
        audio.check_tone(pcm, rate, MICROPHONE_HZ)
        assert (await page.state())["codec"] == f"audio/{codec}"


async def test_the_page_notices_a_muted_voice_and_close_notify(chromium: Browser) -> None:
    async with caller(chromium, NOWHERE) as page:
        await page.page.evaluate("codec => loopback(codec)", "PCMU")
        await page.wait_tone(MICROPHONE_HZ)
        await page.mute(True)
        await page.page.wait_for_function("end => position() > end", arg=await page.position_s() + 0.5)
        pcm, _ = await page.listen(0.3)
        assert audio.level_dbfs(pcm) < audio.SILENCE_DBFS
        await page.mute(False)
        await page.wait_tone(MICROPHONE_HZ)
        await page.page.evaluate("far.close()")
        await page.wait_state("closed.at > 0", timeout_s=1)
