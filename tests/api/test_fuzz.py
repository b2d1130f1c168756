"""No input gives a 500: what nobody thought of."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers.server import ServerProcess

OfferSdp = Callable[..., str]

EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def members(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these members, each with any value."""
    return st.dictionaries(st.sampled_from(names), json_values, max_size=len(names))


near_bodies = (
    st.tuples(st.just("/webrtc/close"), members("session_id", "reason"))
    | st.tuples(st.just("/webrtc/ice-candidate"), members("session_id", "candidate", "candidates"))
    | st.tuples(st.just("/webrtc/offer"), members("sdp", "session_id", "resume_token", "metadata", "call"))
)


def check(client: httpx.Client, path: str, **request: Any) -> None:
    response = client.post(path, **request)
    assert response.status_code < 500, response.text
    if response.status_code == 200:
        client.post("/webrtc/close", json={"session_id": response.json()["session_id"]}).raise_for_status()
    else:
        body = response.json()
        assert body["code"] == response.status_code
        assert body["reason"]
        assert body["error"]


@EXAMPLES
@given(path_and_body=near_bodies)
def test_any_value_for_any_member(client: httpx.Client, path_and_body: tuple[str, Any]) -> None:
    path, body = path_and_body
    check(client, path, json=body)


@EXAMPLES
@given(call=members("to", "from", "display_name", "trunk", "headers", "codecs", "record", "ring_timeout_s", "wait_for"))
def test_any_call_beside_a_good_offer(client: httpx.Client, offer_sdp: OfferSdp, call: dict[str, Any]) -> None:
    check(client, "/webrtc/offer", json={"sdp": {"type": "offer", "sdp": offer_sdp()}, "call": call})


@EXAMPLES
@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0dns' + string.digits, max_size=60).map(str.encode))
def test_any_octets(client: httpx.Client, body: bytes) -> None:
    check(client, "/webrtc/offer", content=body, headers={"content-type": "application/json"})


@EXAMPLES
@given(data=st.data())
def test_any_damage_to_a_good_offer(client: httpx.Client, offer_sdp: OfferSdp, data: st.DataObject) -> None:
    lines = offer_sdp().split("\r\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "double", "swap", "cut", "splice", "text"])):
            case "drop":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, 12))]
            case "splice":
                lines[at] = lines[at][:6] + data.draw(st.text(max_size=8)) + lines[at][6:]
            case "text":
                lines[at] = data.draw(st.text(max_size=30))
        if not lines:
            lines = ["v=0"]
    text = "\r\n".join(lines).encode("utf-8", "replace").decode()
    check(client, "/webrtc/offer", json={"sdp": {"type": "offer", "sdp": text}})


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"]),
    path=st.text(alphabet=string.printable.replace("#", "").replace("?", ""), max_size=20),
    headers=st.dictionaries(
        st.sampled_from(
            ["origin", "content-type", "last-event-id", "authorization", "x-request-id", "upgrade", "range"]
        ),
        st.binary(max_size=20).map(
            lambda value: bytes(octet for octet in value if octet >= 32 and octet != 127).strip()
        ),
    ),
)
def test_any_path_and_header(
    server: ServerProcess, client: httpx.Client, method: str, path: str, headers: dict[str, bytes]
) -> None:
    url = httpx.URL(server.url).copy_with(raw_path=b"/" + quote(path, safe="/%").encode())
    response = client.request(method, url, headers={name.encode(): value for name, value in headers.items()})
    assert response.status_code < 500, response.text
