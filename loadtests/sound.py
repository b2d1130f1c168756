"""How speech sounds after a bad network, through the media plane and through rtpengine: same packets, same seeds."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from typing import Any

from peers import speech

from sdpserver import _media

from .rtpengine import Rtpengine
from .sdp import rtp_address, rtp_sdp

CASES = {
    "clean": (speech.Network(), 0),
    "5 % loss, 40 ms jitter": (speech.Network(loss=0.05, jitter_s=0.04), 0),
    "5 % loss, 40 ms jitter, FEC": (speech.Network(loss=0.05, jitter_s=0.04), 10),
}
"""The network, and the loss that the sender expects in percent: from 1 on it adds in-band FEC, as browsers do."""
RTP_PORTS = (1100, 1999)


def through_sdpserver(calls: list[speech.Talker]) -> None:
    """Two RTP legs of the media plane for each call."""
    engine = _media.Engine(
        webrtc_bind="127.0.0.1", webrtc_port=0, rtp_bind="127.0.0.1", rtp_port_range=RTP_PORTS, report_interval_s=5.0
    )
    try:
        for call in calls:
            speech.connect(engine, call)
        speech.talk(calls)
    finally:
        engine.close()


async def through_rtpengine(calls: list[speech.Talker], ports: tuple[int, int]) -> None:
    """A transcoded call each."""
    async with Rtpengine(ports=ports) as rtpengine:
        for number, call in enumerate(calls):
            offer: dict[str, Any] = {
                "command": "offer",
                "call-id": f"speech-{number}",
                "from-tag": "a",
                "sdp": rtp_sdp(call.mouth.getsockname()[1], "opus"),
                "ICE": "remove",
                "replace": ["origin"],
                "codec": {"transcode": ["PCMU"], "mask": ["opus"]},
            }
            await rtpengine.command(offer)
            answer = {
                "command": "answer",
                "call-id": offer["call-id"],
                "from-tag": "a",
                "to-tag": "b",
                "sdp": rtp_sdp(call.ear.getsockname()[1], "PCMU"),
                "ICE": "remove",
                "replace": ["origin"],
            }
            call.to = rtp_address((await rtpengine.command(answer))["sdp"])
        await asyncio.to_thread(speech.talk, calls)


async def measure(
    rtpengine_ports: tuple[int, int], progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Each case through both."""
    results = []
    for name, (network, expected_loss_percent) in CASES.items():
        figures: dict[str, Any] = {"case": name}
        for server in ("sdpserver", "rtpengine"):
            with speech.talkers(network, expected_loss_percent=expected_loss_percent) as calls:
                if server == "sdpserver":
                    await asyncio.to_thread(through_sdpserver, calls)
                else:
                    await through_rtpengine(calls, rtpengine_ports)
                heard = await asyncio.to_thread(speech.scores, calls)
            figures[server] = {"mean": statistics.mean(heard), "min": min(heard), "max": max(heard), "all": heard}
        progress(f"{name}: {figures['sdpserver']['mean']:.2f}, rtpengine {figures['rtpengine']['mean']:.2f} MOS-LQO")
        results.append(figures)
    return results
