"""A call from a script: it says a tone or a WAV file and records what it hears.

    python examples/voice_call.py                                   # the built-in echo
    python examples/voice_call.py 600 --play in.wav --record out.wav --seconds 10

Needs `sdpserver-client[aiortc]`; `make run` puts the server on http://127.0.0.1:8080.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from aiortc.contrib.media import MediaPlayer, MediaRecorder
from sdpserver_client import AsyncWebRtcClient, SdpServerClientError


async def call(server: str, to: str, play: str | None, record: str, seconds: float) -> None:
    """Call `to`, for `seconds` of audio at most."""
    player = MediaPlayer(play) if play else MediaPlayer("sine=frequency=440:sample_rate=8000", format="lavfi")
    recorder = MediaRecorder(record)
    try:
        async with (
            AsyncWebRtcClient(server) as client,
            client.setup_session(audio=player.audio, to=to) as session,
        ):
            recorder.addTrack(session.audio)
            await recorder.start()
            await session.wait_connected()
            print(f"connected to {session.call.to}, recording to {record}")
            try:
                print("ended by the far end:", await session.wait_closed(seconds))
            except TimeoutError:
                print("hanging up")
            await recorder.stop()
    finally:
        if player.audio is not None:
            player.audio.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Place a call, say something, record what comes back.")
    parser.add_argument("to", nargs="?", default="echo", help="a number, or echo, tone, silence (default: %(default)s)")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="default: %(default)s")
    parser.add_argument("--play", metavar="WAV", help="what to say; a tone of 440 Hz without it")
    parser.add_argument("--record", metavar="WAV", default="heard.wav", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="default: %(default)s")
    args = parser.parse_args()
    try:
        asyncio.run(call(args.server, args.to, args.play, args.record, args.seconds))
    except SdpServerClientError as error:
        sys.exit(f"voice_call: {error}")


if __name__ == "__main__":
    main()
