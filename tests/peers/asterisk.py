"""A real Asterisk on loopback, with ports of its own; its dialplan is the one of `scripts/asterisk-config`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import audio
from .ami import Ami, AmiEvent
from .ports import claim_block, release_block
from .processes import end
from .waiting import wait_until

SCRIPTS = Path(__file__).parents[2] / "scripts"
CODECS = ("ulaw", "alaw", "opus", "g722")
"""One user for each, held to that codec; `any` takes all of them."""


@dataclass(frozen=True, slots=True)
class User:
    name: str
    password: str
    codecs: str
    encryption: str = ""
    """How it takes SRTP, or keys, see `scripts/asterisk-config`."""


USERS = (*(User(codec, f"pw-{codec}", codec) for codec in CODECS), User("any", "pw-any", ",".join(CODECS)))


class Recording:
    """What one channel hears from its caller, written by MixMonitor."""

    def __init__(self, asterisk: Asterisk, channel: str, path: Path) -> None:
        self._asterisk, self._channel, self._path = asterisk, channel, path

    def stop(self) -> tuple[audio.Pcm, int]:
        """End it, if the channel's end has not, and read it."""
        with contextlib.suppress(RuntimeError):  # the channel is gone, and its recording has ended with it
            self._asterisk.ami.action("StopMixMonitor", Channel=self._channel)
        # The header is completed when the recording thread closes the file.
        wait_until(lambda: self._is_complete(), timeout_s=5, what=f"{self._path} to be complete")
        return audio.read_wav(self._path)

    def _is_complete(self) -> bool:
        try:
            octets = self._path.read_bytes()[:44]
        except FileNotFoundError:
            return False
        data = int.from_bytes(octets[40:44], "little")
        return len(octets) == 44 and data > 0 and data == self._path.stat().st_size - 44


