"""SIP endpoints of a test's own, and what their calls tell."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from peers.sip_peer import PeerCall, PeerDialog, SipMessage, SipPeer, sdp

from sdpserver.config import Config, Log, Sip, Trunk
from sdpserver.sdp import audio_codecs, with_telephone_events
from sdpserver.sip import IncomingInvite, LocalAudio, SipCall, SipEndpoint, SipEvent, SipEventType
from sdpserver.sip.dialog import Dialog

RTP_PORT = 40000
"""Nobody listens there: these tests look at signalling."""


def local_audio(*codecs: str, ip: str = "127.0.0.1") -> LocalAudio:
    names = codecs or ("PCMU", "PCMA", "opus")
    return LocalAudio(ip=ip, rtp_port=RTP_PORT, codecs=tuple(with_telephone_events(audio_codecs(names))))


@dataclass
class Events:
    """The events of one call. No event may follow ENDED."""

    seen: list[SipEvent] = field(default_factory=list)
    _new: asyncio.Queue[SipEvent] = field(default_factory=asyncio.Queue)

    def __call__(self, event: SipEvent) -> None:
        assert SipEventType.ENDED not in self.types, f"{event} after ENDED"
        self.seen.append(event)
        self._new.put_nowait(event)

    @property
    def types(self) -> list[SipEventType]:
        return [event.type for event in self.seen]

    async def next(self, kind: SipEventType, *, timeout_s: float = 5.0) -> SipEvent:
        """The next event, which must be of that type."""
        event = await asyncio.wait_for(self._new.get(), timeout_s)
        assert event.type is kind, f"{event} instead of {kind}"
        return event

    async def ended(self, *, timeout_s: float = 5.0) -> SipEvent:
        return await self.next(SipEventType.ENDED, timeout_s=timeout_s)


class Caller:
    """A running endpoint with one trunk."""

    def __init__(self, endpoint: SipEndpoint, trunk: Trunk) -> None:
        self.endpoint, self.trunk = endpoint, trunk

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.endpoint.ports["udp"])

    async def call(
        self, target: str = "600", *, media: LocalAudio | None = None, **options: Any
    ) -> tuple[SipCall, Events]:
        events = Events()
        call = await self.endpoint.invite(
            trunk=self.trunk, target=target, media=media or local_audio(), on_event=events, **options
        )
        return call, events


@contextlib.asynccontextmanager
async def running_caller(
    server: str, *, sip: Mapping[str, Any] | None = None, log: Log | None = None, **trunk: Any
) -> AsyncIterator[Caller]:
    """An endpoint on ports of its own with a trunk to `server`, which gets no OPTIONS; stopped at the end."""
    sip_options: dict[str, Any] = {"bind": "127.0.0.1", "port": 0} | dict(sip or {})
    trunk_options: dict[str, Any] = {"name": "peer", "server": server, "options_interval_s": 0} | trunk
    config = Config(
        sip=Sip(**sip_options),
        log=log or Log(),
        trunks=[Trunk(**trunk_options)],
    )
    endpoint = SipEndpoint(config)
    await endpoint.start()
    try:
        yield Caller(endpoint, config.trunks[0])
    finally:
        await endpoint.stop()
    # One that only the garbage collector would find is deleted on some thread, at some time, with another call in its
    # place in pjsip.
    assert not [found for found in gc.get_objects() if issubclass(type(found), Dialog)]


class Scene:
    """A caller and a scripted peer as its trunk."""

    def __init__(self, caller: Caller, peer: SipPeer) -> None:
        self.caller, self.peer = caller, peer

    async def dial(self, target: str = "600", **options: Any) -> tuple[SipCall, Events, PeerDialog]:
        """An INVITE that the peer has, unanswered."""
        call, events = await self.caller.call(target, **options)
        return call, events, PeerDialog(self.peer, await self.peer.receive("INVITE"))

    async def connect(self, answer: str = "", **options: Any) -> tuple[SipCall, Events, PeerDialog]:
        """An answered call."""
        call, events, dialog = await self.dial(**options)
        await dialog.answer(answer or sdp(30000))
        await events.next(SipEventType.ANSWERED)
        return call, events, dialog


class Callee:
    """A scene whose peer calls, and those of its calls that have come."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.peer = scene, scene.peer
        self._new: asyncio.Queue[tuple[SipCall, IncomingInvite]] = asyncio.Queue()
        scene.caller.endpoint.on_incoming = lambda call, invite: self._new.put_nowait((call, invite))

    def dial(self, user: str = "5001", **options: Any) -> PeerCall:
        """The peer's INVITE."""
        return PeerCall.make(self.peer, user, self.scene.caller.address, **options)

    async def incoming(self) -> tuple[SipCall, IncomingInvite, Events]:
        """The next call that came."""
        call, invite = await asyncio.wait_for(self._new.get(), 5)
        call.on_event = events = Events()
        return call, invite, events

    @property
    def is_untouched(self) -> bool:
        """No further call has come."""
        return self._new.empty()

    async def connect(self, offer: str = "", **options: Any) -> tuple[PeerCall, SipCall, Events]:
        """An answered call."""
        peer = self.dial(body=offer or sdp(30000), **options)
        call, _, events = await self.incoming()
        call.answer(local_audio())
        await peer.answered()
        await events.next(SipEventType.ANSWERED)
        return peer, call, events


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with await SipPeer.open() as peer, running_caller(peer.host_port) as caller:
        yield Scene(caller, peer)
        peer.answer_by_itself("BYE", "CANCEL")  # or the endpoint's stop would wait for the answers


def sent_by_us(peer: SipPeer, method: str) -> list[SipMessage]:
    return [message for message in peer.distinct_requests if message.start.startswith(method + " ")]


async def assert_call_is_unhurt(scene: Scene, dialog: PeerDialog) -> None:
    """It still takes a re-INVITE, and nothing else was dialled."""
    dialog.request("INVITE", body=sdp(30000, "a=sendonly"))
    response = await scene.peer.receive(200)
    dialog.ack()
    assert "a=recvonly" in response.body
    assert sent_by_us(scene.peer, "INVITE") == [dialog.invite]
    assert not sent_by_us(scene.peer, "BYE")


@pytest.fixture
async def callee(scene: Scene) -> AsyncIterator[Callee]:
    callee = Callee(scene)
    yield callee
    if scene.caller.endpoint.trunk_status("peer")["calls"]:
        scene.peer.answer_by_itself("BYE")
        await scene.caller.endpoint.stop()
    assert scene.caller.endpoint.trunk_status("peer")["calls"] == 0


def media_line(message: SipMessage) -> str:
    return next(line for line in message.body.split("\r\n") if line.startswith("m="))
