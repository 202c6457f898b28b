# make lab: everything set up, then JupyterLab.   make test: everything set up, then every test.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: lab test lint

lab: $(VENV)/ready
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: $(VENV)/ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest

# Made again only when what is to be installed has changed.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
