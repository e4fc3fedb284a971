# `make` lists the targets. Everything they need beyond Python 3.11+ and make they set up themselves.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --locked --no-sync
STAMP := .venv/.synced
STUBS := schemas/avila_pb2.py
PAGE := services/page/built/index.html
BUILT := $(STUBS) $(PAGE)
# Tests often wait, for brokers and processes of their own: three processes keep two cores busy.
# Tests of one module share services, so a module stays in one process.
PROCESSES ?= 3
SEVERAL_PROCESSES := --numprocesses=$(PROCESSES) --dist=loadscope --durations=40

.DEFAULT_GOAL := help
.PHONY: help setup page kernels demo test test-faults check lint types format bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILT) ## Install what the other targets need into .venv

page: $(PAGE) ## Build the web page

kernels: $(STUBS) ## Compile the kernels of the worker, which its first start would do otherwise
	$(RUN) python -m pipelines

demo: $(BUILT) ## Start the system, play a shop's clickstream through it, show a funnel fill
	$(RUN) avila demo

test: $(BUILT) ## Run the tests, or with ARGS="tests/sinks -k rejects" some of them, in one process
	$(RUN) pytest -m "not faults" $(or $(ARGS),$(SEVERAL_PROCESSES))

test-faults: $(BUILT) ## Run the tests that kill and pause real processes for a long time
	$(RUN) pytest -m faults $(ARGS)

check: lint types test ## Style, types and tests

lint: $(STUBS) ## Check style, and which package imports which
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) lint-imports

types: $(BUILT) ## Check types, those of the page against the API
	$(RUN) mypy
	$(RUN) python -m services.page.check

format: $(STUBS) ## Put code into shape
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench: $(STUBS) ## Measure the worker, its operators and the ingest service beside others, and how fresh results are
	$(UV) sync --locked --group bench --quiet --compile-bytecode
	$(RUN) python -m benchmarks.worker
	$(RUN) python -m benchmarks.consume
	$(RUN) python -m benchmarks.peers
	$(RUN) python -m benchmarks.operators
	$(RUN) python -m benchmarks.models
	$(RUN) python -m benchmarks.timers
	$(RUN) python -m benchmarks.freshness
	$(RUN) python -m benchmarks.ingest

clean: ## Remove what the other targets made
	rm -rf .venv .tools .avila .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis \
		schemas/*_pb2.py* services/page/built services/page/node_modules \
		tests/services/page/browser/node_modules tests/services/page/browser/chromium

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

$(STAMP): $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet --compile-bytecode --python $(PYTHON)
	@touch $@

# With the tools of the lock file. A wheel has them made by hatch_build.py.
$(STUBS): $(STAMP) schemas/avila.proto
	$(RUN) python -m grpc_tools.protoc --proto_path=schemas --python_out=schemas --pyi_out=schemas avila.proto

# From the packages of its lock file, in seconds. A wheel has it built by hatch_build.py.
$(PAGE): $(STAMP) services/page/build.py services/page/package-lock.json $(shell find services/page/source -name '*.d.ts' -prune -o -type f -print)
	$(RUN) python services/page/build.py
