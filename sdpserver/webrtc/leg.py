"""The browser's leg: ICE and media in the media plane, DTLS and data channels here."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ipaddress
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
from aiortc import RTCDataChannel

from sdpserver import _media
from sdpserver.dtmf import DEFAULT_GAP_MS, DtmfMethod, choose_method
from sdpserver.errors import BadRequest, Conflict
from sdpserver.media import LegEvent, WebRtcMediaLeg
from sdpserver.models.session import BrowserState
from sdpserver.models.webrtc import IceCandidateInfo
from sdpserver.sdp import MAX_CANDIDATES, Codec, Direction

from . import offer_answer
from .aiortc_private import Certificate, DtlsTransport, SctpTransport, Wire
from .candidates import check_candidate
from .data_channel import DataChannel
from .offer import OFFERED_MID, SCTP_PORT, Offer, parse_answer
from .offer_answer import LocalTransport, Negotiated
from .sdpfrag import write_fragment

log = structlog.get_logger(__name__)

ICE_TIMEOUT_S = 30.0
"""Chromium checks every 2.7 s; a browser that has not for this long is gone (RFC 7675 section 5.1)."""
FLUSH_S = 0.5
"""At the end, for what waits for the client's acknowledgements; they take a round trip and up to 0.2 s more."""
MAX_CHANNELS = 32
MAX_EARLIER_UFRAGS = 16
_DTLS_ROLES = {"actpass": "auto", "passive": "server", "active": "client"}
"""By our a=setup."""


class WebRtcEvent(enum.Enum):
    """What a leg reports, with a detail."""

    ICE_CONNECTED = "ice_connected"
    """The client's first good check; its address."""
    CONNECTED = "connected"
    """DTLS is done and SRTP has its keys; the SRTP profile."""
    FAILED = "failed"
    """DTLS or the media plane failed; why."""
    CLOSED = "closed"
    """The client's close_notify."""
    GONE = "gone"
    """No check for `ICE_TIMEOUT_S`, and no close_notify before."""
    FIRST_RTP_RECEIVED = "first_rtp_received"
    """The codec's name."""
    FIRST_RTP_SENT = "first_rtp_sent"
    """The codec's name."""
    DTMF = "dtmf"
    """The client has pressed a key; the data of `_media.DTMF`."""


