# kilter: what CI runs is what these targets run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: install demo test lint bench exercise fuzz long docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/kilter treat recipes/newcomer.toml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 0 tests/test_house.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py

exercise: $(VENV)/.installed
	$(BIN)/python benchmarks/exercise.py

fuzz: $(VENV)/.installed-dev
	KILTER_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest -k fuzz

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long

docs: $(VENV)/.installed
	$(BIN)/python docs/tables.py

clean:
	rm -rf $(VENV) runs treated .pytest_cache .ruff_cache build src/*.egg-info
