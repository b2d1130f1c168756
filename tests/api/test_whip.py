"""WHIP by its HTTP alone: what each request is answered, and that nothing is lost by bad ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers.offers import make_offer_sdp
from peers.server import ServerProcess, running

from .conftest import TIMEOUT_S, Connect
from .test_routes import assert_error

SDP = {"content-type": "application/sdp"}
SDPFRAG = {"content-type": "application/trickle-ice-sdpfrag"}
CANDIDATE = "candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host generation 0"
SECTION = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
NEW_ICE = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"


def ice_of(sdp: str) -> str:
    """Its `a=ice-ufrag` and `a=ice-pwd`, as a fragment has them."""
    return "".join(f"{line}\r\n" for line in re.findall(r"a=ice-(?:ufrag|pwd):\S+", sdp))


@dataclass(frozen=True, slots=True)
class Resource:
    """A session at its URL."""

    client: httpx.Client
    offer: str
    response: httpx.Response

    @property
    def url(self) -> str:
        return self.response.headers["location"]

    @property
    def session_id(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def etag(self) -> str:
        return self.response.headers["etag"]

    def patch(self, body: str, if_match: str | None) -> httpx.Response:
        headers = SDPFRAG if if_match is None else SDPFRAG | {"if-match": if_match}
        return self.client.patch(self.url, content=body, headers=headers)

    @property
    def remote_candidates(self) -> int:
        described = self.client.get(f"/webrtc/sessions/{self.session_id}").json()
        count: int = described["webrtc"]["ice"]["remote_candidates"]
        return count


def post(client: httpx.Client, to: str = "echo", offer: str = "") -> Resource:
    offer = offer or make_offer_sdp()
    response = client.post(f"/whip/{to}", content=offer, headers=SDP)
    assert response.status_code == 201, response.text
    return Resource(client, offer, response)


@pytest.fixture
def resource(client: httpx.Client) -> Iterator[Resource]:
    made = post(client)
    yield made
    assert client.delete(made.url).status_code == 200


# -- POST


def test_an_offer_is_answered_with_a_resource(client: httpx.Client) -> None:
    made = post(client)
    assert made.response.headers["content-type"] == "application/sdp"
    answer = made.response.text
    assert answer.startswith("v=0\r\n")
    assert "a=sendrecv\r\n" in answer
    assert "a=ice-lite\r\n" in answer
    assert re.fullmatch(r"/whip/sessions/[A-Za-z0-9_-]{16,}", made.url)
    assert re.fullmatch(r'"[!#-~]+"', made.etag)
    described = client.get(f"/webrtc/sessions/{made.session_id}").json()
    assert described["call"]["to"] == "echo"
    assert made.session_id in [one["session_id"] for one in client.get("/webrtc/sessions").json()["sessions"]]
    assert described["call"]["call_id"] in [one["callId"] for one in client.get("/api/calls/active").json()["calls"]]
    response = client.delete(made.url)
    assert (response.status_code, response.content) == (200, b"")
    assert client.get(f"/webrtc/sessions/{made.session_id}").json()["state"] == "closed"


@pytest.mark.parametrize("to", ["conference/team", quote("conference/team", safe=""), "%65cho"])
def test_a_destination_is_the_rest_of_the_path(client: httpx.Client, to: str) -> None:
    made = post(client, to)
    described = client.get(f"/webrtc/sessions/{made.session_id}").json()
    assert described["call"]["to"] in ("conference/team", "echo")
    client.delete(made.url)


def test_an_offer_to_send_alone_is_answered_recvonly(client: httpx.Client) -> None:
    made = post(client, offer=make_offer_sdp().replace("a=sendrecv", "a=sendonly"))
    assert "a=recvonly\r\n" in made.response.text
    client.delete(made.url)


def with_video(sdp: str) -> str:
    audio = sdp[sdp.index("m=audio") :]
    video = audio.replace("m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 101", "m=video 9 UDP/TLS/RTP/SAVPF 96")
    video = re.sub(r"a=rtpmap.*\r\n", "", video).replace("a=mid:0", "a=mid:1") + "a=rtpmap:96 VP8/90000\r\n"
    return sdp.replace("BUNDLE 0", "BUNDLE 0 1") + video


def with_second_audio(sdp: str) -> str:
    return sdp.replace("BUNDLE 0", "BUNDLE 0 1") + sdp[sdp.index("m=audio") :].replace("a=mid:0", "a=mid:1")


OFFERS: dict[str, tuple[Callable[[str], str], int, str]] = {
    "no SDP": (lambda sdp: "hello", 400, "invalid_sdp"),
    "empty": (lambda sdp: "", 400, "missing_body"),
    "JSON": (lambda sdp: '{"type": "offer"}', 400, "invalid_sdp"),
    "no bundle": (lambda sdp: sdp.replace("a=group:BUNDLE 0\r\n", ""), 400, "bundle_required"),
    "no rtcp-mux": (lambda sdp: sdp.replace("a=rtcp-mux\r\n", ""), 400, "rtcp_mux_required"),
    "no ICE": (lambda sdp: re.sub(r"a=ice-.*\r\n", "", sdp), 400, "no_ice"),
    "no codec": (lambda sdp: sdp.replace(" 111 0 8 101", " 18"), 400, "no_common_codec"),
    "video": (with_video, 422, "partial_answer"),
    "two voices": (with_second_audio, 422, "partial_answer"),
    "recvonly": (lambda sdp: sdp.replace("sendrecv", "recvonly"), 422, "direction_not_allowed"),
    "inactive": (lambda sdp: sdp.replace("sendrecv", "inactive"), 422, "direction_not_allowed"),
}


@pytest.mark.parametrize("case", OFFERS)
def test_an_offer_that_cannot_be_taken_whole_is_refused(server: ServerProcess, client: httpx.Client, case: str) -> None:
    change, status, reason = OFFERS[case]
    before = server.sessions()
    assert_error(client.post("/whip/echo", content=change(make_offer_sdp()), headers=SDP), status, reason)
    assert server.sessions() == before


@pytest.mark.parametrize(
    ("to", "reason"), [("nowhere", "bad_destination"), ("x" * 300, "bad_destination"), ("a%0Ab", "bad_destination")]
)
def test_an_unknown_destination_is_refused(client: httpx.Client, to: str, reason: str) -> None:
    assert_error(client.post(f"/whip/{to}", content=make_offer_sdp(), headers=SDP), 400, reason)


def test_other_types_of_bodies_are_refused_and_the_right_one_named(client: httpx.Client, resource: Resource) -> None:
    for wrong in ("application/json", "text/plain", "", "application/sdpx"):
        headers = {"content-type": wrong} if wrong else {}
        response = client.post("/whip/echo", content=make_offer_sdp().encode(), headers=headers)
        assert_error(response, 415, "unsupported_media_type")
        assert response.headers["accept-post"] == "application/sdp"
    response = client.patch(resource.url, content=NEW_ICE, headers=SDP | {"if-match": "*"})
    assert_error(response, 415, "unsupported_media_type")
    assert response.headers["accept-patch"] == "application/trickle-ice-sdpfrag"


def test_bodies_are_limited(client: httpx.Client, resource: Resource) -> None:
    big = b"v=0\r\n" + b"a=x\r\n" * 60_000
    assert_error(client.post("/whip/echo", content=big, headers=SDP), 413, "body_too_large")
    assert_error(client.patch(resource.url, content=big, headers=SDPFRAG), 413, "body_too_large")
    assert_error(client.post("/whip/echo", content=b"\xff\xfe", headers=SDP), 400, "invalid_sdp")
    assert_error(client.post("/whip/echo", content=big[:100_000], headers=SDP), 400, "sdp_too_large")


# -- methods


def test_options_name_what_is_taken(client: httpx.Client, resource: Resource) -> None:
    response = client.options("/whip/echo")
    assert response.status_code == 200
    assert response.headers["accept-post"] == "application/sdp"
    assert response.headers["allow"] == "OPTIONS, POST"
    for url in (resource.url, "/whip/sessions/none"):
        response = client.options(url)
        assert response.status_code == 200
        assert response.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
        assert response.headers["allow"] == "DELETE, OPTIONS, PATCH"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_other_methods_of_the_endpoint_are_reserved(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/whip/echo")
    assert response.status_code == 405
    assert sorted(response.headers["allow"].split(", ")) == ["OPTIONS", "POST"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
def test_other_methods_of_the_session_are_reserved(resource: Resource, method: str) -> None:
    response = resource.client.request(method, resource.url)
    assert response.status_code == 405
    assert sorted(response.headers["allow"].split(", ")) == ["DELETE", "OPTIONS", "PATCH"]


def test_a_page_of_another_site_may_read_what_it_needs() -> None:
    origin = "https://studio.example"
    tables = {"http": {"cors_origins": [origin]}}
    with (
        running(ServerProcess(tables)) as server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        preflight = {"origin": origin, "access-control-request-method": "PATCH"}
        response = client.options("/whip/echo", headers=preflight)
        assert response.is_success
        assert response.headers["accept-post"] == "application/sdp"
        assert "if-match" in response.headers["access-control-allow-headers"]
        for method in ("POST", "PATCH", "DELETE"):
            assert method in response.headers["access-control-allow-methods"]
        made = client.post("/whip/echo", content=make_offer_sdp(), headers=SDP | {"origin": origin})
        exposed = made.headers["access-control-expose-headers"]
        assert {"location", "etag", "link"} <= set(exposed.split(", "))
        client.delete(made.headers["location"])


# -- PATCH


def test_candidates_are_taken_once(resource: Resource) -> None:
    own = ice_of(resource.offer)
    for _ in range(2):
        response = resource.patch(own + SECTION + f"a={CANDIDATE}\r\n", resource.etag)
        assert (response.status_code, response.content) == (204, b"")
        assert "etag" not in response.headers
    assert resource.remote_candidates == 1
    end = own + SECTION + f"a={CANDIDATE.replace('192.0.2.1', '192.0.2.2')}\r\na=end-of-candidates\r\n"
    assert resource.patch(end, f'"other", {resource.etag}').status_code == 204
    assert resource.remote_candidates == 2
    assert resource.patch(own, "*").status_code == 204


def test_an_ice_restart_makes_another_ice_session(resource: Resource) -> None:
    restarted = resource.patch(NEW_ICE + SECTION + f"a={CANDIDATE}\r\n", "*")
    assert restarted.status_code == 200
    assert restarted.headers["content-type"] == "application/trickle-ice-sdpfrag"
    assert restarted.headers["etag"] != resource.etag
    assert ice_of(restarted.text) != ice_of(resource.response.text)
    assert "a=ice-lite\r\n" in restarted.text
    assert "a=candidate:" in restarted.text
    assert resource.remote_candidates == 1

    again = resource.patch(NEW_ICE + SECTION + f"a={CANDIDATE}\r\n", '"*"')
    assert (again.status_code, again.text) == (200, restarted.text)
    assert again.headers["etag"] == restarted.headers["etag"]

    late = ice_of(resource.offer) + SECTION + f"a={CANDIDATE}\r\n"
    assert_error(resource.patch(late, resource.etag), 412, "ice_session_over")
    assert_error(resource.patch(late, "*"), 412, "ice_session_over")
    assert_error(resource.patch(late, restarted.headers["etag"]), 422, "unknown_ufrag")
    assert resource.patch(NEW_ICE + SECTION + "a=end-of-candidates", restarted.headers["etag"]).status_code == 204


@pytest.mark.parametrize("if_match", ['"xyzzy"', "xyzzy", 'W/"xyzzy"', "W/{etag}", '""', ","])
def test_another_tag_does_not_match(resource: Resource, if_match: str) -> None:
    own = ice_of(resource.offer) + SECTION
    assert_error(resource.patch(own, if_match.replace("{etag}", resource.etag)), 412, "ice_session_over")


def test_a_patch_must_say_which_ice_session_it_is_about(resource: Resource) -> None:
    assert_error(resource.patch(ice_of(resource.offer) + SECTION, None), 428, "if_match_required")
    assert_error(resource.patch(NEW_ICE, None), 428, "if_match_required")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("{own}" + SECTION.replace("mid:0", "mid:1") + f"a={CANDIDATE}", 422, "unknown_mid"),
        ("", 400, "missing_body"),
        ("v=0", 400, "invalid_sdpfrag"),
        (SECTION + f"a={CANDIDATE}", 400, "invalid_sdpfrag"),
        ("{own}" + SECTION + "a=candidate:x", 400, "invalid_candidate"),
    ],
)
@pytest.mark.parametrize("tag", ["current", "any"])
def test_a_bad_fragment_changes_nothing(resource: Resource, tag: str, body: str, status: int, reason: str) -> None:
    body = body.replace("{own}", ice_of(resource.offer))
    assert_error(resource.patch(body, resource.etag if tag == "current" else "*"), status, reason)
    assert resource.remote_candidates == 0
    assert resource.patch(ice_of(resource.offer), resource.etag).status_code == 204


def test_new_credentials_without_a_star_are_no_restart(resource: Resource) -> None:
    assert_error(resource.patch(NEW_ICE, resource.etag), 422, "unknown_ufrag")
    assert resource.patch(ice_of(resource.offer), resource.etag).status_code == 204


def test_a_restart_with_an_unknown_mid_is_none(resource: Resource) -> None:
    assert_error(resource.patch(NEW_ICE + SECTION.replace("mid:0", "mid:7"), "*"), 422, "unknown_mid")
    assert resource.patch(ice_of(resource.offer), resource.etag).status_code == 204


fragment_lines = st.lists(
    st.sampled_from([*NEW_ICE.splitlines(), *SECTION.splitlines(), f"a={CANDIDATE}", "a=end-of-candidates", "a=mid:1"])
    | st.text(max_size=30),
    max_size=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    body=fragment_lines.map("\r\n".join).map(lambda text: text.encode(errors="replace")) | st.binary(max_size=100),
    if_match=st.none() | st.just("*") | st.text(alphabet='W/"*,abc', max_size=8).map(str.strip),
)
def test_no_fragment_gives_a_500_or_ends_the_session(resource: Resource, body: bytes, if_match: str | None) -> None:
    headers = SDPFRAG | ({} if if_match is None else {"if-match": if_match})
    response = resource.client.patch(resource.url, content=body, headers=headers)
    assert response.status_code in (200, 204, 400, 412, 422, 428), response.text
    if response.status_code >= 400:
        assert response.json()["code"] == response.status_code
    described = resource.client.get(f"/webrtc/sessions/{resource.session_id}").json()
    assert described["close_reason"] is None


def test_no_leg_and_no_session_is_lost_by_bad_requests(server: ServerProcess, client: httpx.Client) -> None:
    made = post(client)
    before = server.usage()
    for _ in range(40):
        made.patch(NEW_ICE.replace("ysXw", "ysX"), "*")
        made.patch(NEW_ICE, '"x"')
        client.post("/whip/echo", content=with_video(make_offer_sdp()), headers=SDP)
        client.post("/whip/nowhere", content=make_offer_sdp(), headers=SDP)
    for number in range(40):
        assert made.patch(NEW_ICE.replace("ysXw", f"ysXw{number}"), "*").status_code == 200
    after = server.usage()
    assert (after.threads, after.udp) == (before.threads, before.udp)
    assert after.fds <= before.fds
    assert len(server.open_sessions()) == 1
    client.delete(made.url)
    assert server.open_sessions() == []


# -- DELETE


def test_a_deleted_session_is_gone(client: httpx.Client) -> None:
    made = post(client)
    for _ in range(2):
        assert client.delete(made.url, headers={"if-match": '"no matter"'}).status_code == 200
    assert_error(made.patch(NEW_ICE, "*"), 404, "session_not_found")


def test_a_session_that_never_was_is_not_found(client: httpx.Client) -> None:
    assert_error(client.delete("/whip/sessions/none"), 404, "session_not_found")
    response = client.patch("/whip/sessions/none", content=NEW_ICE, headers=SDPFRAG | {"if-match": "*"})
    assert_error(response, 404, "session_not_found")


def test_a_client_that_breaks_off_its_body_leaves_nothing(server: ServerProcess, connect: Connect) -> None:
    connection = connect()
    connection.send(
        b"POST /whip/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: 900\r\n\r\nv=0"
    )
    connection.close()
    assert server.open_sessions() == []


# -- who may


KEYS = {name: f"key-of-{name}-0123456789" for name in ("ann", "bob", "listener")}


def key_table(name: str, *scopes: str) -> dict[str, Any]:
    from sdpserver.api.credentials import hash_key

    return {"name": name, "sha256": hash_key(KEYS[name]), "scopes": list(scopes)}


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServerProcess]:
    tables = {
        "auth": {
            "mode": "api_key",
            "api_keys": [
                key_table("ann", "session", "call"),
                key_table("bob", "session", "call"),
                key_table("listener", "session"),
            ],
        },
        "ice_servers": [{"urls": ["stun:stun.example.net"]}],
        "turn": {"urls": ["turn:turn.example.net?transport=udp", "turns:turn.example.net"], "secret": "s" * 20},
    }
    with running(ServerProcess(tables)) as process:
        yield process


def as_(server: ServerProcess, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {KEYS[name]}"}
    return httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False, headers=headers)


def test_a_resource_is_there_for_its_owner_alone(guarded: ServerProcess) -> None:
    with as_(guarded, "ann") as ann, as_(guarded, "bob") as bob:
        made = post(ann)
        assert_error(bob.delete(made.url), 404, "session_not_found")
        response = bob.patch(made.url, content=NEW_ICE, headers=SDPFRAG | {"if-match": "*"})
        assert_error(response, 404, "session_not_found")
        anybody = httpx.post(f"{guarded.url}/whip/echo", content=make_offer_sdp(), headers=SDP, trust_env=False)
        assert_error(anybody, 401, "credentials_missing")
        assert anybody.headers["www-authenticate"].startswith("Bearer")
        assert httpx.options(f"{guarded.url}/whip/echo", trust_env=False).status_code == 200
        assert made.patch(ice_of(made.offer), made.etag).status_code == 204
        assert ann.delete(made.url).status_code == 200


def test_who_may_not_call_reaches_what_is_built_in(guarded: ServerProcess) -> None:
    with as_(guarded, "listener") as client:
        made = post(client, "echo")
        client.delete(made.url)
        response = client.post("/whip/conference/team", content=make_offer_sdp(), headers=SDP)
        assert_error(response, 403, "scope_missing")


def test_ice_servers_come_as_links(guarded: ServerProcess) -> None:
    with as_(guarded, "ann") as client:
        made = post(client)
        stun, turn, turns = made.response.headers.get_list("link")
        assert stun == '<stun:stun.example.net>; rel="ice-server"'
        expected = r'; rel="ice-server"; username="\d+:ann"; credential="[A-Za-z0-9+/=]+"; credential-type="password"'
        assert re.fullmatch(r"<turn:turn\.example\.net\?transport=udp>" + expected, turn)
        assert re.fullmatch(r"<turns:turn\.example\.net>" + expected, turns)
        client.delete(made.url)
