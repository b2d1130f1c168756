"""All that we use of aiortc's private names: DTLS and SCTP of its ORTC objects, without its ICE and its RTP.

aiortc promises none of these names, so pyproject.toml pins `aiortc~=1.16`, and tests/unit/webrtc/test_aiortc_private.py
fails when one of them is gone or takes other arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import structlog
from aiortc import RTCCertificate, RTCDataChannel, RTCDtlsTransport, RTCSctpTransport
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
    X509_DIGEST_ALGORITHMS,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    SRTPProtectionProfile,
    State,
    certificate_digest,
)
from aiortc.rtcsctptransport import Chunk, DataChunk, ForwardTsnChunk, RTCSctpCapabilities, SackChunk
from OpenSSL import SSL

from sdpserver import _media

log = structlog.get_logger(__name__)

SRTP_PROFILES = [SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80]
"""In our order: the cheapest on the CPU first. A DTLS client takes the server's first one that it has."""
_NAMES: dict[bytes, _media.SrtpProfile] = {
    SRTP_AEAD_AES_128_GCM.openssl_profile: "AEAD_AES_128_GCM",
    SRTP_AEAD_AES_256_GCM.openssl_profile: "AEAD_AES_256_GCM",
    SRTP_AES128_CM_SHA1_80.openssl_profile: "AES_CM_128_HMAC_SHA1_80",
}

RESEND_AFTER_S = (0.1, 0.2, 0.4)
"""A flight is sent again 100, 300 and 700 ms after it went out; then OpenSSL's own timer (1 s, doubling) takes over."""
MAX_INBOUND = 64
"""Datagrams that wait for DTLS; more are dropped, as a full socket buffer would."""
_MAX_FLIGHT = 8

MAX_STREAMS = 256
MAX_FRAGMENTS = 512
RECEIVE_WINDOW_OCTETS = 256 * 1024


class Certificate(RTCCertificate):
    """A self-signed P-256 certificate whose SSL context is made once and shared by all associations."""

    _shared: SSL.Context | None = None

    @property
    def sha256(self) -> str:
        """As `a=fingerprint` has it."""
        return certificate_digest(self._cert, "sha-256")

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._shared is None:
            self._shared = super()._create_ssl_context(srtp_profiles)
            # Shared, it would keep a session of each association for resumption, which WebRTC does not use.
            self._shared.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._shared

    def warm(self) -> None:
        """Shake hands with ourselves: the first handshake in a context costs several times the others."""
        context = self._create_ssl_context(SRTP_PROFILES)
        client, server = SSL.Connection(context), SSL.Connection(context)
        client.set_connect_state()
        server.set_accept_state()
        done: set[SSL.Connection] = set()
        for _ in range(16):  # a handshake takes three or four turns
            for mine, other in ((client, server), (server, client)):
                try:
                    mine.do_handshake()
                except SSL.WantReadError:
                    pass
                else:
                    done.add(mine)
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(mine.bio_read(65536))
            if len(done) == 2:
                return


class Wire:
    """The datagrams below DTLS, in the place of aiortc's RTCIceTransport.

    While a handshake runs it keeps the last flight and sends it again, see `RESEND_AFTER_S`. A copy of a record that
    did arrive is dropped by the peer as a replay (RFC 6347 section 4.1.2.6).
    """

    role = "controlled"  # aiortc asks only to choose a DTLS role, which we have chosen
    state = "completed"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_datagram = send
        self._inbound: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._flight: list[bytes] = []
        self._heard = True
        self._keeping = True
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = 0
        """Inbound datagrams for which there was no room."""
        self.resent = 0
        """Flights sent again."""

    # -- our side

    def deliver(self, datagram: bytes) -> None:
        """A DTLS datagram from the peer."""
        if self._closed or not datagram:
            return
        if len(self._inbound) >= MAX_INBOUND:
            self.dropped += 1
            return
        self._inbound.append(datagram)
        self._wake()

    def handshake_done(self, *, last_flight_is_ours: bool) -> None:
        """Keep no more flights. Our last one is still sent again until the peer shows that it has it."""
        self._keeping = False
        if not last_flight_is_ours:
            self.peer_connected()

    def peer_connected(self) -> None:
        """The peer has finished its handshake too: it has sent what is under the new keys."""
        self._cancel_timer()
        self._flight.clear()

    def close(self) -> None:
        """End what waits in `_recv` with ConnectionError: `RTCDtlsTransport.stop` does not end a running handshake."""
        self._closed = True
        self._send_datagram = _drop  # whose owner may own us
        self.peer_connected()
        self._inbound.clear()
        self._wake()

    @property
    def closed(self) -> bool:
        return self._closed

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- aiortc's side

    async def _recv(self) -> bytes:
        while not self._inbound:
            if self._closed:
                raise ConnectionError("closed")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._heard = True
        if not self._keeping:
            self.peer_connected()
        return self._inbound.popleft()

    async def _send(self, datagram: bytes) -> None:
        if self._closed:
            raise ConnectionError("closed")
        self._send_datagram(datagram)
        if self._keeping:
            self._keep(datagram)

    def _keep(self, datagram: bytes) -> None:
        if self._heard:  # first datagram since the peer spoke: a new flight
            self._heard = False
            self._flight.clear()
            self._schedule(0)
        if self._timer is not None and len(self._flight) < _MAX_FLIGHT:
            self._flight.append(datagram)

    def _schedule(self, step: int) -> None:
        self._cancel_timer()
        if step < len(RESEND_AFTER_S):
            self._timer = asyncio.get_running_loop().call_later(RESEND_AFTER_S[step], self._resend, step)

    def _resend(self, step: int) -> None:
        self.resent += 1
        for datagram in self._flight:
            self._send_datagram(datagram)
        self._schedule(step + 1)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop(*_: object) -> None:
    """In the place of what a closed object called."""


