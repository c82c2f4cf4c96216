# Needs Python 3.11 or newer with its venv module, and make; everything else is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=
DEMO ?= runs/demo
BUDGET ?= 30s

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format docs bench prove clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# One stamp for each set of extras; a target installs only what it needs, once.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.with-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Lightmeter and what it needs into $(VENV): a minute or two"
	$(PIP) --editable '.[$*]'
	@touch $@

install: $(VENV)/.with-all,dev ## Install everything that developing needs into $(VENV)

demo: $(VENV)/.with-all ## Train a classifier of handwritten digits, then let it name one
	@rm -rf $(DEMO)
	$(BIN)/lightmeter train digits --budget $(BUDGET) --out $(DEMO) || { echo 'On a slow or busy machine: make demo BUDGET=5m'; exit 1; }
	@sample=$$($(BIN)/python docs/examples/write_a_digit.py $(DEMO)) && $(BIN)/lightmeter predict $(DEMO)/model.bundle "$$sample"
	@echo "Report: $(DEMO)/report.html"

test: $(VENV)/.with-all,dev ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.with-all,dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.with-all,dev ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.with-all,docs ## Build the user guide into site/
	$(BIN)/python docs/reference.py
	$(BIN)/mkdocs build --strict --quiet
	@echo "Guide: site/index.html"

bench: $(VENV)/.with-all,dev ## Measure every row of the table of benchmarks beside its peers and keep the evidence (hours)
	$(BIN)/python -m bench all
	$(BIN)/python -m bench.table

prove: $(VENV)/.with-all,dev ## Train each named set that is here, run every study, and keep the evidence (many hours)
	$(BIN)/python -m bench.record
	$(BIN)/python -m bench.study
	$(BIN)/python -m bench.table

clean: ## Remove what the other targets made, but no run
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
