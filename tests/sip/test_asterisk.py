"""Calls to a real Asterisk 22."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers.asterisk import Asterisk
from peers.descriptors import open_files
from peers.waiting import until

from sdpserver.config import Log, Transport
from sdpserver.sip import SipCallState, SipEventType

from .conftest import Caller, local_audio, running_caller

USER = "any"


@pytest.fixture(params=["udp", "tcp"])
async def caller(request: pytest.FixtureRequest, asterisk: Asterisk) -> AsyncIterator[Caller]:
    """With a trunk to Asterisk over each transport."""
    user = asterisk.users[USER]
    options = {"username": user.name, "password": user.password, "transport": request.param}
    async with running_caller(asterisk.address, **options) as caller:
        yield caller
        await caller.endpoint.stop()
    await asyncio.to_thread(asterisk.wait_no_channels)


async def test_answered_call_and_our_bye(caller: Caller, asterisk: Asterisk) -> None:
    since = asterisk.ami.mark()
    call, events = await caller.call("600")
    answered = await events.next(SipEventType.ANSWERED)
    assert answered.media is not None
    assert answered.media.ip == "127.0.0.1"
    assert asterisk.rtp_ports[0] <= answered.media.rtp_port <= asterisk.rtp_ports[1]
    assert [codec.name for codec in answered.media.codecs][:3] == ["PCMU", "PCMA", "opus"]
    channel = await asyncio.to_thread(asterisk.wait_channel, since=since)
    call.hangup()
    assert (await events.ended()).by_remote is False
    await asyncio.to_thread(asterisk.wait_hangup, channel, timeout_s=1)


async def test_asterisk_hangs_up(caller: Caller, asterisk: Asterisk) -> None:
    since = asterisk.ami.mark()
    _, events = await caller.call("600")
    await events.next(SipEventType.ANSWERED)
    channel = await asyncio.to_thread(asterisk.wait_channel, since=since)
    await asyncio.to_thread(asterisk.hangup, channel)
    end = await events.ended(timeout_s=1)
    assert (end.reason, end.by_remote) == ("normal_clearing", True)


async def test_early_media(caller: Caller) -> None:
    call, events = await caller.call("604")
    early = await events.next(SipEventType.EARLY_MEDIA)
    assert (early.status, call.state) == (183, SipCallState.EARLY)
    assert early.media is not None
    call.hangup()
    await events.ended()


async def test_ringing_and_cancel(caller: Caller, asterisk: Asterisk) -> None:
    since = asterisk.ami.mark()
    call, events = await caller.call("603")
    assert (await events.next(SipEventType.RINGING)).status == 180
    channel = await asyncio.to_thread(asterisk.wait_channel, since=since)
    call.hangup(reason="no_answer")
    assert (await events.ended()).reason == "no_answer"
    await asyncio.to_thread(asterisk.wait_hangup, channel, timeout_s=1)


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("602", 486, "busy"),
        ("610", 404, "number_not_found"),
        ("611", 403, "rejected"),
        ("999", 404, "number_not_found"),
    ],
)
async def test_a_refusal(caller: Caller, target: str, status: int, reason: str) -> None:
    _, events = await caller.call(target)
    end = await events.ended()
    assert (end.status, end.reason, end.by_remote) == (status, reason, True)


@pytest.mark.parametrize("codec", ["ulaw", "alaw", "opus"])
async def test_an_asterisk_held_to_one_codec(asterisk: Asterisk, codec: str) -> None:
    user = asterisk.users[codec]
    name = {"ulaw": "PCMU", "alaw": "PCMA", "opus": "opus"}[codec]
    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        _, events = await caller.call("601")
        media = (await events.next(SipEventType.ANSWERED)).media
        assert media is not None
        assert media.codecs[0].name == name
        assert media.codecs[-1].is_telephone_event
        assert {c.clock_rate_hz for c in media.codecs} == {media.codecs[0].clock_rate_hz}


async def test_no_common_codec_is_a_refusal(asterisk: Asterisk) -> None:
    user = asterisk.users["ulaw"]
    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        _, events = await caller.call("600", media=local_audio("PCMA"))
        assert (await events.ended()).reason == "not_acceptable"


async def test_a_wrong_password_is_a_trunk_that_refuses_us(asterisk: Asterisk) -> None:
    async with running_caller(asterisk.address, username=USER, password="wrong", register=True) as caller:
        _, events = await caller.call("600")
        end = await events.ended()
        assert (end.reason, end.status) == ("trunk_auth_failed", 401)
        await until(
            lambda: caller.endpoint.trunk_status("peer")["sip_status"] != 0, timeout_s=5, what="the REGISTER's answer"
        )
        assert caller.endpoint.trunk_status("peer")["registered"] is False


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("where", ["password", "password_file", "password_env"])
async def test_the_trunk_registers_and_unregisters(
    asterisk: Asterisk, transport: Transport, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = asterisk.users[USER]
    (tmp_path / "secret").write_text(user.password + "\n")
    monkeypatch.setenv("SDPSERVER_TEST_SECRET", user.password)
    value = {
        "password": user.password,
        "password_file": str(tmp_path / "secret"),
        "password_env": "SDPSERVER_TEST_SECRET",
    }[where]
    options: dict[str, Any] = {"username": user.name, where: value, "register": True, "transport": transport}
    async with running_caller(asterisk.address, **options) as caller:
        await until(
            lambda: bool(caller.endpoint.trunk_status("peer")["registered"]), timeout_s=5, what="the registration"
        )
        contacts = await asyncio.to_thread(asterisk.rx, "pjsip show contacts")
        assert f"{USER}/sip:{USER}@127.0.0.1:{caller.endpoint.ports[transport]}" in contacts
    contacts = await asyncio.to_thread(asterisk.rx, "pjsip show contacts")
    assert f"{USER}/sip" not in contacts


async def test_no_log_line_has_credentials(asterisk: Asterisk, capfd: pytest.CaptureFixture[str]) -> None:
    user = asterisk.users[USER]
    options: dict[str, Any] = {"username": user.name, "password": user.password, "register": True}
    async with running_caller(asterisk.address, log=Log(level="debug"), **options) as caller:
        call, events = await caller.call("600")
        await events.next(SipEventType.ANSWERED)
        call.hangup()
        await events.ended()
    text = "".join(capfd.readouterr())
    assert "pjsua_call.c" in text
    assert user.password not in text
    assert "Digest" not in text
    assert "response=" not in text


async def test_200_calls_leave_nothing_behind(asterisk: Asterisk) -> None:
    user = asterisk.users[USER]

    async def one(caller: Caller, target: str) -> None:
        call, events = await caller.call(target)
        if target == "600":
            await events.next(SipEventType.ANSWERED)
            call.hangup()
        elif target == "603":
            await events.next(SipEventType.RINGING)
            call.hangup()
        await events.ended()

    async with running_caller(asterisk.address, username=user.name, password=user.password) as caller:
        await one(caller, "600")
        files, threads = len(open_files()), threading.active_count()
        for _ in range(20):
            await asyncio.gather(*(one(caller, target) for target in ["600"] * 6 + ["602", "603", "610", "600"]))
        assert caller.endpoint.trunk_status("peer")["calls"] == 0
        assert len(open_files()) <= files
        assert threading.active_count() <= threads + 1  # the executor of `running_caller`'s stop may come and go
        await asyncio.to_thread(asterisk.wait_no_channels)
        before_s = time.monotonic()
        await caller.endpoint.stop()
        assert time.monotonic() - before_s < 1.0
