"""Pieces of SIPp scenarios of calls: a PBX that we call (`CALLEE`), and one that calls us (`CALLER`).

What a dialog's requests need of our messages is kept in the scenario's variables: by `invited`, and by `answered`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from .sipp import END, Step

_CONTACT = "Contact: <sip:pbx@[local_ip]:[local_port]>"
_TARGET = ("Contact", "contact,target", "&lt;([^&gt;]*)&gt;")
_branches = itertools.count(1)
_cseqs = itertools.count(100)
_labels = itertools.count(1)


def sdp(port: str = "[media_port]", direction: str = "sendrecv", *, version: int = 1) -> str:
    """One audio stream, of PCMU."""
    lines = (
        "v=0",
        f"o=sipp 1 {version} IN IP4 [local_ip]",
        "s=-",
        "c=IN IP4 [media_ip]",
        "t=0 0",
        f"m=audio {port} RTP/AVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        f"a={direction}",
    )
    return "\n".join(lines) + "\n"


def _saved(*headers: tuple[str, str, str]) -> tuple[str, str]:
    """Actions by which parts of a message's headers become variables, and the names of these."""
    actions = "".join(
        f'<ereg regexp="{pattern}" search_in="hdr" header="{header}:" start_line="true" check_it="true"'
        f' assign_to="{variables}"/>'
        for header, variables, pattern in headers
    )
    return actions, ",".join(variables for _, variables, _ in headers)


def receive(
    what: str | int,
    *headers: tuple[str, str, str],
    timeout_ms: int = 8000,
    optional: bool = False,
) -> Step:
    """Wait for a request of this method or a response of this status; an optional one may be left out.

    :param headers: header, variables and regular expression: the header has to fit, and is kept in the variables.
    """
    kind = "response" if isinstance(what, int) else "request"
    bound = 'optional="true"' if optional else f'timeout="{timeout_ms}"'
    actions, variables = _saved(*headers)
    reference = f'<Reference variables="{variables}"/>\n' if variables else ""
    return Step(f'<recv {kind}="{what}" {bound}><action>{actions}</action></recv>\n{reference}')


def label(name: str) -> Step:
    return Step(f'<label id="{name}"/>\n')


def divert(user: str, to: str) -> Step:
    """Wait for an INVITE; one to this user goes on at that label."""
    action = f'<action><ereg regexp="^INVITE sip:{user}@" search_in="msg" assign_to="is_{to}"/>'
    return Step(receive("INVITE", *_INVITE).xml.replace("<action>", action) + f'<nop test="is_{to}" next="{to}"/>\n')


def end() -> Step:
    """The scenario is over for this call."""
    return Step(f'<nop next="{END}"/>\n')


def send(lines: str, headers: str = "", body: str = "") -> Step:
    """A message of these lines, its length and its body."""
    content = "Content-Type: application/sdp" if body.startswith("v=0") else ""
    text = "\n".join((lines, headers, content))
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    length = "[len]" if body else "0"
    return Step("<send><![CDATA[\n" + "\n".join([*kept, f"Content-Length: {length}", "", body]) + "\n]]></send>\n")


def branch() -> str:
    return f"z9hG4bK-{next(_branches)}-[call_number]-[pid]"


@dataclass(frozen=True, slots=True)
class Party:
    """The PBX's end of a dialog. `local` is its From, `call_id` the dialog's."""

    local: str
    call_id: str = "[call_id]"

    def request(self, method: str, headers: str = "", body: str = "", *, cseq: int = 0, via: str = "") -> Step:
        """A request in the dialog."""
        return send(
            f"""{method} [$target] SIP/2.0
            Via: SIP/2.0/UDP [local_ip]:[local_port];branch={via or branch()}
            Max-Forwards: 70
            From: {self.local}
            To: [$remote]
            Call-ID: {self.call_id}
            CSeq: {cseq or next(_cseqs)} {method}
            {_CONTACT}""",
            headers,
            body,
        )

    def reinvite(self, body: str, *, status: int = 200) -> Step:
        """An offer with this outcome, and the ACK."""
        cseq, via = next(_cseqs), branch()
        offer = self.request("INVITE", body=body, cseq=cseq, via=via)
        ack = self.request("ACK", cseq=cseq, via=via if status >= 300 else branch())
        return offer + receive(100, optional=True) + receive(status) + ack

    def bye(self) -> Step:
        return self.request("BYE") + receive(200)

    def invite(self, headers: str = "", body: str = "") -> Step:
        """The call, as a caller makes it; sent twice it is the same."""
        return send(self._first("INVITE"), f"{_CONTACT}\n{headers}", body)

    def cancel(self) -> Step:
        return send(self._first("CANCEL"))

    def _first(self, method: str) -> str:
        return f"""{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0
            Via: SIP/2.0/UDP [local_ip]:[local_port];branch=z9hG4bK-{len(self.call_id)}-[call_number]-[pid]
            Max-Forwards: 70
            From: {self.local}
            To: <sip:[service]@[remote_ip]:[remote_port]>
            Call-ID: {self.call_id}
            CSeq: 1 {method}"""

    def ack(self, body: str = "") -> Step:
        """To the 200 of `invite`."""
        return self.request("ACK", body=body, cseq=1)

    def ack_refusal(self) -> Step:
        return send(self._first("ACK").replace("To: <sip:[service]@[remote_ip]:[remote_port]>", "[last_To:]"))


