"""A data channel that the client opened."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

log = structlog.get_logger(__name__)

MAX_BUFFERED_OCTETS = 1024 * 1024
"""A client that reads slower than this loses the channel."""


class DataChannel:
    """`on_message` gets each message, texts as str and the rest as bytes."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        self.on_message: Callable[[str | bytes], None] | None = None
        channel.on("message", self._on_message)
        channel.on("close", self._on_close)

    @property
    def label(self) -> str:
        return self._channel.label

    @property
    def protocol(self) -> str:
        return self._channel.protocol

    @property
    def ordered(self) -> bool:
        return self._channel.ordered

    @property
    def closed(self) -> bool:
        """No message leaves any more."""
        return self._channel.readyState in ("closing", "closed")

    def send(self, message: str | bytes) -> None:
        """Queue a message. After the end, and when it is longer than the client takes, it is dropped."""
        if self.closed:
            return
        try:
            octets = len(message.encode() if isinstance(message, str) else message)
            if self._channel.bufferedAmount + octets > MAX_BUFFERED_OCTETS:
                log.warning("data channel closed, its reader is too slow", label=self.label)
                self.close()
                return
            self._channel.send(message)
        except (ValueError, InvalidStateError) as exc:
            log.info("data channel message dropped", label=self.label, error=str(exc))

    def close(self) -> None:
        """Idempotent."""
        self._channel.close()

    def _on_close(self) -> None:
        self.on_message = None  # often a method of this channel

    def _on_message(self, message: str | bytes) -> None:
        if self.on_message is None:
            return
        try:
            self.on_message(message)
        except Exception:
            # It would end in aiortc's SCTP and close all channels.
            log.exception("data channel listener failed", label=self.label)
