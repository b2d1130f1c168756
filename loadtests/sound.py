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
OPUS, PCMU = ("opus", 48000, 111, 111), ("PCMU", 8000, 0, 0)


def talkers(network: speech.Network, expected_loss_percent: int) -> list[speech.Talker]:
    """One for each sentence, each with a seed of its own."""
    return [
        speech.Talker(
            speech.opus(speech.say(sentence), speech.RATE_HZ, expected_loss_percent=expected_loss_percent),
            speech.Network(loss=network.loss, jitter_s=network.jitter_s, seed=seed),
        )
        for seed, sentence in enumerate(speech.SENTENCES)
    ]


def through_sdpserver(calls: list[speech.Talker]) -> None:
    """Two RTP legs of the media plane for each call."""
    engine = _media.Engine(
        webrtc_bind="127.0.0.1", webrtc_port=0, rtp_bind="127.0.0.1", rtp_port_range=RTP_PORTS, report_interval_s=5.0
    )
    try:
        for call in calls:
            browser, port = engine.create_rtp_leg(0)
            phone, _ = engine.create_rtp_leg(0)
            engine.set_codecs(browser, [OPUS])
            engine.set_codecs(phone, [PCMU])
            mouth, ear = call.mouth.getsockname()[1], call.ear.getsockname()[1]
            engine.set_rtp_remote(browser, "127.0.0.1", mouth, mouth, False)
            engine.set_rtp_remote(phone, "127.0.0.1", ear, ear, False)
            engine.set_source_leg(phone, browser)
            call.to = ("127.0.0.1", port)
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


def scores(calls: list[speech.Talker]) -> list[float]:
    """MOS-LQO of each."""
    return [
        speech.mos_lqo(speech.say(sentence), speech.played(call.heard))
        for sentence, call in zip(speech.SENTENCES, calls, strict=True)
    ]


async def measure(
    rtpengine_ports: tuple[int, int], progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Each case through both."""
    results = []
    for name, (network, expected_loss_percent) in CASES.items():
        figures: dict[str, Any] = {"case": name}
        for server in ("sdpserver", "rtpengine"):
            calls = talkers(network, expected_loss_percent)
            try:
                if server == "sdpserver":
                    await asyncio.to_thread(through_sdpserver, calls)
                else:
                    await through_rtpengine(calls, rtpengine_ports)
                heard = await asyncio.to_thread(scores, calls)
            finally:
                for call in calls:
                    call.close()
            figures[server] = {"mean": statistics.mean(heard), "min": min(heard), "max": max(heard), "all": heard}
        progress(f"{name}: {figures['sdpserver']['mean']:.2f}, rtpengine {figures['rtpengine']['mean']:.2f} MOS-LQO")
        results.append(figures)
    return results
