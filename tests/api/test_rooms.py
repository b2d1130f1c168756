"""Who sees a conference, and who may do what in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers.offers import make_offer
from peers.server import ServerProcess, running

from .conftest import TIMEOUT_S

KEYS = {
    "ann": ["session", "call"],
    "bob": ["session", "call"],
    "lead": ["session", "call", "supervise"],
    "kiosk": ["session"],
}


def key_of(name: str) -> str:
    return f"{name}-key-0123456789"


@pytest.fixture(scope="module")
def keyed_server() -> Iterator[ServerProcess]:
    keys = [
        {"name": name, "sha256": hashlib.sha256(key_of(name).encode()).hexdigest(), "scopes": scopes}
        for name, scopes in KEYS.items()
    ]
    with running(ServerProcess({"auth": {"mode": "api_key", "api_keys": keys}})) as process:
        yield process


class User:
    """One credential."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.http = httpx.Client(
            base_url=server.url, headers={"x-api-key": key_of(name)}, timeout=TIMEOUT_S, trust_env=False
        )
        self.session_ids: list[str] = []

    def call(self, to: str) -> dict[str, Any]:
        response = self.http.post("/webrtc/offer", json=make_offer(call={"to": to}))
        assert response.status_code == 200, response.text
        opened: dict[str, Any] = response.json()
        self.session_ids.append(opened["session_id"])
        return opened

    def enter(self, room: str) -> str:
        """The member's id."""
        return f"{self.call(f'conference/{room}')['call']['call_id']}-webrtc"

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def close(self) -> None:
        for session_id in self.session_ids:
            self.http.post("/webrtc/close", json={"session_id": session_id})
        self.http.close()


Users = Callable[[str], User]


@pytest.fixture
def user(keyed_server: ServerProcess) -> Iterator[Users]:
    made: list[User] = []

    def user(name: str) -> User:
        made.append(User(keyed_server, name))
        return made[-1]

    yield user
    for one in made:
        one.close()


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


def test_a_room_is_there_for_who_is_in_it_and_for_supervisors(user: Users) -> None:
    ann, bob, lead = user("ann"), user("bob"), user("lead")
    member = ann.enter("team")
    for one in (ann, lead):
        assert [room["room"] for room in one.http.get("/api/rooms").json()["rooms"]] == ["team"]
        assert [found["id"] for found in one.http.get("/api/rooms/team").json()["members"]] == [member]
    assert bob.http.get("/api/rooms").json() == {"rooms": []}
    assert refusal(bob.http.get("/api/rooms/team")) == (404, "room_not_found")
    assert refusal(bob.post("/api/rooms/team/kick", member=member)) == (404, "room_not_found")
    assert refusal(lead.http.get("/api/rooms/other")) == (404, "room_not_found")


def test_members_of_others_are_muted_and_removed_by_supervisors_only(user: Users) -> None:
    ann, bob, lead = user("ann"), user("bob"), user("lead")
    anns, bobs = ann.enter("team"), bob.enter("team")
    assert refusal(ann.post("/api/rooms/team/mute", member=bobs)) == (403, "scope_missing")
    assert refusal(ann.post("/api/rooms/team/mute", member="nobody")) == (404, "member_not_found")
    assert ann.post("/api/rooms/team/mute", member=anns).json() == {
        "room": "team",
        "member": anns,
        "status": "muted",
    }
    assert lead.post("/api/rooms/team/mute", member=bobs).status_code == 200
    members = ann.http.get("/api/rooms/team").json()["members"]
    assert [found["muted"] for found in members] == [True, True]
    assert lead.post("/api/rooms/team/unmute", member=bobs).status_code == 200
    assert lead.post("/api/rooms/team/kick", member=bobs).status_code == 200
    assert [found["id"] for found in ann.http.get("/api/rooms/team").json()["members"]] == [anns]
    closed = bob.http.get(f"/webrtc/sessions/{bob.session_ids[0]}").json()
    assert (closed["state"], closed["close_reason"]) == ("closed", "kicked")


def test_a_room_is_recorded_by_who_is_in_it_and_by_supervisors(user: Users) -> None:
    ann, bob, lead, kiosk = user("ann"), user("bob"), user("lead"), user("kiosk")
    ann.enter("team")
    assert ann.http.get("/api/rooms/team").json()["recording"] is None
    order = "/api/rooms/team/record"
    assert refusal(bob.post(order, record=True)) == (404, "room_not_found")
    assert refusal(kiosk.post(order, record=True)) == (403, "scope_missing")
    assert refusal(lead.post("/api/rooms/other/record", record=True)) == (404, "room_not_found")
    assert refusal(ann.post(order, record=False)) == (409, "not_recording")
    first = ann.post(order, record=True).json()
    assert (first["room"], Path(first["path"]).name.startswith("room-team-")) == ("team", True)
    again = lead.post(order, record=True, pause=True).json()
    assert again["path"] == first["path"], "one at a time"
    assert ann.http.get("/api/rooms/team").json()["recording"]["path"] == first["path"]
    assert lead.post(order, record=True, pause=False).status_code == 200
    assert lead.post(order, record=False).json()["status"] == "stopping"
    assert ann.post(order, record=True).json()["path"] != first["path"]


