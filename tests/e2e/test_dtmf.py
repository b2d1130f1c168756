"""Keys through the gateway and a real Asterisk, by each of the three ways, in both directions."""

from __future__ import annotations

import dataclasses
from asyncio import to_thread
from collections.abc import Iterator
from typing import Any

import pytest
from peers.aiortc_client import Client, dial
from peers.asterisk import Asterisk, User, running_asterisk
from peers.server import ServerProcess, running, trunks_to
from peers.waiting import until, wait_until

METHODS = ("rfc4733", "info", "inband")
USERS = (
    User("rfc4733", "pw-rfc4733", "ulaw"),
    User("info", "pw-info", "ulaw", "dtmf-info"),
    User("inband", "pw-inband", "ulaw", "dtmf-inband"),
)


@pytest.fixture(scope="module")
def pbx() -> Iterator[Asterisk]:
    with running_asterisk(*USERS) as peer:
        yield peer


@pytest.fixture(scope="module")
def server(pbx: Asterisk) -> Iterator[ServerProcess]:
    trunks = [{**trunk, "dtmf": trunk["name"]} for trunk in trunks_to(pbx)]
    tables: dict[str, Any] = {"trunks": trunks, "routes": [{"match": "^[0-9]+$", "trunk": "rfc4733"}]}
    with running(ServerProcess(tables)) as process:
        yield process


@dataclasses.dataclass(frozen=True)
class Call:
    """A browser's call to 605, which reads four digits and sends them back."""

    client: Client
    pbx: Asterisk
    channel: str
    mark: int

    async def press_by_api(self, digits: str, **more: Any) -> Any:
        call_id = (await self.client.describe())["call"]["call_id"]
        return await self.client.http.post("/api/call/dtmf", json={"callId": call_id, "digits": digits, **more})

    async def read_by_pbx(self) -> str:
        return await to_thread(self.pbx.wait_digits, since=self.mark, timeout_s=8)

    def heard_by_pbx(self) -> list[tuple[str, int]]:
        """(digit, length in ms) of the presses that Asterisk has received on the call's channel."""

        def found() -> list[tuple[str, int]]:
            return [
                (event.fields["Digit"], int(event.fields["DurationMs"]))
                for event in self.pbx.ami.events[self.mark :]
                if event.name == "DTMFEnd" and event.fields["Direction"] == "Received"
            ]

        wait_until(lambda: len(found()) >= 4, timeout_s=5, what="Asterisk to receive four presses")
        return found()

    def told(self, leg: str) -> list[dict[str, Any]]:
        """The events `dtmf` of one leg."""
        return [
            event["data"] for _, event in self.client.events if event["type"] == "dtmf" and event["data"]["leg"] == leg
        ]


async def connect(client: Client, pbx: Asterisk, trunk: str) -> Call:
    mark = pbx.ami.mark()
    channel = await dial(client, pbx, "605", trunk=trunk)
    await to_thread(pbx.wait_answered, channel)
    await client.wait_step("sip_first_rtp_out")
    return Call(client, pbx, channel, mark)


@pytest.mark.parametrize("trunk", METHODS)
async def test_keys_sent_by_api_reach_the_pbx_with_their_length(
    server: ServerProcess, pbx: Asterisk, trunk: str
) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        call = await connect(client, pbx, trunk)
        response = await call.press_by_api("15*9", durationMs=160, gapMs=100)
        assert response.status_code == 200, response.text
        assert response.json()["status"] == "queued"
        assert await call.read_by_pbx() == "15*9"
        heard = await to_thread(call.heard_by_pbx)
        assert [digit for digit, _ in heard] == list("15*9")
        # Asterisk's own detector of tones tells their length to about 25 ms.
        assert [ms for _, ms in heard] == [pytest.approx(160, abs=40 if trunk == "inband" else 20)] * 4
        assert "15*9" not in server.log
        await client.hang_up()


