"""The two clients: the operations of `operations`, sent by httpx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from . import operations
from .errors import ConnectionFailed, RequestTimedOut, SdpServerClientError
from .models import Answer, CallOptions, DtmfMethod, IceCandidate, IceServer, Leg, RecordAction, Recording
from .operations import Operation, Response
from .session import AsyncSession, PeerConnection, Session, SessionSetup, create_peer_connection

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """How to reach the server, and with which credential."""

    base_url: str
    api_key: str | None = field(repr=False)
    token: str | None = field(repr=False)
    timeout_s: float
    verify: ssl.SSLContext | bool

    def client_arguments(self) -> dict[str, Any]:
        """Of httpx's two clients."""
        headers = {"Accept": "application/json"}
        if self.api_key is not None:
            headers["X-API-Key"] = self.api_key
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return {"base_url": self.base_url, "headers": headers, "verify": self.verify}

    def request_arguments(self, operation: Operation[Any], timeout_s: float | None) -> dict[str, Any]:
        """Of their `request`. A given `timeout_s` is the whole limit; by default a held reply has its time on top."""
        limit_s = self.timeout_s + operation.holds_s if timeout_s is None else timeout_s
        arguments = {"method": operation.method, "url": operation.path, "timeout": limit_s}
        return arguments if operation.body is None else arguments | {"json": operation.body}


