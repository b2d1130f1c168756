"""The ASGI application: the routes of the wire contract around the sessions."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

from sdpserver.config import Config
from sdpserver.statistics import HttpStatistics

from . import (
    call_routes,
    desktop_routes,
    dn_routes,
    event_routes,
    invite_routes,
    openapi,
    operations,
    record_routes,
    room_routes,
    server_routes,
    statistics_routes,
    trace_routes,
    trunk_routes,
    webrtc_routes,
    websocket,
    whip_routes,
)
from .credentials import Credentials
from .gate import Gate
from .ice_servers import IceServers

DOCS_PAGE = Path(__file__).with_name("docs.html")
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
OPERATIONS = (
    *webrtc_routes.OPERATIONS,
    *whip_routes.OPERATIONS,
    *call_routes.OPERATIONS,
    *room_routes.OPERATIONS,
    *dn_routes.OPERATIONS,
    *desktop_routes.OPERATIONS,
    *invite_routes.OPERATIONS,
    *event_routes.OPERATIONS,
    *trace_routes.OPERATIONS,
    *trunk_routes.OPERATIONS,
    *record_routes.OPERATIONS,
    *server_routes.OPERATIONS,
    *statistics_routes.OPERATIONS,
)
CHECKOUT_FOLDERS = {"/examples": "examples", "/sdk": "clients/js/src"}
"""Served read-only when the server runs from a checkout, so that the example pages have an origin that may use it."""


def create(config: Config, *, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The application. `lifespan` must have set what requests need of `app.state`, before one comes."""
    app = Starlette(
        routes=[*_routes(), *_checkout_folders()],
        middleware=[Middleware(Gate, config=config)],
        exception_handlers={HTTPException: _leave_to_gate},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.config = config
    app.state.credentials = Credentials(config.auth)
    app.state.ice_servers = IceServers(config)
    app.state.http_statistics = HttpStatistics({operation.endpoint: operation.path for operation in OPERATIONS})
    app.state.started = time.monotonic()
    app.state.draining = False
    return app


async def _leave_to_gate(_: Request, exc: Exception) -> Response:
    """Starlette's own handler would answer 404 and 405 as text."""
    raise exc


def _routes() -> list[BaseRoute]:
    return [
        Route("/", _home, methods=["GET"]),
        Route("/openapi.json", _fixed(openapi.document(OPERATIONS), "application/json"), methods=["GET"]),
        Route("/docs", _fixed(DOCS_PAGE.read_bytes(), "text/html; charset=utf-8", DOCS_POLICY), methods=["GET"]),
        *operations.routes(OPERATIONS),
        *websocket.ROUTES,
    ]


def _checkout_folders() -> list[BaseRoute]:
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        return []
    return [
        Mount(path, StaticFiles(directory=root / folder, html=False))
        for path, folder in CHECKOUT_FOLDERS.items()
        if (root / folder).is_dir()
    ]


def _fixed(body: bytes, media_type: str, policy: str = "default-src 'none'") -> operations.Endpoint:
    headers = {"content-security-policy": policy}

    async def endpoint(_: Request) -> Response:
        return Response(body, media_type=media_type, headers=headers)

    return endpoint


async def _home(_: Request) -> Response:
    return RedirectResponse("/docs")
