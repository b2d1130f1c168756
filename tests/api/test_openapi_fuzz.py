"""Every route, asked what schemathesis makes up from /openapi.json, answers as that document says; nobody else is hurt.

`SDPSERVER_FUZZ_S` is how long each mode takes (20 s); `SDPSERVER_FUZZ_SEED` another seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from peers.agent import Agent
from peers.aiortc_client import VOICE_HZ, Client
from peers.api_fuzz import Live, fuzz
from peers.asterisk import Asterisk
from peers.rooms import call_id
from peers.server import ServerProcess, running
from peers.waiting import until

from sdpserver.passwords import hash_password

SECONDS = int(os.environ.get("SDPSERVER_FUZZ_S", "20"))
SEED = int(os.environ.get("SDPSERVER_FUZZ_SEED", "20"))
KEYS = {name: f"{name}-key-0123456789" for name in ("owner", "full", "narrow", "admin")}
ALL_SCOPES = ["session", "call", "dn", "supervise", "admin"]
SCOPES = {"owner": ["session", "call"], "full": ALL_SCOPES, "narrow": ["session"], "admin": ALL_SCOPES}
DN, PASSWORD = "7001", "secret"
CALLS = 8
"""That are there to be hit by each mode, of which most end by it."""
POOL = min(32, (os.cpu_count() or 1) + 4)
"""The most threads that asyncio keeps for `to_thread`: it starts another when none of them is seen to be idle."""

MakeOffer = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Mode:
    """By which credential schemathesis asks; "" for none, on loopback."""

    key: str

    @property
    def tables(self) -> dict[str, Any]:
        tables: dict[str, Any] = {
            "dn": [{"number": DN, "password_hash": hash_password(PASSWORD)}],
            "session": {"setup_timeout_s": 3 * SECONDS + 60, "linger_s": 2, "reattach_s": 1},
        }
        if self.key:
            keys = [
                {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": SCOPES[name]}
                for name, key in KEYS.items()
            ]
            tables["auth"] = {"mode": "api_key", "api_keys": keys}
        return tables

    def headers(self, name: str) -> dict[str, str]:
        return {"x-api-key": KEYS[name]} if self.key else {}


@asynccontextmanager
async def client_of(server: ServerProcess, headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20, trust_env=False) as http:
        yield http


async def opened(http: httpx.AsyncClient, make_offer: MakeOffer, to: str) -> dict[str, Any]:
    """A session whose browser never comes; its far end is there all the same."""
    response = await http.post("/webrtc/offer", json=make_offer(call={"to": to}))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def live_for(
    http: httpx.AsyncClient, protected: Client, offer: MakeOffer, offer_sdp: Callable[[], str], *, narrow: bool
) -> Live:
    to = ["echo"] if narrow else ["echo", "600", "conference/fuzz", "601"]
    answers = [await opened(http, offer, to[number % len(to)]) for number in range(CALLS)]
    calls = [answer["call"]["call_id"] for answer in answers]
    sessions = [answer["session_id"] for answer in answers]
    sdp_text = [offer_sdp() for _ in range(3)]
    values: dict[str, list[Any]] = {
        "call_id": calls,
        "callId": calls,
        "consultCallId": calls,
        "callIds": [calls[:1], calls[1:3], calls[3:]],
        "session_id": [*sessions, answers[0]["resume_token"]],
        "sessionId": sessions,
        "resume_token": [answer["resume_token"] for answer in answers],
        "dn": [DN],
        "users": [[DN]],
        "from": [DN],
        "to": [*to, DN, "602"],
        "target": [*to, DN],
        "destination": [*to, DN],
        "room": ["fuzz"],
        "member": [f"{call}-{leg}" for call in calls for leg in ("webrtc", "sip")],
        "digits": ["1", "12#"],
        "sdp": [{"type": "offer", "sdp": text} for text in sdp_text] + sdp_text,
        "sdp_text": sdp_text,
        "wait_for": ["none", "early", "answer"],
    }
    if not narrow:
        return Live(values=values, protected=[protected.session_id, call_id(protected)])
    # Of somebody else's call it may even know everything but the token.
    for name in ("session_id", "sessionId"):
        values[name] = [*sessions, protected.session_id]
    for name in ("call_id", "callId"):
        values[name] = [*calls, call_id(protected)]
    return Live(values=values)


@pytest.mark.timeout(600 + 4 * SECONDS)
@pytest.mark.parametrize("mode", [Mode(""), Mode("full"), Mode("narrow")], ids=["no auth", "all scopes", "one scope"])
async def test_every_answer_is_as_its_schema_says(
    mode: Mode, asterisk: Asterisk, offer: MakeOffer, offer_sdp: Callable[[], str]
) -> None:
    with running(ServerProcess.for_asterisk(asterisk, mode.tables)) as server:
        before = server.usage()
        async with (
            client_of(server, mode.headers(mode.key or "admin")) as http,
            client_of(server, mode.headers("admin")) as admin,
            Client(server.url, codec="PCMU") as protected,
            Agent(server.url, query=KEYS["admin"] if mode.key else "") as agent,
        ):
            protected.http.headers.update(mode.headers("owner"))
            await protected.call("600")
            await protected.wait_tone(VOICE_HZ)
            await agent.register(DN, PASSWORD)
            live = await live_for(http, protected, offer, offer_sdp, narrow=mode.key == "narrow")
            phases = () if mode.key == "" else ("coverage", "fuzzing")
            await asyncio.to_thread(
                fuzz, server, live, seconds=SECONDS, seed=SEED, key=KEYS.get(mode.key, ""), phases=phases
            )
            (await protected.listen(1.2)).check_tone(VOICE_HZ)
            await protected.hang_up()
            await all_end(admin)
            await until(lambda: not server.rtp_ports(), timeout_s=10, what="the ports of all calls to be free")
        await asyncio.to_thread(asterisk.wait_no_channels)
        after = server.usage()
        assert after.threads <= before.threads + POOL
        assert after.fds <= before.fds + 8


async def all_end(admin: httpx.AsyncClient) -> None:
    """Hang up whatever schemathesis has left behind."""

    async def nothing_is_left() -> bool:
        calls = (await admin.get("/api/calls/active")).raise_for_status().json()["calls"]
        for call in calls:
            answer = await admin.post("/api/call/hangup", json={"callId": call["callId"]})
            assert answer.status_code in (200, 404, 409), answer.text
        return not calls

    await until(nothing_is_left, timeout_s=20, what="all calls to end")
    assert (await admin.get("/api/rooms")).json() == {"rooms": []}

    async def no_trunk_has_a_call() -> bool:  # until its peer has answered the BYE
        trunks = (await admin.get("/api/genesys/status")).raise_for_status().json()["trunks"]
        return not any(trunk["calls"] for trunk in trunks)

    await until(no_trunk_has_a_call, timeout_s=5, what="the calls of all trunks to end")
