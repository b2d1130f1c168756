"""What we use of aiortc's private names: fails loudly when a new aiortc moves them, and tries what we changed."""

from __future__ import annotations

import asyncio
import inspect
import struct
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import aiortc
import pytest
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCSctpTransport,
    rtcdtlstransport,
    rtcsctptransport,
)
from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk, SackChunk
from peers.waiting import until

from sdpserver.webrtc.aiortc_private import (
    MAX_INBOUND,
    MAX_STREAMS,
    RESEND_AFTER_S,
    Certificate,
    DtlsTransport,
    SctpTransport,
    Wire,
)

from .dtls_pair import End, connect, pair

OPENSSL_S = 0.95
"""Just before OpenSSL would send it again by itself."""
MOVED = f"aiortc {aiortc.__version__} moved a private name; adapt sdpserver/webrtc/aiortc_private.py"


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_aiortc_in_use_is_the_pinned_one() -> None:
    required = [text for text in metadata.requires("sdpserver") or () if text.startswith("aiortc")]
    assert required == ["aiortc~=1.16"]
    assert tuple(map(int, aiortc.__version__.split(".")[:2])) >= (1, 16), MOVED


@pytest.mark.parametrize(
    ("owner", "name", "arguments"),
    [
        (RTCCertificate, "_create_ssl_context", ["self", "srtp_profiles"]),
        (RTCDtlsTransport, "__init__", ["self", "transport", "certificates"]),
        (RTCDtlsTransport, "start", ["self", "remoteParameters"]),
        (RTCDtlsTransport, "stop", ["self"]),
        (RTCDtlsTransport, "_do_handshake", ["self"]),
        (RTCDtlsTransport, "_validate_peer_identity", ["self", "remoteParameters"]),
        (RTCDtlsTransport, "_setup_srtp", ["self"]),
        (RTCDtlsTransport, "_set_role", ["self", "role"]),
        (RTCDtlsTransport, "_set_state", ["self", "state"]),
        (RTCDtlsTransport, "_write_ssl", ["self"]),
        (RTCDtlsTransport, "_send_data", ["self", "data"]),
        (RTCSctpTransport, "_handle_data", ["self", "data"]),
        (RTCSctpTransport, "_receive_data_chunk", ["self", "chunk"]),
        (RTCSctpTransport, "_receive_forward_tsn_chunk", ["self", "chunk"]),
        (RTCSctpTransport, "_receive_sack_chunk", ["self", "chunk"]),
        (RTCSctpTransport, "_send_chunk", ["self", "chunk"]),
        (RTCSctpTransport, "_data_channel_flush", ["self"]),
        (RTCSctpTransport, "_abort", ["self"]),
        (RTCSctpTransport, "_set_state", ["self", "state"]),
        (RTCSctpTransport, "start", ["self", "remoteCaps", "remotePort"]),
        (RTCSctpTransport, "stop", ["self"]),
        (rtcdtlstransport, "certificate_digest", ["certificate", "algorithm"]),
    ],
)
def test_private_methods_are_where_we_expect_them(owner: Any, name: str, arguments: list[str]) -> None:
    assert hasattr(owner, name), MOVED
    assert parameters(getattr(owner, name)) == arguments, MOVED


async def test_private_attributes_are_where_we_expect_them() -> None:
    end = End("server")
    stock = RTCDtlsTransport(end.wire, [end.certificate])  # type: ignore[arg-type]
    for name in ("_srtp_profiles", "_ssl", "_role", "_state", "_task", "encrypted"):
        assert name in vars(stock), MOVED
    sctp = RTCSctpTransport(stock, 5000)
    for name in ("_advertised_rwnd", "_inbound_streams", "_sack_misordered", "_sent_queue", "_data_channels"):
        assert name in vars(sctp), MOVED
    for name in ("_association_state", "_data_channel_queue", "_outbound_queue"):
        assert name in vars(sctp), MOVED
    assert rtcsctptransport.InboundStream().reassembly == [], MOVED
    assert {"CLOSED", "ESTABLISHED"} <= set(RTCSctpTransport.State.__members__), MOVED
    assert {"CONNECTED", "FAILED"} <= set(rtcdtlstransport.State.__members__), MOVED
    assert vars(RTCCertificate.generateCertificate()).keys() >= {"_key", "_cert"}, MOVED


# -- DTLS


async def test_both_ends_have_the_same_keys_and_the_cheapest_profile() -> None:
    client, server = pair()
    assert await connect(client, server) == (True, True)
    assert client.keys[0] == server.keys[0] == "AEAD_AES_128_GCM"
    assert client.keys[1:] == tuple(reversed(server.keys[1:]))
    assert len(client.keys[1]) == 16 + 12
    assert server.dtls.version.startswith("DTLSv1")
    await client.dtls.disconnect()
    await server.dtls.disconnect()


