# `make` lists what there is. Needs Python 3.11, 3.12 or 3.13, and nothing else.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
READY := $(VENV)/.ready node_modules/.ready
CODE := $(wildcard detection tests benchmarks function_app.py scripts/package.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo local test test-slow soak chaos bench lint lint-infra planted-errors lint-api-versions snapshots format schemas screenshots lock package clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.13 chooses the Python, VENV=.venv-3.13 its folder, ARGS=... is handed on."

setup: $(READY) ## prepare .venv and node_modules (the other targets do it by themselves)

# A stamp is written last, so that what failed half-way does not count as made.
$(VENV)/.ready-local: requirements-local.txt scripts/venv
	@scripts/venv "$(PYTHON)" "$(VENV)" local

$(VENV)/.ready: requirements-dev.txt $(VENV)/.ready-local
	@scripts/venv "$(PYTHON)" "$(VENV)" dev

# All virtual environments share node_modules, hence the bar: another one does not make it again.
node_modules/.ready: package.json package-lock.json .npmrc | $(VENV)/.ready
	@echo "making node_modules"
	@scripts/npm "$(VENV)" ci --ignore-scripts
	@touch $@

demo: $(VENV)/.ready-local ## see what it detects, on made-up logs, here in the terminal
	@$(PY) -m detection demo $(ARGS)

local: $(READY) ## run the job here on real parts: Azurite, the query API's double, a webhook receiver
	@$(PY) -m tests.local

test: $(READY) ## run the tests
	$(PY) -m pytest --numprocesses=logical --durations=10 $(ARGS)

test-slow: $(READY) ## run the tests that take long and seldom find something, and others with more examples
	MANY_EXAMPLES=1 $(PY) -m pytest -m "(slow or many) and not chaos" --numprocesses=logical --durations=10 $(ARGS)

soak: $(READY) ## run the long random worlds
	$(PY) -m pytest -m soak -s $(ARGS)

chaos: $(READY) ## run the job on real parts under every fault, and print what came of it in one table
	$(PY) -m pytest --numprocesses=logical --dist=load -m "chaos or not chaos" tests/chaos $(ARGS)

bench: $(READY) ## measure speed, memory and costs anew, and write them into the pages (ARGS="wire cold" prints some)
	@$(PY) -m benchmarks $(or $(ARGS),--write)

lint: $(VENV)/.ready ## check style, types and the arrows between modules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(CODE)
	$(VENV)/bin/lint-imports --no-logo
	$(PY) scripts/names.py $(CODE) scripts

lint-infra: $(READY) .venv-infra/.ready ## check the deployment: templates, alarms, workflows, the package (ARGS=-k… for some)
	$(PY) -m pytest tests/infra -m "not planted and not api_versions and not slow" --numprocesses=logical --durations=5 $(ARGS)
	@$(PY) -m tests.infra.compiler

planted-errors: $(READY) .venv-infra/.ready ## plant errors in a copy of the deployment, and see that lint-infra finds each
	$(PY) -m pytest tests/infra/test_planted.py -m planted --numprocesses=logical --dist=load --durations=5 $(ARGS)

lint-api-versions: $(READY) ## check that no API version of the templates is older than two years today
	$(PY) -m pytest tests/infra/test_templates.py -m api_versions $(ARGS)

snapshots: $(READY) ## evaluate the templates anew: what a deployment would create, in tests/infra/snapshots
	@$(PY) -m tests.infra.snapshots $(ARGS)

.venv-infra/.ready: requirements-infra.txt scripts/venv-infra | $(VENV)/.ready
	@scripts/venv-infra "$(VENV)" .venv-infra

format: $(VENV)/.ready ## format the code and repair what ruff can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schemas: $(READY) ## write again the files that are made from code
	$(PY) -m tests.regenerate $(ARGS)

screenshots: $(READY) ## take the pictures of the incident page anew
	$(PY) -m tests.pictures

lock: $(VENV)/.ready ## write the lock files from pyproject.toml and package.json (ARGS=--upgrade for newer versions)
	scripts/lock "$(VENV)" $(ARGS)

package: ## make out/app.zip, what is deployed (needs a Python 3.13, and nothing else)
	@python=$$(scripts/python-3.13) && [ -n "$$python" ] || { echo "make package: there is no Python 3.13 here, the one of the cloud" >&2; exit 1; }; \
	"$$python" scripts/package.py

clean: ## remove everything make has made
	rm -rf .venv .venv-* "$(VENV)" node_modules out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
