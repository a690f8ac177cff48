# From a fresh clone:  make reproduce   or   make test.   Needs Python 3.11 to 3.14, pip and make, nothing else.
# PYTHON=...    another Python to make the environment with
# PIP_ARGS=...  more arguments for pip, such as an index with torch for your hardware (see README)

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m dmaf_lite
INSTALL := -c constraints.txt -e .[test]
QUIET := --LabApp.app_settings_dir=dmaf_lite/lessons/application/settings# no question about news, no look for updates
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)# Jupyter asks root for this; in a container one is root
CANDIDATES := python3 python3.12 python3.13 python3.11 python3.14 python
# A candidate counts if it runs, is 3.11 to 3.14, and can make environments.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# Waiting threads sleep soon (see dmaf_lite/__init__.py); here too, for kernels of `make lab` that load torch first.
export GOMP_SPINCOUNT ?= 20000
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(FITS)' >/dev/null 2>&1 && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help bench env extras reproduce test test-browser test-slurm lab explore lessons notebook exercises book check lint clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

env: $(VENV)/.installed  ## make .venv and install the kit into it

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.14 with venv and pip found (looked for: $(CANDIDATES); \
	found: $$(python3 --version 2>&1 | head -1)). Install one, or name it: make env PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1 | head -1); \
	Python 3.11 to 3.14 with venv and pip is needed. Name one: make env PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) $(INSTALL)
	@touch $@

reproduce: env  ## run every lesson, compare this run's table with the committed one, write the report
	$(RUN) lessons reproduce --profile cpu-small

test: env  ## run the tests
	$(BIN)/python -m pytest

TESTS := tests/browser
test-browser: $(VENV)/.browser  ## run the explorers, the application and the book in a real Chromium
	$(BIN)/python -m pytest -m browser $(TESTS)

test-slurm: $(VENV)/.cluster  ## run the matrix of experiments on a Slurm of this machine alone (starts it; needs root)
	$(BIN)/python -m pytest -m slurm tests/experiment

extras: $(VENV)/.browser $(VENV)/.cluster  ## install what the two special tests need

$(VENV)/.cluster: $(VENV)/.installed
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e .[cluster]
	@touch $@

$(VENV)/.browser: $(VENV)/.installed
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e .[browser]
	@touch $@

lab: env  ## open JupyterLab on the first lesson
	@test -z "$(ROOT)" || echo "You are root, as in a container: JupyterLab is started with $(ROOT)."
	$(BIN)/python -m jupyterlab $(QUIET) $(ROOT) notebooks/00_check_your_setup.ipynb

explore: env  ## look at studies in the browser, and switch scans off: no code
	$(RUN) explore

lessons: env  ## execute all lessons whose source or code changed, and publish them
	$(RUN) lessons build

notebook: env  ## the same for one lesson: make notebook NB=04
	@test -n "$(NB)" || { echo "Which lesson? Say: make notebook NB=04"; exit 1; }
	$(RUN) lessons build $(NB)

exercises: env  ## derive notebooks/exercises from the lessons
	$(RUN) lessons exercises

book: env  ## write the published lessons as a book: build/book/index.html
	$(RUN) lessons book

bench: env  ## measure speed and memory: docs/benchmarks.md; needs a quiet machine, a quarter of an hour on two cores
	$(BIN)/python -m benchmarks run

check: env lint  ## judge sources and published notebooks without running them
	$(RUN) lessons check

lint: env  ## style and common mistakes
	$(BIN)/python -m ruff check .

clean:  ## remove what was built (not .venv)
	rm -rf build .pytest_cache .ruff_cache .hypothesis
