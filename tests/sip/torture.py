"""Messages in the manner of RFC 4475: one for each of its 49, with values of our own and what it asks a server for.

`@HOST` is the sender's address and port, `@ID` a word of the message's own, `@LENGTH` the length of its body.
"""

from __future__ import annotations

from dataclasses import dataclass

from peers.sip_peer import sdp

NOTHING = 0
"""For no answer at all."""
BODY = sdp(30000, formats="0 12")
CALL = frozenset({403, 404})
"""A call that was understood: strangers may not, and the trunk asks for a user whom nobody knows."""
REGISTER = frozenset({405})
"""Understood, by a server that is no registrar."""
MALFORMED = frozenset({400})
UNKNOWN_METHOD = frozenset({405, 501})
ANY = frozenset({"trunk", "stranger"})


@dataclass(frozen=True, slots=True)
class Torture:
    """`answers` are the statuses that the RFC has for a server like this one."""

    name: str
    answers: frozenset[int]
    head: str
    body: bytes = b""

    def octets(self, host_port: str, unique: str) -> bytes:
        head = self.head.strip("\n").replace("\n", "\r\n") + "\r\n\r\n"
        for name, value in (("@HOST", host_port), ("@ID", unique), ("@LENGTH", str(len(self.body)))):
            head = head.replace(name, value)
        return head.encode() + self.body


def request(
    name: str,
    answers: frozenset[int],
    line: str,
    *more: str,
    method: str = "",
    without: tuple[str, ...] = (),
    body: str | bytes = b"",
    length: str = "Content-Length: @LENGTH",
) -> Torture:
    """A sound request with this request line, but for the headers of `more` and those left out."""
    method = method or line.split()[0]
    headers = {
        "Via": f"Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bK{name}@ID",
        "Max-Forwards": "Max-Forwards: 70",
        "From": f"From: Mallory <sip:mallory@example.org>;tag={name}",
        "To": "To: <sip:nobody@example.com>",
        "Call-ID": f"Call-ID: {name}.@ID",
        "CSeq": f"CSeq: 4711 {method}",
    }
    if method == "INVITE":
        headers["Contact"] = "Contact: <sip:mallory@@HOST>"
    given = {header.partition(":")[0].strip() for header in more}
    kept = [header for key, header in headers.items() if key not in given and key not in without]
    if body and "Content-Type" not in given:
        kept.append("Content-Type: application/sdp")
    lines = [line, *kept, *more, *([length] if length else [])]
    return Torture(name, answers, "\n".join(lines), body.encode() if isinstance(body, str) else body)


def response(name: str, line: str, *more: str, via: str = "Via: SIP/2.0/UDP @HOST;branch=z9hG4bK@ID") -> Torture:
    """A response to nothing that was asked."""
    headers = [
        via,
        "From: <sip:mallory@example.org>;tag=r1",
        "To: <sip:nobody@example.com>;tag=r2",
        f"Call-ID: {name}.@ID",
    ]
    given = {header.partition(":")[0] for header in more}
    if "CSeq" not in given:
        headers.append("CSeq: 4711 INVITE")
    return Torture(name, frozenset({NOTHING}), "\n".join([line, *headers, *more, "Content-Length: 0"]))


def binary_signature() -> bytes:
    """A multipart body with octets that are no text (RFC 4475 section 3.1.1.11)."""
    parts = [
        b"--cut\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nHello",
        b"\r\n--cut\r\nContent-Type: application/octet-stream\r\n\r\n" + bytes(range(256)),
        b"\r\n--cut--\r\n",
    ]
    return b"".join(parts)


