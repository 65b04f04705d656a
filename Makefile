# Everything a newcomer needs: `make demo` and `make test` set up what they run in.
PYTHON ?= python3
BIN := .venv/bin

# A Python with lightly and torchmetrics, which one benchmark compares with where they are (see its first lines).
PEERS ?= $(BIN)/python
CPU_BENCHMARKS := start tiles_and_cubes genesis_transforms linear_probe_cost data_rates fast_defaults growth run_over_step step_cost

.PHONY: demo test test-all lint docs benchmarks benchmarks-gpu clean

demo: .venv/installed
	$(BIN)/python -m medssl demo

# One thread a worker: torch's threads of several workers fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8

test: .venv/installed lint
	$(PYTEST) -m "not slow"

# Every backbone under every task, and what takes long by itself.
test-all: .venv/installed lint
	$(PYTEST)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
# mypy does not see that transforms/ is installed as medssl.transforms, so it is shown the package as installed.
	@rm -rf .mypy && mkdir -p .mypy/medssl && ln -s $(CURDIR)/medssl/* $(CURDIR)/transforms .mypy/medssl/
	MYPYPATH=.mypy $(BIN)/mypy -p medssl

# The site, in site/: written without a network, and only where every link and every page is sound.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: $(CURDIR)/site/index.html"

# An hour on two cores; what is measured goes to benchmarks/results.
benchmarks: .venv/installed
	set -e; for name in $(CPU_BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done
	$(PEERS) benchmarks/losses_and_metrics.py

# Needs CUDA.
benchmarks-gpu: .venv/installed
	set -e; for name in fast_defaults run_over_step; do $(BIN)/python benchmarks/$$name.py; done
	$(BIN)/python benchmarks/step_cost.py --shapes 224x224 96x96x96 30x128x128 --name step_cost_cuda

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "medssl needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf site .venv .mypy .mypy_cache .pytest_cache .ruff_cache build *.egg-info
