"""The far end of playback/<file>."""

from __future__ import annotations

import asyncio

from sdpserver._media import Sound
from sdpserver.media import MediaLeg
from sdpserver.tones import SILENCE

from .far_end import BuiltInFarEnd, CallEnd, FarEndListener, send_tone
from .routing import Destination

PLAYBACK_TAIL_S = 0.3
"""What was sent last is still to be heard when playback hangs up: it waits in the browser's jitter buffer."""


class PlaybackFarEnd(BuiltInFarEnd):
    """A sound, played once from when the browser can hear it; then it hangs up. For a reloaded page it begins anew."""

    can_supervise = False

    def __init__(self, destination: Destination, listener: FarEndListener, sound: Sound) -> None:
        super().__init__(destination, listener)
        self._sound = sound
        self._heard_by: MediaLeg | None = None
        self._tail: asyncio.TimerHandle | None = None

    def _connect_two(self) -> None:
        if self.leg is None or self._heard_by is self.leg.media:
            return
        media = self._heard_by = self.leg.media
        send_tone(media, SILENCE)
        media.play_sound(self._sound, on_end=lambda: self._played(media))

    def _played(self, media: MediaLeg) -> None:
        if media is self._heard_by and self._tail is None:
            self._tail = asyncio.get_running_loop().call_later(PLAYBACK_TAIL_S, self._over)

    def _over(self) -> None:
        self.hangup("normal_clearing")
        self.listener.call_ended(CallEnd(reason="normal_clearing", text="the sound has been played", was_answered=True))

    def hangup(self, reason: str) -> None:
        super().hangup(reason)
        if self._tail is not None:
            self._tail.cancel()
