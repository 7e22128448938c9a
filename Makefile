# Everything the project does on a fresh machine: Python 3.11 or newer, make, git. No root, no Docker, no services.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STATE ?= .local
STORE ?=
EVENTS ?=
PORT ?= 3000
COUNT ?= 100000
# One more than there are processors: tests wait for servers, and for processes that they start.
PYTEST_WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
TURNS ?= 2000
READY := $(VENV)/.ready

.PHONY: help setup run ui dev status test drill test-ui stress fuzz check check-types check-others format bench lock down clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(READY) ## Make the virtual environment from the hashed lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check
	@touch $@

run: $(READY) ## Run the main job on the embedded stack; EVENTS=FILE.jsonl[.gz], STORE=s3, STATE=DIR
	@$(BIN)/python -m compliance_pipelines.demo --state '$(STATE)' $(if $(STORE),--store '$(STORE)') \
		$(if $(EVENTS),--events '$(EVENTS)')

ui: $(READY) ## Open Dagster's web page and daemon on the same stack at http://127.0.0.1:3000 (PORT=...)
	@$(BIN)/python -m compliance_pipelines.demo --state '$(STATE)' --ui --port '$(PORT)'

dev: $(READY) ## Dagster's page and daemon on the definitions alone, without servers of ours (PORT=...)
	@$(BIN)/dg dev --port '$(PORT)'

status: $(READY) ## What the embedded stack holds
	@variables="$$($(BIN)/python -m compliance_pipelines.local_stack env --state '$(STATE)')"; \
		eval "$$variables"; $(BIN)/compliance status

# Savers of other versions and projects, beside the environment's own, for the tests on what they write.
SAVERS := $(VENV)/savers/.ready

$(SAVERS): $(READY) $(wildcard tests/savers/*.py tests/savers/requirements/*.txt tests/savers/javascript/package-lock.json)
	@$(BIN)/python -m tests.savers
	@touch $@

test: $(READY) $(SAVERS) ## All tests, on servers that they start themselves
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS)

drill: $(READY) ## Each disaster of docs/disaster-recovery.md, with its commands; a line for each: lost, seconds
	@$(BIN)/python -m pytest -m drill --quiet tests/drills

test-ui: $(READY) ## Dagster's pages in Debian's Chromium (apt-get install chromium); pictures go to docs/images
	@UI_PICTURES=docs/images $(BIN)/python -m pytest -m ui tests/ui

stress: $(READY) $(SAVERS) ## A real saver of each layout goes on with conversations all the time; TURNS=... of each
	@STRESS_TURNS='$(TURNS)' $(BIN)/python -m pytest -n $(PYTEST_WORKERS) \
		tests/integration/conversations/generations/test_writers_all_the_time.py

fuzz: $(READY) ## 100,000 mutated files of each kind against everything that reads one; COUNT=...
	@$(BIN)/python -m tests.fuzz --count '$(COUNT)'

check: $(READY) ## Style, types, layers, and Dagster's own validation
	@$(MAKE) --no-print-directory --jobs 2 check-types check-others

check-types: $(READY)
	$(BIN)/mypy

check-others: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@home="$$(mktemp -d)"; trap 'rm -rf "$$home"' EXIT; cp dagster.yaml "$$home"; export DAGSTER_HOME="$$home"; \
		$(BIN)/dg check toml; $(BIN)/dg check defs

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure against PostgreSQL's COPY and other ways; prints a table, writes .local/bench.json
	@$(BIN)/python -m benchmarks --state '$(STATE)'

lock: ## Write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra local --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock

down: $(READY) ## Stop the embedded servers; nothing is lost
	@$(BIN)/python -m compliance_pipelines.local_stack down --state '$(STATE)'

clean: ## Stop the embedded servers and remove their data and the virtual environment
	@if test -x $(BIN)/python; then $(BIN)/python -m compliance_pipelines.local_stack down --state '$(STATE)'; fi
	rm -rf '$(STATE)' $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
