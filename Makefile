# make lab: everything set up, then JupyterLab on your own copies of the notebooks. make lab-lecture: on fresh copies with outputs.
# make test: everything set up, then every test.   Options for JupyterLab: make lab LAB="--port 9999"
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on
TORCH = $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)
CPU_BUILDS = https://download.pytorch.org/whl/cpu

.PHONY: lab lab-lecture site slides test browser constraints

lab: $(VENV)/ready
	$(BIN)/python -m yzlin lab $(LAB)

lab-lecture: $(VENV)/ready
	$(BIN)/python -m yzlin lab --lecture $(LAB)

# The course as pages to read: site/index.html opens by a double click, from a USB stick too.
site: $(VENV)/ready
	$(BIN)/python -m yzlin site

# Each notebook as slides: slides/index.html.
slides: $(VENV)/ready
	$(BIN)/python -m yzlin slides

test: $(VENV)/ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest

# JupyterLab in a real Chromium; not part of `test`.
browser: $(VENV)/ready
	$(INSTALL) --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest tests/browser

# Made again only when what is to be installed has changed, and from the ground up where the Python in it does not run any more.
# A new pip shows how far it is, an old one is silent for minutes. Linux without an NVIDIA card gets torch's CPU build, some
# gigabytes smaller; where PyTorch's own index is out of reach, the last step takes torch from where it takes everything else.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "This is Python " + sys.version.split()[0] + ". The course needs 3.10 or newer: make lab PYTHON=python3.12, for example.")'
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing about 120 packages, some 400 MB on Linux without an NVIDIA card. This is done once."
	@$(INSTALL) --upgrade pip || echo "Going on with the pip that is there."
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
	    $(INSTALL) --timeout 15 --retries 1 --no-deps --index-url $(CPU_BUILDS) $(TORCH) || echo "Going on without $(CPU_BUILDS)."; \
	fi
	$(INSTALL) --constraint constraints.txt --editable '.[test]'
	@touch $@

# constraints.txt again; needs the network. UPGRADE=--upgrade: the newest of everything but torch.
constraints:
	$(PYTHON) -m venv $(VENV)/pins
	$(VENV)/pins/bin/python -m pip install --upgrade pip uv packaging
	$(VENV)/pins/bin/python tests/make_constraints.py $(UPGRADE)
