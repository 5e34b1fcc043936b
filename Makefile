# `make demo` and `make test` set up everything they need, in .venv; nothing has to be done first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test torture slow lint format FORCE

demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" sh runs/demo.sh

test: .venv/installed-dev lint
	$(BIN)/python -m pytest -n 2

slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

# Kills, failed calls, two runs at once, damaged inputs: about 40 minutes. docs/reliability.md has the results.
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

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "codefit needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