class WebRtcLeg:
    """One client's leg. `run` does the rest.

    Made by `WebRtcPlane.create_leg`, its answer is there at once. Made by `WebRtcPlane.create_offer`, its offer is, and
    until `accept_answer` it has no codecs, sends nothing and cannot be renegotiated. Checks are answered and DTLS
    datagrams kept, since both may come before the answer (RFC 8445 section 7.3, RFC 5763 section 5).

    :ivar offer: ours; "" if the client offered first.
    :ivar answer: to the client's last offer; "" if there was none.
    """

    def __init__(
        self,
        *,
        media: WebRtcMediaLeg,
        certificate: Certificate,
        negotiated: Negotiated | None,
        local: LocalTransport,
        liked: Sequence[Codec],
        wanted: Direction,
    ) -> None:
        self.media = media
        self.on_event: Callable[[WebRtcEvent, str], None] | None = None
        self.on_channel: Callable[[DataChannel], None] | None = None
        self._local = local
        self._liked = tuple(liked)
        self._wanted = wanted
        self._version = 0
        self._negotiated: Negotiated | None = None
        self._offered: list[Codec] = []
        self.offer = ""
        self.answer = ""
        self._answered = asyncio.Event()
        self._ice_state = "new"
        self.remote_address = ""
        """Of the client's first good check, or where it has moved since; empty: none yet."""
        self._remote_candidates: set[str] = set()
        self._earlier_ufrags: deque[str] = deque(maxlen=MAX_EARLIER_UFRAGS)
        self._checked = asyncio.Event()
        self._closed = False
        self._wire = Wire(self._send_dtls)
        self._dtls = DtlsTransport(self._wire, certificate, _DTLS_ROLES[local.setup], self._on_keys)
        self._sctp: SctpTransport | None = None
        self._sctp_wanted = asyncio.Event()
        self._dtls_state = "new"
        media.on_event = self._on_media_event
        media.set_timeouts(ice_timeout_s=ICE_TIMEOUT_S)
        if negotiated is None:
            self._write_offer()
        else:
            self._take(negotiated)
            self._write_answer(negotiated)

    # -- offer and answer

    def _write_offer(self) -> None:
        self._version += 1
        self._offered = offer_answer.offered_codecs(self._liked)
        self.offer = offer_answer.write_offer(self._offered, self._wanted, self._local, version=self._version)

    def _write_answer(self, negotiated: Negotiated) -> None:
        self._version += 1
        self.answer = offer_answer.write_answer(negotiated, self._local, version=self._version)

    @property
    def _agreed(self) -> Negotiated:
        if self._negotiated is None:
            raise Conflict("the client has not answered the offer yet", reason="not_answered")
        return self._negotiated

    def _take(self, negotiated: Negotiated) -> None:
        """Make `negotiated` what counts."""
        self._negotiated = negotiated
        self._answered.set()
        if negotiated.codecs:
            self.media.set_codecs(negotiated.codecs, ptime_ms=negotiated.ptime_ms, receive_only=negotiated.receive_only)
        self.media.set_direction(negotiated.direction)
        if negotiated.data is not None:
            self._sctp_wanted.set()

    def accept_answer(self, sdp: str) -> None:
        """Take the client's answer to our offer.

        :raises BadRequest: it is refused, and nothing has changed; another may come.
        :raises Conflict: `already_answered`; `leg_closed`.
        """
        if self._negotiated is not None:
            raise Conflict("there is no offer that waits for an answer", reason="already_answered")
        if self._closed or self._dtls_state == "failed":
            raise Conflict("the leg is closed", reason="leg_closed")
        negotiated = offer_answer.negotiate_answer(parse_answer(sdp), self._offered, self._wanted)
        transport = negotiated.transport
        self._local = replace(self._local, setup="passive" if transport.setup == "active" else "active")
        self._dtls.choose_role(_DTLS_ROLES[self._local.setup])
        self.media.set_remote_ice(ufrag=transport.ufrag, pwd=transport.pwd)
        self._take(negotiated)

    @property
    def candidates(self) -> list[IceCandidateInfo]:
        """Ours, as the offer or the answer has them."""
        mid, index = OFFERED_MID, 0
        if self._negotiated is not None:
            index = self._negotiated.tagged
            mid = self._negotiated.remote.sections[index].mid or ""
        return [
            IceCandidateInfo(candidate=candidate, sdpMid=mid, sdpMLineIndex=index)
            for candidate in offer_answer.candidates(self._local.addresses, self._local.port)
        ]

    @property
    def codecs(self) -> list[Codec]:
        """What both speak, the preferred one first; empty without audio and before an answer."""
        return [] if self._negotiated is None else list(self._negotiated.codecs)

    @property
    def takes_events(self) -> bool:
        """The client takes telephone-event (RFC 4733)."""
        return any(codec.is_telephone_event for codec in self.codecs)

    def press(
        self, digits: str, *, duration_ms: int, gap_ms: int = DEFAULT_GAP_MS, method: DtmfMethod | None = None
    ) -> None:
        """Press keys toward the client.

        :raises Conflict: there is no audio that they could go with.
        :raises OverflowError: too many would wait.
        """
        if not self.codecs or self._dtls_state != "connected":
            raise Conflict("the client has no audio connection", reason="webrtc_not_connected")
        if not self.direction.sends:
            raise Conflict("the client has the call on hold", reason="on_hold")
        chosen = choose_method(method, DtmfMethod.RFC4733, has_telephone_event=self.takes_events, can_info=False)
        self.media.press(digits, duration_ms=duration_ms, gap_ms=gap_ms, in_band=chosen is DtmfMethod.INBAND)

    @property
    def direction(self) -> Direction:
        """Of the audio, ours; inactive before an answer."""
        return Direction.INACTIVE if self._negotiated is None else self._negotiated.direction

    def can_renegotiate(self, offer: Offer) -> bool:
        """Whether the offer is for this DTLS association. Otherwise it needs a leg of its own.

        Another fingerprint is another association. So is another peer connection with a certificate that the page kept
        over its reload: it has both another `o=` session id and another ufrag, where an ICE restart keeps the first.
        Nor is there an association while our own offer waits for its answer.
        """
        if self._negotiated is None:
            return False
        try:
            negotiated = offer_answer.negotiate(offer, self._liked, self._wanted)
        except BadRequest:
            return True  # `renegotiate` says what is wrong
        mine, theirs = self._negotiated, negotiated
        return (
            not self._closed
            and self._dtls_state in ("new", "connecting", "connected")
            and theirs.transport.fingerprints == mine.transport.fingerprints
            and (theirs.remote.origin_id == mine.remote.origin_id or theirs.transport.ufrag == mine.transport.ufrag)
            and theirs.transport.setup in ("actpass", "active" if self._local.setup == "passive" else "passive")
        )

    def renegotiate(self, offer: Offer) -> str:
        """Answer an offer for the same association: other directions, other m-sections, an ICE restart.

        :raises BadRequest: the offer is refused, and nothing has changed.
        :raises Conflict: `not_answered`: our own offer waits for its answer.
        """
        before = self._agreed.transport
        negotiated = offer_answer.negotiate(offer, self._liked, self._wanted)
        after = negotiated.transport
        if negotiated.audio is not None and self._dtls_state == "connected" and not self._dtls.srtp_profile:
            raise BadRequest("audio cannot be added: the client's DTLS has no SRTP", reason="no_srtp")
        if (after.ufrag, after.pwd) != (before.ufrag, before.pwd):
            self._restart_ice(after.ufrag, after.pwd)
        self._take(negotiated)
        self._write_answer(negotiated)
        return self.answer

    def add_remote_candidate(self, candidate: str, mid: str | None, index: int | None) -> None:
        """A trickled candidate. ICE-lite answers whoever knows the password, so it is only checked and counted.

        :raises BadRequest: `invalid_candidate`.
        """
        if check_candidate(candidate) and len(self._remote_candidates) < MAX_CANDIDATES:
            self._remote_candidates.add(candidate)

    # -- ICE by fragments (RFC 8840)

    @property
    def ice_tag(self) -> str:
        """Names the ICE session: each restart makes another."""
        return self._local.ufrag

    @property
    def remote_ice(self) -> tuple[str, str]:
        """The client's ufrag and pwd.

        :raises Conflict: `not_answered`.
        """
        return self._agreed.transport.ufrag, self._agreed.transport.pwd

    @property
    def remote_mids(self) -> frozenset[str]:
        """Of the client's m-sections."""
        return frozenset(section.mid for section in self._agreed.remote.sections if section.mid is not None)

    @property
    def has_restarted_ice(self) -> bool:
        return bool(self._earlier_ufrags)

    def restart_ice(self, ufrag: str, pwd: str) -> None:
        """A restart without an offer (RFC 8838 section 8): the client's new credentials, and new ones of ours. Media
        goes on where it went until the client's first good check with them.

        :raises Conflict: `leg_closed`, `not_answered`; `ice_session_over`: they are of an earlier ICE session, so that
            this is a request that has come late.
        """
        agreed = self._agreed
        if self._closed or self._dtls_state not in ("new", "connecting", "connected"):
            raise Conflict("the client has closed the connection", reason="leg_closed")
        if ufrag in self._earlier_ufrags:
            raise Conflict("these ICE credentials are of a session that is over", reason="ice_session_over")
        self._restart_ice(ufrag, pwd)
        self._negotiated = replace(agreed, transport=replace(agreed.transport, ufrag=ufrag, pwd=pwd))

    def _restart_ice(self, remote_ufrag: str, remote_pwd: str) -> None:
        self._earlier_ufrags.append(self._agreed.transport.ufrag)
        self._remote_candidates.clear()
        ufrag, pwd = create_credentials()
        self.media.restart_ice(local_ufrag=ufrag, local_pwd=pwd, remote_ufrag=remote_ufrag, remote_pwd=remote_pwd)
        self._local = replace(self._local, ufrag=ufrag, pwd=pwd)

    @property
    def ice_fragment(self) -> str:
        """Our side of the ICE session, as a fragment."""
        section = self._agreed.remote.sections[self._agreed.tagged]
        return write_fragment(
            ufrag=self._local.ufrag,
            pwd=self._local.pwd,
            kind=section.kind,
            mid=section.mid or "",
            bundle=self._agreed.bundle,
            candidates=offer_answer.candidates(self._addresses_for_client(), self._local.port),
        )

    def _addresses_for_client(self) -> tuple[str, ...]:
        """Without loopback for a client that is known to come from elsewhere."""
        addresses = self._local.addresses
        source = self.remote_address.partition(" ")[0]
        if not source or ipaddress.ip_address(source).is_loopback:
            return addresses
        return tuple(found for found in addresses if not ipaddress.ip_address(found).is_loopback) or addresses

    # -- life

    async def run(self) -> None:
        """DTLS, then data channels, until either side closes. Raises nothing but CancelledError.

        The media leg stays until `close`, so that whoever wires legs up may still name it.
        """
        with structlog.contextvars.bound_contextvars(leg=self.media.id):
            try:
                await self._answered.wait()
                await self._checked.wait()
                if not self._closed:
                    await self._associate()
            except Exception:
                log.exception("WebRTC leg failed")
                self._dtls_failed("internal error")
            finally:
                await self._disconnect()

    async def _associate(self) -> None:
        self._dtls_state = "connecting"
        if not await self._dtls.connect(self._agreed.transport.fingerprints):
            self._dtls_failed(self._dtls.error)
            return
        if self._agreed.audio is not None and not self._dtls.srtp_profile:
            self._dtls_failed("the client's DTLS offers none of our SRTP profiles")
            return
        self._dtls_state = "connected"
        # Before anything else waits: the client's first SCTP packet may be here already.
        if self._sctp_wanted.is_set():
            await self._open_channels()
        self._emit(WebRtcEvent.CONNECTED, self._dtls.srtp_profile)
        async with asyncio.TaskGroup() as group:
            channels = group.create_task(self._open_channels_later())
            await self._dtls.wait_closed()
            channels.cancel()
        if not self._closed and self._dtls_state == "connected":
            self._dtls_state = "closed"
            self._emit(WebRtcEvent.CLOSED, "close_notify")

    async def _open_channels_later(self) -> None:
        """For an offer that adds a data section."""
        await self._sctp_wanted.wait()
        if self._sctp is None:
            await self._open_channels()

    async def _open_channels(self) -> None:
        section = self._agreed.data_section
        if section is None or self._dtls.state != "connected":
            return
        self._sctp = SctpTransport(self._dtls, SCTP_PORT, self._on_data_channel)
        await self._sctp.connect(remote_port=section.sctp_port, max_message_octets=section.max_message_octets)

    async def close(self) -> None:
        """What its data channels still have to send, close_notify, then the media leg is freed. Idempotent, also while
        the handshake runs."""
        if self._closed:
            return
        self._closed = True
        self._answered.set()
        self._checked.set()
        try:
            if self._sctp is not None:
                with contextlib.suppress(TimeoutError):  # the client does not read it
                    async with asyncio.timeout(FLUSH_S):
                        await self._sctp.flush()
            await self._disconnect()
        finally:
            self.media.close()

    async def _disconnect(self) -> None:
        try:
            if self._sctp is not None:
                await self._sctp.stop()
            await self._dtls.disconnect()
        finally:
            self._wire.close()
            if self._dtls_state != "failed":
                self._dtls_state = "closed"

    def _dtls_failed(self, error: str) -> None:
        if not self._closed and self._dtls_state != "failed":
            self._dtls_state = "failed"
            self._emit(WebRtcEvent.FAILED, error)

    def _emit(self, event: WebRtcEvent, detail: str) -> None:
        if self.on_event is not None and not self._closed:
            self.on_event(event, detail)

    # -- from below

    def _send_dtls(self, datagram: bytes) -> None:
        if not self.media.closed:
            self.media.send_dtls(datagram)

    def _on_keys(self, profile: _media.SrtpProfile, send_key: bytes, receive_key: bytes) -> None:
        self.media.set_srtp(profile, send_key=send_key, receive_key=receive_key)

    def _on_media_event(self, event: LegEvent, data: bytes) -> None:
        match event:
            case LegEvent.DTLS:
                self._wire.deliver(data)
            case LegEvent.ICE_CONNECTED:
                self._ice_state = "connected"
                self.remote_address = data.decode()
                self._checked.set()
                self._emit(WebRtcEvent.ICE_CONNECTED, self.remote_address)
            case LegEvent.ICE_SELECTED:
                self._ice_state = "connected"
                self.remote_address = data.decode()
                log.debug("client moved", leg=self.media.id, remote_address=self.remote_address)
            case LegEvent.ICE_TIMEOUT:
                if self._dtls_state == "closed":
                    return  # after close_notify nobody checks any more; how long a page may be gone our owner says
                self._ice_state = "disconnected"
                self._emit(WebRtcEvent.GONE, f"no ICE check for {ICE_TIMEOUT_S:.0f} s")
            case LegEvent.FIRST_RTP_RECEIVED:
                self._wire.peer_connected()
                self._emit(WebRtcEvent.FIRST_RTP_RECEIVED, data.decode())
            case LegEvent.FIRST_RTP_SENT:
                self._emit(WebRtcEvent.FIRST_RTP_SENT, data.decode())
            case LegEvent.DTMF:
                self._emit(WebRtcEvent.DTMF, data.decode())
            case LegEvent.FAILED:
                self._dtls_failed(f"the media plane could not carry the call: {data.decode()}")
                self._wire.close()  # there is no leg any more to send by
            case LegEvent.MEDIA_TIMEOUT:
                pass  # not asked for: a muted or held browser is alive as long as it checks

    def _on_data_channel(self, channel: RTCDataChannel) -> None:
        if self._sctp is not None and self._sctp.channels > MAX_CHANNELS:
            channel.close()
        elif self.on_channel is not None and not self._closed:
            self.on_channel(DataChannel(channel))

    # -- what clients see

    def state_json(self) -> BrowserState:
        """For GET /webrtc/sessions/{id}."""
        return {
            "ice": {
                "state": self._ice_state,
                "remote_address": self.remote_address,
                "remote_candidates": len(self._remote_candidates),
            },
            "dtls": {
                "state": self._dtls_state,
                "role": self._dtls.role,
                "version": self._dtls.version,
                "cipher": self._dtls.cipher,
                "srtp_profile": self._dtls.srtp_profile,
                "flights_resent": self._wire.resent,
                "error": self._dtls.error,
            },
            "direction": self.direction.value,
            "codecs": [codec.rtpmap for codec in self.codecs],
            "data_channels": None if self._sctp is None else self._sctp.state,
        }


def create_credentials() -> tuple[str, str]:
    """(ufrag, pwd): 48 and 144 bits (RFC 8445 section 5.3 asks for 24 and 128), of hex digits, which are ice-chars."""
    return secrets.token_hex(6), secrets.token_hex(18)
