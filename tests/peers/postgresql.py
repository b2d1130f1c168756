"""A real PostgreSQL on loopback: a cluster of its own in a temporary folder, run by an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg

from .ports import claim_block, release_block
from .processes import end
from .waiting import wait_until

PASSWORD = "hidden:p@ss/word"
_USER = "postgres"


def _programs() -> Path:
    """Those of the newest version that Debian has installed; they are not in PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise RuntimeError("PostgreSQL is not installed; scripts/setup --test does it")
    return found[-1]


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to be root, as which tests may run."""
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"] if os.geteuid() == 0 else []


class PostgreSql:
    """`start` returns when it takes connections; the same port and data are used at every start."""

    def __init__(self) -> None:
        self._ports = claim_block()
        self.port = self._ports[0]
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.process: subprocess.Popen[bytes] | None = None
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, _USER)
        self._run(
            *("initdb", "--pgdata", self.folder / "data", "--username", _USER, "--auth", "scram-sha-256"),
            *("--pwfile", password, "--no-sync", "--locale", "C.UTF-8"),
        ).wait(60)

    def _run(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*_unprivileged(), _programs() / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
            )

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "fsync": "off", "unix_socket_directories": ""}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        self.process = self._run("postgres", "-D", self.folder / "data", "-p", str(self.port), *options)
        wait_until(self._answers, timeout_s=20, what="PostgreSQL to take connections")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended:\n{(self.folder / 'log').read_text()}")
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """As its superuser; each statement is a transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=_USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def create_database(self) -> str:
        """The URL of a new one, as it would stand in a configuration."""
        name = f"test_{secrets.token_hex(6)}"
        with contextlib.closing(self.connect()) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        password = "".join(f"%{octet:02X}" for octet in PASSWORD.encode())
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """Open connections are cut. Idempotent."""
        self._end(signal.SIGINT)

    def freeze(self) -> None:
        """It takes what is sent to it, and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        main = psutil.Process(self.process.pid)
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # of a connection that has just been closed
                process.send_signal(number)

    def _end(self, signal_number: signal.Signals) -> None:
        if self.process is not None:
            end(self.process, signal_number)
            self.process = None

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        release_block(self._ports)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSql]:
    """Started, and stopped at the end."""
    peer = PostgreSql()
    try:
        peer.start()
        yield peer
    finally:
        peer.close()
