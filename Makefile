# Every target sets up what it needs: Python 3.11 or newer and make are enough to begin with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check lint types bench wheelhouse clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml lab/venv.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x ...")'
	@$(PYTHON) -m lab venv $(VENV)
	@touch $@

demo: $(READY)  ## the life of a worker node, live (ARGS=--stand-in: without HTCondor)
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(READY)  ## all tests; those whose real parts this machine cannot have are skipped by name
	$(BIN)/python -m pytest $(ARGS)

check: $(READY)  ## the quick tests: no real pool, no containers
	$(BIN)/python -m pytest -m "not real" $(ARGS)

lint: $(READY)  ## style
	$(BIN)/ruff check .

types: $(READY)  ## static types
	$(BIN)/mypy

bench: $(READY)  ## how quick it is, beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

wheelhouse: $(READY)  ## all wheels for the worker image, into examples/worker-node/wheelhouse
	$(BIN)/python -m lab wheelhouse examples/worker-node/wheelhouse

clean:  ## the environment and what the lab keeps outside the repository
	rm -rf $(VENV)
	$(PYTHON) -m lab clean
