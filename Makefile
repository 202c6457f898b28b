# make lab: everything set up, then JupyterLab.   make test: everything set up, then every test.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: lab test browser

lab: $(VENV)/ready
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: $(VENV)/ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest

# JupyterLab in a real Chromium; not part of `test`.
browser: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest tests/browser

# Made again only when what is to be installed has changed.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
