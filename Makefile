# Every target sets up what it needs: Python 3.11 or newer and make are enough to begin with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Modules are compiled once, not in each of the many processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check coverage lint types bench docs-generated diagrams api-docs wheelhouse watchdog.pyz
.PHONY: install-watchdog clean
PREFIX ?= /usr/local
SIDE_BY_SIDE = --numprocesses=auto --dist=loadgroup
QUICK = --numprocesses=logical --dist=loadgroup -m "not real and not slow"
UNITS = autopilot-watchdog.service autopilot-watchdog.timer autopilot-watchdog-events.service autopilot-watchdog-alert@.service

help:  ## this list
	@sed -n 's/^\([a-z.-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 20

$(READY): pyproject.toml watchdog/pyproject.toml lab/virtual_environment.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x ...")'
	@$(PYTHON) -m lab venv $(VENV)
	@touch $@

demo: $(READY)  ## the life of a worker node, live (ARGS=--stand-in: without HTCondor)
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(READY)  ## all tests, side by side; those whose real parts this machine cannot have are skipped by name
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

check: $(READY)  ## the quick tests: no real pool, no containers, nothing slow
	$(BIN)/python -m pytest $(QUICK) $(ARGS)

coverage: $(READY)  ## lines and branches the quick tests reach (not in processes they start)
	$(BIN)/python -m pytest $(QUICK) --cov --cov-report=term:skip-covered $(ARGS)

lint: $(READY)  ## style, format and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(READY)  ## static types, those of the tests too
	$(BIN)/mypy

bench: $(READY)  ## how quick it is, beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

docs-generated: diagrams api-docs  ## every document that is generated from the sources; tests fail when one is stale

diagrams: $(READY)  ## the state machines' diagrams, from their tables, into docs/state-machines.md
	@$(BIN)/python -m lab diagrams docs/state-machines.md

api-docs: $(READY)  ## docs/api.md and docs/openapi.json, from the message types in autopilot/api
	$(BIN)/python -m autopilot.api docs

wheelhouse: $(READY)  ## all wheels for the worker image, into examples/worker-node/wheelhouse
	$(BIN)/python -m lab wheelhouse examples/worker-node/wheelhouse

watchdog.pyz: $(READY)  ## the watchdog as one file, for any host with Python 3.11
	@$(BIN)/python -m lab pyz $@

install-watchdog: watchdog.pyz  ## the watchdog and its systemd units on this host (PREFIX=, DESTDIR=)
	install -D -m 0755 watchdog.pyz $(DESTDIR)$(PREFIX)/bin/autopilot-watchdog
	cd systemd && install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(UNITS)
	install -D -m 0644 systemd/autopilot-watchdog.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/autopilot-watchdog.conf
	sed -i 's|/usr/local/bin/|$(PREFIX)/bin/|' $(DESTDIR)$(PREFIX)/lib/systemd/system/autopilot-watchdog*.service
	@echo 'Now write /etc/autopilot-watchdog.json (examples/watchdog), then:'
	@echo '  systemctl daemon-reload && systemctl enable --now autopilot-watchdog.timer autopilot-watchdog-events.service'

clean:  ## the environment and what the lab keeps outside the repository
	rm -rf $(VENV)
	$(PYTHON) -m lab clean
