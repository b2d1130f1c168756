"""The process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli
from peers.server import ServerProcess, running

from .conftest import RawConnection

Offer = Callable[..., dict[str, Any]]
COMMAND = Path(sys.executable).with_name("sdpserver")
NO_PROXY = {"trust_env": False, "timeout": 10}


def run(*arguments: str, text: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], input=text, capture_output=True, text=True, timeout=30, cwd=cwd, check=False
    )


@pytest.fixture
def fresh() -> Iterator[ServerProcess]:
    server = ServerProcess()
    server.start()
    yield server
    server.close()


def test_sigterm_ends_it_with_everything_open(fresh: ServerProcess, offer: Offer) -> None:
    """A session, its event stream, an idle connection, half a request and a client that does not read."""
    with httpx.Client(base_url=fresh.url, trust_env=False, timeout=10) as client:
        session_id = client.post("/webrtc/offer", json=offer()).json()["session_id"]
        idle, half, deaf = (RawConnection(fresh.http_port) for _ in range(3))
        half.send(
            b"POST /webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
        deaf.socket.setblocking(False)
        try:
            while True:
                deaf.socket.send(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100)
        except BlockingIOError:
            pass
        upgrade = RawConnection(fresh.http_port)
        with client.stream("GET", f"/webrtc/sessions/{session_id}/events") as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line.startswith("data: "))
            took_s = fresh.terminate()
            rest = [line for line in lines if line.startswith("data: ")]
        assert any('"type":"closed"' in line for line in rest)
        cut_off = half.response()
        assert cut_off.status == 503
        assert b'"reason":"draining"' in cut_off.body
        for connection in (idle, half, upgrade):
            assert connection.is_closed()
        for connection in (idle, half, deaf, upgrade):
            connection.close()
    assert took_s < 5


def test_sigint_ends_it_too(fresh: ServerProcess) -> None:
    assert fresh.process is not None
    fresh.process.send_signal(signal.SIGINT)
    assert fresh.process.wait(5) == 0


def test_a_second_signal_ends_it_at_once(fresh: ServerProcess, offer: Offer) -> None:
    httpx.post(f"{fresh.url}/webrtc/offer", json=offer(), **NO_PROXY).raise_for_status()  # type: ignore[arg-type]
    process = fresh.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)  # both are there before it can do anything about the first
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.send_signal(signal.SIGCONT)
    assert process.wait(5) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert time.monotonic() - started < 1


def test_a_taken_port_is_one_clear_sentence() -> None:
    server = ServerProcess()
    with socket.create_server(("127.0.0.1", server.http_port)):
        result = run("--conf", str(server.folder / "config.toml"))
    server.close()
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"sdpserver: [http] 127.0.0.1:{server.http_port}: cannot be used: address already in use; "
        "is another server running?"
    )
    assert "Traceback" not in result.stderr


def test_a_taken_media_port_is_one_clear_sentence() -> None:
    server = ServerProcess()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        port = tomli.loads((server.folder / "config.toml").read_text())["webrtc"]["port"]
        taken.bind(("127.0.0.1", port))
        result = run("--conf", str(server.folder / "config.toml"))
    server.close()
    assert result.returncode == 1
    assert f"sdpserver: [webrtc] port {port}: cannot be used: address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_configuration_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[http]\nprot = 1\nport = "x"\n')
    for arguments in (
        ["--conf", str(path)],
        ["check-config", "--conf", str(path)],
        ["--conf", str(path), "check-config"],
    ):
        result = run(*arguments)
        assert result.returncode == 1
        assert result.stderr.splitlines() == [
            f"sdpserver: {path}:2: [http] prot: unknown key; did you mean port?",
            f'sdpserver: {path}:3: [http] port: must be a whole number, not "x"',
        ]


def test_check_config_of_a_right_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[auth]\njwt_secret = "s3cret"\n[records]\nurl = "sqlite:///x.db"\n')
    result = run("check-config", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "warning: [auth] jwt_secret: is not supported by this version and has no effect",
        "config.toml is fine",
    ]


def test_version_and_usage() -> None:
    assert run("--version").stdout.startswith("sdpserver ")
    assert run("--nonsense").returncode == 2
    assert "check-config" in run("--help").stdout


def test_hash_key_makes_and_hashes_keys() -> None:
    made = dict(
        line.split(": ") for line in run("hash-key", text="\n").stdout.replace("key:    ", "key: ").splitlines()
    )
    assert run("hash-key", text=made["key"]).stdout == f"sha256: {made['sha256']}\n"
    assert run("hash-key", text="short").returncode == 1


def test_tls_is_served_when_it_is_configured(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command = [
        "openssl",
        *made.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    subprocess.run(command, check=True, capture_output=True)
    server = ServerProcess({"http": {"tls_cert": str(cert), "tls_key": str(key)}})
    context = ssl.create_default_context(cafile=str(cert))
    with pytest.MonkeyPatch.context() as patch:
        # The fixture waits for /ready over HTTP; here that is HTTPS.
        url = f"https://127.0.0.1:{server.http_port}"

        def is_ready(self: ServerProcess) -> bool:
            try:
                return httpx.get(f"{url}/ready", verify=context, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        patch.setattr(ServerProcess, "_is_ready", is_ready)
        with running(server), httpx.Client(verify=context, trust_env=False) as client:
            response = client.get(f"{url}/health")
            assert response.json()["status"] == "ok"
            assert response.http_version == "HTTP/1.1"
            plain = RawConnection(server.http_port)
            plain.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert plain.is_closed()
            plain.close()
