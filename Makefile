# make demo: train a photonic network on real digits, study its sensitivity, write the report (about three minutes)
# make test: what has to pass before a change goes in
# make coverage: the same suite, and which lines of neurosim/ it does not reach
# All need Python 3.11 or newer and nothing else: they make .venv on first use, and again when the requirements change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2 # processes that the tests are shared by; each takes up to 1.5 GB

.PHONY: demo test coverage clean

demo: $(VENV)/installed
	$(BIN)/neurosim demo

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict neurosim tests training
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

coverage: $(VENV)/installed
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

$(VENV)/installed: pyproject.toml constraints.txt setup.py $(wildcard neurosim/csrc/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neurosim needs Python 3.11 or newer, got %s: make PYTHON=python3.x" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[interop,test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