class Asterisk:
    """`start` returns when it is fully booted; the same ports and folder are used at every start."""

    def __init__(self, users: tuple[User, ...] = USERS, *, certificate: Path | None = None) -> None:
        """:param certificate: a PEM file with its key; with it, it listens on `tls_port` too."""
        self.users = {user.name: user for user in users}
        ports = self._ports = claim_block()
        self.sip_port, self.ami_port, self.http_port, self.tls_port = ports[0], ports[2], ports[3], ports[4]
        self.rtp_ports = (ports[10], ports[-2])
        # The path of its control socket must stay short.
        self.folder = Path(tempfile.mkdtemp(prefix="asterisk-"))
        self.process: subprocess.Popen[bytes] | None = None
        self._ami: Ami | None = None
        self._recordings = 0
        self._console = (self.folder / "console.log").open("wb")
        subprocess.run(
            [SCRIPTS / "asterisk-config", self.folder],
            check=True,
            env=os.environ
            | {
                "SIP_PORT": str(self.sip_port),
                "RTP_LO": str(self.rtp_ports[0]),
                "RTP_HI": str(self.rtp_ports[1]),
                "AMI_PORT": str(self.ami_port),
                "HTTP_PORT": str(self.http_port),
                "TLS_PORT": str(self.tls_port),
                "TLS_CERT": str(certificate or ""),
                "USERS": " ".join(f"{user.name}:{user.password}:{user.codecs}:{user.encryption}" for user in users),
            },
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.sip_port}"

    @property
    def ami(self) -> Ami:
        assert self._ami is not None, "Asterisk is not running"
        return self._ami

    @property
    def log(self) -> str:
        return (self.folder / "log/messages.log").read_text(errors="replace")

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SCRIPTS / "asterisk", "run", self.folder], stdout=self._console, stderr=subprocess.STDOUT
        )
        wait_until(self._connected, timeout_s=20, what="Asterisk's manager port")
        self.ami.wait_for(lambda event: event.name == "FullyBooted", timeout_s=20)

    def _connected(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"Asterisk ended with status {self.process.returncode}")
        try:
            self._ami = Ami(self.ami_port)
        except ConnectionRefusedError:
            return False
        return True

    def stop(self) -> None:
        """Idempotent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """No BYE, no RTCP BYE: as when the machine loses power."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It neither hears nor says anything, and the kernel goes on taking what is sent to it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, signal_number: signal.Signals) -> None:
        if self.process is not None:
            end(self.process, signal_number)
            self.process = None
        if self._ami is not None:
            self._ami.close()
            self._ami = None

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        self._console.close()
        release_block(self._ports)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what a test asks

    def rx(self, command: str) -> str:
        """A command of its command line."""
        return self.ami.command(command)

    def channels(self) -> list[str]:
        """The names of the live channels."""
        lines = self.rx("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    def wait_channel(self, *, since: int, timeout_s: float = 5.0) -> str:
        """The name of the first channel made after `since`, a mark of `ami`."""
        return self.ami.wait_for(lambda event: event.name == "Newchannel", since=since, timeout_s=timeout_s).fields[
            "Channel"
        ]

    def wait_hangup(self, channel: str, *, timeout_s: float = 5.0) -> AmiEvent:
        """The end of a channel, past or to come."""
        return self.ami.wait_for(
            lambda event: event.name == "Hangup" and event.fields["Channel"] == channel, timeout_s=timeout_s
        )

    def wait_answered(self, channel: str, *, timeout_s: float = 5.0) -> AmiEvent:
        return self.ami.wait_for(
            lambda event: (
                event.name == "Newstate"
                and event.fields["Channel"] == channel
                and event.fields["ChannelStateDesc"] == "Up"
            ),
            timeout_s=timeout_s,
        )

    def wait_no_channels(self, *, timeout_s: float = 5.0) -> None:
        wait_until(lambda: not self.channels(), timeout_s=timeout_s, what="Asterisk to be without channels")

    def hangup(self, channel: str) -> float:
        """Ask for the end of a channel, as an operator would. The time of asking, `time.monotonic()`."""
        at_s = time.monotonic()
        self.ami.action("Hangup", Channel=channel, Cause="16")
        return at_s

    def originate(self, uri: str, exten: str, *, user: str = "any", headers: Mapping[str, str] | None = None) -> str:
        """Call `uri` as one of its users; whoever answers gets this extension. The name of the channel."""
        mark = self.ami.mark()
        variables = ",".join(f"PJSIP_HEADER(add,{name})={value}" for name, value in (headers or {}).items())
        self.ami.action(
            "Originate",
            Channel=f"PJSIP/{user}/{uri}",
            Context="test",
            Exten=exten,
            Priority="1",
            CallerID='"The Caller" <4711>',
            Async="true",
            Variable=variables,
        )
        return self.wait_channel(since=mark)

    def redirect(self, channel: str, exten: str) -> None:
        """Have a channel go on at another extension."""
        self.ami.action("Redirect", Channel=channel, Context="test", Exten=exten, Priority="1")

    def record(self, channel: str) -> Recording:
        """Write down what this channel hears from now on."""
        self._recordings += 1
        path = self.folder / f"heard-{self._recordings}.wav"
        self.ami.action("MixMonitor", Channel=channel, File="", Options=f"r({path})")
        return Recording(self, channel, path)

    def wait_digits(self, *, since: int, timeout_s: float = 3.0) -> str:
        """What 605 has read from the first caller after `since`, a mark of `ami`."""
        event = self.ami.wait_for(
            lambda event: event.name == "UserEvent" and event.fields["UserEvent"] == "TestDTMF",
            since=since,
            timeout_s=timeout_s,
        )
        return event.fields["Digits"]

    def database(self, family: str, key: str) -> str | None:
        """A value of its database, None when there is none."""
        text = self.rx(f"database get {family} {key}")
        return text.partition("Value: ")[2].strip() if "Value: " in text else None


@contextlib.contextmanager
def running_asterisk(*users: User, certificate: Path | None = None) -> Iterator[Asterisk]:
    """Started, with these users (`USERS` if none are named), and stopped at the end, when no call may be left in it."""
    peer = Asterisk(users or USERS, certificate=certificate)
    try:
        peer.start()
        yield peer
        peer.wait_no_channels()
    finally:
        peer.close()