SHORT_TORTUOUS = """
INVITE sip:nobody@example.com;neverheard SIP/2.0
TO :
 sip:nobody@example.com ;   tag    = @ID
from   : "M. A. Llory \\\\\\""       <sip:mallory@example.org>
  ;
  tag = 55a
mAx-fOrWaRdS: 0054
Call-ID: wsinv.@ID
Content-Length   : @LENGTH
cseq: 0012
  INVITE
Via  : SIP  /   2.0
 /UDP
    @HOST;rport;branch=z9hG4bKws@ID
s :
NeverHeardOf: of this
 header that goes on
 over lines
UnknownWithOddValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:@HOST;lr;odd=value;odder>
v:  SIP  / 2.0  / TCP     relay.example.com   ;
  branch  =   z9hG4bKrelay  , SIP  /    2.0   / UDP  192.0.2.44   ; branch=
 z9hG4bKfurther
m:"Quoted \\"\\"" <sip:mallory@@HOST> ; new = value ;
  other ; q = 0.33
"""

LONG = "y" * 230

MESSAGES = [
    # 3.1.1, well-formed
    Torture("wsinv", CALL | {481}, SHORT_TORTUOUS, BODY.encode()),
    request(
        "intmeth",
        UNKNOWN_METHOD,
        "!odd-Method9876543210_*+`.%indeed'~ sip:1_odd~(to-be!sure)&isn't+it$/mad?,/;;*:&it+has=1,odd!*pas$wo~d_too."
        "(does-it)@example.com SIP/2.0",
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\u0433\";tag=_t~'%+!.*-",
        'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_odd~(to-be!sure)&isn\'t+it$/mad?,/;;*@example.com>',
        "Call-ID: intmeth.word%@ID-_*+`'~)(><:\\/\"][?}{",
        "extensionHeader-!.%*+_`'~: \ufeff\u5927\u505c\u96fb",
    ),
    request(
        "esc01",
        CALL,
        "INVITE sip:sips%3Anobody%40example.com@example.net SIP/2.0",
        "To: <sip:%75se%72@example.com>",
        "From: <sip:I%20have%20spaces@example.net>;tag=esc",
        "Contact: <sip:mallory@@HOST;%6C%72;n%61me=v%61lue%25%34%31>",
        body=BODY,
    ),
    request(
        "escnull",
        REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "To: sip:null-%00-null@example.com",
        "From: sip:null-%00-null@example.com;tag=nul",
        "Contact: <sip:%00@@HOST>",
        "Contact: <sip:%00%00@@HOST>",
    ),
    request(
        "esc02",
        UNKNOWN_METHOD,
        "RE%47IST%45R sip:registrar.example.com SIP/2.0",
        'To: "%Z%45" <sip:resource@example.com>',
        'From: "%Z%45" <sip:resource@example.com>;tag=f2',
        "Contact: <sip:alias1@@HOST>",
        "C%6Fntact: <sip:alias2@@HOST>",
        "Contact: <sip:alias3@@HOST>",
    ),
    request("lwsdisp", frozenset({200}), "OPTIONS sip:nobody@example.com SIP/2.0", "From: caller<sip:m@a.org>;tag=3"),
    request(
        "longreq",
        CALL,
        "INVITE sip:nobody@example.com SIP/2.0",
        f'To: "A long name: {LONG}" <sip:nobody:secret@example.com:6000;u={LONG};n={LONG[:60]};x>',
        f'From: <sip:{LONG[:30]}{LONG}@example.com:5060>;tag=1298298{LONG};unknown{LONG}={LONG};un{LONG}="{LONG}"',
        f"Call-ID: longreq.@ID{LONG}",
        f"Unknown-{LONG}-Header: {LONG * 5}; unknown-{LONG}={LONG}",
        "Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bKlong@ID",
        *(f"Via: SIP/2.0/TCP sip{number}.example.com;branch=z9hG4bK{LONG}" for number in range(15)),
        body=BODY,
    ),
    request(
        "dblreq",
        REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "Contact: sip:j@@HOST",
        length="Content-Length: 0",
        body="INVITE sip:joe@example.com SIP/2.0\r\nTo: sip:joe@example.com\r\nFrom: <sip:c@example.net>;tag=1\r\n"
        "Max-Forwards: 6\r\nCall-ID: dblreq.2\r\nCSeq: 8 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK8\r\n\r\n",
    ),
    request("semiuri", frozenset({200}), "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0"),
    request(
        "transports",
        frozenset({200}),
        "OPTIONS sip:nobody@example.com SIP/2.0",
        "Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bKtransports@ID",
        "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bK2",
        "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK3",
        "Via: SIP/2.0/UNHEARDOF t4.example.com;branch=z9hG4bK4",
        "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK5",
    ),
    request(
        "mpart01",
        frozenset({405, 415}),
        "MESSAGE sip:nobody@example.com SIP/2.0",
        "Content-Type: multipart/mixed;boundary=cut",
        body=binary_signature(),
    ),
    response("unreason", "SIP/2.0 200 = 2**3 * 5**2 \u043f\u0440\u043e\u0441\u0442\u043e\u0435"),
    response("noreason", "SIP/2.0 100 "),
    # 3.1.2, malformed
    request(
        "badinv01",
        MALFORMED,
        "INVITE sip:nobody@example.com SIP/2.0",
        "Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bKbadinv@ID;;,;,,",
        'Contact: "Mal" <sip:mallory@@HOST>;;;;',
        body=BODY,
    ),
    request("clerr", MALFORMED, "INVITE sip:nobody@example.com SIP/2.0", body=BODY, length="Content-Length: 9999"),
    request("ncl", MALFORMED, "INVITE sip:nobody@example.com SIP/2.0", body=BODY, length="Content-Length: -999"),
    request(
        "scalar02",
        MALFORMED,
        "REGISTER sip:example.com SIP/2.0",
        "Via: SIP/2.0/UDP @HOST;branch=z9hG4bKscalar@ID",
        "CSeq: 36893488147419103232 REGISTER",
        "Max-Forwards: 300",
        "Expires: 1" + "0" * 68,
        "Contact: <sip:mallory@@HOST>;expires=280297596632815",
    ),
    response(
        "scalarlg",
        "SIP/2.0 503 Service Unavailable",
        "CSeq: 9292394834772304023312 OPTIONS",
        "Retry-After: 949302838503028349304023988",
        'Warning: 1812 overture "In Progress"',
    ),
    request("quotbal", MALFORMED, "INVITE sip:nobody@example.com SIP/2.0", 'To: "Mr. Nobody <sip:n@e.com>', body=BODY),
    request("ltgtruri", MALFORMED, "INVITE <sip:nobody@example.com> SIP/2.0", body=BODY),
    request("lwsruri", MALFORMED, "INVITE sip:nobody@example.com; lr SIP/2.0", body=BODY),
    request("lwsstart", MALFORMED | CALL, "INVITE  sip:nobody@example.com  SIP/2.0", body=BODY),
    request("trws", MALFORMED | {200}, "OPTIONS sip:nobody@example.com SIP/2.0  "),
    request("escruri", MALFORMED | CALL, "INVITE sip:n@example.com?Route=%3Csip:example.com%3E SIP/2.0", body=BODY),
    request(
        "baddate",
        MALFORMED | CALL,
        "INVITE sip:nobody@example.com SIP/2.0",
        "Date: Fri, 01 Jan 2010 16:00:00 EST",
        body=BODY,
    ),
    request(
        "regbadct",
        MALFORMED | REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "Contact: sip:mallory@@HOST?Route=%3Csip:sip.example.com%3E",
    ),
    request(
        "badaspec",
        MALFORMED | {200},
        "OPTIONS sip:nobody@example.org SIP/2.0",
        'To: "No, Body" < sip:nobody@example.org >',
    ),
    request(
        "baddn",
        MALFORMED | {200},
        "OPTIONS sip:nobody@example.org SIP/2.0",
        "From: Llory, Ma <sip:mallory@example.org>;tag=dn",
    ),
    request(
        "badvers",
        frozenset({505}),
        "OPTIONS sip:nobody@example.org SIP/7.0",
        "Via: SIP/7.0/UDP @HOST;branch=z9hG4bKv@ID",
    ),
    request("mismatch01", MALFORMED, "OPTIONS sip:nobody@example.org SIP/2.0", method="INVITE"),
    request("mismatch02", MALFORMED | {501}, "NEWMETHOD sip:nobody@example.org SIP/2.0", method="INVITE"),
    response("bigcode", "SIP/2.0 4294967301 better not break the receiver"),
    # 3.2, transactions
    request(
        "badbranch",
        frozenset({200, 400}),
        "OPTIONS sip:nobody@example.com SIP/2.0",
        "Via: SIP/2.0/UDP @HOST;rport;branch=z9hG4bK",
    ),
    # 3.3, well-formed and not to be done
    request(
        "insuf",
        MALFORMED,
        "INVITE sip:nobody@example.com SIP/2.0",
        without=("From", "To", "Call-ID", "Max-Forwards"),
        body=BODY,
    ),
    request("unkscm", frozenset({416}), "OPTIONS nobodysscheme:opaquecontent SIP/2.0"),
    request("novelsc", frozenset({416}), "OPTIONS soap.beep://192.0.2.113:3002 SIP/2.0"),
    request(
        "unksm2",
        REGISTER | MALFORMED,
        "REGISTER sip:example.com SIP/2.0",
        "To: isbn:2983792873",
        "From: <http://www.example.com>;tag=isbn",
        "Contact: <name:John_Smith>",
    ),
    request(
        "bext01",
        frozenset({420}),
        "OPTIONS sip:nobody@example.com SIP/2.0",
        "Require: nothingSupportsThis, nothingSupportsThisEither",
        "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
    ),
    request(
        "invut",
        frozenset({403, 404, 415}),
        "INVITE sip:nobody@example.com SIP/2.0",
        "Content-Type: application/unheardof",
        body="<audio>\r\n <pcmu port='443'/>\r\n</audio>\r\n",
    ),
    request(
        "regaut01",
        REGISTER | {401},
        "REGISTER sip:example.com SIP/2.0",
        "Authorization: NobodysScheme opaque=data",
    ),
    request(
        "multi01",
        MALFORMED,
        "INVITE sip:nobody@example.com SIP/2.0",
        "CSeq: 5 INVITE",
        "CSeq: 59 INVITE",
        "Call-ID: multi01.@ID",
        "Call-ID: multi01.2.@ID",
        "To: sip:nobody@example.com",
        "To: <sip:somebody@example.net>;tag=1",
        "From: <sip:mallory@example.org>;tag=3413415",
        "From: <sip:eve@example.org>;tag=2923420",
        "Max-Forwards: 70",
        "Max-Forwards: 5",
        body=BODY,
    ),
    request(
        "mcl01",
        MALFORMED,
        "OPTIONS sip:nobody@example.com SIP/2.0",
        "Content-Type: text/plain",
        "Content-Length: 13",
        length="Content-Length: 5",
        body="There's no way to know how many octets are supposed to be here.\r\n",
    ),
    response(
        "bcast",
        "SIP/2.0 200 OK",
        via="Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1@ID\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK2@ID",
    ),
    request("zeromf", frozenset({200, 483}), "OPTIONS sip:nobody@example.com SIP/2.0", "Max-Forwards: 0"),
    request(
        "cparam01",
        REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "Contact: sip:+19725552222@gw1.example.net;unknownparam",
    ),
    request(
        "cparam02",
        REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
    ),
    request(
        "regescrt",
        REGISTER,
        "REGISTER sip:example.com SIP/2.0",
        "Contact: <sip:mallory@@HOST?Route=%3Csip:sip.example.com%3E>",
    ),
    request("sdp01", CALL | {406}, "INVITE sip:nobody@example.com SIP/2.0", "Accept: text/nobodyKnowsThis", body=BODY),
    # 3.4, of RFC 2543
    request(
        "inv2543",
        CALL | MALFORMED,
        "INVITE sip:nobody@example.com SIP/2.0",
        "Via: SIP/2.0/UDP @HOST",
        "From: <sip:mallory@example.org>",
        "To: <sip:nobody@example.com>",
        without=("Max-Forwards",),
        body=BODY,
        length="",
    ),
]
