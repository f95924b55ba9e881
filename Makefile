# Two commands do everything on a machine that has Python 3.11 or newer and make:
#   make run    set up, write the demo archive, run the workflow on it, show the result
#   make test   set up, run the fast tests
# On a Debian machine, as root: make test-cluster runs the tests that start a SLURM of their own.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
# One thread per job: sums then do not depend on the machine.
export OMP_NUM_THREADS ?= 1

.PHONY: run setup test test-slow test-by-hand test-cluster test-browser notebooks lint format render docs clean

run: setup
	$(BIN)/snakemake --cores $(CORES)
	$(BIN)/snakemake --report results/demo/report.html --cores 1
	@$(BIN)/canopyflow results

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "canopyflow needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e '.[test,lint,docs]'
	touch $@

test: setup
	$(BIN)/python -m pytest -m "not slow and not cluster and not notebooks and not browser" -n 2 --dist loadscope --no-loadscope-reorder

# Minutes, not seconds: what a change of physics, of training or of the workflow has to pass as well.
# Campaigns first: the last tests are then short ones, and neither worker waits long for the other.
test-slow: setup
	$(BIN)/python -m pytest -m 'slow and not by_hand' -n 2 --dist loadscope --no-loadscope-reorder tests/workflow tests/docs tests/laws tests/unit

# A campaign on real scenes and field measurements (CANOPYFLOW_REAL_DATA).
test-by-hand: setup
	$(BIN)/python -m pytest -m by_hand tests

test-cluster: setup
	$(BIN)/python -m pytest -m cluster tests/cluster

# The tutorials of docs/notebooks/, on what `make run` made.
notebooks: setup
	CANOPYFLOW_NEEDS_DEMO=1 $(BIN)/python -m pytest -m notebooks tests/docs

# In Chromium (Debian's chromium and chromium-driver): the page of a campaign, and those of the demo where it was run.
test-browser: setup
	$(BIN)/python -m pytest -m browser tests/browser

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakemake --lint

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# Files that are made from the code: default configuration, schema, docs tables.
render: setup
	$(BIN)/canopyflow config render

# The documentation site, in site/: no warning passes.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean --quiet

clean:
	rm -rf results demo-archive .snakemake site
