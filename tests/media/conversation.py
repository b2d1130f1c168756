"""A call through the engine that talks while something else happens: 440 Hz each way, heard packet by packet.

Time is counted in packets, not by the clock: each `speak` sends the next 20 ms in both directions and waits for them to
come out at the other end. What does not come in time is a hole in the recording.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peers import audio
from peers.codecs import encode_g711

from .plane import PCMU, Plane, RtpPeer, WebRtcPeer, rtp

FREQUENCY_HZ = 440.0
AMPLITUDE = 0.3
LEVEL_DBFS = -10.46  # of a sine of that amplitude
LATE_S = 0.06
"""A packet that takes longer is as good as lost to whoever plays it."""

TONE = encode_g711("PCMU", audio.sine(FREQUENCY_HZ, 0.5, 8000, amplitude=AMPLITUDE))
"""220 periods, so that it goes on without a click when it is repeated."""
SILENCE = b"\xff" * 160


@dataclass(slots=True)
class Voice:
    """One direction: what was said and what was heard of it."""

    sequence: int
    ssrc: int
    spoken: int = 0
    heard: list[bytes] = field(default_factory=list)

    def next_packet(self) -> bytes:
        payload = (TONE + TONE)[160 * (self.spoken % 25) :][:160]
        packet = rtp(self.sequence + self.spoken, 160 * (self.sequence + self.spoken), payload=payload, ssrc=self.ssrc)
        self.spoken += 1
        serialized: bytes = packet.serialize()
        return serialized


class Conversation:
    """A WebRTC leg and an RTP leg, bridged, with what their peers say and hear."""

    def __init__(self, plane: Plane, browser: WebRtcPeer, pbx: RtpPeer, *, sequence: int = 1000) -> None:
        self.plane, self.browser, self.pbx = plane, browser, pbx
        self.from_browser = Voice(sequence, 0xB0)
        self.from_pbx = Voice(sequence, 0xA0)
        plane.bridge(browser, pbx)

    @classmethod
    def of(cls, plane: Plane, *, sequence: int = 1000) -> Conversation:
        return cls(plane, plane.webrtc_leg([PCMU]), plane.rtp_leg([PCMU]), sequence=sequence)

    def speak(self) -> None:
        """20 ms each way."""
        browser, pbx = self.from_browser.next_packet(), self.from_pbx.next_packet()
        self.browser.send(browser)
        self.pbx.send(pbx)
        self.from_browser.heard.append(self._hear(self.pbx, browser[12:]))
        self.from_pbx.heard.append(self._hear(self.browser, pbx[12:]))

    def _hear(self, ear: WebRtcPeer | RtpPeer, expected: bytes) -> bytes:
        """The payload if it comes in time. What else comes meanwhile is passed over."""
        try:
            while (payload := ear.receive(LATE_S).payload) != expected:
                pass
        except TimeoutError:
            return SILENCE
        return bytes(payload)

    def check(self, *, at_least: int = 50) -> None:
        """Both sides have heard the tone: frequency, level, no gap over 60 ms."""
        for voice in (self.from_browser, self.from_pbx):
            assert len(voice.heard) >= at_least
            pcm = audio.decode_ulaw(b"".join(voice.heard))
            heard = audio.check_tone(pcm, 8000, FREQUENCY_HZ, min_duration_s=len(voice.heard) * 0.02 - 0.06)
            assert abs(heard.level_dbfs - LEVEL_DBFS) < 0.5, heard