def test_a_conference_needs_the_scope_of_calls(user: Users) -> None:
    kiosk = user("kiosk")
    for body in (make_offer(call={"to": "conference/team"}), make_offer(metadata={"room_id": "team"})):
        assert refusal(kiosk.http.post("/webrtc/offer", json=body)) == (403, "scope_missing")
    assert refusal(kiosk.post("/api/call/conference", callIds=["x"])) == (403, "scope_missing")
    assert kiosk.http.get("/api/rooms").json() == {"rooms": []}


def test_calls_of_others_are_supervised_by_supervisors_only_and_unseen(user: Users) -> None:
    ann, bob, lead = user("ann"), user("bob"), user("lead")
    call = ann.enter("team").removesuffix("-webrtc")
    own, leads = bob.call("silence")["session_id"], lead.call("silence")["session_id"]
    order = {"callId": call, "mode": "listen"}
    assert refusal(bob.post("/api/call/supervise", **order, sessionId=own)) == (404, "call_not_found")
    assert refusal(lead.post("/api/call/supervise", **order, sessionId=own)) == (404, "session_not_found")
    answer = lead.post("/api/call/supervise", **order, sessionId=leads)
    assert answer.json() == {"callId": call, "status": "listen"}
    assert [found["supervisor"] for found in lead.http.get("/api/rooms/team").json()["members"]] == [False, True]
    seen = ann.http.get("/api/rooms/team").json()["members"]
    assert [found["callId"] for found in seen] == [call]
    assert ann.http.get("/api/rooms/team").json()["members"] == seen
    hidden = lead.http.get("/api/rooms/team").json()["members"][1]["id"]
    assert refusal(ann.post("/api/rooms/team/kick", member=hidden)) == (404, "member_not_found")
    assert lead.post("/api/call/supervise", callId=call, mode="none", sessionId=leads).status_code == 200
    assert len(lead.http.get("/api/rooms/team").json()["members"]) == 1


def test_a_supervisor_is_in_one_place_at_a_time(user: Users) -> None:
    lead = user("lead")
    call = lead.enter("team").removesuffix("-webrtc")
    busy, free = lead.call("conference/other")["session_id"], lead.call("silence")
    supervise = "/api/call/supervise"
    assert refusal(lead.post(supervise, callId=call, sessionId=busy, mode="barge")) == (409, "supervisor_busy")
    mine = lead.session_ids[0]
    assert refusal(lead.post(supervise, callId=call, sessionId=mine, mode="barge")) == (400, "invalid_field")
    alone = {"callId": free["call"]["call_id"], "sessionId": lead.call("silence")["session_id"], "mode": "listen"}
    assert refusal(lead.post(supervise, **alone)) == (409, "call_not_answered")
    assert lead.post(supervise, callId=call, sessionId=free["session_id"], mode="whisper").status_code == 200
    assert lead.http.get("/api/rooms/team").json()["members"][1]["callId"] == free["call"]["call_id"]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/api/call/conference", {"callIds": []}, "invalid_field"),
        ("/api/call/conference", {"callIds": ["x"], "room": "a b"}, "invalid_field"),
        ("/api/call/conference", {"callIds": ["x", "x"]}, "invalid_field"),
        ("/api/call/supervise", {"callId": "x", "sessionId": "y", "mode": "shout"}, "invalid_field"),
        ("/api/call/supervise", {"callId": "x", "mode": "listen"}, "missing_field"),
        ("/api/call/mute", {"callId": "x"}, "missing_field"),
        ("/api/call/mute", {"callId": "x", "mute": True, "leg": "left"}, "invalid_field"),
        ("/api/rooms/x/mute", {}, "missing_field"),
        ("/api/rooms/x/record", {}, "missing_field"),
        ("/api/rooms/x/record", {"record": "yes"}, "invalid_field"),
        ("/api/rooms/x/record", {"record": True, "callId": "x"}, "unknown_field"),
        ("/api/rooms/x/kick", {"member": "x", "why": "?"}, "unknown_field"),
    ],
)
def test_a_wrong_order_is_a_bad_request(client: httpx.Client, path: str, body: dict[str, Any], reason: str) -> None:
    assert refusal(client.post(path, json=body)) == (400, reason)


def test_a_call_without_a_far_leg_cannot_have_it_muted(client: httpx.Client) -> None:
    opened = client.post("/webrtc/offer", json=make_offer(call={"to": "echo"})).json()
    body = {"callId": opened["call"]["call_id"], "mute": True}
    assert client.post("/api/call/mute", json=body).json() == {"callId": body["callId"], "status": "muted"}
    assert refusal(client.post("/api/call/mute", json=body | {"leg": "sip"})) == (409, "no_such_leg")
    client.post("/webrtc/close", json={"session_id": opened["session_id"]})
