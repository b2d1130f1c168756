"""The real server in a process of its own, as an operator runs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from . import audio
from .asterisk import Asterisk
from .ports import claim_block, release_block
from .toml import dumps
from .waiting import wait_until

STOP_S = 4.5
"""SIGTERM to exit, whatever is going on. Operators are promised 5 s; who needs the watchdog for that is stuck."""


def _environment() -> dict[str, str]:
    """Without what would be laid over the file."""
    special = {
        "STUN_SERVER",
        "RESTSEND_TOKEN",
        "TARGET_SIP_SERVER",
        "CORS_ORIGIN",
        "LOG_LEVEL",
        "PORT",
        "JWT_SECRET",
        "SSL_CERT_PATH",
        "SSL_KEY_PATH",
    }
    return {key: value for key, value in os.environ.items() if key not in special and not key.startswith("SDPSERVER_")}


def trunks_to(asterisk: Asterisk) -> list[dict[str, Any]]:
    """A trunk for each of its users, under the user's name; `any` comes first."""
    users = sorted(asterisk.users.values(), key=lambda user: user.name != "any")
    return [
        {"name": user.name, "server": asterisk.address, "username": user.name, "password": user.password}
        for user in users
    ]


def loopback(ports: range, tables: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration on these ports of 127.0.0.1, with `tables` laid over it."""
    config: dict[str, Any] = {
        "http": {"bind": "127.0.0.1", "port": ports[0]},
        "webrtc": {"bind": "127.0.0.1", "port": ports[2]},
        "media": {"rtp_bind": "127.0.0.1", "rtp_port_range": [ports[10], ports[-1]]},
        "sip": {"bind": "127.0.0.1", "port": ports[6]},
        "log": {"level": "debug"},
    }
    for name, table in tables.items():
        config[name] = config.get(name, {}) | table if isinstance(table, Mapping) else table
    return config


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the process holds at a moment. `udp` are the ports that its UDP sockets are bound to."""

    fds: int
    threads: int
    udp: frozenset[int]
    rss_mb: float


class ServerProcess:
    """`sdpserver --conf FILE` on free ports. `tables` are laid over a configuration for loopback."""

    def __init__(self, tables: Mapping[str, Any] | None = None) -> None:
        self._ports = claim_block()
        config = loopback(self._ports, tables or {})
        self.http_port: int = config["http"]["port"]
        self.sip_port: int = config["sip"]["port"]
        first, last = config["media"]["rtp_port_range"]
        self._rtp_ports = range(first, last + 1)
        self.folder = Path(tempfile.mkdtemp(prefix="sdpserver-"))
        (self.folder / "config.toml").write_text(dumps(config))
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def for_asterisk(cls, asterisk: Asterisk, tables: Mapping[str, Any] | None = None) -> ServerProcess:
        """With a trunk for each user of this Asterisk, and digits routed to the one that speaks every codec."""
        routing = {"trunks": trunks_to(asterisk), "routes": [{"match": "^[0-9]+$", "trunk": "any"}]}
        return cls(routing | dict(tables or {}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def sounds(self) -> Path:
        """`[media] sounds_dir`."""
        return self.folder / "sounds"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it is ready for sessions, and has opened the database of its call records or failed to: else a
        test would see the files of that come among those that it counts."""
        command = Path(sys.executable).with_name("sdpserver")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [command, "--conf", self.folder / "config.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_environment(),
            )
        wait_until(self._is_ready, timeout_s=20, what="the server to be ready")

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with status {self.process.returncode}:\n{self.log}")
        try:
            if httpx.get(f"{self.url}/ready", timeout=5, trust_env=False).status_code != 200:
                return False
            return bool(httpx.get(f"{self.url}/health", timeout=5, trust_env=False).json()["records"] != "starting")
        except httpx.TransportError:
            return False

    def add_sound(self, name: str, pcm: audio.Pcm, rate: int) -> None:
        """A mono file that `playback/NAME` plays."""
        self.sounds.mkdir(exist_ok=True)
        audio.write_wav(self.sounds / name, pcm, rate)

    def usage(self) -> Usage:
        """Files, threads, sockets and memory, from /proc."""
        assert self.process is not None
        process = psutil.Process(self.process.pid)
        with process.oneshot():
            return Usage(
                fds=process.num_fds(),
                threads=process.num_threads(),
                udp=frozenset(socket.laddr.port for socket in process.net_connections("udp")),
                rss_mb=process.memory_info().rss / 2**20,
            )

    def sessions(self) -> list[dict[str, Any]]:
        """GET /webrtc/sessions."""
        answer = httpx.get(f"{self.url}/webrtc/sessions", timeout=5, trust_env=False).raise_for_status().json()
        found: list[dict[str, Any]] = answer["sessions"] if isinstance(answer, dict) else answer
        return found

    def session(self, session_id: str) -> dict[str, Any]:
        """GET /webrtc/sessions/{id}."""
        answer = httpx.get(f"{self.url}/webrtc/sessions/{session_id}", timeout=5, trust_env=False)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def open_sessions(self) -> list[str]:
        """The ids of those that are not closed; a closed one is listed for `linger_s`."""
        return [session["session_id"] for session in self.sessions() if session["state"] != "closed"]

    def calls(self) -> list[str]:
        """The ids of all live calls, those of agents too; one that is being closed is none."""
        answer = httpx.get(f"{self.url}/api/calls/active", timeout=5, trust_env=False).raise_for_status().json()
        return [call["callId"] for call in answer["calls"]]

    def sip_calls(self) -> int:
        """How many SIP calls its trunks have."""
        answer = httpx.get(f"{self.url}/api/genesys/status", timeout=5, trust_env=False).raise_for_status().json()
        return sum(trunk["calls"] for trunk in answer["trunks"])

    def rtp_ports(self) -> set[int]:
        """Those of RTP legs that are open."""
        return set(self.usage().udp) & set(self._rtp_ports)

    def terminate(self) -> float:
        """SIGTERM; the seconds until it was gone. Its status and its log are judged."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            self.process = None
            raise AssertionError(f"still there {STOP_S + 5} s after SIGTERM:\n{self.log[-4000:]}") from None
        self.process = None
        took_s = time.monotonic() - started
        assert status == 0, f"exit status {status}:\n{self.log[-4000:]}"
        assert took_s < STOP_S, f"took {took_s:.1f} s to exit:\n{self.log[-4000:]}"
        self.check_log()
        return took_s

    def check_log(self) -> None:
        """No traceback, nothing never awaited, nothing never retrieved."""
        for sign in ("Traceback (most recent call last)", "was never awaited", "never retrieved", "Assertion"):
            if sign in (log := self.log):
                raise AssertionError(f"{sign!r} in the server's log:\n{log[max(0, log.find(sign) - 500) :][:4000]}")

    def close(self) -> None:
        """End it if a test left it running, and remove its folder. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
            self.process = None
        release_block(self._ports)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Start it, and at the end stop it as an operator would; a failure inside shows the server's log."""
    try:
        server.start()
        try:
            yield server
        except BaseException:
            sys.stderr.write(f"\n-- the server's log:\n{server.log[-8000:]}\n")
            raise
        if server.process is not None:
            server.terminate()
    finally:
        server.close()


@contextlib.contextmanager
def left_idle(server: ServerProcess, asterisk: Asterisk) -> Iterator[None]:
    """For tests that share a server: each leaves no session and no channel behind, and no error in its log."""
    yield
    wait_until(lambda: not server.open_sessions(), timeout_s=5, what="the server's sessions to be closed")
    asterisk.wait_no_channels()
    server.check_log()
