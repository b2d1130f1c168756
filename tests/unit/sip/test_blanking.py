"""What of a SIP message is shown, and what never is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpserver.sip.blanking import BLANK, blanked

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
REQUEST = "INVITE sip:600@10.0.0.1 SIP/2.0\r\n"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            'Authorization: Digest username="bob", realm="pbx", nonce="84a4cc", uri="sip:pbx", response="7587245",'
            ' algorithm=MD5, cnonce="0a4f113b", qop=auth, nc=00000001, opaque="5ccc"',
            f'Authorization: Digest username="bob", realm="pbx", nonce={BLANK}, uri="sip:pbx", response={BLANK},'
            f" algorithm=MD5, cnonce={BLANK}, qop=auth, nc=00000001, opaque={BLANK}",
        ),
        (
            'proxy-AUTHENTICATE :\r\n Digest realm="pbx",\r\n\tnonce="84a4cc"',
            f'proxy-AUTHENTICATE : Digest realm="pbx", nonce={BLANK}',
        ),
        (
            'Authorization: Digest username="a\\", response=", response="7587245"',
            f'Authorization: Digest username="a\\", response=", response={BLANK}',
        ),
        ('Authorization: Digest realm="pbx", 7587245', f'Authorization: Digest realm="pbx", {BLANK}'),
        ('Authorization: Digest realm="7587245', f"Authorization: Digest {BLANK}"),
        ("Authorization: Basic Ym9iOnB3", f"Authorization: Basic {BLANK}"),
        ("Authorization: Ym9iOnB3", f"Authorization: {BLANK}"),
        ('Authentication-Info: nextnonce="47364c", qop=auth', f"Authentication-Info: nextnonce={BLANK}, qop=auth"),
        ("X-Session-Token: 47364c", f"X-Session-Token: {BLANK}"),
        (
            "From: Bob <sip:bob:pw@pbx:5060;transport=tcp>;tag=1",
            f"From: Bob <sip:bob:{BLANK}@pbx:5060;transport=tcp>;tag=1",
        ),
        ("f: <SIPS:bob:p@w@pbx>", f"f: <SIPS:bob:{BLANK}@pbx>"),
        ("Contact: sip:bob:pw@pbx", f"Contact: sip:bob:{BLANK}@pbx"),
        ("Contact: <sip:bob@pbx:5060>, <sip:cem@pbx:5062>", "Contact: <sip:bob@pbx:5060>, <sip:cem@pbx:5062>"),
        ("Call-Info: <https://bob:pw@host/a>", f"Call-Info: <https://bob:{BLANK}@host/a>"),
        (
            "Refer-To: <sip:cem@pbx?Replaces=1%40pbx%3Bto-tag%3D2&Route=%3csip%3Abob%3Apw%40pbx%3e>",
            f"Refer-To: <sip:cem@pbx?Replaces=1%40pbx%3Bto-tag%3D2&Route=%3csip%3Abob%3A{BLANK}%40pbx%3e>",
        ),
        (
            "Refer-To: <sip:cem@pbx?Authorization=Digest%20response%3d%2275872%22>",
            f"Refer-To: <sip:cem@pbx?Authorization={BLANK}>",
        ),
        ("To: <tel:+4930;postd=pp1234>", f"To: <tel:+4930;postd={BLANK}>"),
        ("Call-ID: 1:2@10.0.0.1", "Call-ID: 1:2@10.0.0.1"),
        ("Replaces: 1@pbx;to-tag=2;from-tag=3", "Replaces: 1@pbx;to-tag=2;from-tag=3"),
        ("Route: <sip:10.0.0.1:5060;lr>", "Route: <sip:10.0.0.1:5060;lr>"),
    ],
)
def test_a_header(given: str, shown: str) -> None:
    assert blanked(f"{REQUEST}{given}\r\nCSeq: 1 INVITE\r\n\r\n") == f"{REQUEST}{shown}\r\nCSeq: 1 INVITE\r\n\r\n"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4",
            f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{BLANK}",
        ),
        (f"a=crypto:1 AEAD_AES_128_GCM inline:{KEY};inline:{KEY}", f"a=crypto:1 AEAD_AES_128_GCM inline:{BLANK}"),
        (f"a=CRYPTO: 1 {KEY}", f"a=crypto:{BLANK}"),
        (f"a = crypto:1 AES_CM_128_HMAC_SHA1_80 inline: {KEY}", f"a = crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{BLANK}"),
        (f"a=crypto:1 {KEY} inline:{KEY}", f"a=crypto:{BLANK}"),
        ("a=ice-pwd:asd88fgpdd777uzjYhagZg", f"a=ice-pwd:{BLANK}"),
        (f"a=key-mgmt:mikey {KEY}", f"a=key-mgmt:{BLANK}"),
        (f"k=base64:{KEY}", f"k={BLANK}"),
        ("a=ice-ufrag:8hhY", "a=ice-ufrag:8hhY"),
        ("a=fingerprint:sha-256 AA:BB", "a=fingerprint:sha-256 AA:BB"),
    ],
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_line_of_an_sdp(given: str, shown: str, end: str) -> None:
    message = f"{REQUEST}c: application/sdp\r\n\r\nv=0\r\n{{}}m=audio 1 RTP/SAVP 0\r\n".replace("\r\n", end)
    assert blanked(message.format(given + end)) == message.format(shown + end)


PARTS = "---a b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n---a b\r\nc: application/dtmf\r\n\r\n{}\r\n---a b--\r\n"


def info(content_type: str, body: str, *, cseq: str = "2 INFO", start: str = "INFO sip:a@b SIP/2.0") -> str:
    return f"{start}\r\nCSeq: {cseq}\r\n{content_type}\r\n\r\n{body}"


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("Content-Type: application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", f"Signal={BLANK}\r\nDuration=160\r\n"),
        ("c :Application/DTMF-Relay;a=b", "signal = *\nDuration=160 #5", f"Signal={BLANK}\n{BLANK}"),
        ("Content-Type:\r\n application/dtmf", "5", BLANK),
        ("Content-Type: application/kpml-response+xml", '<x digits="55"/>', BLANK),
        ("Content-Type: application/other", "5\r\n", "[3 octets of application/other, not shown]"),
        ("X: y", "5", "[1 octets, not shown]"),
        (
            "Content-Type: text/plain\r\nContent-Type: application/sdp",
            "5",
            "[1 octets of application/sdp, text/plain, not shown]",
        ),
        (
            "Content-Type: application/sdp\r\nContent-Encoding: gzip",
            "5",
            "[1 octets of application/sdp, gzip, not shown]",
        ),
        (
            'Content-Type: multipart/mixed; boundary="-a b"',
            PARTS.format("5"),
            PARTS.format(BLANK),
        ),
        ("Content-Type: multipart/mixed", "--a\r\n\r\n5\r\n--a--", "[15 octets of multipart/mixed, not shown]"),
    ],
)
def test_what_a_body_tells_of_presses(content_type: str, body: str, shown: str) -> None:
    assert blanked(info(content_type, body)) == info(content_type, shown)
    assert blanked("\r\n\r\n" + info(content_type, body)) == "\r\n\r\n" + info(content_type, shown)
    if "dtmf" in content_type.lower():
        answer = {"cseq": "2 MESSAGE", "start": "MESSAGE sip:a@b SIP/2.0"}
        assert blanked(info(content_type, body, **answer)) == info(content_type, shown, **answer)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Subject: a\x1b[2Jb", "Subject: a\\x1b[2Jb"),
        ("Subject: \udcff\u202e\x9b", "Subject: \\xff\\u202e\\x9b"),
        ("Subject: Grüße", "Subject: Grüße"),
        ("Subject: a\x00b", "Subject: a\\x00b"),
    ],
)
def test_what_a_terminal_would_obey(given: str, shown: str) -> None:
    assert blanked(f"{REQUEST}{given}\r\n\r\n") == f"{REQUEST}{shown}\r\n\r\n"


def test_a_binary_body_is_told_by_its_length() -> None:
    head = f"{REQUEST}Content-Type: application/isup\r\n\r\n"
    assert blanked(f"{head}\x01\x00\udcff") == f"{head}[3 octets of application/isup, not shown]"
    assert blanked(f"{REQUEST}Content-Type: application/sdp\r\n\r\nv=0\x01") == (
        f"{REQUEST}Content-Type: application/sdp\r\n\r\nv=0\\x01"
    )


def test_a_fragment_in_a_body_is_a_message_too() -> None:
    head = "NOTIFY sip:a@b SIP/2.0\r\nContent-Type: message/sipfrag;version=2.0\r\n\r\n"
    assert blanked(f"{head}SIP/2.0 401 No\r\nWWW-Authenticate: Digest nonce=84a4cc\r\n") == (
        f"{head}SIP/2.0 401 No\r\nWWW-Authenticate: Digest nonce={BLANK}\r\n"
    )


# -- whatever a message looks like, what was put into it as a secret is not in what is shown

SECRET = "zq" + KEY[:22] + "qz"
_word = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8)
_noise = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30).map(lambda text: f"x{text}")
_space = st.sampled_from(["", " ", "\t", "  "])
_fold = st.sampled_from([" ", "\r\n ", "\n\t", "\r\n \t"])


def _cased(name: str) -> st.SearchStrategy[str]:
    return st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda upper: "".join(c.upper() if up else c.lower() for c, up in zip(name, upper, strict=True))
    )


@st.composite
def _credentials(draw: st.DrawFn) -> str:
    name = draw(
        st.sampled_from(["Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate"]).flatmap(
            _cased
        )
    )
    scheme = draw(st.sampled_from(["Digest ", "digest ", "DIGEST\t", "Bearer ", "NTLM ", ""]))
    secret = draw(st.sampled_from(["response", "nonce", "cnonce", "opaque", "auts", "x"]).flatmap(_cased))
    quote = draw(st.sampled_from(['"', ""]))
    parameters = [
        f'{draw(_cased("username"))}="{draw(_word)}"',
        f"qop={draw(_word)}",
        f"{secret}={quote}{SECRET}{quote}",
    ]
    order = draw(st.permutations(parameters))
    return f"{name}{draw(_space)}:{draw(_fold)}{scheme}{(',' + draw(_fold)).join(order)}"


@st.composite
def _uri(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["From", "t", "Contact", "P-Asserted-Identity", "Refer-To", "X-Any"]).flatmap(_cased))
    scheme = draw(st.sampled_from(["sip", "sips"]).flatmap(_cased))
    left, right = draw(st.sampled_from([("<", ">"), ("", ""), ('"x" <', ">;tag=1"), ("<sip:a@b>, <", ">")]))
    return f"{name}:{draw(_fold)}{left}{scheme}:{draw(_word)}:{SECRET}@{draw(_word)}{right}"


@st.composite
def _sdp_line(draw: st.DrawFn) -> str:
    inline = draw(_cased("inline"))
    return draw(
        st.sampled_from(
            [
                f"a={draw(_cased('crypto'))}:{draw(_space)}1 AES_CM_128_HMAC_SHA1_80 {inline}:{SECRET}|2^20",
                f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {inline}:abc|1:1;{inline}:{SECRET}",
                f"a={draw(_cased('ice-pwd'))}:{draw(_space)}{SECRET}",
                f"k=clear:{SECRET}",
                f"a=key-mgmt:mikey {SECRET}",
            ]
        )
    )


_end = st.sampled_from(["\r\n", "\n", "\r"])


@st.composite
def _spoilt(draw: st.DrawFn) -> str:
    """A message with secrets in some of its lines."""
    header = st.one_of(_credentials(), _uri(), st.builds("{}: {}".format, _word, _noise))
    headers = draw(st.lists(header, max_size=6))
    lines = draw(st.lists(st.one_of(_sdp_line(), _credentials(), _uri(), _noise), max_size=6))
    content_type = draw(
        st.sampled_from(["", "Content-Type: application/sdp", "c:message/sipfrag", "c: text/plain", "c: application/x"])
    )
    end = draw(_end)
    start = draw(st.sampled_from(["INVITE sip:a@b SIP/2.0", "SIP/2.0 200 OK", f"BYE sip:a:{SECRET}@b SIP/2.0", ""]))
    return end.join([start, *headers, *filter(None, [content_type]), "", *lines, ""])


@given(_spoilt())
def test_no_secret_is_ever_shown(message: str) -> None:
    shown = blanked(message)
    assert SECRET not in shown
    assert SECRET[4:20] not in shown
    assert all(character.isprintable() or character in "\r\n\t" for character in shown)


@st.composite
def _press(draw: st.DrawFn) -> str:
    """An INFO with a press, as a whole body or somewhere in parts; it is a star, which is nowhere else."""
    relay = (draw(_cased("application/dtmf-relay")), f"{draw(_cased('Signal'))}{draw(_space)}={draw(_space)}*\r\n")
    kind, body = draw(st.sampled_from([relay, (draw(_cased("application/dtmf")), "*"), ("application/any", "**")]))
    name = draw(st.sampled_from(["Content-Type", "c"]).flatmap(_cased))
    end = draw(_end)
    for boundary in draw(st.lists(st.sampled_from(["a", "-b", "c--"]), max_size=3, unique=True)):
        head = f"{name}{draw(_space)}:{draw(_fold)}{kind}"
        body = f"--{boundary}{end}{head}{end}{end}{body}{end}--{boundary}--{end}"
        kind = f'multipart/mixed;{draw(_space)}boundary="{boundary}"'
    return f"INFO sip:a@b SIP/2.0{end}CSeq: 1 INFO{end}{name}:{draw(_fold)}{kind}{end}{end}{body}"


@given(_press())
def test_no_press_is_ever_shown(message: str) -> None:
    assert "*" not in blanked(message)


@given(st.binary(max_size=400).map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_whatever_the_octets_are_the_text_can_be_sent(message: str) -> None:
    assert blanked(message).encode().decode().isprintable() or set(message) & set("\r\n\t")