async def test_a_stock_aiortc_transport_gets_the_same_keys() -> None:
    client, server = pair()
    stock = RTCDtlsTransport(client.wire, [client.certificate])  # type: ignore[arg-type]
    stock._set_role("client")
    remote = rtcdtlstransport.RTCDtlsParameters(fingerprints=server.certificate.getFingerprints())
    async with asyncio.timeout(5):
        _, connected = await asyncio.gather(stock.start(remote), server.dtls.connect(client.fingerprints))
    assert connected
    assert stock.state == "connected"
    await stock.stop()
    async with asyncio.timeout(5):
        await server.dtls.wait_closed()
    client.wire.close()
    await server.dtls.disconnect()


@pytest.mark.parametrize("first", ["client", "server"])
async def test_close_notify_of_either_side_ends_the_other(first: str) -> None:
    client, server = pair()
    await connect(client, server)
    one, other = (client, server) if first == "client" else (server, client)
    await one.dtls.disconnect()
    async with asyncio.timeout(1):
        await other.dtls.wait_closed()
    assert other.dtls.state == "closed"
    await other.dtls.disconnect()


@pytest.mark.parametrize("wrong", ["client", "server"])
async def test_a_wrong_fingerprint_fails_at_once_and_the_peer_hears_of_it(wrong: str) -> None:
    client, server = pair()
    stranger = frozenset({("sha-256", Certificate.generateCertificate().sha256)})
    expected = {"client": server.fingerprints, "server": client.fingerprints} | {wrong: stranger}
    async with asyncio.timeout(1):
        await asyncio.gather(
            client.dtls.connect(expected["client"]),
            server.dtls.connect(expected["server"]),
        )
        judge, other = (client, server) if wrong == "client" else (server, client)
        assert "fingerprint mismatch" in judge.dtls.error
        assert not judge.keys
        await other.dtls.wait_closed()
    await client.dtls.disconnect()
    await server.dtls.disconnect()


async def test_one_matching_fingerprint_of_several_is_enough() -> None:
    client, server = pair()
    other = Certificate.generateCertificate().sha256
    both = server.fingerprints | {("sha-256", other)}
    async with asyncio.timeout(5):
        results = await asyncio.gather(client.dtls.connect(both), server.dtls.connect(client.fingerprints))
    assert all(results)
    await client.dtls.disconnect()
    await server.dtls.disconnect()


async def test_an_alert_of_the_peer_is_the_reason_given() -> None:
    client, server = pair()
    client.dtls._srtp_profiles = []
    context = client.certificate._create_ssl_context([rtcdtlstransport.SRTP_AES128_CM_SHA1_80])
    context.set_cipher_list(b"AES128-SHA")  # needs an RSA certificate
    async with asyncio.timeout(5):
        running = asyncio.ensure_future(client.dtls.connect(server.fingerprints))
        assert not await server.dtls.connect(client.fingerprints)
        assert not await running
    assert "no shared cipher" in server.dtls.error
    assert "handshake failure" in client.dtls.error
    client.wire.close()
    server.wire.close()


@pytest.mark.parametrize("loser", ["client", "server"])
@pytest.mark.parametrize("number", [0, 1])
async def test_a_lost_flight_is_sent_again_after_100_ms(loser: str, number: int) -> None:
    client, server = pair()
    end = client if loser == "client" else server
    end.loses = lambda sent: sent == number
    started = asyncio.get_running_loop().time()
    assert await connect(client, server) == (True, True)
    # The client is done only with the server's last flight; the server may be before its own has arrived.
    took = asyncio.get_running_loop().time() - started
    assert RESEND_AFTER_S[0] * 0.95 < took < OPENSSL_S
    (lost_at, lost), (again_at, _) = end.sent[number], next(pair for pair in end.sent[number + 1 :])
    assert RESEND_AFTER_S[0] * 0.95 < again_at - lost_at < OPENSSL_S
    assert lost in [datagram for _, datagram in end.sent[number + 1 :]]
    await client.dtls.disconnect()
    await server.dtls.disconnect()


async def test_the_last_flight_is_not_repeated_once_the_peer_has_spoken() -> None:
    client, server = pair()
    await connect(client, server)
    assert server.wire._flight
    await client.dtls._send_data(b"hello")
    await until(lambda: not server.wire._flight, timeout_s=1, what="the flight to be let go")
    assert server.wire.resent == 0
    await client.dtls.disconnect()
    await server.dtls.disconnect()


async def test_closing_ends_a_running_handshake() -> None:
    server = End("server")
    running = asyncio.ensure_future(server.dtls.connect(frozenset({("sha-256", "AA")})))
    await asyncio.sleep(0)
    await server.dtls.disconnect()
    async with asyncio.timeout(1):
        assert not await running


async def test_garbage_in_the_place_of_datagrams_does_not_end_a_handshake() -> None:
    client, server = pair()
    for garbage in (b"\x16", b"\x16" * 200, b"\x17\xfe\xfd" + bytes(40), bytes([63]) * 1500):
        server.wire.deliver(garbage)
    assert await connect(client, server) == (True, True)
    server.wire.deliver(b"\x15\xfe\xfd" + bytes(60))
    await client.dtls._send_data(b"hello")
    await client.dtls.disconnect()
    async with asyncio.timeout(1):
        await server.dtls.wait_closed()
    await server.dtls.disconnect()


