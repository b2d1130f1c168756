"""What `GET /iceservers` answers: configured servers, short-lived TURN credentials, or those of an outside service."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time

import msgspec
import structlog

from sdpserver.config import Config
from sdpserver.models.webrtc import IceServerInfo

log = structlog.get_logger(__name__)

SERVICE_TIMEOUT_S = 5.0
SERVICE_CACHE_S = 60.0
SERVICE_RETRY_S = 10.0
"""While the service fails, how long the configured list is given before it is asked again."""

MAX_SERVICE_ANSWER = 64 * 1024


class ServiceEntry(msgspec.Struct):
    """An entry of the service's answer. `urls` may be one string (W3C WebRTC section 4.2.4)."""

    urls: list[str] | str
    username: str | None = None
    credential: str | None = None


_decoder = msgspec.json.Decoder(list[ServiceEntry])


def turn_credentials(secret: str, owner: str, *, expires_at: int) -> tuple[str, str]:
    """(username, credential) as coturn's `use-auth-secret` checks them.

    username = "<expiry in Unix seconds>:<owner>", credential = base64(HMAC-SHA1(secret, username)):
    draft-uberti-behave-turn-rest-00 section 2.2.
    """
    username = f"{expires_at}:{owner}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(digest).decode()


class IceServers:
    """One per process: it keeps the service's last answer."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = asyncio.Lock()
        self._cached: list[IceServerInfo] | None = None
        self._cached_until = 0.0

    @property
    def has_credentials(self) -> bool:
        """Whether the list holds something worth stealing."""
        config = self._config
        return bool(
            config.turn.secret or config.ice_service.token or any(server.credential for server in config.ice_servers)
        )

    async def list_for(self, owner: str) -> list[IceServerInfo]:
        """The servers for one caller. Never fails: when the service does, the configured list has to do."""
        configured = self._configured(owner)
        if not self._config.ice_service.token:
            return configured
        fetched = await self._from_service()
        return configured if fetched is None else fetched

    def _configured(self, owner: str) -> list[IceServerInfo]:
        servers = [
            IceServerInfo(urls=server.urls, username=server.username, credential=server.credential)
            for server in self._config.ice_servers
        ]
        turn = self._config.turn
        if turn.secret:
            username, credential = turn_credentials(turn.secret, owner, expires_at=int(time.time()) + turn.ttl_s)
            servers.append(IceServerInfo(urls=turn.urls, username=username, credential=credential))
        return servers

    async def _from_service(self) -> list[IceServerInfo] | None:
        async with self._lock:  # one question at a time, however many callers wait for its answer
            now = asyncio.get_running_loop().time()
            if now < self._cached_until:
                return self._cached
            self._cached = await self._ask()
            wait_s = SERVICE_RETRY_S if self._cached is None else SERVICE_CACHE_S
            self._cached_until = asyncio.get_running_loop().time() + wait_s
            return self._cached

    async def _ask(self) -> list[IceServerInfo] | None:
        import httpx  # slow to import, and most servers never ask

        service = self._config.ice_service
        try:
            async with (
                asyncio.timeout(SERVICE_TIMEOUT_S),
                httpx.AsyncClient() as client,
                client.stream("GET", service.url, params={"token": service.token}) as response,
            ):
                response.raise_for_status()
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_SERVICE_ANSWER:
                        raise ValueError("its answer is too long")
            entries = _decoder.decode(body)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError, ValueError) as exc:
            # Not the exception's text: it holds the address with the token in it.
            status = exc.response.status_code if isinstance(exc, httpx.HTTPStatusError) else None
            log.warning("the ICE server service failed", why=type(exc).__name__, status=status)
            return None
        return [
            IceServerInfo(
                urls=[entry.urls] if isinstance(entry.urls, str) else entry.urls,
                username=entry.username or "",
                credential=entry.credential or "",
            )
            for entry in entries
        ]
