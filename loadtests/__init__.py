"""Load tests and benchmarks: `python -m loadtests.bench`, `locust -f loadtests/locustfile.py`."""
