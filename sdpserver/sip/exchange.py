"""The offers and answers of one dialog, in their order (RFC 3264). Pure, but for new SRTP keys."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from ..errors import BadRequest
from ..sdp import Codec, Direction
from . import sdes
from .offer_answer import (
    Answer,
    LocalAudio,
    Offered,
    Origin,
    RemoteAudio,
    accept_answer,
    answer_offer,
    offer_body,
    read_own_offer,
)
from .reasons import NO_SRTP, NOT_ACCEPTABLE

_VERSION = re.compile(r"^(o=\S+ \S+) \d+")
_ABOUT_A_FORMAT = re.compile(r"^(a=(?:rtpmap|fmtp):)(\d+)")


class Exchange:
    """What we describe, what the peer has answered, and what is still open.

    `direction` is what we want, whatever the peer makes of it. `remote` is the leg that was agreed on.
    """

    def __init__(self, local: LocalAudio, log: structlog.stdlib.BoundLogger) -> None:
        self.local = local
        self.direction = Direction.SENDRECV
        self.remote: RemoteAudio | None = None
        self.offered = Offered(codecs=local.codecs)
        self.pending: Answer | None = None
        """Our answer that has not left yet."""
        self.is_answer_refused = False
        self.refusal = NOT_ACCEPTABLE
        """Why the peer's answer cannot be used, in our words."""
        self.sent_sdp = ""
        self._origin = Origin(secrets.randbits(62))
        self._pending_offer = ""
        self._places: tuple[str | None, ...] = (None,)
        self._proto = ""
        self._log = log

    def offer(self, *, rekey: bool = False) -> str:
        """The SDP of our offer. With `rekey` its keys are new, otherwise those in use come first."""
        srtp = self.remote.srtp if self.remote is not None and not rekey else None
        cryptos = () if self.local.srtp == "off" else sdes.new_offer(in_use=srtp)
        self.offered = Offered(
            codecs=self.local.codecs,
            direction=self.direction,
            cryptos=cryptos,
            places=self._places,
            proto=self._proto,
        )
        return self._describe(offer_body(self.local, self.offered))

    def answer(self, offer: str) -> str | None:
        """The SDP of our answer to the peer's offer, None to refuse it. It counts from `settle` on."""
        answer = self.negotiate(offer)
        return self._describe(answer.body) if answer is not None else None

    def negotiate(self, offer: str) -> Answer | None:
        """Our answer, None to refuse the offer. Asked again, it is the same."""
        if self.pending is not None and offer == self._pending_offer:
            return self.pending
        self._pending_offer = offer
        try:
            self.pending = answer_offer(self.local, offer, previous=self.remote, direction=self.direction)
        except BadRequest as exc:
            self.pending = None
            self._log.warning("the peer's offer is refused", reason=exc.reason, error=str(exc))
        return self.pending

    def answer_anew(self, local: LocalAudio) -> str | None:
        """The SDP of our answer to the offer that is open, from this leg instead of the one before."""
        self.local = local
        self.pending = None
        self._origin = Origin(self._origin.session_id)  # what was answered before has not left
        return self.answer(self._pending_offer)

    def settle(self) -> RemoteAudio | None:
        """Our answer has left: the leg that it makes, None without an answer."""
        pending, self.pending = self.pending, None
        if pending is None:
            return None
        self._places, self._proto = pending.places, pending.proto
        return pending.remote

    def take_answer(self, sdp: str) -> bool:
        """True when the peer's answer is usable."""
        try:
            self.remote = accept_answer(self.local, self.offered, sdp, previous=self.remote)
        except BadRequest as exc:
            self.is_answer_refused = True
            self.refusal = NO_SRTP if exc.reason == NO_SRTP else NOT_ACCEPTABLE
            self._log.warning("the peer's answer is refused", reason=exc.reason, error=str(exc))
            return False
        self.is_answer_refused = False
        self._places, self._proto = self.offered.places, self.offered.proto or self._proto
        return True

    def take_own_offer(self, sdp: str) -> None:
        """An offer that pjsip made for us, of what was agreed on.

        :raises BadRequest: it is not of our leg.
        """
        self.offered = read_own_offer(self.local, sdp)
        self.sent_sdp = sdp  # sent again, it is the same

    def take_sent(self, sent: str) -> bool:
        """Whether the SDP that left is ours; its payload types are those that count.

        pjsip counts the version in o= by itself (it goes back when an offer of ours was refused). It numbers a codec of
        ours as any answer of ours did, which has the offerer's number (RFC 3264 section 8.3.2: no number changes its
        meaning), and as no other codec was before.
        """
        (ours, before), (theirs, now) = (_without_numbers(text, self.local.rtp_port) for text in (self.sent_sdp, sent))
        if ours != theirs or len(before) != len(now):
            return False
        if before != now:
            self.sent_sdp = sent
            self._renumber(dict(zip(before, now, strict=True)))
        return True

    def _renumber(self, numbers: Mapping[int, int]) -> None:
        """:param numbers: the payload types that left, by those that we had in their place."""

        def renumbered(codecs: Iterable[Codec]) -> list[Codec]:
            return [replace(codec, payload_type=numbers[codec.payload_type]) for codec in codecs]

        if self.pending is not None:
            remote = replace(self.pending.remote, codecs=renumbered(self.pending.remote.codecs))
            self.pending = replace(self.pending, remote=remote)
        else:
            self.offered = replace(self.offered, codecs=tuple(renumbered(self.offered.codecs)))

    def _describe(self, body: str) -> str:
        self.sent_sdp = self._origin.describe(self.local.ip, body)
        return self.sent_sdp


def _without_numbers(sdp: str, rtp_port: int) -> tuple[list[str], list[int]]:
    """The words of an SDP but for its version and for the payload types of our m-section; those, in their order."""
    lines, payload_types, is_our_section = [], [], False
    for line in sdp.splitlines():
        if line.startswith("m="):
            media, port, proto, *formats = line.split()
            is_our_section = port == str(rtp_port)
            if is_our_section:
                payload_types = [int(number) for number in formats]
                line = f"{media} {port} {proto}"
        elif is_our_section and (match := _ABOUT_A_FORMAT.match(line)) and int(match[2]) in payload_types:
            line = f"{match[1]}format {payload_types.index(int(match[2]))}{line[match.end() :]}"
        lines.append(_VERSION.sub(r"\1", line))
    return " ".join(lines).split(), payload_types
