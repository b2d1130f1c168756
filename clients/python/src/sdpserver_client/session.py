"""A session with its peer connection: set up by an offer, followed by the `events` data channel, ended by `close`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from .errors import NotFoundError, SdpServerClientError
from .models import Answer, CallInfo, IceServer, ServerEvent
from .operations import server_event

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from anyio.from_thread import BlockingPortal

    from .client import AsyncWebRtcClient

log = logging.getLogger(__name__)

EVENTS_CHANNEL = "events"
EVENTS_KEPT = 256
"""As many as the server itself keeps for a session."""


class PeerConnection(Protocol):
    """What is needed of an `aiortc.RTCPeerConnection`; anything of this shape will do."""

    @property
    def localDescription(self) -> Any: ...
    @property
    def connectionState(self) -> str: ...
    def on(self, event: str, handler: Any, /) -> Any: ...
    def createDataChannel(self, label: str, /) -> Any: ...
    def getReceivers(self) -> Any: ...
    async def createOffer(self) -> Any: ...
    async def setLocalDescription(self, description: Any, /) -> None: ...
    async def setRemoteDescription(self, description: Any, /) -> None: ...
    async def close(self) -> None: ...


def create_peer_connection(ice_servers: tuple[IceServer, ...], audio: Any) -> PeerConnection:
    """An aiortc connection with one audio section: `audio` is sent, or only the far end's is received when it is None.

    :raises SdpServerClientError: aiortc is not installed.
    """
    try:
        from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
    except ImportError as exc:
        raise SdpServerClientError("aiortc is needed: install sdpserver-client[aiortc]") from exc
    # An explicit list, also when it is empty: aiortc's default is a public STUN server.
    servers = [
        RTCIceServer(urls=list(server.urls), username=server.username, credential=server.credential)
        for server in ice_servers
    ]
    pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
    if audio is None:
        pc.addTransceiver("audio", direction="recvonly")
    else:
        pc.addTrack(audio)
    return pc


class AsyncSession:
    """Made by `AsyncWebRtcClient.setup_session`. It owns the peer connection: `close` closes both."""

    def __init__(self, client: AsyncWebRtcClient, pc: PeerConnection) -> None:
        self.pc = pc
        self._client = client
        self._answer: Answer | None = None
        self._reason: str | None = None
        self._connected = asyncio.Event()
        self._closed = asyncio.Event()
        self._events: asyncio.Queue[ServerEvent | None] = asyncio.Queue(EVENTS_KEPT)
        self._last_event_id = 0
        self._negotiation = asyncio.Lock()
        pc.on("connectionstatechange", self._on_connection_state)

    # -- what it is

    @property
    def answer(self) -> Answer:
        """The server's reply to the last offer."""
        assert self._answer is not None, "setup_session hands out no session without one"
        return self._answer

    @property
    def id(self) -> str:
        """`session_id` in the server's words."""
        return self.answer.session_id

    @property
    def resume_token(self) -> str:
        """With `id`, lets another offer take the session over."""
        return self.answer.resume_token

    @property
    def call(self) -> CallInfo:
        """The far end, as it was when the server answered."""
        return self.answer.call

    @property
    def metadata(self) -> Mapping[str, Any]:
        """As the server gave it back."""
        return self.answer.metadata

    @property
    def audio(self) -> Any:
        """The far end's audio track (`aiortc.MediaStreamTrack`), or None without an audio section."""
        for receiver in self.pc.getReceivers():
            if receiver.track is not None and receiver.track.kind == "audio":
                return receiver.track
        return None

    @property
    def closed(self) -> bool:
        """From the moment that either side has ended it."""
        return self._closed.is_set()

    @property
    def close_reason(self) -> str | None:
        """Why it ended, in the server's words (`normal_clearing`, `busy`, ...). None while it lives, or unknown."""
        return self._reason if self.closed else None

    # -- set-up

    def follow_events(self) -> None:
        """Ask for the server's events; only before the first offer, since the channel is part of it."""
        self.pc.createDataChannel(EVENTS_CHANNEL).on("message", self._on_event)

    async def negotiate(self, send_offer: Callable[[str], Coroutine[Any, Any, Answer]]) -> None:
        """Offer (with all of our candidates: aiortc gathers before it offers), and take the answer."""
        async with self._negotiation:
            await self.pc.setLocalDescription(await self.pc.createOffer())
            answer = await send_offer(self.pc.localDescription.sdp)
            self._answer = answer
            await self.pc.setRemoteDescription(answer.description)

    async def renegotiate(self) -> None:
        """Offer again after a change of tracks or directions; the call itself is not touched."""
        session_id, resume_token = self.id, self.resume_token
        await self.negotiate(lambda sdp: self._client.send_offer(sdp, session_id=session_id, resume_token=resume_token))

    # -- life

    def _on_connection_state(self) -> None:
        match self.pc.connectionState:
            case "connected":
                self._connected.set()
            case "failed" | "closed":
                self._finish()

    def _on_event(self, message: str | bytes) -> None:
        try:
            event = server_event(message if isinstance(message, str) else message.decode())
        except ValueError as exc:
            log.warning("unreadable message on the events channel: %s", exc)
            return
        if event.id <= self._last_event_id:
            return  # replayed to a channel that was opened again
        self._last_event_id = event.id
        if event.type in ("ended", "closed"):
            self._reason = event.data.get("reason", self._reason)
        self._put(event)

    def _put(self, event: ServerEvent | None) -> None:
        if self._events.full():
            self._events.get_nowait()  # nobody reads them: the newest are the ones worth keeping
        self._events.put_nowait(event)

    def _finish(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._put(None)

    async def events(self) -> AsyncIterator[ServerEvent]:
        """The server's events from the offer on, until the session ends. For one reader."""
        while (event := await self._events.get()) is not None:
            yield event

    async def wait_connected(self, timeout_s: float = 10.0) -> None:
        """Until media flows.

        :raises TimeoutError: not within `timeout_s`.
        :raises SdpServerClientError: the session ended first.
        """
        tasks = [asyncio.ensure_future(self._connected.wait()), asyncio.ensure_future(self._closed.wait())]
        try:
            done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if self._connected.is_set():
            return
        if not done:
            raise TimeoutError(f"session {self.id} was not connected within {timeout_s} s")
        raise SdpServerClientError(f"session {self.id} ended before it was connected")

    async def wait_closed(self, timeout_s: float | None = None) -> str | None:
        """Until either side ends the session; `close_reason`.

        :raises TimeoutError: it lives on.
        """
        async with asyncio.timeout(timeout_s):
            await self._closed.wait()
        if self._reason is None:
            # The connection went away before the reason was read from it: the server keeps it for a while.
            with contextlib.suppress(SdpServerClientError):
                self._reason = (await self._client.describe_session(self.id)).get("close_reason")
        return self._reason

    async def close(self, reason: str | None = None) -> None:
        """Hang up and close the connection. Idempotent.

        :raises SdpServerClientError: the server could not be told; the connection is closed all the same.
        """
        first = not self._closed.is_set()
        self._finish()
        try:
            if first:
                self._reason = self._reason or reason
                with contextlib.suppress(NotFoundError):
                    await self._client.close_session(self.id, reason)
        finally:
            await self.pc.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SessionSetup:
    """What `AsyncWebRtcClient.setup_session` returns: await it for the session, or use it in `async with`."""

    def __init__(self, set_up: Callable[[], Coroutine[Any, Any, AsyncSession]]) -> None:
        self._set_up = set_up
        self._session: AsyncSession | None = None

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self._set_up().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._set_up()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()


class Session:
    """Made by `WebRtcClient.setup_session`: an `AsyncSession` whose event loop runs in a thread of the client's."""

    def __init__(self, session: AsyncSession, portal: BlockingPortal) -> None:
        self._session = session
        self._portal = portal
        self._done = False

    @property
    def pc(self) -> PeerConnection:
        """The connection; it belongs to the other thread, so use `run` for its methods."""
        return self._session.pc

    @property
    def answer(self) -> Answer:
        """The server's reply to the last offer."""
        return self._session.answer

    @property
    def id(self) -> str:
        """`session_id` in the server's words."""
        return self._session.id

    @property
    def resume_token(self) -> str:
        """With `id`, lets another offer take the session over."""
        return self._session.resume_token

    @property
    def call(self) -> CallInfo:
        """The far end, as it was when the server answered."""
        return self._session.call

    @property
    def metadata(self) -> Mapping[str, Any]:
        """As the server gave it back."""
        return self._session.metadata

    @property
    def audio(self) -> Any:
        """The far end's audio track, or None without an audio section."""
        return self._session.audio

    @property
    def closed(self) -> bool:
        """From the moment that either side has ended it."""
        return self._session.closed

    @property
    def close_reason(self) -> str | None:
        """Why it ended; None while it lives, or if nobody said."""
        return self._session.close_reason

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function`, which may be a coroutine function, on the connection's event loop: `run(recorder.start)`."""
        return self._portal.call(function, *args)

    def renegotiate(self) -> None:
        """Offer again after a change of tracks or directions; the call itself is not touched."""
        self._portal.call(self._session.renegotiate)

    def wait_connected(self, timeout_s: float = 10.0) -> None:
        """Until media flows.

        :raises TimeoutError: not within `timeout_s`.
        :raises SdpServerClientError: the session ended first.
        """
        self._portal.call(self._session.wait_connected, timeout_s)

    def wait_closed(self, timeout_s: float | None = None) -> str | None:
        """Until either side ends the session; `close_reason`.

        :raises TimeoutError: it lives on.
        """
        return self._portal.call(self._session.wait_closed, timeout_s)

    def close(self, reason: str | None = None) -> None:
        """Hang up and close the connection. Idempotent.

        :raises SdpServerClientError: the server could not be told; the connection is closed all the same.
        """
        if not self._done:
            self._done = True
            self._portal.call(self._session.close, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
