"""Programs that speak."""

from __future__ import annotations

import os
import subprocess


def espeak_ng(*arguments: str) -> bytes:
    """What it prints. Without what a sanitizer preloads into us: with that it hangs."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(["espeak-ng", *arguments], capture_output=True, check=True, env=environment).stdout
