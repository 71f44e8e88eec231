# Everything that people and CI run. Needs python3 (3.11 to 3.13), make and a package registry.

PYTHON ?= python3
BIN := .venv/bin
# Where the environment says otherwise, each process would compile the worker and its tests again.
export PYTHONDONTWRITEBYTECODE :=
VLLM ?= all

.DEFAULT_GOAL := help

.PHONY: help gpu-check serve gateway test test-fast test-clients test-vllm test-cuda test-gateway soak soak-http fuzz test-volume test-image check bench bench-quick bench-start bench-gateway generate format lock lock-clients clean set-up

test-fast: set-up        ## run the tests that need no engine (seconds)
	$(BIN)/pytest -n 3 --timeout 60 tests/unit

check: set-up            ## check format, lint, types and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m builder.generate --check

test: set-up             ## run every test on the real engine, with coverage (half an hour to an hour)
	@rm -rf .coverage && mkdir .coverage
	$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

serve: set-up            ## serve on http://127.0.0.1:8000 with a local endpoint
	@exec $(BIN)/python handler.py

gateway: set-up          ## many endpoints behind one URL, as FILE=gateway.yaml says: docs/gateway.md
	@exec $(BIN)/python -m builder.gateway $(or $(FILE),gateway.yaml)

help:                    ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test-vllm: set-up        ## the worker with another vLLM: VLLM=0.31.0, all (hours) or newest; SDK=newest likewise
	$(PYTHON) -m builder.vllm_versions $(VLLM) $(if $(filter newest,$(SDK)),--newest-sdk)

soak: set-up             ## 10,000 jobs in a random mix, of which nothing may be left (some ten minutes)
	$(BIN)/python -m tests.soak

soak-http: set-up        ## the same as HTTP requests, a fifth of whose clients leave
	$(BIN)/python -m tests.soak --http

test-volume: set-up      ## workers that compile and share a volume (minutes; not in make test)
	$(BIN)/pytest -m slow tests/system/test_volume.py

test-clients: set-up     ## eleven other clients by their quick starts, each in an environment of its own
	$(BIN)/pytest -m slow tests/clients

test-gateway: set-up     ## the gateway before two workers, with unmodified clients (600 MB of LiteLLM, once)
	$(BIN)/pytest -m slow tests/gateway

test-image: set-up       ## build the images for real, run and search them (root on Debian, some 20 minutes)
	$(BIN)/python -m tests.image

test-cuda: set-up        ## the CUDA build of vLLM on drivers that stand in for NVIDIA's (9 GB, once)
	$(BIN)/python -m tests.cuda

fuzz: set-up             ## five minutes of random input against the real engine
	$(BIN)/python -m tests.fuzz

gpu-check: set-up        ## try the worker on this machine's GPUs, with MODEL_NAME or the embedded model
	$(BIN)/python -m vllm_worker gpu-check

bench: set-up            ## the bare engine, vLLM's server, a proxy and this worker, three rounds
	$(BIN)/python -m benchmarks

bench-quick: set-up      ## the same with fewer loads, once (minutes)
	$(BIN)/python -m benchmarks --quick

bench-start: set-up      ## how long this worker and a proxy take to ask for their first job
	$(BIN)/python -m benchmarks.cold_start

bench-gateway: set-up    ## what the gateway costs before a worker, in turns
	$(BIN)/python -m benchmarks.gateway

generate: set-up         ## write generated files and tables from their one source
	$(BIN)/python -m builder.generate

format: set-up           ## format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:                    ## resolve the pinned requirements anew
	$(PYTHON) builder/set_up.py --lock
	$(PYTHON) -m builder.vllm_versions all --only-lock

lock-clients: set-up     ## resolve those of the clients in tests/clients anew
	$(BIN)/python -m tests.clients.environments

clean:                   ## remove what set-up and tools made
	rm -rf .venv .venv-vllm-* .venv-cuda .venv-gateway .vllm-wheels .clients .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

set-up:
	@$(PYTHON) builder/set_up.py
