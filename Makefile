# Two commands do all the set-up: `make demo` and `make test`. PYTHON names the interpreter (3.11 or newer) to start from, JOBS the
# processes that share the tests (a few GB of memory each), file by file.
PYTHON ?= python3
JOBS ?= auto
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test test-slow lint bench clean

demo: $(VENV)/.demo
	$(VENV)/bin/epcore demo --output out/demo
	$(VENV)/bin/epcore doctor

test: $(VENV)/.test
	$(RUN) -m pytest -m "not slow and not gpu" --numprocesses $(JOBS) --maxprocesses 4 --dist loadfile $(TESTS)

test-slow: $(VENV)/.test
	$(RUN) -m pytest -m "slow and not gpu"

lint: $(VENV)/.lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(VENV)/.bench
	$(RUN) -m pytest bench/ -m "not gpu"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "epcore needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --editable ".[progress]"
	touch $@

$(VENV)/.test: EXTRAS := test,gate
$(VENV)/.test $(VENV)/.lint $(VENV)/.bench: $(VENV)/.%: pyproject.toml setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --editable ".[$(or $(EXTRAS),$*)]"
	touch $@

clean:
	rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -prune -exec rm -rf {} +