@pytest.mark.parametrize("trunk", METHODS)
async def test_keys_sent_by_the_pbx_are_told_once_each_and_reach_the_browser(
    server: ServerProcess, pbx: Asterisk, trunk: str
) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        call = await connect(client, pbx, trunk)
        await call.press_by_api("2580")
        assert await call.read_by_pbx() == "2580"
        await until(lambda: len(call.told("sip")) == 4, timeout_s=6, what="Asterisk's four presses")
        told = call.told("sip")
        assert [event["digit"] for event in told] == list("2580")
        assert {event["method"] for event in told} == {trunk}
        # The dialplan asks for 160 ms; Asterisk presses in steps of its frames, and a little longer.
        assert [event["duration_ms"] for event in told] == [pytest.approx(190, abs=60)] * 4
        if trunk != "inband":  # tones are in the audio
            await until(lambda: client.heard.digits() == "2580", timeout_s=4, what="the digits in the browser's RTP")
            await until(lambda: len(lengths_ms(client)) == 4, timeout_s=4, what="the end packets of all four")
            assert lengths_ms(client) == [pytest.approx(event["duration_ms"], abs=1) for event in told]
        await client.hang_up()


def lengths_ms(client: Client) -> list[float]:
    """How long each press is by its end packets at the browser."""
    found: dict[int, float] = {}
    for packet in client.heard.packets:
        form = client.heard.formats.get(packet.payload_type)
        if form is not None and form.name == "telephone-event" and packet.payload[1] & 0x80:
            found[packet.timestamp] = int.from_bytes(packet.payload[2:4], "big") * 1000 / form.clock_rate_hz
    return list(found.values())


@pytest.mark.parametrize("trunk", METHODS)
async def test_keys_pressed_in_the_browser_reach_the_pbx_in_its_own_way(
    server: ServerProcess, pbx: Asterisk, trunk: str
) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        call = await connect(client, pbx, trunk)
        await client.press("147#", duration_ms=120, pause_ms=150)
        heard = await to_thread(call.heard_by_pbx)
        assert [digit for digit, _ in heard] == list("147#")
        # The packets are Asterisk's before our client is told that a press is over.
        await until(lambda: len(call.told("webrtc")) == 4, timeout_s=5, what="the news of the four presses")
        told = call.told("webrtc")
        assert [(event["digit"], event["method"]) for event in told] == [(digit, "rfc4733") for digit in "147#"]
        assert [event["duration_ms"] for event in told] == [pytest.approx(120, abs=25)] * 4
        await client.hang_up()


async def test_keys_are_sent_to_the_browser_as_events(server: ServerProcess, pbx: Asterisk) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        call = await connect(client, pbx, "rfc4733")
        response = await call.press_by_api("7D", leg="webrtc")
        assert response.status_code == 200, response.text
        await until(lambda: client.heard.digits() == "7D", timeout_s=3, what="the digits in the browser's RTP")
        await client.hang_up()


@pytest.mark.parametrize(
    ("to", "body", "reason"),
    [
        ("echo", {}, "no_sip_leg"),
        ("603", {}, "call_not_answered"),
        ("605", {"leg": "webrtc", "method": "info"}, "no_sip_info"),
    ],
)
async def test_keys_that_cannot_be_sent_are_refused_with_the_reason(
    server: ServerProcess, pbx: Asterisk, to: str, body: dict[str, Any], reason: str
) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        await client.call(to)
        if to != "603":
            await client.wait_event("answered")
        response = await Call(client, pbx, "", 0).press_by_api("1", **body)
        assert (response.status_code, response.json()["reason"]) == (409, reason)
        await client.hang_up()


async def test_more_keys_than_a_leg_keeps_are_refused_as_a_whole(server: ServerProcess, pbx: Asterisk) -> None:
    async with Client(server.url, codec="PCMU", events=True) as client:
        call = await connect(client, pbx, "rfc4733")
        statuses = [(await call.press_by_api("1" * 60, durationMs=6000)).status_code for _ in range(3)]
        assert statuses == [200, 200, 409]
        await client.hang_up()