class DtlsTransport(RTCDtlsTransport):
    """One DTLS association whose SRTP keys go to `on_keys` instead of into pylibsrtp.

    :param role: `client`, `server`, or `auto` until `choose_role`, which comes before `connect`.
    """

    def __init__(
        self,
        wire: Wire,
        certificate: Certificate,
        role: str,
        on_keys: Callable[[_media.SrtpProfile, bytes, bytes], None],
    ) -> None:
        super().__init__(wire, [certificate])  # type: ignore[arg-type]  # it uses of it what Wire has
        self._srtp_profiles = SRTP_PROFILES
        self._set_role(role)
        self._wire = wire
        self._on_keys = on_keys
        self._pump: asyncio.Future[None] | None = None
        self.error = ""
        """Why the handshake failed, once `connect` has returned False."""
        self.srtp_profile = ""

    @property
    def role(self) -> str:
        return self._role

    def choose_role(self, role: str) -> None:
        """`client` or `server`."""
        self._set_role(role)

    @property
    def version(self) -> str:
        return self._ssl.get_protocol_version_name() if self.encrypted and self._ssl else ""

    @property
    def cipher(self) -> str:
        return (self._ssl.get_cipher_name() or "") if self.encrypted and self._ssl else ""

    async def connect(self, fingerprints: frozenset[tuple[str, str]]) -> bool:
        """Shake hands; False: it failed, see `error`."""
        await self.start(
            RTCDtlsParameters(
                fingerprints=[RTCDtlsFingerprint(algorithm=name, value=value) for name, value in sorted(fingerprints)]
            )
        )
        if self._state is not State.CONNECTED:
            self.error = self.error or "the connection was closed"
            await self._say_goodbye()
            return False
        self._pump = self._task
        self._wire.handshake_done(last_flight_is_ours=self._role == "server")
        return True

    async def wait_closed(self) -> None:
        """Until the peer's close_notify, or `disconnect`. After `connect`."""
        if (pump := self._pump) is not None:
            await asyncio.wait([pump])
            if not pump.cancelled() and (error := pump.exception()) is not None:
                log.warning("DTLS stopped on a datagram", error=repr(error))

    async def disconnect(self) -> None:
        """close_notify, and the end of everything that runs. Idempotent."""
        await self.stop()
        # What ties it to others is let go, so that it is freed at once and not by a late garbage collection.
        self._pump = None
        self._on_keys = _drop
        self._wire.close()

    async def _say_goodbye(self) -> None:
        """Tell the peer at once that the handshake failed: the alert that OpenSSL has written, or close_notify."""
        if self._ssl is not None and not self._wire.closed:
            await self._write_ssl()
            with contextlib.suppress(SSL.Error):  # no shutdown in the middle of a handshake
                self._ssl.shutdown()
            await self._write_ssl()

    @property
    def _connection(self) -> SSL.Connection:
        if self._ssl is None:
            raise RuntimeError("DTLS has not been started")
        return self._ssl

    # -- what aiortc calls

    async def _do_handshake(self) -> None:
        """As aiortc's, but a failure keeps its reason: aiortc reads in a place that drops OpenSSL's errors."""
        try:
            while not self.encrypted:
                try:
                    self._connection.do_handshake()
                except SSL.WantReadError:
                    await self._write_ssl()
                    await self._take_datagram()
                else:
                    self.encrypted = True
            await self._write_ssl()
        except SSL.Error as exc:
            self._fail(_reasons(exc))
        except ConnectionError:
            self._fail("closed during the handshake")

    async def _take_datagram(self) -> None:
        try:
            datagram = await asyncio.wait_for(self._wire._recv(), self._connection.DTLSv1_get_timeout())
        except TimeoutError:
            self._connection.DTLSv1_handle_timeout()
            await self._write_ssl()
        else:
            self._connection.bio_write(datagram)

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        """One fingerprint of a hash function that we know must match (RFC 8122 section 5); aiortc asks for all."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            self._fail("the peer sent no certificate")
            return
        for fingerprint in remoteParameters.fingerprints:
            name = fingerprint.algorithm
            if name in X509_DIGEST_ALGORITHMS and certificate_digest(certificate, name) == fingerprint.value:
                return
        self._fail("fingerprint mismatch: the peer's certificate is not the one of its offer")

    def _setup_srtp(self) -> None:
        chosen = self._connection.get_selected_srtp_profile()
        profile = next((profile for profile in SRTP_PROFILES if profile.openssl_profile == chosen), None)
        if profile is None:
            return  # a peer with data channels alone need not offer any; the leg knows whether it needs SRTP
        length = 2 * (profile.key_length + profile.salt_length)
        keys = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        client, server = profile.get_key_and_salt(keys, 0), profile.get_key_and_salt(keys, 1)
        self.srtp_profile = name = _NAMES[profile.openssl_profile]
        if self._role == "server":
            self._on_keys(name, server, client)
        else:
            self._on_keys(name, client, server)

    def _fail(self, error: str) -> None:
        self.error = error
        self._set_state(State.FAILED)


def _reasons(error: SSL.Error) -> str:
    """OpenSSL's words, for example `sslv3 alert bad certificate`."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(entry[-1]) for entry in stack) or type(error).__name__