CALLEE = Party("[$local];tag=[call_number]")
CALLER = Party('"The Caller" <sip:4711@[local_ip]:[local_port]>;tag=[call_number]')
SECOND_CALLER = replace(CALLER, call_id="2///[call_id]")
"""Another dialog of the same scenario, by SIPp's convention for Call-IDs."""

_INVITE = (("From", "remote", ".*"), ("To", "local", ".*"), _TARGET, ("Via", "via", ".*"), ("CSeq", "cseq", ".*"))
_KEPT = ("Via", "From", "To", "CSeq")
_PROVISIONAL = receive(100, optional=True) + receive(180, optional=True)


def called() -> Step:
    """The caller's call is answered."""
    return CALLER.invite(body=sdp()) + answered() + CALLER.ack()


def invited(*headers: tuple[str, str, str], user: str = "", password: str = "") -> Step:
    """Our INVITE comes, with these headers as `receive` has them, and with the digest of the password."""
    step = receive("INVITE", *_INVITE, *headers)
    if not password:
        return step
    right = f"right{next(_labels)}"
    action = f'<action><verifyauth assign_to="{right}" username="{user}" password="{password}"/>'
    wrong = reply("403 Forbidden").xml.replace("<send>", f'<send next="{END}">')
    return Step(step.xml.replace("<action>", action) + f'<nop test="{right}" next="{right}"/>\n{wrong}') + label(right)


def answered() -> Step:
    """200 to the caller's INVITE."""
    return _PROVISIONAL + receive(200, ("To", "remote", ".*"), _TARGET, timeout_ms=20000)


def ringing() -> Step:
    """180 to the caller's INVITE."""
    return receive(100, optional=True) + receive(180, ("To", "remote", ".*"), _TARGET)


def reply(status: str, headers: str = "", body: str = "") -> Step:
    """A response to the INVITE that `invited` got, whatever has come since."""
    return send(
        f"""SIP/2.0 {status}
        Via: [$via]
        From: [$remote]
        To: [$local];tag=[call_number]
        Call-ID: [call_id]
        CSeq: [$cseq]
        {_CONTACT if status[0] in "12" else ""}""",
        headers,
        body,
    )


def refuse(status: str, headers: str = "") -> Step:
    return reply(status, headers) + receive("ACK")


def keep(method: str) -> Step:
    """Wait for a request in the dialog, which `answer_kept` answers whatever has come since."""
    return receive(method, *((name, f"kept_{name.replace('-', '_')}", ".*") for name in _KEPT))


def answer_kept(status: str, body: str = "") -> Step:
    kept = "\n".join(f"{name}: [$kept_{name.replace('-', '_')}]" for name in _KEPT)
    return send(f"SIP/2.0 {status}\n{kept}\nCall-ID: [call_id]\n{_CONTACT}", "", body)


def talk() -> Step:
    """Our INVITE is answered."""
    return invited() + reply("180 Ringing") + reply("200 OK", body=sdp()) + receive("ACK")


def accept(headers: str = "", body: str = "", *, status: str = "200 OK") -> Step:
    """An answer to the last request, of a dialog."""
    return send(
        f"""SIP/2.0 {status}
        [last_Via:]
        [last_From:]
        [last_To:]
        [last_Call-ID:]
        [last_CSeq:]
        {_CONTACT}""",
        headers,
        body,
    )


def hung_up() -> Step:
    """Our BYE comes."""
    return receive("BYE") + accept()


def signalled() -> Step:
    """An INFO of ours tells the scenario to go on."""
    return receive("INFO") + accept()


def pressed(party: Party, digit: int) -> Step:
    """An INFO by which the scenario says that it has come so far."""
    key = f"Signal={digit}\nDuration=160\n"
    return party.request("INFO", "Content-Type: application/dtmf-relay", key) + receive(200)


def notify(party: Party, status: str, *, final: bool) -> Step:
    """How far the call is that our REFER asked for."""
    state = "terminated;reason=noresource" if final else "active;expires=60"
    headers = f"Event: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0"
    return party.request("NOTIFY", headers, f"SIP/2.0 {status}\n") + receive(200)


def notified(status: str, *, final: bool) -> Step:
    """Our NOTIFY about the call that a REFER asked for."""
    state = "terminated" if final else "active"
    subscription = ("Subscription-State", f"state_{status}", f"^ *{state}")
    step = receive("NOTIFY", ("Event", f"event_{status}", "^ *refer"), subscription)
    body = f'<ereg regexp="SIP/2.0 {status} " search_in="body" check_it="true" assign_to="body_{status}"/>'
    named = step.xml.replace("<action>", f"<action>{body}").replace('variables="', f'variables="body_{status},')
    return Step(named) + accept()
