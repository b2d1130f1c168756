"""Bodies that no honest client sends: each gets its answer at once, and nobody else waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from peers.server import ServerProcess

from .conftest import Connect

JSON = {"content-type": "application/json"}
SOON_S = 0.25
"""What is asserted on a machine that runs other things too; alone all are below 50 ms, as `--junitxml` shows."""

KIB = 1024
SDP = '{"sdp":{"type":"offer","sdp":"v=0"}'


def offer_with(members: str) -> bytes:
    return f"{SDP},{members}}}".encode()


def sdp_body(sdp: str) -> bytes:
    return orjson.dumps({"sdp": {"type": "offer", "sdp": sdp}})


CANDIDATE = "a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n"

# body, status, reason, what the message names
CASES: dict[str, tuple[bytes, int, str, str]] = {
    "empty": (b"", 400, "missing_body", "body"),
    "blank": (b" \r\n\t", 400, "missing_body", "body"),
    "no JSON": (b"v=0\r\n", 400, "invalid_json", "JSON"),
    "cut off": (b'{"sdp":', 400, "invalid_json", "ends too early"),
    "trailing": (b"{}{}", 400, "missing_field", "sdp"),
    "trailing garbage": (SDP.encode() + b"} x", 400, "invalid_json", "trailing"),
    "null": (b"null", 400, "invalid_field", "the body"),
    "array": (b"[]", 400, "invalid_field", "the body"),
    "no members": (b"{}", 400, "missing_field", "sdp is missing"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "invalid_json", "JSON"),
    "not UTF-8": (b'{"\xff":1}', 400, "invalid_json", "UTF-8"),
    "UTF-16": ('{"sdp":1}'.encode("utf-16"), 400, "invalid_json", "JSON"),
    "lone surrogate": (offer_with(r'"metadata":{"a":"\ud800"}'), 400, "invalid_json", "surrogate"),
    "surrogate in a name": (offer_with(r'"metadata":{"\udc00":1}'), 400, "invalid_json", "surrogate"),
    "surrogate in UTF-8": (
        offer_with('"metadata":{"a":"X"}').replace(b"X", b"\xed\xa0\x80"),
        400,
        "invalid_json",
        "UTF-8",
    ),
    "NaN": (offer_with('"metadata":{"a":NaN}'), 400, "invalid_json", "JSON"),
    "infinite number": (offer_with('"metadata":{"a":1e999}'), 400, "invalid_field", "metadata"),
    "number over 64 bits": (offer_with('"metadata":{"a":99999999999999999999}'), 400, "invalid_field", "metadata"),
    "200,000 digits": (offer_with('"metadata":{"a":' + "9" * 200_000 + "}"), 400, "invalid_field", "metadata"),
    "200,000 decimals": (offer_with('"metadata":{"a":1.' + "9" * 200_000 + "}"), 400, "invalid_sdp", ""),
    "deep arrays": (b"[" * 250_000, 400, "invalid_field", "the body"),
    "deep objects": (b'{"a":' * 50_000, 400, "unknown_field", "a is not known"),
    "deep metadata": (
        offer_with('"metadata":{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        400,
        "invalid_json",
        "deep",
    ),
    "metadata 900 deep": (
        offer_with('"metadata":{"a":' + "[" * 900 + "]" * 900 + "}"),
        400,
        "invalid_field",
        "metadata",
    ),
    "metadata over 16 KiB": (
        offer_with('"metadata":{"a":"' + "x" * 17 * KIB + '"}'),
        400,
        "metadata_too_large",
        "metadata",
    ),
    "many members": (
        offer_with('"metadata":{' + ",".join(f'"{n}":[1.5]' for n in range(16_000)) + "}"),
        400,
        "metadata_too_large",
        "metadata",
    ),
    "metadata no object": (offer_with('"metadata":[]'), 400, "invalid_field", "metadata"),
    "unknown member": (offer_with('"foo":1'), 400, "unknown_field", "foo is not known"),
    "unknown member inside": (offer_with('"call":{"too":"1"}'), 400, "unknown_field", "call.too is not known"),
    "long unknown member": (offer_with('"' + "f" * 200_000 + '":1'), 400, "unknown_field", "fff..."),
    "wrong type": (offer_with('"call":{"headers":{"X-A":1}}'), 400, "invalid_field", "call.headers"),
    "wrong word": (offer_with('"call":{"wait_for":"later"}'), 400, "invalid_field", "call.wait_for"),
    "wrong codec": (offer_with('"call":{"codecs":["PCMU","GSM"]}'), 400, "invalid_field", "call.codecs[1]"),
    "ring timeout": (offer_with('"call":{"ring_timeout_s":601}'), 400, "invalid_field", "call.ring_timeout_s"),
    "no offer": (b'{"sdp":{"type":"answer","sdp":"v=0"}}', 400, "invalid_field", "sdp.type"),
    "sdp no string": (b'{"sdp":{"type":"offer","sdp":17}}', 400, "invalid_field", "sdp.sdp"),
    "session_id": (offer_with('"session_id":"a b"'), 400, "invalid_field", "session_id"),
    "session_id with line feed": (offer_with(r'"session_id":"abc\n"'), 400, "invalid_field", "session_id"),
    "empty session_id": (offer_with('"session_id":""'), 400, "invalid_field", "session_id"),
    "empty SDP": (sdp_body(""), 400, "invalid_sdp", ""),
    "SDP of lines": (sdp_body("v=0\r\n" * 30_000), 400, "sdp_too_large", ""),
    "SDP with 5,000 candidates": (sdp_body("v=0\r\n" + CANDIDATE * 5_000), 400, "sdp_too_large", ""),
    "SDP of a=ssrc": (sdp_body("v=0\r\n" + "a=ssrc:1 cname:a\r\n" * 10_000), 400, "sdp_too_large", ""),
    "SDP with NUL": (sdp_body("v=0\r\n\0"), 400, "invalid_sdp", ""),
    "SDP of 2 MB": (sdp_body("v=0\r\n" + "a=x\r\n" * 400_000), 413, "body_too_large", "262144"),
    "257 KiB": (b" " * 257 * KIB, 413, "body_too_large", "262144"),
}


def assert_refused(response: httpx.Response, status: int, reason: str, named: str = "") -> None:
    assert (response.status_code, response.json()["reason"]) == (status, reason), response.text
    body = response.json()
    assert body["code"] == status
    assert named in body["error"]
    assert len(body["error"]) < 400
    assert body["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("case", CASES)
def test_a_bad_body_gets_its_answer_at_once(
    client: httpx.Client, record_testsuite_property: Callable[[str, object], None], case: str, chunked: bool
) -> None:
    body, status, reason, named = CASES[case]
    client.get("/health")
    started = time.perf_counter()
    pieces = (body[at : at + 16 * KIB] for at in range(0, len(body), 16 * KIB))
    response = client.post("/webrtc/offer", content=pieces if chunked else body, headers=JSON)
    took_s = time.perf_counter() - started
    record_testsuite_property(f"{case}, ms", round(took_s * 1000, 2))
    assert_refused(response, status, reason, named)
    assert took_s < SOON_S


def test_the_server_serves_on_after_all_of_them(client: httpx.Client, offer: Callable[..., dict[str, Any]]) -> None:
    answer = client.post("/webrtc/offer", json=offer())
    assert answer.status_code == 200, answer.text
    client.post("/webrtc/close", json={"session_id": answer.json()["session_id"]})


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"]
)
@pytest.mark.parametrize("path", ["/webrtc/offer", "/webrtc/ice-candidate", "/webrtc/close"])
def test_only_json_is_taken(client: httpx.Client, path: str, content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert_refused(client.post(path, content=b"{}", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_parameters_of_the_content_type_are_taken(client: httpx.Client, content_type: str) -> None:
    response = client.post("/webrtc/close", content=b"{}", headers={"content-type": content_type})
    assert_refused(response, 400, "missing_field", "session_id")


@pytest.mark.parametrize(
    ("body", "reason", "named"),
    [
        ({"session_id": "x"}, "missing_field", "candidate is missing"),
        ({"session_id": "x", "candidate": None, "candidates": []}, "invalid_field", "only one"),
        ({"session_id": "x", "candidate": {"candidate": "x" * 1025}}, "invalid_field", "candidate.candidate"),
        ({"session_id": "x", "candidates": [None] * 65}, "invalid_field", "candidates"),
        ({"session_id": "x", "candidate": {"sdpMLineIndex": -1}}, "invalid_field", "candidate.sdpMLineIndex"),
        ({"candidate": None}, "missing_field", "session_id"),
    ],
)
def test_bad_candidates_are_refused(client: httpx.Client, body: Any, reason: str, named: str) -> None:
    assert_refused(client.post("/webrtc/ice-candidate", json=body), 400, reason, named)


def test_an_announced_size_is_refused_before_the_body_comes(connect: Connect) -> None:
    connection = connect()
    connection.send(
        b"POST /webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 999999999\r\n\r\n"
    )
    response = connection.response()
    assert response.status == 413
    assert b"body_too_large" in response.body
    assert "connection: close" in response.head
    assert connection.is_closed()


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"9" * 30, b"1, 2", b"\xb2"])
def test_a_senseless_length_is_refused(connect: Connect, length: bytes) -> None:
    connection = connect()
    connection.send(
        b"POST /webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        + length
        + b"\r\n\r\n"
    )
    response = connection.response()
    assert response.status in (400, 413)
    assert b'"code":' in response.body


def send_endlessly(connect: Connect, total: int) -> tuple[int, bytes, int]:
    """Send `total` octets in chunks; the status and body that came, and how much was sent before the server closed."""
    connection = connect()
    connection.send(
        b"POST /webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    piece = b" " * 64 * KIB
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    sent = 0
    try:
        while sent < total:
            connection.send(chunk)
            sent += len(piece)
    except ConnectionError:
        pass  # closed on us, as it should be
    response = connection.response()
    return response.status, response.body, sent


def test_an_endless_chunked_body_is_cut_off_with_flat_memory(server: ServerProcess, connect: Connect) -> None:
    send_endlessly(connect, 1024 * KIB)  # what a first time allocates is not counted
    before = server.usage().rss_mb
    started = time.perf_counter()
    status, body, sent = send_endlessly(connect, 400 * 1024 * KIB)
    took_s = time.perf_counter() - started
    assert status == 413
    assert b'"reason":"body_too_large"' in body
    assert sent < 32 * 1024 * KIB
    assert took_s < 3
    assert server.usage().rss_mb - before < 8


def test_a_refused_body_leaves_no_connection_behind(
    server: ServerProcess, client: httpx.Client, connect: Connect
) -> None:
    client.get("/health")
    before = server.usage().fds
    for _ in range(20):
        status, _, _ = send_endlessly(connect, 2 * 1024 * KIB)
        assert status == 413
    deadline = time.monotonic() + 5
    while server.usage().fds > before and time.monotonic() < deadline:
        client.get("/health")
    assert server.usage().fds <= before


HOSTILE = [
    CASES[name][0]
    for name in (
        "deep metadata",
        "many members",
        "200,000 digits",
        "SDP with 5,000 candidates",
        "SDP of a=ssrc",
        "deep objects",
    )
]


def test_nobody_waits_for_hostile_bodies(
    server: ServerProcess, client: httpx.Client, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Two attackers send one bad body after the other; a third client asks for /health all the while."""
    stop = threading.Event()
    refused: list[int] = []

    def attack() -> None:
        with httpx.Client(base_url=server.url, timeout=10, trust_env=False) as attacker:
            while not stop.is_set():
                for body in HOSTILE:
                    refused.append(attacker.post("/webrtc/offer", content=body, headers=JSON).status_code)

    attackers = [threading.Thread(target=attack) for _ in range(2)]
    for attacker in attackers:
        attacker.start()
    times: list[float] = []
    try:
        for _ in range(200):
            started = time.perf_counter()
            assert client.get("/health").status_code == 200
            times.append(time.perf_counter() - started)
    finally:
        stop.set()
        for attacker in attackers:
            attacker.join()
    times.sort()
    p50_ms, p99_ms = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    record_testsuite_property("health_p50_ms", round(p50_ms, 2))
    record_testsuite_property("health_p99_ms", round(p99_ms, 2))
    assert len(refused) > 20
    assert set(refused) == {400}
    assert p99_ms < SOON_S * 1000
