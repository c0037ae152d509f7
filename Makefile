# Two commands for a stranger: make demo · make test. Each sets itself up.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.synctalk-setup
TORCH  := torch==2.13.0

# Where pip looks for torch; empty means pip's own configuration. For a small CPU-only build:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# make demo VIDEO=me.mp4 AUDIO=speech.wav OUT=out/me
VIDEO ?=
AUDIO ?=
SEED  ?= 1
OUT   ?= out/demo

# Processes that run the tests; more of them need more cores and memory (about 4 GB each). A core is
# for one of them: threads of torch and BLAS that wait for each other would cost a tenth more.
TEST_WORKERS ?= 2

# These want the avatar and dataset that real_subject.py makes; those are parts of others or have parts
# of their own; and gpu.sh is for machines with CUDA.
BENCH_LAST := $(addprefix benchmarks/,real_subject.py dub_speed.py refined_poses.py crowded.py \
  expression.py torso.py portrait.py phrases.py live_renderer.py synctalk_p.py)
BENCH_PARTS := $(addprefix benchmarks/,live_house.py quick_serve.py trimmed.py gpu.py gpu_parity.py gpu_speed.py \
  moonshine.py paper_table.py watermark.py)
BENCH_FIRST := $(filter-out $(BENCH_LAST) $(BENCH_PARTS),$(wildcard benchmarks/*.py))
ANCHOR := out/bench/anchor_71s_512
NATIVE := CMakeLists.txt $(shell find csrc -type f 2>/dev/null)

# The contracts may grow and not break: baseline.binpb is what the last `make proto` saw.
BUF         := proto/node_modules/.bin/buf
BUF_BUILD   := node_modules/.bin/buf build --exclude-source-info
CHECK_PROTO := node_modules/.bin/buf lint && node_modules/.bin/buf format --diff --exit-code && \
  node_modules/.bin/buf breaking --against baseline.binpb

# What is imported is compiled once, not by each of the many processes that start here.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check bench moonshine chaos fuzz audit proto docs chart images images-proof clean

help: ## Show this list
	@echo "synctalk: a portrait video in, a talking avatar out"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "Then: $(BIN)/synctalk --help"

setup: $(STAMP) ## Virtual environment, dependencies, native kernel, face models (idempotent)

demo: $(STAMP) ## Samples to a talking avatar [VIDEO= AUDIO= OUT=out/demo]
	$(BIN)/avatar demo --out "$(OUT)" $(if $(VIDEO),--video "$(VIDEO)") $(if $(AUDIO),--audio "$(AUDIO)")

up: $(STAMP) ## All services on this machine, in the background; then: .venv/bin/avatar --help
	$(BIN)/avatar up --detach

down: ## Stop them; no process is left behind, the data stays
	$(BIN)/avatar down

test: $(STAMP) ## All tests (at most 15 minutes on two cores)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
	  $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder

check: $(STAMP) $(BUF) ## Lint, format, types, import directions, contracts, public API
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && $(CHECK_PROTO)
	@cd proto && $(BUF_BUILD) -o - | cmp -s - baseline.binpb || { \
	  echo "proto/baseline.binpb is not what proto/ says; run make proto and commit."; exit 1; }
	$(BIN)/python proto/generate.py --check
	$(BIN)/python -m pytest tests/contract

bench: $(STAMP) ## Every benchmark; figures go to benchmarks/results
	for script in $(BENCH_FIRST); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/real_subject.py
	$(BIN)/python benchmarks/dub_speed.py $(ANCHOR).standard
	$(BIN)/python benchmarks/refined_poses.py $(ANCHOR).standard $(ANCHOR).dataset
	$(BIN)/python benchmarks/crowded.py $(ANCHOR).dataset
	$(BIN)/python benchmarks/expression.py $(ANCHOR).standard $(ANCHOR).dataset
	$(BIN)/python benchmarks/torso.py $(ANCHOR).standard
	$(BIN)/python benchmarks/portrait.py $(ANCHOR).standard $(ANCHOR).dataset
	$(BIN)/python benchmarks/phrases.py $(ANCHOR).standard $(ANCHOR).dataset --out out/bench/phrases.jpg
	$(BIN)/python benchmarks/live_renderer.py $(ANCHOR).standard
	$(BIN)/python benchmarks/synctalk_p.py --dataset $(ANCHOR).dataset
	for part in attacks cost false-positives; do $(BIN)/python benchmarks/watermark.py $$part || exit 1; done
	$(BIN)/synctalk bench benchmarks/plans/paper.toml --out out/benchmark
	for kind in json csv; do cp out/benchmark/bench.$$kind benchmarks/results/paper.$$kind || exit 1; done
	$(BIN)/python benchmarks/paper_table.py

moonshine: $(STAMP) ## Compare the network that hears with the wheel that it comes from
	$(BIN)/pip install --no-deps --target out/moonshine --upgrade onnxruntime==1.32.0 flatbuffers==25.12.19
	$(BIN)/pip download --no-deps --dest out/moonshine moonshine-voice==0.1.0
	PYTHONPATH=out/moonshine $(BIN)/python benchmarks/moonshine.py out/moonshine/moonshine_voice-0.1.0-*.whl

chaos: $(STAMP) ## Kill everything while work runs, twenty rounds; figures go to benchmarks/results
	rm -f benchmarks/results/chaos.jsonl
	SYNCTALK_CHAOS_ROUNDS=20 SYNCTALK_CHAOS_REPORT=benchmarks/results/chaos.jsonl \
	  $(BIN)/python -m pytest --timeout=7200 tests/e2e/test_chaos.py tests/integration/jobs/test_job_chaos.py

fuzz: $(STAMP) ## 20,000 damaged files and 20,000 hostile requests, at most an hour of each [SEED=1]
	rm -f benchmarks/results/fuzz.jsonl
	SYNCTALK_FUZZ_FILES=20000 SYNCTALK_FUZZ_REQUESTS=20000 SYNCTALK_FUZZ_INPUTS=20000 \
	  SYNCTALK_FUZZ_SEED=$(SEED) SYNCTALK_FUZZ_KEEP=out/fuzz \
	  SYNCTALK_FUZZ_RESULT=benchmarks/results/fuzz.jsonl \
	  $(BIN)/python -m pytest -s --timeout=7200 tests/fuzz tests/e2e/attacks/test_attack_fuzz.py

audit: $(STAMP) ## Known flaws of the pinned packages, as PyPI's advisories have them (needs the network)
	test -x build/audit/bin/pip-audit || { \
	  $(PYTHON) -m venv build/audit && build/audit/bin/pip install -q pip-audit==2.10.1; }
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

proto: $(STAMP) $(BUF) ## After a change in proto/: check it, write the stubs and the baseline anew
	cd proto && $(CHECK_PROTO) && $(BUF_BUILD) -o baseline.binpb
	$(BIN)/python proto/generate.py

docs: $(STAMP) ## Tables of settings, errors and metrics in docs/reference, from the code
	$(BIN)/python docs/reference/generate.py

chart: $(STAMP) ## After a change of helm/avatar/values.yaml: its README anew
	$(BIN)/python helm/generate.py

images-proof: $(STAMP) ## Where no engine is: each image's steps in a clean venv, and its health check
	$(BIN)/python images/prove.py

images: ## Container images of all services [ENGINE=docker|podman|buildah IMAGE_REGISTRY= IMAGE_TAG=]
	images/build.sh

$(BUF): proto/package.json
	@command -v npm >/dev/null || { \
	  echo "No npm found (it brings buf, which checks the contracts in proto/)."; \
	  echo "On Debian: apt-get install npm    On macOS: brew install node"; exit 1; }
	npm install --prefix proto --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

clean: ## Remove build products, caches and out/; keeps the virtual environment
	rm -rf build out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find synctalk tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f $(STAMP)

$(STAMP): pyproject.toml constraints.txt synctalk/face/models.py $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "synctalk needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Install one and name it: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian: apt-get install python3-venv"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	  echo "No C++ compiler found (the splatting kernel is compiled here)."; \
	  echo "On Debian: apt-get install g++    On macOS: xcode-select --install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install -q -c constraints.txt --build-constraint constraints.txt -e '.[dev,face-alignment]'
	$(BIN)/python -m pip install -q --no-deps -c constraints.txt face-alignment
	$(BIN)/python -m synctalk.face.models
	@touch $@
