# `make` lists the targets. Needs Python 3.11 to 3.14, and nothing else.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
READY := $(VENV)/.ready node_modules/.ready
CODE := $(wildcard detection tests benchmarks function_app.py scripts/package.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo local test test-slow soak chaos mutants bench growth lint lint-infra planted-errors lint-api-versions snapshots format schemas screenshots lock package clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.13 selects the Python, VENV=.venv-3.13 its folder, ARGS=... passes arguments on."

setup: $(READY) ## create .venv and node_modules (other targets do so when needed)

# Each stamp is written last, so a step that failed halfway runs again.
$(VENV)/.ready-local: requirements-local.txt scripts/venv
	@scripts/venv "$(PYTHON)" "$(VENV)" local

$(VENV)/.ready: requirements-dev.txt $(VENV)/.ready-local
	@scripts/venv "$(PYTHON)" "$(VENV)" dev

# Order-only (the bar): all virtual environments share node_modules, so another environment does not rebuild it.
node_modules/.ready: package.json package-lock.json .npmrc | $(VENV)/.ready
	@echo "creating node_modules"
	@scripts/npm "$(VENV)" ci --ignore-scripts
	@touch $@

demo: $(VENV)/.ready-local ## run the detection over made-up logs and print the alerts
	@$(PY) -m detection demo $(ARGS)

local: $(READY) ## run the whole job on this machine: Azurite, a double of the query API, a webhook receiver
	@$(PY) -m tests.local

test: $(READY) ## run the tests
	$(PY) -m pytest --numprocesses=logical --durations=10 $(ARGS)

test-slow: $(READY) ## run the slow tests, and the property tests with more examples
	MANY_EXAMPLES=1 $(PY) -m pytest -m "(slow or many) and not chaos" --numprocesses=logical --durations=10 $(ARGS)

soak: $(READY) ## run 10,000 random worlds and print what they lost and repeated (ARGS=500 runs fewer)
	$(PY) -m tests.soak $(ARGS)
	$(if $(ARGS),,$(PY) -m pytest -m soak)

chaos: $(READY) ## run the job on real parts under every fault and print a table of results
	$(PY) -m pytest --numprocesses=logical --dist=load -m "chaos or not chaos" tests/chaos $(ARGS)

mutants: $(READY) ## plant small faults in the core and verify that the tests notice them (ARGS="store --sample 50", ARGS=--all)
	@$(PY) scripts/mutants.py $(ARGS)

bench: $(READY) ## measure speed, memory and costs, and update the pages (ARGS="wire cold" prints single parts)
	@$(PY) -m benchmarks $(or $(ARGS),--write)

growth: $(READY) ## simulate 60 days of alerts and print the rows of the incident table (ARGS="--actors 1000")
	@$(PY) -m benchmarks.growth $(ARGS)

lint: $(VENV)/.ready ## check style, types, imports between folders, and names
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(CODE)
	$(VENV)/bin/lint-imports --no-logo
	$(PY) scripts/names.py $(CODE) scripts

lint-infra: $(READY) .venv-infra/.ready ## check the deployment: templates, alarms, workflows, package (ARGS=-k… selects tests)
	$(PY) -m pytest tests/infra -m "not planted and not api_versions and not slow" --numprocesses=logical --durations=5 $(ARGS)
	@$(PY) -m tests.infra.compiler

planted-errors: $(READY) .venv-infra/.ready ## plant errors in a copy of the deployment and verify that lint-infra finds each
	$(PY) -m pytest tests/infra/test_planted.py -m planted --numprocesses=logical --dist=load --durations=5 $(ARGS)

lint-api-versions: $(READY) ## check that no API version of the templates is older than two years today
	$(PY) -m pytest tests/infra/test_templates.py -m api_versions $(ARGS)

snapshots: $(READY) ## evaluate the templates and update tests/infra/snapshots: the resources of a deployment
	@$(PY) -m tests.infra.snapshots $(ARGS)

.venv-infra/.ready: requirements-infra.txt scripts/venv-infra | $(VENV)/.ready
	@scripts/venv-infra "$(VENV)" .venv-infra

format: $(VENV)/.ready ## format the code and apply ruff's fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schemas: $(READY) ## regenerate the files that are made from code
	$(PY) -m tests.regenerate $(ARGS)

screenshots: $(READY) ## retake the pictures of the incident page
	$(PY) -m tests.pictures

lock: $(VENV)/.ready ## update the lock files from pyproject.toml and package.json (ARGS=--upgrade for newer versions)
	scripts/lock "$(VENV)" $(ARGS)

package: ## build out/app.zip, the package to deploy (needs only Python 3.13)
	@python=$$(scripts/python-3.13) && [ -n "$$python" ] || { echo "make package: no Python 3.13 found; install it, Azure runs this version" >&2; exit 1; }; \
	"$$python" scripts/package.py

clean: ## remove everything that make created
	rm -rf .venv .venv-* "$(VENV)" node_modules out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
