"""A trunk as the event loop knows it."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from sdpserver.models.trunks import LastOptions

from ..config import Trunk
from ..errors import ConfigError
from ..timestamps import utc_text
from . import address
from .accounts import OptionsAnswer, Registration
from .resolve import Resolved


class TrunkState:
    """A trunk, where it is now, and what its last REGISTER and OPTIONS brought."""

    def __init__(self, config: Trunk) -> None:
        self.config = config
        self.password = _password(config)
        self.hop = address.Server.parse(config.outbound_proxy or config.server, config.transport)
        self.resolved: Resolved | None = None
        self.allowed: frozenset[str] = frozenset(config.allow_ips)
        self.error = ""
        self.registration: Registration | None = None
        self.is_options_pending = False
        self.options_answer: OptionsAnswer | None = None
        self.options_answered_at: datetime | None = None
        self.calls = 0

    @property
    def can_move(self) -> bool:
        return not self.hop.is_address

    @property
    def is_connected(self) -> bool | None:
        """Whether it answered the last OPTIONS; None: not known."""
        if self.resolved is None:
            return False
        return self.options_answer.is_from_peer if self.options_answer is not None else None

    def last_options(self) -> LastOptions | None:
        """The last OPTIONS that is over. Status 0 or one of pjsip's own (408, 503) where no answer came."""
        answer, answered_at = self.options_answer, self.options_answered_at
        if answer is None or answered_at is None:
            return None
        return {
            "answered": answer.is_from_peer,
            "sip_status": answer.status,
            "sip_reason": answer.phrase,
            "at": utc_text(answered_at),
        }


def _password(trunk: Trunk) -> str:
    """
    :raises ConfigError: the file or the variable that should have it is not there.
    """
    if trunk.password_file:
        try:
            return Path(trunk.password_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"trunk {trunk.name!r}: password_file cannot be read: {exc}") from exc
    if trunk.password_env:
        try:
            return os.environ[trunk.password_env]
        except KeyError:
            raise ConfigError(f"trunk {trunk.name!r}: the environment has no {trunk.password_env}") from None
    return trunk.password
