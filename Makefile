# `make` lists the targets. Everything they need beyond Python 3.11+ and make they set up themselves.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --locked --no-sync
STAMP := .venv/.synced

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults check lint types format bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install what the other targets need into .venv

demo: $(STAMP) ## Start the system, play a shop's clickstream through it, show a funnel fill
	$(RUN) avila demo

test: $(STAMP) ## Run the tests
	$(RUN) pytest -m "not faults" $(ARGS)

test-faults: $(STAMP) ## Run the tests that kill and pause real processes for a long time
	$(RUN) pytest -m faults $(ARGS)

check: lint types test ## Style, types and tests

lint: $(STAMP) ## Check style
	$(RUN) ruff format --check .
	$(RUN) ruff check .

types: $(STAMP) ## Check types
	$(RUN) mypy

format: $(STAMP) ## Put code into shape
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench: $(STAMP) ## Measure the worker beside others, and how fresh results are
	$(UV) sync --locked --group bench --quiet --compile-bytecode
	$(RUN) python -m benchmarks.worker
	$(RUN) python -m benchmarks.peers
	$(RUN) python -m benchmarks.freshness

clean: ## Remove what the other targets made
	rm -rf .venv .tools .avila .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

$(STAMP): $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet --compile-bytecode --python $(PYTHON)
	@touch $@
