"""The bench's own parts: figures that are printed must be right, and its generator must work."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import growth, plot, processes, report, sdp
from loadtests.live_calls import Result, Segment
from loadtests.loadgen import DEFAULT_BUILD, Endpoint, Loadgen, LoadgenError, build
from loadtests.rtpengine import bdecode, bencode
from loadtests.setups import at_rate, quantile

ROOT = Path(__file__).resolve().parents[2]
VALUES = st.recursive(
    st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ENDPOINT = Endpoint(id=7, port=40000, ufrag="abcd", pwd="p" * 24, fingerprint=":".join(["AB"] * 32))


@given(VALUES)
def test_bencode_comes_back_as_it_went_in(value: object) -> None:
    assert bdecode(bencode(value)) == value


@pytest.mark.parametrize("text", [b"", b"5:abc", b"i1", b"i1ei2e", b"l", b"x"])
def test_broken_bencode_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        bdecode(text)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.99, 1), (100, 0.5, 50), (100, 0.99, 99), (100, 1.0, 100), (4, 0.5, 2)]
)
def test_quantile_is_the_nearest_rank(count: int, share: float, expected: float) -> None:
    assert quantile([float(i) for i in range(count, 0, -1)], share) == expected


def test_cpu_time_of_a_process_grows_by_what_it_used() -> None:
    before, used_before = processes.cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - used_before < 0.1:
        pass
    used = time.process_time() - used_before
    assert processes.cpu_seconds(os.getpid()) - before == pytest.approx(used, abs=0.03)


def test_cpu_time_is_told_apart_by_thread() -> None:
    """And one that ends takes its own along."""
    used, spent, done = threading.Event(), [0.0], threading.Event()

    def spend() -> None:
        while time.thread_time() < 0.1:
            pass
        spent[0] = time.thread_time()
        used.set()
        done.wait()

    before = processes.thread_cpu_seconds(os.getpid())
    thread = threading.Thread(target=spend)
    thread.start()
    used.wait()
    grown = {number: cpu - before.get(number, 0.0) for number, cpu in processes.thread_cpu_seconds(os.getpid()).items()}
    done.set()
    thread.join()
    assert thread.native_id is not None
    assert max(grown, key=lambda number: grown[number]) == thread.native_id
    assert grown[thread.native_id] == pytest.approx(spent[0], abs=0.03)
    assert thread.native_id not in processes.thread_cpu_seconds(os.getpid())


def test_memory_is_seen_to_grow() -> None:
    before = processes.memory_mb(os.getpid())
    with mmap.mmap(-1, 50_000_000) as block:  # not of the heap, which may have that much free from earlier
        block.write(b"x" * len(block))
        after = processes.memory_mb(os.getpid())
        assert len(block) / 1e6 == pytest.approx(after[0] - before[0], abs=5)
        assert after[1] - before[1] == pytest.approx(after[0] - before[0], abs=5)


def test_the_servers_own_parser_takes_the_offer() -> None:
    from sdpserver.webrtc.offer import parse_offer

    for codec in ("PCMU", "opus"):
        parse_offer(sdp.webrtc_offer(ENDPOINT, codec))  # raises BadRequest


def test_an_answer_without_a_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="candidate"):
        sdp.parse_webrtc_answer("v=0\r\na=ice-ufrag:x\r\n")


def test_sdes_keys_survive_the_sdp() -> None:
    key = bytes(range(30))
    text = sdp.rtp_sdp(4000, crypto=("AES_CM_128_HMAC_SHA1_80", key))
    assert sdp.sdes_key(text, "AES_CM_128_HMAC_SHA1_80") == key
    assert sdp.rtp_address(text) == ("127.0.0.1", 4000)


async def test_an_open_load_starts_every_job_at_its_time() -> None:
    started: list[float] = []

    async def job(_: int) -> None:
        started.append(time.monotonic())

    await at_rate(200, 0.2, job)
    assert len(started) == 40
    assert started[-1] - started[0] >= 39 / 200 - 0.005


def test_the_report_pairs_the_servers_and_says_what_was_missed() -> None:
    def result(server: str, cpu: float) -> dict[str, Any]:
        delay = {"p50": 500.0, "p99": 1000.0}
        return {
            "server": server,
            "calls": 200,
            "profile": "AEAD_AES_128_GCM",
            "codecs": "PCMU-PCMU",
            "pattern": "spread",
            "cpu_percent_per_call": cpu,
            "rss_mb_per_call": 0.3,
            "packets_sent": 10,
            "packets_lost": 1,
            "segments": 3,
            "segments_with_loss": 1,
            "delay_to_srtp_us": delay,
            "delay_to_rtp_us": delay,
        }

    figures = {"machine": "m", "load_before": 0.0, "date": "d"}
    figures["live_calls"] = [result("sdpserver", 0.15), result("rtpengine", 0.3)]
    text = report.markdown(figures)
    assert "**0.50**" in text
    assert "| **no** |" in text
    assert "1 of 10 (in 1 of 3 stretches)" in text


def test_the_cpu_of_a_case_is_that_of_the_stretches_without_loss() -> None:
    def segment(cpu: float, lost: int) -> Segment:
        delays = (0.0, 0.0)
        return Segment(
            cpu_percent_per_call=cpu,
            busiest_thread_percent=cpu,
            sent=10,
            lost=lost,
            delay_p50_us=delays,
            delay_p99_us=delays,
            octets_to_srtp=160,
            generator_cpu_percent=0,
            late_p99_us=0,
        )

    def case(*segments: Segment) -> Result:
        facts: dict[str, Any] = {"server": "s", "calls": 1, "profile": "p", "codecs": "c", "pattern": "spread"}
        return Result(**facts, rss_mb_per_call=0, pss_mb_per_call=0, segments=list(segments))

    assert case(segment(0.1, 0), segment(0.02, 5), segment(0.03, 6)).cpu_percent_per_call == 0.1
    assert case(segment(0.1, 1), segment(0.3, 1), segment(0.2, 1)).cpu_percent_per_call == 0.2


@pytest.fixture(scope="module")
def executable() -> Path:
    if not shutil.which("cmake"):
        pytest.fail("cmake is missing: scripts/setup installs it")
    return build(DEFAULT_BUILD)


@pytest.mark.timeout(180)  # the first run compiles the generator
async def test_the_generator_counts_every_packet_and_its_delay(executable: Path) -> None:
    calls, profile = 5, "AES_CM_128_HMAC_SHA1_80"
    async with await Loadgen.start(executable) as loadgen:
        for _ in range(calls):
            a, b = await loadgen.call(group="g")
            for here, there, keys in ((a, b, ("11", "22")), (b, a, ("22", "11"))):
                loadgen.send(
                    "remote",
                    id=here.id,
                    ip="127.0.0.1",
                    port=there.port,
                    profile=profile,
                    send_key=keys[0] * 30,
                    receive_key=keys[1] * 30,
                )
        last_a, last_b = a.id, b.id
        loadgen.send("start", group="g", pattern="spread")
        await loadgen.wait(last_a, "first_rtp")
        await loadgen.wait(last_b, "first_rtp")
        deadline = time.monotonic() + 5
        stats = await loadgen.stats("g")
        while stats["a"]["delay_us"]["count"] < 20 and time.monotonic() < deadline:
            stats = await loadgen.stats("g")
        loadgen.send("stop", group="g")
        stats = await loadgen.stats("g")
        while stats["b"]["received"] < stats["a"]["sent"] and time.monotonic() < deadline:
            stats = await loadgen.stats("g")
    assert stats["a"]["sent"] == stats["b"]["received"] >= 25 * calls
    assert stats["b"]["sent"] == stats["a"]["received"] >= 25 * calls
    for side in ("a", "b"):
        assert stats[side]["auth_failures"] == stats[side]["duplicates"] == stats[side]["foreign"] == 0
        assert 0 < stats[side]["delay_us"]["p50"] < 20_000


@pytest.mark.timeout(180)
async def test_the_generator_says_which_command_was_wrong(executable: Path) -> None:
    async with await Loadgen.start(executable) as loadgen:
        loadgen.send("connect", id=99)
        with pytest.raises(LoadgenError, match="no endpoint 99"):
            await loadgen.stats("g")


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_locust_runs_five_seconds_against_a_real_server_without_a_failure(executable: Path, tmp_path: Path) -> None:
    from peers.server import ServerProcess, running

    with running(ServerProcess()) as server:
        command = [
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"),
            *("-u", "6", "-r", "6", "-t", "5s", "-H", server.url, "--csv", str(tmp_path / "out")),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "out_stats.csv").read_text().splitlines()
    names = {row.split(",")[1]: int(row.split(",")[2]) for row in rows[1:]}
    for name in ("/webrtc/offer", "/webrtc/ice-candidate", "/webrtc/close", "offer to first packet back"):
        assert names[name] >= 5, rows
    assert all(int(row.split(",")[3]) == 0 for row in rows[1:]), rows


def step(**changes: Any) -> growth.Step:
    facts: dict[str, Any] = {
        "kind": "relay",
        "calls": 200,
        "cpu_percent_per_call": 0.1,
        "busiest_thread_percent": 20,
        "mb_per_call": 0.25,
        "lost_share": 0,
        "delay_p50_us": 1000,
        "delay_p99_us": 2000,
        "generator_cpu_percent": 30,
        "generator_late_p99_us": 200,
    }
    return growth.Step(**{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, ""),
        ({"lost_share": 0.0011}, "0.11 % of the packets lost"),
        ({"delay_p99_us": 21_000}, "p99 of the delay 21 ms"),
        ({"delay_p99_us": 200_000, "kind": "transcode"}, ""),
        ({"delay_p50_us": 151_000, "kind": "transcode"}, "median of the delay 151 ms"),
        ({"generator_late_p99_us": 6000}, "the generator 6 ms late"),
    ],
)
def test_growth_ends_where_the_load_is_no_longer_carried(changes: dict[str, Any], limit: str) -> None:
    assert step(**changes).limit() == limit


def test_growth_tells_whose_work_did_not_fit() -> None:
    assert "server's busiest" in step(busiest_thread_percent=97).stopped_by()
    assert "generator is" in step(generator_cpu_percent=97).stopped_by()
    assert "both" in step(busiest_thread_percent=97, generator_cpu_percent=97).stopped_by()


def test_numbers_of_calls_grow_by_a_quarter_beyond_a_thousand() -> None:
    assert list(growth.sizes(1600)) == [*growth.SIZES, 1250, 1562]
    assert list(growth.sizes(20)) == [1, 2, 5, 10, 20]


def test_a_picture_has_each_point_at_its_place() -> None:
    picture = ElementTree.fromstring(
        plot.svg({"a & b": [(1, 4.0), (10, 2.0), (100, 0.0)]}, title="t", x_title="x", y_title="y")
    )
    points = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in picture.findall(".//{*}circle")]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2), "logarithmic"
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2), "linear"
    assert "a & b" in [text.text for text in picture.findall(".//{*}text")]


def test_what_was_not_carried_is_a_ring_at_the_end_of_its_line() -> None:
    lines = {"a": [(1, 4.0), (10, 2.0)], "b": [(1, 1.0)]}
    picture = ElementTree.fromstring(plot.svg(lines, {"a": (100, 8.0)}, title="t", x_title="x", y_title="y"))
    *dots, ring = [c for c in picture.findall(".//{*}circle") if c.get("fill") != plot.COLOURS[1]]
    assert len(dots) == 2
    assert ring.get("fill") == "white"
    x, y = (float(ring.get(name, "")) for name in ("cx", "cy"))
    assert x == pytest.approx(plot.WIDTH - plot.RIGHT, abs=0.1)
    assert all(y < float(dot.get("cy", "")) for dot in dots)
