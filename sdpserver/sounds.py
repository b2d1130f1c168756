"""The sound files of `[media] sounds_dir`: found by name, decoded once, and shared by all who play them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import OrderedDict
from pathlib import Path

import structlog

from . import _media
from .errors import BadRequest, NotFound

log = structlog.get_logger(__name__)

MAX_NAME_LENGTH = 255

_Stamp = tuple[int, int, int]


def check_name(name: str) -> None:
    """A path within the folder, whether or not there is such a file.

    :raises BadRequest: `bad_sound_name`.
    """
    parts = name.split("/")
    if not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name or "\\" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise BadRequest(
            f"{name[:MAX_NAME_LENGTH]!r} is no name of a file in the folder of sounds", reason="bad_sound_name"
        )


class Sounds:
    """Keeps up to `cache_octets` of decoded sound, those that were played last; 48,000 octets are a second.

    A file that has changed on disk is decoded anew; whoever plays the old one hears it to its end.
    """

    def __init__(self, folder: Path, *, cache_octets: int) -> None:
        self._folder = folder
        self._cache_octets = cache_octets
        self._cached: OrderedDict[str, tuple[_Stamp, _media.Sound]] = OrderedDict()
        self._octets = 0
        self._decoding = asyncio.Lock()  # one at a time: it takes a core

    async def load(self, name: str) -> _media.Sound:
        """A file by its path within the folder.

        :raises BadRequest: `bad_sound_name`; `bad_sound`: it cannot be decoded, or would not fit into the cache.
        :raises NotFound: `sound_not_found`; also what a symbolic link has outside of the folder.
        """
        check_name(name)
        fd, stamp = await asyncio.to_thread(self._open, name)
        try:
            if (sound := self._find(name, stamp)) is not None:
                return sound
            async with self._decoding:
                if (sound := self._find(name, stamp)) is not None:
                    return sound
                # Of its own, since a caller who gives up does not stop the thread.
                sound = await asyncio.to_thread(self._decode, name, os.dup(fd))
                self._keep(name, stamp, sound)
                return sound
        finally:
            os.close(fd)

    def _open(self, name: str) -> tuple[int, _Stamp]:
        folder = self._folder.resolve()
        try:
            fd = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            log.debug("sound not opened", sound=name, error=str(exc))
            raise _not_found(name) from exc
        try:
            # Where what is open lies, not where its name leads to now: links may change in between.
            opened = Path(f"/proc/self/fd/{fd}").readlink()
            status = os.fstat(fd)
            if not opened.is_relative_to(folder) or not stat.S_ISREG(status.st_mode):
                raise _not_found(name)
        except BaseException:
            os.close(fd)
            raise
        return fd, (status.st_ino, status.st_size, status.st_mtime_ns)

    def _decode(self, name: str, fd: int) -> _media.Sound:
        try:
            return _media.decode_sound(fd, self._cache_octets)
        except RuntimeError as exc:
            raise BadRequest(f"the sound {name!r} cannot be played: {exc}", reason="bad_sound") from exc
        finally:
            os.close(fd)

    def _find(self, name: str, stamp: _Stamp) -> _media.Sound | None:
        cached = self._cached.get(name)
        if cached is None or cached[0] != stamp:
            return None
        self._cached.move_to_end(name)
        return cached[1]

    def _keep(self, name: str, stamp: _Stamp, sound: _media.Sound) -> None:
        if (old := self._cached.pop(name, None)) is not None:
            self._octets -= old[1].octets
        self._cached[name] = (stamp, sound)
        self._octets += sound.octets
        while self._octets > self._cache_octets:
            _, (_, dropped) = self._cached.popitem(last=False)
            self._octets -= dropped.octets

    @property
    def cached_octets(self) -> int:
        """How much is kept."""
        return self._octets


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no sound {name!r}", reason="sound_not_found")
