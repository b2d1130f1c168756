# Everything starts here: `make help`. Each target first sets up what it needs (scripts/setup), which
# costs about a second when nothing changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check sanitize fuzz bench build clean distclean
PYTHON_VENV := .venv/bin/python

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile
	@echo 'ARGS="..." goes to the server, pytest or the bench, as in: make test ARGS="tests/unit -x"'

run: ## install what is missing and serve on http://127.0.0.1:8080
	@scripts/setup && exec .venv/bin/sdpserver --conf config.toml $(ARGS)

test: ## all tests, with a real Asterisk and a real Chromium
	@scripts/setup --test && exec $(PYTHON_VENV) -m pytest $(ARGS)

check: ## style, types, C++ warnings and shell scripts
	@scripts/setup --check && exec scripts/check

sanitize: ## the media plane's tests under ASan and UBSan, then under TSan (ARGS="thread -k rtcp"); .venv is left alone
	@scripts/setup --test && exec scripts/sanitize $(ARGS)

fuzz: ## what takes datagrams from strangers, under libFuzzer (ARGS="rtp stun", TIME=60 seconds each)
	@scripts/setup --fuzz && TIME=$(or $(TIME),60) exec scripts/fuzz $(ARGS)

bench: ## calls through the gateway and through rtpengine, side by side
	@scripts/setup --bench && exec $(PYTHON_VENV) -m loadtests.bench $(ARGS)

build: ## the native module alone, after a change in native/ (SDPSERVER_SANITIZE=address,undefined|thread)
	@scripts/setup

clean: ## what was built and what the tools remember; .venv and the cache of slow builds stay
	@rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## and .venv
	@rm -rf .venv
