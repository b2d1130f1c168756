"""The command line: `sdpserver --conf config.toml` serves."""

from __future__ import annotations

import argparse
import getpass
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from . import __version__
from .config import Config
from .config_loader import load_with_warnings
from .errors import ConfigError

DEFAULT_FILE = Path("config.toml")

EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status: 0 done, 1 failed, 2 wrong command line."""
    options = _parser().parse_args(arguments)
    if options.command == "hash-key":
        return _hash_key()
    if options.command == "hash-password":
        return _hash_password()
    try:
        config, warnings = load_with_warnings(_file(options))
    except ConfigError as exc:
        return _fail(str(exc))
    if options.command == "check-config":
        for warning in warnings:
            print(f"warning: {warning}")
        print(f"{_file(options) or 'the built-in configuration'} is fine")
        return 0
    return _serve(config, warnings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sdpserver", description="An HTTP SDP offer/answer server with SIP egress.")
    parser.add_argument("--version", action="version", version=f"sdpserver {__version__}")
    conf = argparse.ArgumentParser(add_help=False)
    for target in (parser, conf):
        # SUPPRESS: a subcommand's default must not undo what stands before the subcommand.
        target.add_argument(
            "--conf",
            type=Path,
            metavar="FILE",
            default=argparse.SUPPRESS,
            help=f"the configuration; without it {DEFAULT_FILE} if there is one, else all defaults",
        )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", parents=[conf], help="serve; also without a command")
    commands.add_parser("check-config", parents=[conf], help="say what is wrong with the configuration, and stop")
    commands.add_parser("hash-key", help="make an API key, or hash one from standard input, for [[auth.api_keys]]")
    commands.add_parser("hash-password", help="hash a password from the terminal or standard input, for [[dn]]")
    return parser


def _file(options: argparse.Namespace) -> Path | None:
    given: Path | None = getattr(options, "conf", None)
    if given is not None:
        return given
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _fail(text: str) -> int:
    for line in text.splitlines():
        print(f"sdpserver: {line}", file=sys.stderr)
    return EXIT_FAILED


def _serve(config: Config, warnings: Sequence[str]) -> int:
    from . import log  # what serving needs takes half a second to import

    log.configure(config.log)
    for warning in warnings:
        structlog.get_logger(__name__).warning("configuration", text=warning)
    from .app import StartError, serve

    try:
        return serve(config)
    except KeyboardInterrupt:  # before the server took over the signal
        return 128 + signal.SIGINT
    except StartError as exc:
        return _fail(str(exc))
    except ConfigError as exc:  # found only when it was put to use
        return _fail(str(exc))


def _hash_key() -> int:
    from .api.credentials import MAX_KEY_LENGTH, hash_key

    try:
        if sys.stdin.isatty():
            key = getpass.getpass("API key (empty: make one): ")
        else:
            key = sys.stdin.readline().rstrip("\r\n")
    except (EOFError, KeyboardInterrupt):
        return EXIT_FAILED
    if not key:
        key = secrets.token_urlsafe(32)
        print(f"key:    {key}")
    if len(key) < 16 or len(key.encode()) > MAX_KEY_LENGTH or key != key.strip():
        return _fail(f"a key must have from 16 to {MAX_KEY_LENGTH} characters, and no space around it")
    print(f"sha256: {hash_key(key)}")
    return 0


def _hash_password() -> int:
    from .passwords import hash_password

    try:
        if sys.stdin.isatty():
            password = getpass.getpass("Password: ")
            if getpass.getpass("Once more: ") != password:
                return _fail("these are two different passwords")
        else:
            password = sys.stdin.readline().rstrip("\r\n")
    except (EOFError, KeyboardInterrupt):
        return EXIT_FAILED
    except UnicodeDecodeError:
        return _fail("the password is not text in this terminal's encoding")
    if not password:
        return _fail("there is no password")
    print(hash_password(password))
    return 0


if __name__ == "__main__":
    sys.exit(main())
