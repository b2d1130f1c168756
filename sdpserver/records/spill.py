"""Where records go that cannot be written before the server has to end: a file that its next start reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from .record import CallRecord

log = structlog.get_logger(__name__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CallRecord).decode


class Spill:
    """One file for each instance, a record a line. Not for the event loop."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.file = folder / f"{instance}.unwritten-records.jsonl"

    def keep(self, records: Iterable[CallRecord]) -> None:
        """Add these. Raises OSError."""
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(_encode(record) + b"\n" for record in records)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[CallRecord]:
        """Those that are there. What is no record, such as half a line of a process that was killed, is left out."""
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as exc:
            log.warning("records of the last run cannot be read", file=str(self.file), error=str(exc))
            return []
        found = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(_decode(line))
            except msgspec.MsgspecError as exc:
                log.warning("no record", file=str(self.file), line=number, error=str(exc))
        return found

    def clear(self) -> None:
        """They are written."""
        try:
            self.file.unlink(missing_ok=True)
        except OSError as exc:  # they are read again at the next start, and written once more in their own place
            log.warning("records of the last run cannot be removed", file=str(self.file), error=str(exc))
