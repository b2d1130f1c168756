"""What all WebRTC legs of a process share: the certificate, its SSL context and the announced addresses."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from sdpserver.config import Config
from sdpserver.media import MediaPlane
from sdpserver.sdp import Codec, Direction

from .addresses import AnnouncedAddresses
from .aiortc_private import Certificate
from .leg import WebRtcLeg, create_credentials
from .offer import Offer
from .offer_answer import LocalTransport, Negotiated, negotiate

log = structlog.get_logger(__name__)

ROTATE_BEFORE = timedelta(days=2)
"""aiortc's certificates last 30 days. No session lasts as long as this."""


class WebRtcPlane:
    """Makes legs. Used on the event loop only.

    :param now: the time of day, with which certificates expire.
    """

    def __init__(
        self, config: Config, media: MediaPlane, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._media = media
        self._now = now
        self._addresses = AnnouncedAddresses(config.webrtc, time.monotonic)
        self._certificate = self._create_certificate()

    @property
    def certificate(self) -> Certificate:
        """That of new legs; earlier legs keep theirs."""
        if self._certificate.expires - self._now() < ROTATE_BEFORE:
            self._certificate = self._create_certificate()
        return self._certificate

    def _create_certificate(self) -> Certificate:
        certificate = Certificate.generateCertificate()
        certificate.warm()
        log.info("certificate", sha256=certificate.sha256, expires=certificate.expires.isoformat(timespec="minutes"))
        return certificate

    def create_leg(
        self,
        offer: Offer,
        *,
        codecs: Sequence[Codec],
        direction: Direction = Direction.SENDRECV,
        worker: int | None = None,
    ) -> WebRtcLeg:
        """A leg with its answer; its task is `WebRtcLeg.run`.

        :param codecs: audio codecs that we like, the preferred one first.
        :param direction: what we would do with the audio if the offer allowed everything.
        :param worker: of the media plane; None: the one with the fewest legs.
        :raises BadRequest: `no_common_codec`.
        """
        return self._create(negotiate(offer, codecs, direction), codecs, direction, worker)

    def create_offer(
        self, *, codecs: Sequence[Codec], direction: Direction = Direction.SENDRECV, worker: int | None = None
    ) -> WebRtcLeg:
        """A leg with an offer of ours; `WebRtcLeg.accept_answer` makes it a leg like any other. Its task is
        `WebRtcLeg.run` from the start.

        :param codecs: audio codecs, the preferred one first.
        :param direction: of the audio, ours.
        :param worker: as for `create_leg`.
        :raises ValueError: there is no audio codec.
        """
        return self._create(None, codecs, direction, worker)

    def _create(
        self, negotiated: Negotiated | None, codecs: Sequence[Codec], direction: Direction, worker: int | None
    ) -> WebRtcLeg:
        certificate = self.certificate
        ufrag, pwd = create_credentials()
        setup = "actpass"
        if negotiated is not None:
            setup = "active" if negotiated.transport.setup == "passive" else "passive"
        media = self._media.create_webrtc_leg(
            local_ufrag=ufrag,
            local_pwd=pwd,
            remote_ufrag="" if negotiated is None else negotiated.transport.ufrag,
            remote_pwd="" if negotiated is None else negotiated.transport.pwd,
            worker=worker,
        )
        try:
            return WebRtcLeg(
                media=media,
                certificate=certificate,
                negotiated=negotiated,
                local=LocalTransport(
                    session_id=secrets.randbits(62),  # RFC 8829 section 5.2.1
                    ufrag=ufrag,
                    pwd=pwd,
                    fingerprint=certificate.sha256,
                    setup=setup,
                    addresses=self._addresses.current(),
                    port=media.port,
                ),
                liked=codecs,
                wanted=direction,
            )
        except BaseException:
            media.close()
            raise
