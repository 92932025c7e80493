# make demo    AlexNet on a picture of a cat, checked against torch; needs no GPU
# make test    linter, type checker and the whole test suite; needs no GPU
# make test-all  the suite with what `make test` leaves out for its time: each example through each of its tests
# make docs    write docs/layers.md and docs/errors.md anew from the layers and the error codes
# make kernels write docs/kernels.md and its table anew: 4,500 kernels, those of all examples on four targets, compiled.
#              Half an hour on two cores where nothing is cached, a minute where all is
# make gate    compile all those kernels and hold them to that table, where `make test` compiles a sample; as long.
#              Of one target alone: make gate TARGETS=sm_90
# make clean   remove what these made, the virtual environment too
#
# All work in .venv, which is made on first use. Another Python: make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
# As recent as the last installation; a changed list of packages installs again.
INSTALLED := .venv/installed

.PHONY: demo test test-all docs kernels gate clean

demo: $(INSTALLED)
	$(BIN)/cnndsl run examples/alexnet.cnn examples/images/chelsea.png --verify

test: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses=$(WORKERS)

test-all: $(INSTALLED)
	CNNDSL_COMPILE_ALL=1 $(BIN)/pytest --numprocesses=$(WORKERS)

# Two processes share a small machine well: most tests run Python and not torch, which is kept to one thread.
WORKERS ?= 2

docs: $(INSTALLED)
	$(BIN)/python scripts/generate_docs.py

# What is compiled takes 1.4 GiB, and the user's own cache is cut back to 1 GiB: it has a place of its own.
GATE := CNNDSL_CACHE=.venv/kernels CNNDSL_CACHE_SIZE=4096 $(BIN)/python scripts/kernel_table.py

kernels: $(INSTALLED)
	$(GATE)

gate: $(INSTALLED)
	$(GATE) --check $(TARGETS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Whether an interpreter is recent enough; the second question is for pip, which half-made environments lack.
RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
USABLE := -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))'

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) $(RECENT) 2>/dev/null || { \
	    found=$$($(PYTHON) --version 2>&1) || found="not found"; \
	    echo "cnndsl needs Python 3.11 or later; '$(PYTHON)' is $$found." >&2; \
	    echo "If you have another, name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(BIN)/python $(USABLE) 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --editable '.[dev]' --constraint constraints.txt
	@touch $@
