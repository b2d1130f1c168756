from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sdpserver.config import Config, WebRtc
from sdpserver.sdp import audio_codecs
from sdpserver.webrtc import WebRtcPlane, parse_offer

from .conftest import OFFER, Gateway


async def test_new_legs_get_a_new_certificate_before_the_old_one_expires(gateway: Gateway) -> None:
    now = datetime.now(UTC)
    plane = WebRtcPlane(Config(webrtc=WebRtc(bind="127.0.0.1", port=0)), gateway.media, now=lambda: now)
    codecs = audio_codecs(["PCMU"])
    first = plane.create_leg(parse_offer(OFFER), codecs=codecs)
    now += timedelta(days=20)
    second = plane.create_leg(parse_offer(OFFER), codecs=codecs)
    now += timedelta(days=9)
    third = plane.create_leg(parse_offer(OFFER), codecs=codecs)
    lines = [leg.answer.split("a=fingerprint:")[1].splitlines()[0] for leg in (first, second, third)]
    assert lines[0] == lines[1] != lines[2]
    for leg in (first, second, third):
        await leg.close()


async def test_each_leg_has_credentials_of_its_own(gateway: Gateway) -> None:
    legs = [gateway.plane.create_leg(parse_offer(OFFER), codecs=audio_codecs(["PCMU"])) for _ in range(50)]
    answers = [leg.answer for leg in legs]
    for attribute in ("a=ice-ufrag:", "a=ice-pwd:", "o=- "):
        assert len({answer.split(attribute)[1].splitlines()[0] for answer in answers}) == 50
    for leg in legs:
        await leg.close()
