"""A SIP peer that does what its script says, for what a well-behaved Asterisk never does. UDP, on loopback."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

SDP = "application/sdp"
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A message as it came; header names in lower case, repeated headers in their order."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str
    source: tuple[str, int] = ("", 0)

    @classmethod
    def parse(cls, octets: bytes, source: tuple[str, int]) -> SipMessage:
        head, _, body = octets.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
        start, *lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs), body, source)

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self["cseq"].split()[1]

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else 0

    def __getitem__(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


def sdp(port: int, *lines: str, ip: str = "127.0.0.1", formats: str = "0 101", proto: str = "RTP/AVP") -> str:
    """An SDP with one audio stream of PCMU and telephone-event, and further attribute lines."""
    known = ("a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000")
    maps = [line for line in known if re.search(rf"\b{line[9:].split()[0]}\b", formats)]
    family = "IP6" if ":" in ip else "IP4"
    all_lines = [
        "v=0",
        f"o=peer {next(_ids)} 1 IN {family} {ip}",
        "s=-",
        f"c=IN {family} {ip}",
        "t=0 0",
        f"m=audio {port} {proto} {formats}",
        *maps,
        *lines,
    ]
    return "".join(line + "\r\n" for line in all_lines)


class SipPeer(asyncio.DatagramProtocol):
    """Receives into a queue and sends what it is told; retransmissions are dropped unless they are asked for."""

    def __init__(self) -> None:
        self.received: list[SipMessage] = []
        self.distinct_requests: list[SipMessage] = []
        """Each once: one that is answered late comes again (RFC 3261 section 17.1)."""
        self.repeats: list[SipMessage] = []
        self._seen: set[bytes] = set()
        self._new: asyncio.Queue[SipMessage] = asyncio.Queue()
        self._aside: list[SipMessage] = []
        self._transport: asyncio.DatagramTransport | None = None
        self.address: tuple[str, int] = ("", 0)
        self.answers_by_itself: frozenset[str] = frozenset()
        """Methods that get a 200 as they come, also those that wait already."""

    @classmethod
    async def open(cls, ip: str = "127.0.0.1") -> Self:
        _, peer = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(ip, 0))
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport does not derive from DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = SipMessage.parse(data, addr[:2])
        self.received.append(message)
        if data in self._seen:
            self.repeats.append(message)
        else:
            self._seen.add(data)
            if message.status == 0:
                self.distinct_requests.append(message)
            self._new.put_nowait(message)
        if message.status == 0 and message.method in self.answers_by_itself:
            self.respond(message, 200)

    def answer_by_itself(self, *methods: str) -> None:
        """Give each request of these methods a 200 from now on, and those that were not answered."""
        self.answers_by_itself = frozenset(methods)
        for message in self.received:
            if message.status == 0 and message.method in methods:
                self.respond(message, 200)

    @property
    def host_port(self) -> str:
        ip, port = self.address
        return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"

    async def receive(self, what: str | int, *, call_id: str = "", timeout_s: float = 5.0) -> SipMessage:
        """The next request of that method, or the next response of that status, of one call or of any.

        Others wait for their turn.
        """

        def fits(message: SipMessage) -> bool:
            if call_id and message["call-id"] != call_id:
                return False
            return message.status == what if isinstance(what, int) else message.start.startswith(what + " ")

        for index, message in enumerate(self._aside):
            if fits(message):
                return self._aside.pop(index)
        async with asyncio.timeout(timeout_s):
            while not fits(message := await self._new.get()):
                self._aside.append(message)
        return message

    def send(self, text: str, to: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(text.encode("utf-8", "surrogateescape"), to)

    def respond(
        self,
        request: SipMessage,
        status: int,
        phrase: str = "OK",
        *,
        tag: str = "peer",
        contact: str | None = None,
        headers: str = "",
        body: str = "",
    ) -> str:
        """Answer a request, with our own Contact unless told otherwise; the text that was sent."""
        to = request["to"] if "tag=" in request["to"] or status == 100 else f"{request['to']};tag={tag}"
        lines = [f"SIP/2.0 {status} {phrase}"]
        lines += [f"Via: {value}" for value in request.all("via")]
        lines += [f"From: {request['from']}", f"To: {to}", f"Call-ID: {request['call-id']}", f"CSeq: {request['cseq']}"]
        if contact != "":
            lines += [f"Contact: {contact or f'<sip:peer@{self.host_port}>'}"]
        text = _with_body(lines, headers, body)
        self.send(text, request.source)
        return text

    def request(
        self,
        method: str,
        uri: str,
        to: tuple[str, int],
        *,
        from_: str = "<sip:stranger@example.com>;tag=s1",
        to_header: str = "",
        call_id: str = "",
        cseq: int = 1,
        headers: str = "",
        body: str = "",
    ) -> str:
        """Send a request out of any dialog, or in whichever one the headers name; the text that was sent."""
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70",
            f"From: {from_}",
            f"To: {to_header or f'<{uri}>'}",
            f"Call-ID: {call_id or secrets.token_hex(8)}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:peer@{self.host_port}>",
        ]
        text = _with_body(lines, headers, body)
        self.send(text, to)
        return text


def _with_body(lines: list[str], headers: str, body: str) -> str:
    if headers:
        lines = [*lines, *headers.strip().splitlines()]
    if body and not re.search(r"^content-type:", headers, re.IGNORECASE | re.MULTILINE):
        lines = [*lines, f"Content-Type: {SDP}"]
    return "\r\n".join([*lines, f"Content-Length: {len(body.encode())}", "", body])


@dataclass(slots=True)
class PeerDialog:
    """The peer's side of a call that was made to it."""

    peer: SipPeer
    invite: SipMessage
    tag: str = "peer"
    cseq: int = field(default=100)

    def respond(self, status: int, phrase: str = "OK", *, headers: str = "", body: str = "") -> str:
        return self.peer.respond(self.invite, status, phrase, tag=self.tag, headers=headers, body=body)

    async def answer(self, body: str, *, headers: str = "") -> SipMessage:
        """200, and the ACK to it."""
        self.respond(200, headers=headers, body=body)
        return await self.peer.receive("ACK")

    def request(self, method: str, *, headers: str = "", body: str = "") -> str:
        """A request in the dialog, to the Contact that the INVITE had; its text."""
        self.cseq += 1
        return self.send(method, self.cseq, headers=headers, body=body)

    def ack(self, *, body: str = "") -> None:
        """The ACK to the 2xx of the last request."""
        self.send("ACK", self.cseq, body=body)

    def send(self, method: str, cseq: int, *, headers: str = "", body: str = "") -> str:
        contact = re.search(r"<([^>]+)>", self.invite["contact"])
        assert contact is not None
        return self.peer.request(
            method,
            contact[1],
            self.invite.source,
            from_=f"{self.invite['to']};tag={self.tag}",
            to_header=self.invite["from"],
            call_id=self.invite["call-id"],
            cseq=cseq,
            headers=headers,
            body=body,
        )


