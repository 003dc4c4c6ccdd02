# Two commands for a fresh machine: `make run` and `make test`. BUILD.md has the plain ones.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

run: $(VENV)/installed
	$(BIN)/python -m must_keras.main $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations=15

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow --durations=0

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	touch $@

$(VENV)/installed-docs: requirements-docs.txt requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements-docs.txt
	$(PIP) --no-deps --editable .
	touch $@ $(VENV)/installed

$(VENV)/installed-dev: requirements-dev.txt requirements-docs.txt requirements-checkpoints.txt requirements-ray.txt requirements-export.txt requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps --editable .
	touch $@ $(VENV)/installed

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

.PHONY: run test test-slow lint docs
