"""Load tests and benchmarks: `python -m loadtests.bench`, `locust -f loadtests/locustfile.py`."""

import sys
from pathlib import Path

# The bench runs the tests' own peers: the server as a process, Chromium as a caller.
_TESTS = str(Path(__file__).resolve().parent.parent / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
