# Every target sets the project up first where it needs to; a repeated set-up costs seconds.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
PY := $(VENV)/bin/python
# one thread a process: tiny networks, and two processes already fill two cores. The tests start many
# processes: compiled modules are kept even where the environment says otherwise.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# JOBS=0 runs the tests in this process (debugger, timings); a file's tests share its trained toy models
JOBS ?= 2
LINT := $(PY) -m ruff format --check -q . && $(PY) -m ruff check .
PYTEST := $(TEST_ENV) $(PY) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-full lint clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## make .venv with everything in it (once, several minutes; later calls: seconds)
	@VENV=$(VENV) bash tools/setup_env.sh

demo: setup  ## teacher, student alone and distilled student on sign scenes with few labels: a table, pictures
	$(PY) tools/demo.py

lint: setup  ## style check
	$(LINT)

test: setup  ## style check and the tests of continuous integration
	$(LINT)
	$(PYTEST) tests -m "not slow" --durations=15

test-full: setup  ## all tests, the long ones too
	$(LINT)
	$(PYTEST) tests --durations=30

clean:  ## remove caches and build products (not .venv, data or work_dirs)
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