class PeerCall:
    """The peer's side of a call that it makes."""

    def __init__(self, peer: SipPeer, to: tuple[str, int], text: str) -> None:
        self.peer, self.to, self.text = peer, to, text
        self.invite = invite = SipMessage.parse(text.encode("utf-8", "surrogateescape"), peer.address)
        self.cseq = 1
        self.to_header = invite["to"]
        self._target = invite.start.split()[1]

    @classmethod
    def make(
        cls,
        peer: SipPeer,
        user: str,
        to: tuple[str, int],
        *,
        from_: str = "<sip:900@example.com>",
        call_id: str = "",
        headers: str = "",
        body: str = "",
    ) -> Self:
        """Send the INVITE."""
        text = peer.request(
            "INVITE",
            f"sip:{user}@{f'[{to[0]}]' if ':' in to[0] else to[0]}:{to[1]}",
            to,
            from_=f"{from_};tag={secrets.token_hex(4)}",
            call_id=call_id,
            headers=headers,
            body=body,
        )
        return cls(peer, to, text)

    async def response(self, status: int, *, timeout_s: float = 5.0) -> SipMessage:
        """The next response of that status; its tag and its Contact are the dialog's from now on."""
        message = await self.peer.receive(status, call_id=self.invite["call-id"], timeout_s=timeout_s)
        if "tag=" in message["to"]:
            self.to_header = message["to"]
        if contact := re.search(r"<([^>]+)>", message["contact"]):
            self._target = contact[1]
        return message

    async def answered(self) -> SipMessage:
        """The 200, acknowledged."""
        message = await self.response(200)
        self.ack()
        return message

    async def refused(self, status: int) -> SipMessage:
        """The refusal of that status, acknowledged by the transaction of the INVITE (RFC 3261 section 17.1.1.3)."""
        message = await self.response(status)
        self._send_in_transaction("ACK", message["to"])
        return message

    def ack(self, *, body: str = "") -> None:
        """The ACK to the 2xx of the last INVITE."""
        self.send("ACK", self.cseq, body=body)

    def cancel(self, *, headers: str = "") -> None:
        """CANCEL, by the transaction of the INVITE (RFC 3261 section 9.1)."""
        self._send_in_transaction("CANCEL", self.invite["to"], headers=headers)

    def _send_in_transaction(self, method: str, to_header: str, *, headers: str = "") -> None:
        lines = [f"{method} {self.invite.start.split()[1]} SIP/2.0", f"Via: {self.invite['via']}", "Max-Forwards: 70"]
        lines += [f"From: {self.invite['from']}", f"To: {to_header}", f"Call-ID: {self.invite['call-id']}"]
        self.peer.send(_with_body([*lines, f"CSeq: 1 {method}"], headers, ""), self.to)

    def request(self, method: str, *, headers: str = "", body: str = "") -> str:
        """A request in the dialog; its text."""
        self.cseq += 1
        return self.send(method, self.cseq, headers=headers, body=body)

    def send(self, method: str, cseq: int, *, headers: str = "", body: str = "") -> str:
        return self.peer.request(
            method,
            self._target,
            self.to,
            from_=self.invite["from"],
            to_header=self.to_header,
            call_id=self.invite["call-id"],
            cseq=cseq,
            headers=headers,
            body=body,
        )
