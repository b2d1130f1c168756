"""The end of peers that run as processes of their own."""

from __future__ import annotations

import signal
import subprocess


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """By its own id, never by name. What has not gone after 10 s is killed."""
    process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
