"""schemathesis against a running server: whatever it makes up from /openapi.json is answered as that says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .server import ServerProcess

TESTS = Path(__file__).parents[1]
REQUEST_TIMEOUT_S = 15
NOT_CHECKED = "positive_data_acceptance,use_after_free"
"""A string that the schema allows is hardly ever an SDP, nor the id of anything; and what has ended stays readable for
`linger_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What is there to be hit, by the name of a member or parameter; and words that no request may contain."""

    values: dict[str, list[Any]]
    protected: list[str] = field(default_factory=list)


def fuzz(
    server: ServerProcess, live: Live, *, seconds: int, seed: int, key: str = "", phases: Sequence[str] = ()
) -> None:
    """All phases unless told otherwise. On a failure the report has what to repeat it by."""
    config = server.folder / "schemathesis.toml"
    config.write_text('hooks = "peers.schemathesis_hooks"\n')
    command = [
        *(sys.executable, "-W", "error::SyntaxWarning", "-m", "schemathesis.cli"),
        *("--config-file", str(config), "run", f"{server.url}/openapi.json"),
        *("--max-time", str(seconds), "--request-timeout", str(REQUEST_TIMEOUT_S), "--seed", str(seed)),
        *("--exclude-checks", NOT_CHECKED, "--generation-database", "none", "--warnings", "off", "--no-color"),
        *("--suppress-health-check", "all"),
    ]
    if phases:
        command += ["--phases", ",".join(phases)]
    if key:
        command += ["--header", f"X-API-Key: {key}"]
    live_json = json.dumps({"values": live.values, "protected": live.protected})
    done = subprocess.run(
        command,
        env={**os.environ, "SDPSERVER_LIVE": live_json, "PYTHONPATH": str(TESTS)},
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 120,
        check=False,
    )
    print(done.stdout[-1500:])  # noqa: T201 - with the seed, and how much was asked
    assert done.returncode == 0, f"seed {seed}, live {live_json}\n{done.stdout[-12000:]}\n{done.stderr[-3000:]}"
