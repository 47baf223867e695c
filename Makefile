# Every target makes its own environment: .venv, or .venv-parity with the packages that ours is compared with.
# Nothing but Python >= 3.10 and make has to be there already.
PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.installed
PARITY := .venv-parity/bin
PARITY_READY := .venv-parity/.installed

.PHONY: demo test parity lint types format bench clean

demo: $(READY)  ## train a small model on the embedded data and watch its explanations
	$(BIN)/python examples/quickstart.py

# One thread per worker: the workers share the cores instead of fighting over them.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

parity: $(PARITY_READY)  ## compare our numbers with those of other packages
	OMP_NUM_THREADS=1 $(PARITY)/python -m pytest parity

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(READY)
	$(BIN)/python -m mypy

format: $(READY)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(PARITY_READY)  ## what explaining costs, here and in other packages
	$(PARITY)/python -m benchmarks

clean:
	rm -rf .venv .venv-parity .mypy_cache .pytest_cache .ruff_cache build dist lightning_logs wandb mlruns runs outputs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@echo "Installing the package and its tools into .venv; the first time takes some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable ".[dev]"
	touch $@

$(PARITY_READY): pyproject.toml
	@echo "Installing the package and its peers into .venv-parity; the first time takes some minutes."
	test -x $(PARITY)/python || $(PYTHON) -m venv .venv-parity
	$(PARITY)/python -m pip install --disable-pip-version-check --quiet --editable ".[parity]"
	touch $@
