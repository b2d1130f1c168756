"""Where recordings are kept, how their files are called, and what a killed process left of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from . import _media

log = structlog.get_logger(__name__)

UNFINISHED = ".part"
MAX_NAMES = 100


class RecordingFolder:
    """`[media] recordings_dir`. It is made with the first recording, for its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest: dict[str, datetime] = {}  # by name, of the last few names

    def new_path(self, name: str) -> Path:
        """A name by call or room and time that no other recording has. Raises OSError: the folder cannot be made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(UTC)
        if (before := self._latest.pop(name, None)) is not None:  # ended and begun again within a millisecond
            now = max(now, before + timedelta(milliseconds=1))
        self._latest[name] = now
        if len(self._latest) > MAX_NAMES:
            del self._latest[next(iter(self._latest))]
        return (self._folder / f"{name}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z.wav").absolute()

    async def recover(self) -> int:
        """Make whole what was being written when a process ended; those of a process that still lives are left alone.

        How many that were. Raises nothing: a file that cannot be repaired is left as it is, and logged.
        """
        return await asyncio.to_thread(self._recover)

    def _recover(self) -> int:
        recovered = 0
        for unfinished in sorted(self._folder.glob(f"*.wav{UNFINISHED}")):
            try:
                if _media.recover_recording(str(unfinished)):
                    recovered += 1
                    log.info("recording recovered", file=unfinished.name)
            except (RuntimeError, OSError) as exc:
                log.warning("recording not recovered", file=unfinished.name, error=str(exc))
        return recovered
