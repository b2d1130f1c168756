"""Callers for locust: `locust -f loadtests/locustfile.py --headless -u 20 -r 10 -t 30s -H http://127.0.0.1:8080`.

`SignallingUser` does what a browser does over HTTP: offer, candidates, close. `MediaUser` also finishes ICE and
DTLS, sends a second of audio and waits for the first packet back; the generator (`native/loadgen`) does that for
all users of the process. `SDPSERVER_TO` says where calls go (default `echo`).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import gevent  # type: ignore[import-untyped]
from locust import HttpUser, constant, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.loadgen import Endpoint, Loadgen, LoadgenError
from loadtests.sdp import parse_webrtc_answer, webrtc_offer

TO = os.environ.get("SDPSERVER_TO", "echo")
HOLD_S = 1.0
PROFILE = "AEAD_AES_128_GCM"
T = TypeVar("T")


class Generator:
    """The generator on an asyncio loop of its own thread, for users that are greenlets."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = gevent.get_hub().threadpool.spawn(self._loop.run_forever)
        self.loadgen: Loadgen = self.run(Loadgen.start())

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 120.0) -> T:
        """Wait without holding up other users. The first call may compile the generator."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        deadline = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() > deadline:
                future.cancel()
                raise TimeoutError(f"nothing within {timeout_s:g} s")
            gevent.sleep(0.001)
        return future.result()

    def soon(self, verb: str, **arguments: object) -> None:
        """A command that has no reply."""
        self._loop.call_soon_threadsafe(lambda: self.loadgen.send(verb, **arguments))

    def forget(self, endpoint: Endpoint) -> None:
        self._loop.call_soon_threadsafe(self.loadgen.remove, endpoint.id)

    def stop(self) -> None:
        self.run(self.loadgen.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.get(timeout=5)
        self._loop.close()


_generator: Generator | None = None
_lock = threading.Lock()


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
            return generator().run(generator().loadgen.endpoint(group="locust", autostart=True))
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
            at_ns = generator().run(generator().loadgen.wait(endpoint.id, event))
            took_ms = (at_ns - started_ns) / 1e6
        except (LoadgenError, TimeoutError) as exc:
            failure = exc
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
            generator().forget(endpoint)


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
            generator().soon(
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
            generator().forget(endpoint)
