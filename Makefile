# Two commands on a fresh machine: `make demo` and `make test`. Both set everything up by themselves.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
CODE   := src tests benchmarks examples tools
STAMP  := $(VENV)/.installed
# a file's tests stay in one process; each process has a display of its own (pytest-xvfb)
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
# Nothing of ours calls home.
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: help demo test check lint types contracts bench docs clean system setup coverage search floors sbom

help:            ## show this list
	@grep -E '^[a-z]+: .*##|^[a-z]+:  +##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## virtual environment with the package and its tools

$(STAMP): pyproject.toml tools/bootstrap.sh
	@sh tools/bootstrap.sh $(PYTHON) $(VENV)
	@touch $(STAMP)

system:          ## libraries that Qt, OpenGL and Xvfb need (Debian, Ubuntu; installed when root)
	@sh tools/system_libraries.sh

demo: system setup ## synthetic tissue, two minutes of training, scores, and the Studio where there is a display
	$(PY) -m napari_monusac demo

test: system setup lint types contracts ## everything that CI runs
	$(PY) -m npe2 validate napari-monusac
	$(PY) -m pytest $(PARALLEL)

check: setup lint types contracts ## fast: lint, types, contracts, tests without torch, window and real data
	$(PY) -m pytest -m "not torch and not gui and not shared"

lint: setup
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)

types: setup
	$(PY) -m mypy

contracts: setup
	$(VENV)/bin/lint-imports

search: setup    ## the property tests with new random examples (the suite takes the same ones each time)
	$(PY) -m pytest $(PARALLEL) -m hypothesis --hypothesis-profile=search

coverage: system setup ## the test suite with coverage
	$(PY) -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered

bench: system setup ## all benchmarks, one table (rivals come from the dependency group `bench`)
	$(PY) -m pip install --quiet --group bench
	sh tools/with_display.sh $(PY) benchmarks/run_all.py

floors: system   ## the tests without a window, with the lowest versions that the package declares
	$(PYTHON) -m venv .floors
	.floors/bin/python -m pip install --quiet "pip>=25.1"
	$(PYTHON) tools/floors.py > .floors/floors.txt
	.floors/bin/python -m pip install --quiet -e ".[all]" --group dev -c .floors/floors.txt
	.floors/bin/python -m pytest $(PARALLEL) -m "not gui"

sbom: setup      ## what is installed, with versions and licences, as CycloneDX
	$(PY) -m pip install --quiet --group sbom
	$(VENV)/bin/cyclonedx-py environment --output-file sbom.json

docs: setup      ## the guide, without warnings, into site/
	$(PY) -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

clean:           ## remove what the commands above made
	rm -rf $(VENV) .floors sbom.json site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