class SctpTransport(RTCSctpTransport):
    """Data channels over one DTLS association; bounds what a peer may make us keep or count through."""

    def __init__(self, transport: DtlsTransport, port: int, on_channel: Callable[[RTCDataChannel], None]) -> None:
        super().__init__(transport, port)
        self._advertised_rwnd = RECEIVE_WINDOW_OCTETS
        self._advanced = asyncio.Event()
        self.on("datachannel", on_channel)

    async def connect(self, *, remote_port: int, max_message_octets: int) -> None:
        await self.start(RTCSctpCapabilities(maxMessageSize=max_message_octets), remote_port)

    async def flush(self) -> None:
        """Until all messages have left, or the association is over. The congestion window (RFC 9260 section 7.2.1)
        holds back what is more than a few packets until the peer has acknowledged those."""
        while self._association_state is self.State.ESTABLISHED and (self._data_channel_queue or self._outbound_queue):
            self._advanced.clear()
            await self._advanced.wait()

    @property
    def channels(self) -> int:
        """How many are open."""
        return len(self._data_channels)

    async def _handle_data(self, data: bytes) -> None:
        try:
            await super()._handle_data(data)
        except Exception as exc:
            # aiortc takes bad chunks, labels and texts for granted. The audio of the session goes on.
            log.warning("SCTP association ended on a bad packet", error=repr(exc))
            await self._abort()
            self._set_state(self.State.CLOSED)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        stream = self._inbound_streams.get(chunk.stream_id)
        if (
            self._advertised_rwnd < len(chunk.user_data)
            or len(self._sack_misordered) > MAX_FRAGMENTS
            or (len(self._inbound_streams) >= MAX_STREAMS if stream is None else len(stream.reassembly) > MAX_FRAGMENTS)
        ):
            return  # not acknowledged: an honest peer slows down and sends it again
        await super()._receive_data_chunk(chunk)

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        # Each stream that it names is kept, and all that are kept are gone through each time.
        if len(self._inbound_streams.keys() | {stream for stream, _ in chunk.streams}) > MAX_STREAMS:
            return
        await super()._receive_forward_tsn_chunk(chunk)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        # aiortc counts through each gap block; a few hundred of 65,535 would hold the event loop for seconds.
        outstanding = len(self._sent_queue)
        if any(not 0 < start <= end <= outstanding for start, end in chunk.gaps) or len(chunk.gaps) > outstanding:
            return
        await super()._receive_sack_chunk(chunk)
        self._advanced.set()

    async def _data_channel_flush(self) -> None:
        await super()._data_channel_flush()
        self._advanced.set()

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        super()._set_state(state)
        self._advanced.set()

    async def _send_chunk(self, chunk: Chunk) -> None:
        with contextlib.suppress(ConnectionError):  # DTLS is closed; whoever closed it closes us
            await super()._send_chunk(chunk)
