"""SIPp as a registrar or callee that follows a scenario to the letter: its exit status says whether we kept to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .ports import claim_block, release_block

_RESPONSE = """SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
{headers}Content-Length: {length}
{body}"""


END = "end"
MESSAGES = "messages.log"
"""What went over the wire, in the scenario's folder; `peers.sip_captures` reads it."""

_labels = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a scenario."""

    xml: str

    def __add__(self, other: Step) -> Step:
        return Step(self.xml + other.xml)


def receive(method: str, *, timeout_ms: int = 8000, **matches: str) -> Step:
    """Wait for a request; each of `matches` is a regular expression that this header has to fit."""
    checks = "".join(
        f'<ereg regexp="{pattern}" search_in="hdr" header="{name.replace("_", "-").title()}:" check_it="true"'
        f' assign_to="{name}"/>'
        for name, pattern in matches.items()
    )
    action = f"<action>{checks}</action>" if checks else ""
    unused = f'<Reference variables="{",".join(matches)}"/>' if matches else ""
    return Step(f'<recv request="{method}" timeout="{timeout_ms}">{action}</recv>{unused}\n')


def receive_authorized(method: str, user: str, password: str) -> Step:
    """Wait for a request; unless its digest is that of the password, the scenario ends with a 403."""
    label = f"right{next(_labels)}"
    return Step(
        f'<recv request="{method}" timeout="8000"><action>'
        f'<verifyauth assign_to="{label}" username="{user}" password="{password}"/>'
        "</action></recv>\n"
        f'<nop test="{label}" next="{label}"/>\n'
        + respond("403 Forbidden").xml.replace("<send>", f'<send next="{END}">')
        + f'<label id="{label}"/>\n'
    )


def respond(status: str, headers: str = "", body: str = "") -> Step:
    """Answer the last request."""
    text = "".join(line.strip() + "\n" for line in headers.strip().splitlines())
    filled = _RESPONSE.format(status=status, headers=text, length="[len]" if body else "0", body=f"\n{body}")
    return Step(f"<send><![CDATA[\n{filled}\n]]></send>\n")


def pause(milliseconds: int) -> Step:
    """Wait; a message that comes meanwhile fails the scenario."""
    return Step(f'<pause milliseconds="{milliseconds}"/>\n')


class Sipp:
    """A running scenario, for so many calls."""

    def __init__(self, port: int, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.port = port
        self._process = process
        self._folder = folder

    @property
    def host_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        scenario: Step,
        folder: Path,
        *,
        calls: int = 1,
        ip: str = "127.0.0.1",
        ports: Sequence[int] = (),
        to: str = "",
        timeout_s: float = 30.0,
    ) -> AsyncIterator[Self]:
        """
        :param ports: for SIP and RTP on `ip`, and for SIPp's control; none: SIPp gets some of its own.
        :param to: `user@host:port`, where a caller's INVITE goes.
        """
        file = folder / "scenario.xml"
        file.write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="test">\n'
            + scenario.xml
            + f'<label id="{END}"/>\n</scenario>\n'
        )
        block = range(0) if ports else claim_block()
        port, media_port, control_port = ports or block[:3]
        user, _, remote = to.rpartition("@")
        process = await asyncio.create_subprocess_exec(
            *("sipp", "-sf", str(file), "-i", ip, "-p", str(port), "-m", str(calls), "-nostdin"),
            *(
                "-timeout",
                f"{timeout_s:.0f}",
                "-timeout_error",
                "-trace_err",
                "-error_file",
                str(folder / "errors.log"),
                "-trace_msg",
                "-message_file",
                str(folder / MESSAGES),
            ),
            *("-cp", str(control_port), "-mp", str(media_port)),
            *(("-s", user, remote) if to else ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            yield cls(port, process, folder)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            release_block(block)

    async def finished(self, *, timeout_s: float = 20.0) -> None:
        """The scenario has gone as it says."""
        status = await asyncio.wait_for(self._process.wait(), timeout_s)
        errors = self._folder / "errors.log"
        assert status == 0, f"SIPp says {status}: {errors.read_text() if errors.exists() else ''}"
