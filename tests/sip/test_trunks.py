"""Trunks that are not there, transports, and what an endpoint does about both."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from peers.sip_peer import SipPeer, sdp

from sdpserver.config import Config, Sip, Trunk
from sdpserver.errors import BadRequest, ConfigError, Unavailable
from sdpserver.sip import SipCallState, SipEndpoint, SipEventType

from .conftest import Events, Scene, local_audio, running_caller


def closed_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_name_that_does_not_resolve_ends_the_call_at_once() -> None:
    async with running_caller("trunk.invalid:5060") as caller:
        call, events = await caller.call()
        end = await events.ended(timeout_s=8)
        assert (end.reason, end.by_remote, call.state) == ("trunk_unreachable", False, SipCallState.ENDED)
        assert caller.endpoint.trunk_status("peer")["error"]


async def test_a_refused_tcp_connection_ends_the_call_at_once() -> None:
    server = f"127.0.0.1:{closed_port(socket.SOCK_STREAM)}"
    async with running_caller(server, transport="tcp") as caller:
        _, events = await caller.call()
        end = await events.ended()
        assert (end.reason, end.by_remote) == ("trunk_unreachable", False)


@pytest.mark.parametrize("is_bound", [True, False], ids=["silent", "unbound port"])
async def test_a_call_to_a_dead_udp_trunk_is_given_up_by_its_owner(is_bound: bool) -> None:
    async with await SipPeer.open() as peer:
        server = peer.host_port if is_bound else f"127.0.0.1:{closed_port(socket.SOCK_DGRAM)}"
        async with running_caller(server) as caller:
            call, events = await caller.call()
            call.hangup(reason="sip_timeout")
            assert (await events.ended(timeout_s=1)).reason == "sip_timeout"
            before_s = time.monotonic()
            await caller.endpoint.stop(timeout_s=0.3)
            assert time.monotonic() - before_s < 1.0


async def test_a_trunk_by_name_keeps_its_name_in_the_request() -> None:
    async with await SipPeer.open() as peer:
        port = peer.address[1]
        async with running_caller(f"localhost:{port}", from_domain="example.com") as caller:
            call, events = await caller.call("600")
            invite = await peer.receive("INVITE")
            assert call.to_uri == f"sip:600@localhost:{port}"
            assert invite.start == f"INVITE sip:600@localhost:{port} SIP/2.0"
            assert "@example.com>" in invite["from"]
            assert not invite["route"]
            peer.respond(invite, 404, "Not Found")
            assert (await events.ended()).reason == "number_not_found"


async def test_an_outbound_proxy_gets_the_request_and_is_in_its_route() -> None:
    async with await SipPeer.open() as proxy:
        name = f"localhost:{proxy.address[1]}"
        async with running_caller("pbx.invalid", outbound_proxy=name) as caller:
            _, events = await caller.call("600")
            invite = await proxy.receive("INVITE")
            assert invite.start == "INVITE sip:600@pbx.invalid SIP/2.0"
            assert invite["route"] == f"<sip:{name};lr>"
            proxy.respond(invite, 486, "Busy Here")
            await events.ended()


async def test_an_ipv6_trunk() -> None:
    async with await SipPeer.open("::1") as peer:
        server = f"[::1]:{peer.address[1]}"
        async with running_caller(server, sip={"bind": "::1"}) as caller:
            assert caller.endpoint.local_media_ip(caller.trunk) == "::1"
            _, events = await caller.call(media=local_audio(ip="::1"))
            invite = await peer.receive("INVITE")
            assert "c=IN IP6 ::1" in invite.body
            peer.respond(invite, 200, body=sdp(30000, ip="::1"))
            media = (await events.next(SipEventType.ANSWERED)).media
            assert media is not None
            assert (media.ip, media.rtp_port) == ("::1", 30000)
            peer.answer_by_itself("BYE")
            await caller.endpoint.stop()


async def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        endpoint = SipEndpoint(Config(sip=Sip(bind="127.0.0.1", port=port)))
        with pytest.raises(ConfigError, match=rf"\[sip\] udp on 127.0.0.1 port {port} cannot be opened: .*in use"):
            await endpoint.start()


async def test_a_second_endpoint_is_refused_and_the_first_lives_on(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="has a SIP endpoint already"):
        await SipEndpoint(Config(sip=Sip(bind="127.0.0.1", port=0))).start()
    await scene.connect()


@pytest.mark.parametrize("how", ["file", "environment"])
async def test_a_password_that_is_not_there_is_a_configuration_error(how: str, tmp_path: Path) -> None:
    file = {"password_file": str(tmp_path / "none")}
    key: dict[str, Any] = file if how == "file" else {"password_env": "SDPSERVER_TEST_NO_SUCH"}
    with pytest.raises(ConfigError, match="trunk 'pbx'"):
        SipEndpoint(Config(trunks=[Trunk(name="pbx", server="pbx.example", **key)]))


@pytest.mark.parametrize(
    "trunk",
    [
        {"server": "pbx:99999"},
        {"server": "pbx.example", "transport": "tls"},
        {"server": "127.0.0.1", "username": "a", "from_domain": "no domain>"},
    ],
    ids=["port", "no such transport", "domain"],
)
async def test_a_trunk_that_cannot_be_is_a_configuration_error(trunk: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="trunk"):
        async with running_caller(**trunk):
            pass


async def test_a_trunk_that_moves_keeps_its_calls(scene: Scene) -> None:
    call, events, dialog = await scene.connect()
    state = scene.caller.endpoint._trunks["peer"]
    state.resolved = None  # as if the last look-up had brought another address
    other, _, _ = await scene.connect()
    assert scene.caller.endpoint._trunks["peer"].resolved is not None
    dialog.request("INVITE", body=sdp(31000))
    await scene.peer.receive(200)
    dialog.ack()
    await events.next(SipEventType.MEDIA_CHANGED)
    assert [call.state, other.state] == [SipCallState.ANSWERED] * 2


async def test_max_calls_of_a_trunk(scene: Scene) -> None:
    limited = Trunk(name="peer", server=scene.peer.host_port, max_calls=1)
    scene.caller.trunk = limited
    call, events, dialog = await scene.dial()
    with pytest.raises(Unavailable) as caught:
        await scene.caller.call()
    assert caught.value.reason == "trunk_full"
    dialog.respond(486, "Busy Here")
    await events.ended()
    await scene.peer.receive("ACK")
    assert call.state is SipCallState.ENDED
    await scene.connect()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"target": "600\r\nX: y"}, "bad_destination"),
        ({"target": "sip:900@evil.example"}, "bad_destination"),
        ({"target": ""}, "bad_destination"),
        ({"target": "600@evil.example"}, "bad_destination"),
        ({"display_name": "a\nb"}, "bad_header"),
        ({"from_user": "a\0b"}, "bad_header"),
        ({"headers": {"X-A": "1\r\nVia: x"}}, "bad_header"),
        ({"headers": {"Route": "<sip:evil.example;lr>"}}, "bad_header"),
    ],
)
async def test_what_may_not_be_sent_is_refused_before_anything_leaves(
    scene: Scene, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        await scene.caller.call(**options)
    assert caught.value.reason == reason
    assert not scene.peer.received


async def test_a_cancelled_invite_takes_the_call_back(scene: Scene) -> None:
    events = Events()
    task = asyncio.create_task(
        scene.caller.endpoint.invite(trunk=scene.caller.trunk, target="600", media=local_audio(), on_event=events)
    )
    await asyncio.sleep(0)  # it is on its way to the SIP thread
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if scene.peer.received or await _comes(scene.peer, "INVITE"):
        scene.peer.respond(scene.peer.received[0], 180, "Ringing")
        await scene.peer.receive("CANCEL")
    assert not events.seen
    assert scene.caller.endpoint.trunk_status("peer")["calls"] == 0


async def _comes(peer: SipPeer, what: str) -> bool:
    try:
        await peer.receive(what, timeout_s=0.2)
    except TimeoutError:
        return False
    return True


async def test_stop_says_bye_and_cancel_and_is_idempotent() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port) as caller:
        scene = Scene(caller, peer)
        _, answered, _ = await scene.connect()
        _, ringing, dialog = await scene.dial()
        dialog.respond(180, "Ringing")
        await ringing.next(SipEventType.RINGING)
        peer.answer_by_itself("BYE", "CANCEL")
        before_s = time.monotonic()
        await caller.endpoint.stop(timeout_s=0.5)
        assert time.monotonic() - before_s < 1.5
        assert (await answered.ended()).reason == "shutdown"
        assert (await ringing.ended()).reason == "shutdown"
        await peer.receive("BYE")
        await peer.receive("CANCEL")
        await caller.endpoint.stop()
        with pytest.raises(Unavailable):
            await caller.call()
        assert "sip" not in [thread.name for thread in threading.enumerate()]


async def test_an_invite_that_meets_a_stop_is_refused_or_ended() -> None:
    async with await SipPeer.open() as peer, running_caller(peer.host_port) as caller:
        calls = [asyncio.create_task(caller.call()) for _ in range(20)]
        stop = asyncio.create_task(caller.endpoint.stop(timeout_s=0.1))
        async with asyncio.timeout(5):
            results = await asyncio.gather(*calls, return_exceptions=True)
            await stop
            for result in results:
                if not isinstance(result, Unavailable):
                    assert not isinstance(result, BaseException), result
                    assert (await result[1].ended()).reason == "shutdown"
        assert caller.endpoint.trunk_status("peer")["calls"] == 0


async def test_a_command_wakes_the_sip_thread(scene: Scene) -> None:
    """Far under the half second that the thread waits at most."""
    times_s = []
    for _ in range(20):
        await asyncio.sleep(0.002)  # the thread is back in its wait
        before_s = time.perf_counter()
        _, _, dialog = await scene.dial()
        times_s.append(time.perf_counter() - before_s)
        dialog.respond(486, "Busy Here")
        await scene.peer.receive("ACK")
    assert sorted(times_s)[10] < 0.05
