# Every target explains itself: `make help`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup run test check gen bench drill audit sbom lock clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the locked dependencies; needs only Python >= 3.11.

$(STAMP): requirements-bootstrap.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Rapport needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-bootstrap.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## Start the whole suite with the demo shops and show the ordered inbox; Ctrl-C stops it.
	$(BIN)/rapport demo

test: setup ## Run all tests on real Postgres, Valkey and Envoy.
	$(BIN)/pytest

check: setup ## Lint, types, protos, import contracts, generated files, documents.
	$(BIN)/python -m tools.check

gen: setup ## Regenerate everything that is generated (gen/, OpenAPI, reference tables).
	$(BIN)/python -m tools.generate
	$(BIN)/python -m tools.openapi
	$(BIN)/python -m tools.documents
	$(BIN)/python -m tools.slo_rules
	$(BIN)/python -m tools.dashboards

bench: setup ## Run the benchmarks; each prints ratios.
	$(BIN)/python -m bench

drill: setup ## Long fault drills; not part of `make test`.
	$(BIN)/pytest -m drill --run-drills --numprocesses=1 --drill-report build/drills.json

audit: setup ## Look up known vulnerabilities of every locked package; needs the network.
	$(BIN)/python -m tools.audit

sbom: setup ## Write the bill of materials of what runs (CycloneDX) to build/sbom.json.
	$(BIN)/python -m tools.sbom

lock: setup ## Resolve the dependencies anew into the hashed lock files.
	$(BIN)/python -m tools.lock

clean: ## Remove the environment and all caches.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
