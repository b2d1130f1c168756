"""Puts the planes together, and runs the process from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
import uvloop
from starlette.applications import Starlette

from . import __version__
from .agents import Agents, Desktops
from .api.application import create
from .api.listener import Listener, bind, tls_context
from .config import Config
from .heap import short_collections
from .media import MediaPlane
from .records import CallRecords
from .session import Sessions
from .sip import SipEndpoint
from .statistics import Statistics
from .supervision import Supervision
from .webrtc import WebRtcPlane

log = structlog.get_logger(__name__)

EXIT_S = 4.7
"""After this long a signal ends the process, come what may; operators are promised 5 s."""

STOP_SESSIONS_S = 3.3
STOP_REQUESTS_S = 0.4
STOP_SIP_S = 1.0
STOP_RECORDS_S = 0.6


class StartError(Exception):
    """Why the server cannot start, in one sentence."""


def build(config: Config) -> Starlette:
    """The whole server as an ASGI application: its lifespan starts the planes and stops them in reverse."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with _planes(config) as planes:
            sessions, agents = planes.sessions, planes.agents
            app.state.sessions, app.state.agents, app.state.desktops = sessions, agents, Desktops(agents)
            app.state.records = planes.records
            app.state.supervision = Supervision(sessions, agents, planes.sip)
            app.state.statistics = Statistics(planes.media, sessions, agents, app.state.http_statistics, planes.records)
            yield

    return create(config, lifespan=lifespan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """What a running server is made of."""

    media: MediaPlane
    sip: SipEndpoint | None
    sessions: Sessions
    agents: Agents
    records: CallRecords | None


@contextlib.asynccontextmanager
async def _planes(config: Config) -> AsyncIterator[Planes]:
    """Media, WebRTC, SIP (only with a trunk to use it for), the sessions and the agents on top; beside them the records
    of the calls, unless they are switched off."""
    async with contextlib.AsyncExitStack() as started:
        try:
            media = MediaPlane(config)
        except OSError as exc:
            raise StartError(f"[webrtc] port {config.webrtc.port}: {_why(exc)}") from exc
        media.start()
        started.callback(media.close)
        webrtc = WebRtcPlane(config, media)
        sip: SipEndpoint | None = None
        records = CallRecords(config) if config.records.url else None
        if config.trunks:
            sip = SipEndpoint(config)
            await sip.start()
        started.push_async_callback(_stop, sip, records)
        if records is not None:
            records.start()
        sessions = Sessions(config, media=media, webrtc=webrtc, sip=sip)
        await sessions.start()
        started.push_async_callback(sessions.stop)
        if records is not None:
            sessions.follow(records)
        agents = Agents(config, sessions=sessions, sip=sip)
        started.push_async_callback(agents.stop)
        yield Planes(media=media, sip=sip, sessions=sessions, agents=agents, records=records)


async def _stop(sip: SipEndpoint | None, records: CallRecords | None) -> None:
    """Both take as long as their peers let them, so they share the time."""
    async with asyncio.TaskGroup() as tasks:
        if sip is not None:
            tasks.create_task(sip.stop(STOP_SIP_S))
        if records is not None:
            tasks.create_task(records.stop(STOP_RECORDS_S))


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    :raises StartError: the server cannot start.
    :raises ConfigError: neither, for a reason that shows only when the configuration is put to use.
    """
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))
    return 0


async def _serve(config: Config) -> None:
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    http = config.http
    try:
        listening = bind("127.0.0.1" if http.bind == "localhost" else http.bind, http.port)
    except OSError as exc:
        raise StartError(f"[http] {http.bind}:{http.port}: {_why(exc)}") from exc
    with contextlib.closing(listening):
        app = build(config)
        tls = tls_context(http.tls_cert, http.tls_key) if http.tls_cert else None
        listener = Listener(app, tls=tls)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _on_signal, number, signalled)
        try:
            async with (
                app.router.lifespan_context(app),
                short_collections(lambda: app.state.sessions.stats["sessions_created"]),
            ):
                address = listening.getsockname()
                await listener.start(listening)
                _greet(config, address[0], address[1])
                await signalled.wait()
                log.info("stopping")
                app.state.draining = True
                sessions: Sessions = app.state.sessions
                # While sessions hang up, requests are still answered: offers with 503, event streams with their end.
                # Agents hear that their calls have ended before they hear that the server goes.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SESSIONS_S):
                        await sessions.stop()
                await app.state.agents.stop()
                app.state.supervision.close()
                await listener.stop(STOP_REQUESTS_S)
        finally:
            await listener.stop(0)
    log.info("stopped")


def _on_signal(number: int, signalled: asyncio.Event) -> None:
    if signalled.is_set():
        os._exit(128 + number)  # asked twice: at once, with nothing cleaned up
    signalled.set()
    # Not a timer of the loop: it has to fire even when the loop is stuck.
    watchdog = threading.Timer(EXIT_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()


def _raise_file_limit() -> None:
    """Each call holds two sockets; the usual soft limit of 1024 files would end at 500 calls."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _why(exc: OSError) -> str:
    text = (os.strerror(exc.errno) if exc.errno else str(exc)).lower()
    hint = "; is another server running?" if exc.errno and os.strerror(exc.errno).startswith("Address already") else ""
    return f"cannot be used: {text}{hint}"


def _greet(config: Config, host: str, port: int) -> None:
    scheme = "https" if config.http.tls_cert else "http"
    shown = f"[{host}]" if ":" in host else host
    log.info(
        "serving",
        url=f"{scheme}://{shown}:{port}",
        docs=f"{scheme}://{shown}:{port}/docs",
        webrtc_port=config.webrtc.port,
        sip_port=config.sip.port if config.trunks else None,
        trunks=[trunk.name for trunk in config.trunks],
        default=config.routing.default,
        auth=config.auth.mode,
        version=__version__,
    )
