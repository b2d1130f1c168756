"""WHIP clients that others have written, in Chromium; `scripts/setup --test` installs them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Request, Response
from playwright.async_api import Error as PlaywrightError

from .chromium import Caller
from .waiting import until

MODULES = Path(__file__).parents[1] / "npm/node_modules"
WHIP_WHEP = MODULES / "whip-whep/whip.js"
"""By the author of RFC 9725: trickles, and restarts ICE."""
EYEVINN = MODULES / "@eyevinn/whip-web-client/dist/whip-client.modern.js"
"""Gathers before it offers, unless an answer to OPTIONS lists PATCH for other sites."""
WHIP_WHEP_PATH, EYEVINN_PATH = "/__whip_whep__.js", "/__eyevinn__.js"
SCRIPT = Path(__file__).with_name("whip_page.js")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One of its requests and what was answered."""

    method: str
    body: str
    headers: dict[str, str]
    status: int
    answer_headers: dict[str, str]


class WhipCaller(Caller):
    """A page that calls by whip-whep, and is judged like any caller.

    :param url: where the page comes from, which need not be the gateway that it calls.
    """

    async def open(self) -> None:
        self._answered: list[Response] = []
        await super().open()
        await self._serve(WHIP_WHEP_PATH, WHIP_WHEP.read_text())
        await self.page.add_script_tag(content=SCRIPT.read_text())
        self.page.on("response", self._on_response)

    async def _serve(self, path: str, script: str) -> None:
        await self.page.route(
            f"{self.url}{path}", lambda route: route.fulfill(content_type="text/javascript", body=script)
        )

    def _on_response(self, response: Response) -> None:
        if _is_of_whip(response.request):
            self._answered.append(response)

    async def publish(
        self, to: str, *, gateway: str | None = None, token: str | None = None, codec: str | None = None
    ) -> str:
        """Call; the URL of the session, once connected."""
        options = {"url": f"{gateway or self.url}/whip/{to}", "token": token, "codec": codec}
        resource: str = await self.page.evaluate("options => publish(options)", options)
        return resource

    async def publish_by_eyevinn(self, to: str) -> str:
        """The same by Eyevinn's client."""
        await self._serve(EYEVINN_PATH, await asyncio.to_thread(_bundled, EYEVINN))
        resource: str = await self.page.evaluate("url => publishByEyevinn(url)", f"{self.url}/whip/{to}")
        return resource

    async def restart_ice(self) -> None:
        """Returns when ICE is connected by the new credentials."""
        await self.page.evaluate("restartIce()")

    async def stop(self) -> None:
        """As its user hangs up: the connection is closed, and the session deleted. What it has to trickle is out first:
        its own request that overtakes its DELETE, or not, is no error of the server's."""
        async with asyncio.timeout(10):
            await self.page.evaluate("stop()")
        await self.wait_answered("DELETE", "")  # of which we are told by another way than the page is

    async def wait_answered(self, method: str, text: str) -> None:
        """Until a request with this method and text in its body has been answered."""

        def answered() -> bool:
            requests = (response.request for response in self._answered)
            return any(request.method == method and text in (request.post_data or "") for request in requests)

        await until(answered, timeout_s=5, what=f"an answer to {method} with {text}")

    async def exchanges(self, method: str) -> list[Exchange]:
        """Those with this method, in the order of their answers."""
        return [
            Exchange(
                method,
                response.request.post_data or "",
                await response.request.all_headers(),
                response.status,
                await response.all_headers(),
            )
            for response in self._answered
            if response.request.method == method
        ]


def _is_of_whip(request: Request) -> bool:
    return "/whip/" in request.url and request.method != "OPTIONS"


def _bundled(script: Path) -> str:
    """With what it imports."""
    command: list[str | Path] = ["esbuild", script, "--bundle", "--format=esm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    return done.stdout


@contextlib.asynccontextmanager
async def whip_caller(process: Browser, url: str) -> AsyncIterator[WhipCaller]:
    """A page that is closed at the end."""
    context = await process.new_context()
    # The page is put in on the way, so Chromium does not know that it comes from this machine too.
    await context.grant_permissions(["local-network-access"])
    page = WhipCaller(await context.new_page(), url)
    try:
        await page.open()
        yield page
        await page.close()
    finally:
        with contextlib.suppress(PlaywrightError):  # closed already
            await page.page.evaluate("pc.close()")
        await context.close()
