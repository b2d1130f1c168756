"""Where a session goes, one row a case."""

from typing import Any

import pytest

from sdpserver.config import Config, Route, Routing, Trunk
from sdpserver.errors import BadRequest
from sdpserver.models.webrtc import CallOptions
from sdpserver.session.routing import BuiltIn, host_of, resolve

PBX = Trunk(name="pbx", server="pbx.example.com:5060", from_domain="example.com")
GENESYS = Trunk(name="genesys", server="10.0.0.9")
CONFIG = Config(
    trunks=[PBX, GENESYS],
    routes=[
        Route(match=r"^0[0-9]+$", trunk="genesys", strip=1, prefix="+49"),
        Route(match=r"^[0-9*#]+$", trunk="pbx"),
        Route(match=r"^\+[0-9]+$", trunk="genesys"),
    ],
    routing=Routing(default="echo"),
)


@pytest.mark.parametrize(
    ("call", "metadata", "uri"),
    [
        (None, {}, "echo"),
        (CallOptions(to="tone"), {}, "tone"),
        (CallOptions(to="silence"), {"to": "600"}, "silence"),
        (CallOptions(to="600"), {}, "sip:600@pbx.example.com:5060"),
        (None, {"to": "600"}, "sip:600@pbx.example.com:5060"),
        (CallOptions(), {"to": "600"}, "sip:600@pbx.example.com:5060"),
        (CallOptions(to="030123"), {}, "sip:+4930123@10.0.0.9"),
        (CallOptions(to="tel:+49-30-123;phone-context=x"), {}, "sip:+4930123@10.0.0.9"),
        (CallOptions(to="sip:600@pbx.example.com"), {}, "sip:600@pbx.example.com:5060"),
        (CallOptions(to="SIP:600@EXAMPLE.com;transport=tcp"), {}, "sip:600@pbx.example.com:5060"),
        (CallOptions(to="600", trunk="genesys"), {}, "sip:600@10.0.0.9"),
        (CallOptions(to="echo", trunk="pbx"), {}, "sip:echo@pbx.example.com:5060"),
        (CallOptions(to="conference/sales"), {}, "conference/sales"),
        (None, {"room_id": "sales~1.a-B_"}, "conference/sales~1.a-B_"),
    ],
)
def test_destination(call: CallOptions | None, metadata: dict[str, Any], uri: str) -> None:
    assert resolve(CONFIG, call, metadata).uri == uri


@pytest.mark.parametrize(
    ("call", "metadata", "reason"),
    [
        (CallOptions(to="nobody"), {}, "bad_destination"),
        (CallOptions(to="600", trunk="nowhere"), {}, "unknown_trunk"),
        (CallOptions(to="sip:600@evil.example"), {}, "bad_destination"),
        (CallOptions(to="sip:600@evil.example", trunk="pbx"), {}, "bad_destination"),
        (CallOptions(to="sip:@pbx.example.com"), {}, "bad_destination"),
        (CallOptions(to="sip:600"), {}, "bad_destination"),
        (CallOptions(to="conference/"), {}, "bad_destination"),
        (CallOptions(to="conference/" + "x" * 65), {}, "bad_destination"),
        (CallOptions(to="conference/a/b"), {}, "bad_destination"),
        (None, {"room_id": "sales team"}, "bad_destination"),
        (None, {"to": 600}, "bad_destination"),
        (None, {"to": ""}, "bad_destination"),
        (None, {"to": "9" * 300}, "bad_destination"),
    ],
)
def test_refused_destination(call: CallOptions | None, metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        resolve(CONFIG, call, metadata)
    assert caught.value.reason == reason


def test_built_in_destinations_are_known_by_name() -> None:
    assert resolve(CONFIG, CallOptions(to="tone"), {}).built_in is BuiltIn.TONE


@pytest.mark.parametrize(
    ("server", "host"),
    [("a.example:5060", "a.example"), ("A.example", "a.example"), ("[2001:db8::1]:5060", "2001:db8::1")],
)
def test_host_of_a_trunk(server: str, host: str) -> None:
    assert host_of(server) == host
