"""The folder of sounds: what a name may reach, and what is kept of what was decoded."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from peers import audio

from sdpserver.errors import BadRequest, NotFound
from sdpserver.sounds import Sounds

SECOND = 48_000


def write(path: Path, duration_s: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_wav(path, audio.sine(440, duration_s, 8000), 8000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    write(tmp_path / "secret.wav")
    return tmp_path / "sounds"


def sounds(folder: Path, *, seconds: int = 10) -> Sounds:
    return Sounds(folder, cache_octets=seconds * SECOND)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../secret.wav", "a/../../secret.wav", "./a", "a//b", "a\0", "a\\b"]
)
async def test_a_name_that_is_no_path_within_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await sounds(folder).load(name)
    assert refused.value.reason == "bad_sound_name"


async def test_links_lead_only_within(folder: Path) -> None:
    write(folder / "en" / "hello.wav")
    (folder / "inside.wav").symlink_to(folder / "en" / "hello.wav")
    (folder / "outside.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "up").symlink_to(folder.parent)
    kept = sounds(folder)
    assert (await kept.load("inside.wav")).duration_s == pytest.approx(1, abs=0.01)
    for name in ("outside.wav", "up/secret.wav", "none.wav", "en"):
        with pytest.raises(NotFound) as missing:
            await kept.load(name)
        assert missing.value.reason == "sound_not_found", name


async def test_what_is_no_file_does_not_hang_the_server(folder: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    with pytest.raises(NotFound):
        await asyncio.wait_for(sounds(folder).load("pipe.wav"), 2)


async def test_what_cannot_be_played_says_why(folder: Path) -> None:
    (folder / "text.wav").write_text("hello")
    write(folder / "long.wav", 11)
    for name, why in (("text.wav", "not a sound file"), ("long.wav", "longer than 10 s")):
        with pytest.raises(BadRequest, match=why) as refused:
            await sounds(folder).load(name)
        assert refused.value.reason == "bad_sound"


async def test_a_file_is_decoded_once_for_all_who_ask_at_once(folder: Path) -> None:
    write(folder / "a.wav")
    kept = sounds(folder)
    loaded = await asyncio.gather(*(kept.load("a.wav") for _ in range(20)))
    assert len({id(sound) for sound in loaded}) == 1
    assert kept.cached_octets == loaded[0].octets


async def test_a_file_that_has_changed_is_decoded_anew(folder: Path) -> None:
    path = write(folder / "a.wav", 1)
    kept = sounds(folder)
    first = await kept.load("a.wav")
    write(path, 2)
    second = await kept.load("a.wav")
    assert first.duration_s == pytest.approx(1, abs=0.01)
    assert second.duration_s == pytest.approx(2, abs=0.01)
    assert kept.cached_octets == second.octets


async def test_the_cache_is_bounded_and_keeps_what_was_asked_for_last(folder: Path) -> None:
    for name in "abc":
        write(folder / f"{name}.wav", 4)
    kept = sounds(folder, seconds=10)
    a, _ = await kept.load("a.wav"), await kept.load("b.wav")
    assert await kept.load("a.wav") is a
    await kept.load("c.wav")  # b goes
    assert kept.cached_octets <= 10 * SECOND
    assert await kept.load("a.wav") is a
