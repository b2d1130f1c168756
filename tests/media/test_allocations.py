"""Relaying a packet allocates nothing: counted by an allocator laid over the C library's, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdpserver import _media_testing as testing

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

static unsigned long count;
static __thread int is_media;

static void note(void) {
    if (!is_media) {  /* the thread gets its name a little after its start */
        char name[16] = "";
        prctl(PR_GET_NAME, name);
        is_media = strcmp(name, "media") == 0;
    }
    if (is_media) __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
}

unsigned long media_allocations(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { note(); return __libc_malloc(size); }
void *calloc(size_t count_, size_t size) { note(); return __libc_calloc(count_, size); }
void *realloc(void *old, size_t size) { note(); return __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { note(); return __libc_memalign(alignment, size); }
void *memalign(size_t alignment, size_t size) { note(); return __libc_memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
    note();
    *out = __libc_memalign(alignment, size);
    return *out == NULL ? 12 : 0;
}
"""

RELAY = """
import ctypes, sys
from media.plane import PCMU, Plane, rtp

io, profile = sys.argv[1:]
allocations = ctypes.CDLL(None).media_allocations
allocations.restype = ctypes.c_ulong
with Plane(io=io) as plane:
    phone, browser = plane.rtp_leg(), plane.webrtc_leg(profile=profile)
    plane.bridge(phone, browser)
    plane.settle()

    def talk(first, count):
        for sequence in range(first, first + count):
            phone.send(rtp(sequence, sequence * 160))
            browser.receive()
            browser.send(rtp(sequence, sequence * 160))
            phone.receive()
            if sequence % 50 == 0:
                browser.check()  # consent, as browsers ask for it

    talk(0, 200)  # first packets make things, and so do first reports
    before = allocations()
    assert before > 0, "the counter counts"
    talk(200, 1000)
    print(allocations() - before)
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    assert compiler is not None, "what the media plane is built with"
    folder = tmp_path_factory.mktemp("allocations")
    (folder / "counter.c").write_text(COUNTER)
    library = folder / "counter.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, folder / "counter.c"], check=True)
    return library


@pytest.mark.skipif(bool(os.environ.get("LD_PRELOAD")), reason="a sanitizer has an allocator of its own")
@pytest.mark.parametrize("profile", ["AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"])
@pytest.mark.parametrize("io", ["epoll", "io_uring"])
def test_relaying_two_thousand_packets_allocates_nothing(counter: Path, io: str, profile: str) -> None:
    if io == "io_uring" and not testing.io_uring_works():
        pytest.skip("this system forbids io_uring, or lacks it")
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", RELAY, io, profile],
        env={**os.environ, "LD_PRELOAD": str(counter), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert int(done.stdout) == 0
