# Every target makes its own environment first: a Python >= 3.11, make and a C library are enough.
# PYTHON=python3.12 make test    chooses the interpreter.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
READY := $(VENV)/ready

.PHONY: help quickstart docs-tables results test test-slow wheel lint format types benchmarks coverage faults docs lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found. Install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 2; }
	@echo "Installing the locked environment into $(VENV) ($$($(PYTHON) --version)); about a minute, once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

quickstart: $(READY) ## train the ordinal model and the majority-vote baseline on the phantom, compare them (<= 6 min)
	$(BIN)/python run_train.py --config=configs/quickstart.py --workdir=$(RUNS)/quickstart/ordinal
	$(BIN)/python run_eval.py --workdir=$(RUNS)/quickstart/ordinal --split=test
	$(BIN)/python run_train.py --config=configs/quickstart.py:baseline --workdir=$(RUNS)/quickstart/majority_bce
	$(BIN)/python run_eval.py --workdir=$(RUNS)/quickstart/majority_bce --split=test
	$(BIN)/ordseg compare 'majority-vote BCE=$(RUNS)/quickstart/majority_bce' \
		'ordinal (RPS + BCE)=$(RUNS)/quickstart/ordinal' --out=$(RUNS)/quickstart

docs-tables: $(READY) ## write the table of all config fields into docs/configs.md
	$(BIN)/python -m configs.default --write

results: $(READY) ## print the study's tables from its records, and put them into docs/results.md
	$(BIN)/python -m benchmarks.study --tables --write

test: $(READY) ## the default test suite
	$(BIN)/python -m pytest

test-slow: $(READY) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

wheel: $(READY) ## build wheel and sdist into dist/, and try them in environments of their own
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/wheel.py dist/*.whl

lint: $(READY) ## ruff, format check included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## rewrite the sources in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## pyright
	$(BIN)/pyright --pythonpath $(BIN)/python

benchmarks: $(READY) ## the three speed comparisons; PyTorch must be installed (see docs/performance.md)
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/calibration.py
	$(BIN)/python benchmarks/input_pipeline.py

coverage: $(READY) ## how often intervals hold the truth (8 minutes on a free core; resumes) and the tables of it
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/coverage.py --tables

faults: $(READY) ## what becomes of runs and files when something goes wrong (docs/reliability.md; about 20 min)
	$(BIN)/python benchmarks/faults.py --out=$(RUNS)/faults

docs: $(READY) ## build the docs site into build/site, and show it at http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --universal --python-version 3.11 --extra all --extra test --extra dev --no-header --no-emit-index-url \
		--no-emit-find-links --upgrade pyproject.toml --output-file requirements.lock

clean: ## remove the environment and caches, not runs/
	rm -rf $(VENV) .jax_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
