# make lab: everything set up, then JupyterLab on your own copies of the notebooks.   make lab-lecture: on the originals.
# make test: everything set up, then every test.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: lab lab-lecture test browser

lab: $(VENV)/ready
	$(BIN)/python -m yzlin lab

lab-lecture: $(VENV)/ready
	$(BIN)/python -m yzlin lab --lecture

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
