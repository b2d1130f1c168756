"""The examples and those of the README, run as they stand; what they sound like is listened to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peers import audio
from peers.chromium import HEARD_HZ, MICROPHONE_HZ
from peers.server import ServerProcess
from playwright.async_api import Browser

ROOT = Path(__file__).parents[2]
DEFAULT_URL = "http://127.0.0.1:8080"
TONE_HZ = 440.0


def readme_example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"the README has no example {name}"
    return found[1]


def run_python(*command: str, folder: Path) -> str:
    """In an empty folder, as a user would."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_tone_heard(recording: Path, at_least_s: float) -> None:
    pcm, rate = audio.read_wav(recording)
    heard = audio.measure(pcm, rate)
    assert heard.frequency_hz == pytest.approx(TONE_HZ, rel=0.02)
    assert heard.duration_s >= at_least_s


def test_the_readmes_python_example_hears_its_tone(gateway: ServerProcess, tmp_path: Path) -> None:
    code = readme_example("python")
    assert DEFAULT_URL in code
    (tmp_path / "example.py").write_text(code.replace(DEFAULT_URL, gateway.url))
    run_python("example.py", folder=tmp_path)
    assert_tone_heard(tmp_path / "heard.wav", 2.0)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", ["browser", "whip"])
async def test_the_readmes_browser_examples_hear_their_microphone(
    chromium: Browser, gateway: ServerProcess, name: str
) -> None:
    page = await chromium.new_page()
    await page.goto(f"{gateway.url}/docs")
    code = readme_example(name)
    assert DEFAULT_URL in code
    heard_hz = await page.evaluate(
        f"async () => {{ {code.replace(DEFAULT_URL, gateway.url)}\n"
        f"const heard = await ({HEARD_HZ})(pc.getReceivers()[0].track); pc.close(); return heard; }}"
    )
    assert heard_hz == pytest.approx(MICROPHONE_HZ, rel=0.02)
    await page.close()


def test_the_script_says_a_tone_and_records_the_echo(gateway: ServerProcess, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "voice_call.py")
    said = run_python(script, "--server", gateway.url, "--seconds", "2", "--record", "out.wav", folder=tmp_path)
    assert "connected to echo" in said
    assert_tone_heard(tmp_path / "out.wav", 1.2)


def test_the_script_plays_a_file_to_a_pbx_and_is_told_when_it_hangs_up(gateway: ServerProcess, tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "in.wav", audio.sine(TONE_HZ, 10, 8000), 8000)
    script = str(ROOT / "examples" / "voice_call.py")
    command = (script, "612", "--server", gateway.url, "--play", "in.wav", "--seconds", "20")
    assert "ended by the far end: normal_clearing" in run_python(*command, folder=tmp_path)


def test_the_script_ends_with_one_line_when_it_is_refused(gateway: ServerProcess, tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "voice_call.py")
    done = subprocess.run(
        [sys.executable, script, "nobody", "--server", gateway.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("voice_call: no route leads to 'nobody'")


@pytest.mark.asyncio(loop_scope="session")
async def test_the_voice_page_calls_holds_and_hangs_up(chromium: Browser, gateway: ServerProcess) -> None:
    page = await chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{gateway.url}/examples/voice_call.html")
    assert await page.input_value("#to") == "echo"
    await page.fill("#to", "600")
    await page.click("#dial")
    await page.wait_for_function("document.getElementById('state').textContent === 'connected'")
    heard_hz = await page.evaluate(f"({HEARD_HZ})(session.pc.getReceivers()[0].track)")
    assert heard_hz == pytest.approx(MICROPHONE_HZ, rel=0.02)
    await page.click("#hold")
    await page.wait_for_selector("#hold[aria-pressed=true]")
    assert await page.evaluate("session.pc.getTransceivers()[0].currentDirection") == "inactive"
    await page.click("#hangup")
    await page.wait_for_function("document.getElementById('state').textContent === 'ended: normal_clearing'")
    assert not await page.is_disabled("#dial")
    assert errors == []
    await page.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_voice_page_tells_why_a_call_failed(chromium: Browser, gateway: ServerProcess) -> None:
    page = await chromium.new_page()
    await page.goto(f"{gateway.url}/examples/voice_call.html?to=602")
    await page.click("#dial")
    await page.wait_for_function("document.getElementById('state').textContent === 'ended: busy'", timeout=10_000)
    await page.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_data_page_gets_its_message_back_and_the_events(chromium: Browser, gateway: ServerProcess) -> None:
    page = await chromium.new_page()
    await page.goto(f"{gateway.url}/examples/data_channel.html")
    await page.wait_for_selector("#send:not([disabled])")
    await page.fill("#text", "grüße ✓")
    await page.click("#send")
    for told in ("echo: grüße ✓", "event: answered"):  # by two channels, in no order of theirs
        await page.wait_for_function(f"document.getElementById('log').textContent.includes('{told}')")
    await page.close()
