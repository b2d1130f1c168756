"""How recordings are called."""

from __future__ import annotations

import re
from pathlib import Path

from sdpserver.recording import MAX_NAMES, RecordingFolder


def test_recordings_that_begin_at_once_have_names_of_their_own(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path / "recordings")
    paths = [folder.new_path(name) for _ in range(50) for name in ("call", "room-team")]
    assert len(set(paths)) == len(paths)
    assert all(re.fullmatch(r"(call|room-team)-\d{8}T\d{6}\.\d{3}Z\.wav", path.name) for path in paths)
    assert sorted(paths[::2]) == paths[::2], "in the order of their time"


def test_names_that_are_not_used_again_are_forgotten(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    for number in range(3 * MAX_NAMES):
        folder.new_path(f"{number:016x}")
    assert len(folder._latest) == MAX_NAMES
