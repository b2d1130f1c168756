"""RFC 4475 at the SIP port of the real server, with a call up that may not hear of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from peers.live_call import STRANGER_IP, TRUNK_IP, LiveCall, ask_options, live_call
from peers.sip_peer import PeerCall, SipPeer

from .torture import BODY, MESSAGES, NOTHING, Torture

DROPPED = "pjsip drops what it cannot parse, without an answer: the sender's transaction ends by its timer"
DEVIATIONS: dict[str, tuple[frozenset[int], str]] = {
    "badinv01": (frozenset(), DROPPED),
    "ncl": (frozenset(), DROPPED),
    "scalar02": (frozenset(), DROPPED),
    "quotbal": (frozenset(), DROPPED),
    "ltgtruri": (frozenset(), DROPPED),
    "lwsruri": (frozenset(), DROPPED),
    "regbadct": (frozenset(), DROPPED),
    "badvers": (frozenset(), DROPPED),
    "insuf": (frozenset(), DROPPED),
    "unkscm": (frozenset(), DROPPED),
    "novelsc": (frozenset(), DROPPED),
    "regaut01": (frozenset(), DROPPED + "; we are no registrar"),
}
"""Where pjsip is not with the RFC: what comes instead, and why that does no harm."""
_ids = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call() -> AsyncIterator[LiveCall]:
    async with live_call() as call:
        yield call


def test_all_of_the_rfc_is_here() -> None:
    assert len({message.name for message in MESSAGES}) == len(MESSAGES) == 49


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
@pytest.mark.parametrize("ip", [TRUNK_IP, STRANGER_IP], ids=["trunk", "stranger"])
async def test_a_message_gets_its_answer(call: LiveCall, ip: str, message: Torture) -> None:
    started = time.monotonic()
    async with await SipPeer.open(ip) as sender:
        octets = message.octets(sender.host_port, f"x{next(_ids)}")
        sender.send(octets.decode("utf-8", "surrogateescape"), call.sip_address)
        known = await ask_options(sender, call.sip_address)
        # Invitations are judged in their order, so what would be said to the message has been said with this answer.
        refused = PeerCall.make(sender, "nobody", call.sip_address, body=BODY)
        await refused.response(404 if ip == TRUNK_IP else 403)
        probes = {known["call-id"], refused.invite["call-id"]}
        answered = [answer.status for answer in sender.received if answer["call-id"] not in probes]
    answers = frozenset(answered) - {100}
    await call.heard_since(started)
    if message.name in DEVIATIONS:
        instead, _ = DEVIATIONS[message.name]
        assert answers <= instead
        assert bool(answers) is bool(instead)
    else:
        assert (answers or {NOTHING}) <= message.answers


def test_what_deviates_does() -> None:
    by_name = {message.name: message for message in MESSAGES}
    for name, (instead, _) in DEVIATIONS.items():
        assert not (instead or {NOTHING}) & by_name[name].answers
