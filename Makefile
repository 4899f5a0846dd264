# kilter: what CI runs is what these targets run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

FRESH := build/fresh

.PHONY: install demo test lint bench crash exercise fuzz long docs dist clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --group dev
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

crash: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/crash.py

exercise: $(VENV)/.installed
	$(BIN)/python benchmarks/exercise.py

fuzz: $(VENV)/.installed-dev
	KILTER_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest -m "" -k fuzz

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long

docs: $(VENV)/.installed
	$(BIN)/python docs/tables.py

# Builds the wheel and uses it in a fresh environment, away from the source.
dist:
	rm -rf dist $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(FRESH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd $(FRESH) && bin/python -c 'import kilter; print(kilter.__version__, kilter.__file__)'
	cd $(FRESH) && bin/kilter --help
	cd $(FRESH) && bin/kilter train digits --epochs 1 --quiet && bin/kilter runs

clean:
	rm -rf $(VENV) runs treated .pytest_cache .ruff_cache build dist src/*.egg-info
