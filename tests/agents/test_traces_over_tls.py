"""Traces of calls over TLS, which nobody can read on the wire: held against what Asterisk says that it has seen."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from peers.agent import AgentCall
from peers.asterisk import Asterisk, User, running_asterisk
from peers.certificates import Authority
from peers.server import ServerProcess, running
from peers.sip_captures import Captured, asterisk_capture, of_calls

from sdpserver.sip.blanking import BLANK

from .conftest import registered
from .test_traces import check_ladder, check_same, get_trace, to_the_end

USER = User("sdes", "pw-sdes", "ulaw", "sdes")
"""It takes calls with SRTP only: the keys are in the signalling."""
CHALLENGED = ["> INVITE", "< 401 INVITE", "> ACK"]
CALLED = [*CHALLENGED, "> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK"]
CALLING = ["< INVITE", "> 100 INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK"]
WE_HANG_UP, PBX_HANGS_UP = ["> BYE", "< 200 BYE"], ["< BYE", "> 200 BYE"]
KEY = re.compile(r"inline:(\S+)")
ANSWER = re.compile(r'\b(?:response|nonce|cnonce|opaque)="([^"]+)"')


@pytest.fixture(scope="module")
def pbx(certificate: Path) -> Iterator[Asterisk]:
    with running_asterisk(USER, certificate=certificate) as peer:
        yield peer


@pytest.fixture(scope="module")
def server(
    pbx: Asterisk, authority: Authority, certificate: Path, dns: list[dict[str, Any]]
) -> Iterator[ServerProcess]:
    trunk = {"name": "pbx", "server": f"localhost:{pbx.tls_port}", "transport": "tls", "srtp": "required"}
    sip = {"transports": ["udp", "tls"], "tls_ca": str(authority.ca)}
    tables = {
        "dn": dns,
        "sip": sip | {"tls_cert": str(certificate), "tls_key": str(certificate)},
        "trunks": [trunk | {"username": USER.name, "password": USER.password}],
        "routes": [{"match": "^[0-9]+$", "trunk": "pbx"}],
    }
    with running(ServerProcess(tables)) as process:
        yield process


def starts(traced: Sequence[dict[str, Any]]) -> list[str]:
    """`> INVITE` for what the server sent, `< 180 INVITE` for what came."""
    lines = []
    for message in traced:
        first, second, *_ = message["startLine"].split()
        name = f"{second} {message['cseq'].split()[1]}" if first == "SIP/2.0" else first
        lines.append(f"{'>' if message['direction'] == 'out' else '<'} {name}")
    return lines


def check_connections(server: ServerProcess, pbx: Asterisk, traced: Sequence[dict[str, Any]]) -> None:
    """Each request went to a port that is listened on, from one that is not; its answer came by the same connection."""
    ours, theirs = f"127.0.0.1:{server.sip_port + 1}", f"127.0.0.1:{pbx.tls_port}"
    ends: dict[str, tuple[str, str]] = {}
    for message in traced:
        assert message["transport"] == "TLS"
        local, remote = message["local"], message["remote"]
        if message["startLine"].startswith("SIP/2.0"):
            assert (local, remote) == ends[message["cseq"]]
            continue
        ends[message["cseq"]] = (local, remote)
        source, target = (local, remote) if message["direction"] == "out" else (remote, local)
        assert target == (theirs if message["direction"] == "out" else ours)
        assert source.startswith("127.0.0.1:")
        assert source not in (ours, theirs)


def check_secrets(shown: Sequence[str], captured: Sequence[Captured], *, was_challenged: bool) -> None:
    """What Asterisk has seen of keys and passwords is in none of the forms."""
    wire = "".join(message.text for message in captured)
    keys, answers = KEY.findall(wire), ANSWER.findall(wire)
    assert keys
    assert bool(answers) is was_challenged
    for text in shown:
        assert not [secret for secret in (*keys, *answers) if secret in text]


async def check_trace(
    server: ServerProcess, pbx: Asterisk, call: AgentCall, captured: Sequence[Captured], expected: list[str]
) -> None:
    traced = await to_the_end(server, call)
    of_call = of_calls(captured, {message["sipCallId"] for message in traced})
    assert starts(traced) == expected
    # Its channel is gone, and with it the capture, before it has the answer to its own BYE.
    last = len(traced) - (expected[-1] == "> 200 BYE")
    check_same(traced[:last], of_call[:last])
    check_connections(server, pbx, traced)
    shown = [get_trace(server, call.call_id, form).text for form in ("json", "text", "ladder")]
    check_secrets(shown, of_call, was_challenged="< 401 INVITE" in expected)
    assert [f"inline:{BLANK}" in text for text in shown] == [True, True, False]
    check_ladder(shown[2], traced)
    (names,) = [line.split() for line in shown[2].splitlines() if "sdpserver" in line]
    assert names == ["sdpserver", traced[0]["remote"]], "who hangs up by another connection is no other party"


@pytest.mark.parametrize("we_hang_up", [True, False])
async def test_a_call_to_the_pbx(server: ServerProcess, pbx: Asterisk, we_hang_up: bool) -> None:
    with asterisk_capture(pbx) as capture:
        async with registered(server, "7001") as ann:
            mark = pbx.ami.mark()
            call = await ann.call("601", codec="PCMU")
            channel = await to_thread(pbx.wait_channel, since=mark)
            await hang_up(call, pbx, channel, we_hang_up=we_hang_up)
    await check_trace(server, pbx, call, capture.messages(), CALLED + (WE_HANG_UP if we_hang_up else PBX_HANGS_UP))


@pytest.mark.parametrize("we_hang_up", [True, False])
async def test_a_call_from_the_pbx(server: ServerProcess, pbx: Asterisk, we_hang_up: bool) -> None:
    with asterisk_capture(pbx) as capture:
        async with registered(server, "7001") as ann:
            uri = f"sip:7001@127.0.0.1:{server.sip_port + 1};transport=tls"
            channel = await to_thread(pbx.originate, uri, "601", user=USER.name)
            call = await ann.answer(await ann.incoming(), codec="PCMU")
            await hang_up(call, pbx, channel, we_hang_up=we_hang_up)
    await check_trace(server, pbx, call, capture.messages(), CALLING + (WE_HANG_UP if we_hang_up else PBX_HANGS_UP))


async def hang_up(call: AgentCall, pbx: Asterisk, channel: str, *, we_hang_up: bool) -> None:
    """Once it is heard."""
    await call.client.wait_tone(440)
    if we_hang_up:
        await call.hang_up()
    else:
        await to_thread(pbx.hangup, channel)
        await call.wait("callEnded")
    await to_thread(pbx.wait_no_channels)
