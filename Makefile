# What a person or a machine asks for by name. Everything is installed into .venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
LOCK := infra/requirements.lock
PACKAGES := dataflows kernels schemas infra

.PHONY: help install demo test test-full mutants bench lint types format lock readme clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(STAMP)  ## everything into .venv; .venv/bin/noskew works
	@$(PY) -m noskew.dataflows.warm

demo: install  ## the whole story on servers of its own, about a minute
	$(VENV)/bin/noskew demo

test: lint  ## lint, types and all tests but the long ones
	$(PY) -m pytest -m "not full"

test-full: lint  ## also the long tests, and kernels with checked indices and uncompiled
	NUMBA_BOUNDSCHECK=1 $(PY) -m pytest -q tests/kernels
	NUMBA_DISABLE_JIT=1 $(PY) -m pytest -q tests/kernels
	$(PY) -m pytest

mutants: $(STAMP)  ## break the window kernels, one sign at a time; the tests must notice
	$(PY) tests/mutate.py

bench: install  ## measure, beside the obvious alternative
	$(VENV)/bin/noskew bench

lint: install types  ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# Links, because mypy cannot be told that noskew.kernels is kernels/ (see pyproject.toml).
types: $(STAMP)  ## types
	$(VENV)/bin/mypy $(PACKAGES:%=-p noskew.%)
	$(VENV)/bin/mypy tests

format: $(STAMP)  ## rewrite the sources in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(STAMP)  ## choose the versions of all dependencies anew
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --no-emit-package noskew \
	    --universal --python-version 3.11 --fork-strategy fewest --upgrade \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --quiet --output-file $(LOCK)

readme: $(STAMP)  ## write the generated parts of the README anew
	$(PY) tests/readme.py

clean:  ## remove what make made, but not the stack's state in .noskew
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamp makes `make install` quick when nothing changed. A new interpreter in the old place is
# noticed too: the first recipe line runs the one that is there.
$(STAMP): $(LOCK) pyproject.toml
	@test -x $(PY) && $(PY) -c '' 2>/dev/null || { rm -rf $(VENV); $(call find_python) -m venv $(VENV); }
	$(PY) -m pip install --quiet --require-hashes --requirement $(LOCK)
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	mkdir -p $(VENV)/types/noskew
	for package in $(PACKAGES); do ln -sfn ../../../$$package $(VENV)/types/noskew/$$package; done
	touch $@

# A python that is there may still fail: pyenv's shims exist for versions that are not chosen.
define find_python
$$(for python in python3.12 python3.11 python3; do \
	if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; \
	then echo "$$python"; exit; fi; done; \
	echo "no Python 3.11 or 3.12 with venv: apt-get install python3 python3-venv" >&2; echo false)
endef