@contextlib.contextmanager
def _translated(operation: Operation[Any]) -> Iterator[None]:
    """httpx's errors as ours."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise RequestTimedOut(f"{operation.method} {operation.path}: no reply in time") from exc
    except httpx.TransportError as exc:
        raise ConnectionFailed(f"{operation.method} {operation.path}: {exc}") from exc


def _response(response: httpx.Response) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(status=response.status_code, headers=headers, body=response.content)


class AsyncWebRtcClient:
    """A server, for asyncio.

    :param base_url: where it is, with the path before `/webrtc` if it has one.
    :param api_key: sent as `X-API-Key`.
    :param token: sent as `Authorization: Bearer`.
    :param timeout_s: for a reply; one that `wait_for` holds has `ring_timeout_s` on top.
    :param verify: as httpx's: False, or a context that knows the server's certificate.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._settings = _Settings(base_url=base_url, api_key=api_key, token=token, timeout_s=timeout_s, verify=verify)
        self._http = httpx.AsyncClient(**self._settings.client_arguments())

    async def _run(self, operation: Operation[T], timeout_s: float | None) -> T:
        with _translated(operation):
            response = await self._http.request(**self._settings.request_arguments(operation, timeout_s))
        return operation.result(_response(response))

    async def get_ice_servers(self, *, timeout_s: float | None = None) -> tuple[IceServer, ...]:
        """STUN and TURN servers to use; often none."""
        return await self._run(operations.ice_servers(), timeout_s)

    async def send_offer(
        self,
        sdp: str,
        *,
        to: str | None = None,
        call: CallOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        resume_token: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Open a session; with the `session_id` and `resume_token` of a living one, offer again for it.

        :raises ApiError: refused; with `wait_for`, a `SipError` when the far end did.
        """
        operation = operations.offer(
            sdp, to=to, call=call, metadata=metadata, session_id=session_id, resume_token=resume_token
        )
        return await self._run(operation, timeout_s)

    async def exchange_sdp(self, sdp: str, *, to: str | None = None, timeout_s: float | None = None) -> str:
        """Offer in, answer out, when nothing else of the reply is needed."""
        return (await self.send_offer(sdp, to=to, timeout_s=timeout_s)).sdp

    async def send_ice_candidate(
        self, session_id: str, candidate: IceCandidate | None, *, timeout_s: float | None = None
    ) -> None:
        """Trickle one; None ends them. Needed only with full ICE on the server and an offer sent before gathering."""
        await self.send_ice_candidates(session_id, [candidate], timeout_s=timeout_s)

    async def send_ice_candidates(
        self, session_id: str, candidates: Sequence[IceCandidate | None], *, timeout_s: float | None = None
    ) -> None:
        """Trickle many in one request."""
        await self._run(operations.ice_candidates(session_id, candidates), timeout_s)

    async def close_session(
        self, session_id: str, reason: str | None = None, *, timeout_s: float | None = None
    ) -> None:
        """End a session and its call. Again within the server's `linger_s`: no error."""
        await self._run(operations.close_session(session_id, reason), timeout_s)

    async def describe_session(self, session_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """State, media figures and timeline of a session, also of one that ended a short while ago."""
        return await self._run(operations.describe_session(session_id), timeout_s)

    async def send_dtmf(
        self,
        call_id: str,
        digits: str,
        *,
        leg: Leg = "sip",
        method: DtmfMethod | None = None,
        duration_ms: int | None = None,
        gap_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Press keys (digits, *, #, A-D) toward the far end, or toward the browser. None: the server's default."""
        operation = operations.send_dtmf(
            call_id, digits, leg=leg, method=method, duration_ms=duration_ms, gap_ms=gap_ms
        )
        await self._run(operation, timeout_s)

    async def play(
        self,
        call_id: str,
        file: str,
        *,
        leg: Leg | Literal["both"] = "webrtc",
        loop: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Have one side of a call, or both, hear a file of the server's `sounds_dir` instead of the other side."""
        await self._run(operations.play(call_id, file, leg=leg, loop=loop), timeout_s)

    async def stop_playing(
        self, call_id: str, *, leg: Leg | Literal["both"] = "webrtc", timeout_s: float | None = None
    ) -> None:
        """End what `play` began."""
        await self._run(operations.stop_playing(call_id, leg=leg), timeout_s)

    async def record(
        self,
        call_id: str,
        action: RecordAction = "start",
        *,
        tone: bool | None = None,
        timeout_s: float | None = None,
    ) -> Recording:
        """Start, pause, resume or stop the recording of an answered call. `tone`: whether both sides hear a beep."""
        return await self._run(operations.record(call_id, action, tone=tone), timeout_s)

    async def mute(
        self, call_id: str, muted: bool = True, *, leg: Leg = "webrtc", timeout_s: float | None = None
    ) -> None:
        """Let the others hear silence instead of one side of a call, or hear it again."""
        await self._run(operations.mute(call_id, muted, leg=leg), timeout_s)

    async def conference(
        self, call_ids: Sequence[str], room: str | None = None, *, timeout_s: float | None = None
    ) -> str:
        """Put all sides of these calls into one room, a new one without a name; its name."""
        return await self._run(operations.conference(call_ids, room), timeout_s)

    def setup_session(
        self,
        pc: PeerConnection | None = None,
        *,
        audio: Any = None,
        to: str | None = None,
        call: CallOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        resume_token: str | None = None,
        events: bool = True,
        timeout_s: float | None = None,
    ) -> SessionSetup:
        """A whole session: offer, gather, post, take the answer. Await it, or use it in `async with`.

        :param pc: an `aiortc.RTCPeerConnection` that has its tracks; None makes one with the server's ICE servers.
        :param audio: the track to send when `pc` is None; None only listens.
        :param events: follow the server's events, for `events()` and the reason of the end.
        :raises SdpServerClientError: nothing is left open then, but a `pc` that was given.
        """
        if pc is not None and audio is not None:
            raise ValueError("audio is for the connection that setup_session makes: add the track to pc")

        async def send(sdp: str) -> Answer:
            return await self.send_offer(
                sdp,
                to=to,
                call=call,
                metadata=metadata,
                session_id=session_id,
                resume_token=resume_token,
                timeout_s=timeout_s,
            )

        async def set_up() -> AsyncSession:
            connection = pc or create_peer_connection(await self.get_ice_servers(timeout_s=timeout_s), audio)
            session = AsyncSession(self, connection)
            try:
                if events:
                    session.follow_events()
                await session.negotiate(send)
            except BaseException:
                await self._abandon(session, keep_pc=pc is not None)
                raise
            return session

        return SessionSetup(set_up)

    async def _abandon(self, session: AsyncSession, *, keep_pc: bool) -> None:
        """Undo a set-up that failed; its own error is the one to tell."""
        if session._answer is not None:
            with contextlib.suppress(SdpServerClientError):
                await self.close_session(session.id, "setup_failed")
        if not keep_pc:
            await session.pc.close()

    async def aclose(self) -> None:
        """Close the connections to the server; sessions live on. Idempotent."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class WebRtcClient:
    """A server, for code that blocks. The parameters and methods are those of `AsyncWebRtcClient`."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._settings = _Settings(base_url=base_url, api_key=api_key, token=token, timeout_s=timeout_s, verify=verify)
        self._http = httpx.Client(**self._settings.client_arguments())
        self._loop_thread = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._sessions: list[Session] = []
        self._sessions_client: AsyncWebRtcClient | None = None

    def _run(self, operation: Operation[T], timeout_s: float | None) -> T:
        with _translated(operation):
            response = self._http.request(**self._settings.request_arguments(operation, timeout_s))
        return operation.result(_response(response))

    def get_ice_servers(self, *, timeout_s: float | None = None) -> tuple[IceServer, ...]:
        """STUN and TURN servers to use; often none."""
        return self._run(operations.ice_servers(), timeout_s)

    def send_offer(
        self,
        sdp: str,
        *,
        to: str | None = None,
        call: CallOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        resume_token: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Open a session; with the `session_id` and `resume_token` of a living one, offer again for it.

        :raises ApiError: refused; with `wait_for`, a `SipError` when the far end did.
        """
        operation = operations.offer(
            sdp, to=to, call=call, metadata=metadata, session_id=session_id, resume_token=resume_token
        )
        return self._run(operation, timeout_s)

    def exchange_sdp(self, sdp: str, *, to: str | None = None, timeout_s: float | None = None) -> str:
        """Offer in, answer out, when nothing else of the reply is needed."""
        return self.send_offer(sdp, to=to, timeout_s=timeout_s).sdp

    def send_ice_candidate(
        self, session_id: str, candidate: IceCandidate | None, *, timeout_s: float | None = None
    ) -> None:
        """Trickle one; None ends them. Needed only with full ICE on the server and an offer sent before gathering."""
        self.send_ice_candidates(session_id, [candidate], timeout_s=timeout_s)

    def send_ice_candidates(
        self, session_id: str, candidates: Sequence[IceCandidate | None], *, timeout_s: float | None = None
    ) -> None:
        """Trickle many in one request."""
        self._run(operations.ice_candidates(session_id, candidates), timeout_s)

    def close_session(self, session_id: str, reason: str | None = None, *, timeout_s: float | None = None) -> None:
        """End a session and its call. Again within the server's `linger_s`: no error."""
        self._run(operations.close_session(session_id, reason), timeout_s)

    def describe_session(self, session_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """State, media figures and timeline of a session, also of one that ended a short while ago."""
        return self._run(operations.describe_session(session_id), timeout_s)

    def send_dtmf(
        self,
        call_id: str,
        digits: str,
        *,
        leg: Leg = "sip",
        method: DtmfMethod | None = None,
        duration_ms: int | None = None,
        gap_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Press keys (digits, *, #, A-D) toward the far end, or toward the browser. None: the server's default."""
        operation = operations.send_dtmf(
            call_id, digits, leg=leg, method=method, duration_ms=duration_ms, gap_ms=gap_ms
        )
        self._run(operation, timeout_s)

    def play(
        self,
        call_id: str,
        file: str,
        *,
        leg: Leg | Literal["both"] = "webrtc",
        loop: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Have one side of a call, or both, hear a file of the server's `sounds_dir` instead of the other side."""
        self._run(operations.play(call_id, file, leg=leg, loop=loop), timeout_s)

    def stop_playing(
        self, call_id: str, *, leg: Leg | Literal["both"] = "webrtc", timeout_s: float | None = None
    ) -> None:
        """End what `play` began."""
        self._run(operations.stop_playing(call_id, leg=leg), timeout_s)

    def record(
        self,
        call_id: str,
        action: RecordAction = "start",
        *,
        tone: bool | None = None,
        timeout_s: float | None = None,
    ) -> Recording:
        """Start, pause, resume or stop the recording of an answered call. `tone`: whether both sides hear a beep."""
        return self._run(operations.record(call_id, action, tone=tone), timeout_s)

    def mute(self, call_id: str, muted: bool = True, *, leg: Leg = "webrtc", timeout_s: float | None = None) -> None:
        """Let the others hear silence instead of one side of a call, or hear it again."""
        self._run(operations.mute(call_id, muted, leg=leg), timeout_s)

    def conference(self, call_ids: Sequence[str], room: str | None = None, *, timeout_s: float | None = None) -> str:
        """Put all sides of these calls into one room, a new one without a name; its name."""
        return self._run(operations.conference(call_ids, room), timeout_s)

    def setup_session(
        self,
        pc: PeerConnection | None = None,
        *,
        audio: Any = None,
        to: str | None = None,
        call: CallOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        resume_token: str | None = None,
        events: bool = True,
        timeout_s: float | None = None,
    ) -> Session:
        """A whole session; its event loop runs in a thread that ends with `close` of this client.

        :param pc: an `aiortc.RTCPeerConnection` that has its tracks; None makes one with the server's ICE servers.
        :param audio: the track to send when `pc` is None; None only listens.
        :param events: follow the server's events, for the reason of the end.
        :raises SdpServerClientError: nothing is left open then, but a `pc` that was given.
        """
        portal, client = self._start_loop()

        async def set_up() -> AsyncSession:
            return await client.setup_session(
                pc,
                audio=audio,
                to=to,
                call=call,
                metadata=metadata,
                session_id=session_id,
                resume_token=resume_token,
                events=events,
                timeout_s=timeout_s,
            )

        session = Session(portal.call(set_up), portal)
        self._sessions.append(session)
        return session

    def _start_loop(self) -> tuple[BlockingPortal, AsyncWebRtcClient]:
        """The thread for peer connections, which need a running loop; made with the first session."""
        if self._portal is None or self._sessions_client is None:
            self._portal = self._loop_thread.enter_context(start_blocking_portal())
            self._sessions_client = self._portal.call(self._create_sessions_client)
        return self._portal, self._sessions_client

    async def _create_sessions_client(self) -> AsyncWebRtcClient:
        settings = self._settings
        return AsyncWebRtcClient(
            settings.base_url,
            api_key=settings.api_key,
            token=settings.token,
            timeout_s=settings.timeout_s,
            verify=settings.verify,
        )

    def close(self) -> None:
        """Close what `setup_session` made, whose thread ends here, and the connections to the server. Idempotent."""
        for session in self._sessions:
            with contextlib.suppress(SdpServerClientError):
                session.close()
        self._sessions.clear()
        if self._portal is not None and self._sessions_client is not None:
            self._portal.call(self._sessions_client.aclose)
            self._portal = self._sessions_client = None
        self._loop_thread.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