async def test_the_inbound_queue_is_bounded() -> None:
    wire = Wire(lambda datagram: None)
    for _ in range(MAX_INBOUND + 10):
        wire.deliver(b"\x16")
    assert wire.dropped == 10
    wire.close()


# -- SCTP


class Channels:
    """Two associations over DTLS; the client opens channels."""

    def __init__(self) -> None:
        self.client, self.server = pair()
        self.opened: list[RTCDataChannel] = []

    async def __aenter__(self) -> Channels:
        await connect(self.client, self.server)
        self.sctp_server = SctpTransport(self.server.dtls, 5000, self.opened.append)
        self.sctp_client = SctpTransport(self.client.dtls, 5000, lambda channel: None)
        await asyncio.gather(
            self.sctp_server.connect(remote_port=5000, max_message_octets=65536),
            self.sctp_client.connect(remote_port=5000, max_message_octets=65536),
        )
        return self

    async def __aexit__(self, *args: object) -> None:
        for sctp, end in ((self.sctp_client, self.client), (self.sctp_server, self.server)):
            await sctp.stop()
            await end.dtls.disconnect()

    async def open(self, label: str = "chat") -> tuple[RTCDataChannel, RTCDataChannel]:
        mine = RTCDataChannel(self.sctp_client, aiortc.RTCDataChannelParameters(label=label))
        await wait_for(lambda: mine.readyState == "open" and bool(self.opened))
        return mine, self.opened[-1]


async def wait_for(condition: Callable[[], bool]) -> None:
    await until(condition, timeout_s=2, what="the channel")


async def test_a_channel_carries_texts_and_bytes() -> None:
    async with Channels() as channels:
        mine, theirs = await channels.open()
        heard: list[str | bytes] = []
        theirs.on("message", heard.append)
        sent: list[str | bytes] = ["hello", b"\0\1", "", b"", "ä" * 20000]
        for message in sent:
            mine.send(message)
        await wait_for(lambda: len(heard) == len(sent))
        assert heard == sent


async def test_a_sack_of_what_was_never_sent_costs_nothing() -> None:
    async with Channels() as channels:
        await channels.open()
        sack = SackChunk()
        sack.cumulative_tsn = channels.sctp_server._last_sacked_tsn
        sack.gaps = [(1, 65535)] * 350
        started = time.thread_time()
        await channels.sctp_server._receive_sack_chunk(sack)
        assert time.thread_time() - started < 0.05
        assert channels.sctp_server.state == "connected"


async def test_streams_that_are_only_skipped_are_not_collected_without_bound() -> None:
    async with Channels() as channels:
        await channels.open()
        server = channels.sctp_server
        for first in range(0, 60000, 250):
            chunk = ForwardTsnChunk()
            chunk.cumulative_tsn = ((server._last_received_tsn or 0) + 1) % 2**32
            chunk.streams = [(stream, 0) for stream in range(first, first + 250)]
            await server._receive_forward_tsn_chunk(chunk)
        assert len(server._inbound_streams) <= MAX_STREAMS


async def test_fragments_that_never_end_are_not_collected_without_bound() -> None:
    async with Channels() as channels:
        await channels.open()
        server = channels.sctp_server
        for _ in range(3000):
            chunk = DataChunk()
            chunk.tsn = ((server._last_received_tsn or 0) + 1) % 2**32
            chunk.stream_id, chunk.stream_seq, chunk.protocol = 7, 0, 51
            chunk.user_data = b"x"
            await server._receive_data_chunk(chunk)
        assert len(server._inbound_streams[7].reassembly) < 600


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("!BBHLHH", 3, 0, 0, 0, 4, 0) + b"\xff\xfe\xff\xfe",  # a label that is no UTF-8
        struct.pack("!BBHLHH", 3, 0, 0, 0, 60000, 60000),
        b"\x02",  # an ACK of what nobody opened
        b"",
    ],
)
async def test_bad_channel_requests_end_at_most_the_association(body: bytes) -> None:
    async with Channels() as channels:
        await channels.open()
        server = channels.sctp_server
        chunk = DataChunk(flags=3)
        chunk.tsn = ((server._last_received_tsn or 0) + 1) % 2**32
        chunk.stream_id, chunk.stream_seq, chunk.protocol = 9, 0, 50
        chunk.user_data = body
        packet = rtcsctptransport.serialize_packet(5000, 5000, server._local_verification_tag, chunk)
        await channels.client.dtls._send_data(packet)
        await channels.client.dtls._send_data(packet)
        await wait_for(lambda: server._sack_duplicates == [] and not channels.server.wire._inbound)
        assert channels.server.dtls.state == "connected"


def test_the_transport_takes_a_wire_in_the_place_of_ice() -> None:
    assert {"_recv", "_send", "role", "state"} <= set(dir(Wire))
    assert issubclass(DtlsTransport, RTCDtlsTransport)
