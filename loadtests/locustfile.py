"""Callers for locust: `locust -f loadtests/locustfile.py --headless -u 20 -r 10 -t 30s -H http://127.0.0.1:8080`.

`SignallingUser` does what a browser does over HTTP: offer, candidates, close. `MediaUser` also finishes ICE and
DTLS, sends a second of audio and waits for the first packet back; the generator (`native/loadgen`) does that for
all users of the process. `SDPSERVER_TO` says where calls go (default `echo`).
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
import msgspec
from gevent.event import AsyncResult  # type: ignore[import-untyped]
from gevent.lock import Semaphore  # type: ignore[import-untyped]
from locust import HttpUser, constant, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.loadgen import Endpoint, LoadgenError, build
from loadtests.sdp import parse_webrtc_answer, webrtc_offer

TO = os.environ.get("SDPSERVER_TO", "echo")
HOLD_S = 1.0
PROFILE = "AEAD_AES_128_GCM"


class Generator:
    """The generator for users that are greenlets: the same lines as `loadtests.loadgen.Loadgen`, without asyncio."""

    def __init__(self) -> None:
        executable = build()  # may compile; locust has patched subprocess, so that others go on
        self._process = subprocess.Popen([executable], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ids = itertools.count(1)
        self._told: dict[tuple[int, str], AsyncResult] = {}
        self._reader = gevent.spawn(self._read)

    def send(self, verb: str, **arguments: object) -> None:
        assert self._process.stdin is not None
        words = [verb, *(f"{key}={value}" for key, value in arguments.items())]
        self._process.stdin.write((" ".join(words) + "\n").encode())
        self._process.stdin.flush()

    def endpoint(self) -> Endpoint:
        """One that sends as soon as it is connected and expects its own packets back."""
        number = next(self._ids)
        self.send("endpoint", id=number, group="locust", side="a", autostart=1)
        reply = self.wait(number, "endpoint")
        return Endpoint(
            id=number, port=reply["port"], ufrag=reply["ufrag"], pwd=reply["pwd"], fingerprint=reply["fingerprint"]
        )

    def wait(self, endpoint: int, event: str, timeout_s: float = 12.0) -> dict[str, Any]:
        """Raises LoadgenError when the endpoint failed, gevent.Timeout."""
        told: dict[str, Any] = self._result(endpoint, event).get(timeout=timeout_s)
        return told

    def remove(self, endpoint: int) -> None:
        self.send("remove", id=endpoint)
        for key in [key for key in self._told if key[0] == endpoint]:
            del self._told[key]

    def stop(self) -> None:
        self.send("quit")
        self._process.wait(5)
        self._reader.join(5)

    def _result(self, endpoint: int, event: str) -> AsyncResult:
        return self._told.setdefault((endpoint, event), AsyncResult())

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = msgspec.json.decode(line)
            event = message.get("reply") or message["event"]
            if event == "failed":
                for awaited in ("connected", "first_rtp"):
                    self._result(message["id"], awaited).set_exception(LoadgenError(message["error"]))
            elif "id" in message:
                self._result(message["id"], event).set(message)


_generator: Generator | None = None
_lock = Semaphore()


def generator() -> Generator:
    """Made with the first user that needs it."""
    global _generator  # locust offers no other place that all users of a process share
    with _lock:
        if _generator is None:
            _generator = Generator()
        return _generator


def _stop_generator(environment: Environment, **_: object) -> None:
    global _generator
    if _generator is not None:
        _generator.stop()
        _generator = None


events.quitting.add_listener(_stop_generator)  # type: ignore[no-untyped-call]


class CallingUser(HttpUser):
    """What both kinds do. `wait_time` is between two calls."""

    abstract = True
    wait_time = constant(0.5)

    def make_endpoint(self) -> Endpoint:
        try:
            return generator().endpoint()
        except LoadgenError as exc:
            raise StopUser(str(exc)) from exc

    def offer(self, endpoint: Endpoint) -> dict[str, Any] | None:
        """The reply, or nothing when the server refused (locust counts that)."""
        body = {"sdp": {"type": "offer", "sdp": webrtc_offer(endpoint)}, "call": {"to": TO}}
        with self.client.post("/webrtc/offer", json=body, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code} {response.text[:200]}")
                return None
            reply: dict[str, Any] = response.json()
            return reply

    def candidates(self, reply: dict[str, Any], endpoint: Endpoint) -> None:
        candidate = f"candidate:1 1 udp 2130706431 127.0.0.1 {endpoint.port} typ host"
        self.client.post(
            "/webrtc/ice-candidate",
            json={
                "session_id": reply["session_id"],
                "candidates": [{"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0}, None],
            },
        )

    def close(self, reply: dict[str, Any]) -> None:
        self.client.post("/webrtc/close", json={"session_id": reply["session_id"], "reason": "done"})

    def timed(self, name: str, started_ns: int, endpoint: Endpoint, event: str) -> bool:
        """Wait for the generator's event; locust lists it as a request of type MEDIA."""
        failure: Exception | None = None
        took_ms = 0.0
        try:
            took_ms = (generator().wait(endpoint.id, event)["at_ns"] - started_ns) / 1e6
        except LoadgenError as exc:
            failure = exc
        except gevent.Timeout:
            failure = TimeoutError(f"no {event}")
        self.environment.events.request.fire(
            request_type="MEDIA",
            name=name,
            response_time=took_ms,
            response_length=0,
            exception=failure,
            context=self.context(),
        )
        return failure is None


class SignallingUser(CallingUser):
    """Offer, candidates, close: HTTP alone. The socket behind its SDP is real but stays silent."""

    weight = 2

    @task
    def call(self) -> None:
        endpoint = self.make_endpoint()
        try:
            if reply := self.offer(endpoint):
                self.candidates(reply, endpoint)
                self.close(reply)
        finally:
            generator().remove(endpoint.id)


class MediaUser(CallingUser):
    """A whole call: offer, ICE, DTLS, audio there and back, close."""

    weight = 1

    @task
    def call(self) -> None:
        endpoint = self.make_endpoint()
        try:
            started_ns = time.monotonic_ns()
            reply = self.offer(endpoint)
            if reply is None:
                return
            answer = parse_webrtc_answer(reply["sdp"]["sdp"])
            generator().send(
                "connect",
                id=endpoint.id,
                profile=PROFILE,
                ip=answer.ip,
                port=answer.port,
                ufrag=answer.ufrag,
                pwd=answer.pwd,
                fingerprint=answer.fingerprint,
            )
            if self.timed("offer to connected", started_ns, endpoint, "connected"):
                self.timed("offer to first packet back", started_ns, endpoint, "first_rtp")
                gevent.sleep(HOLD_S)
            self.close(reply)
        finally:
            generator().remove(endpoint.id)
