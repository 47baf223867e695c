# Every target makes its own environment: .venv; .venv-parity with the packages that ours is compared with; .venv-lowest
# with the lowest versions that we promise to work with; .venv-cuda on top of the torch that a machine with a GPU has.
# Nothing but Python >= 3.10 and make has to be there already.
PYTHON ?= python3
WORKERS ?= 2
# The lowest versions have no wheels for the newest Python.
LOWEST_PYTHON ?= python3.10

BIN := .venv/bin
READY := .venv/.installed
PARITY := .venv-parity/bin
PARITY_READY := .venv-parity/.installed
LOWEST := .venv-lowest/bin
LOWEST_READY := .venv-lowest/.installed
CUDA := .venv-cuda/bin
CUDA_READY := .venv-cuda/.installed
OF_TORCH := ^(torch|torchvision|triton|nvidia-.*|cuda-.*)==

.PHONY: demo test test-lowest test-cuda wheels parity lint types format bench clean

demo: $(READY)  ## train a small model on the embedded data and watch its explanations
	$(BIN)/python examples/quickstart.py

# One thread per worker: the workers share the cores instead of fighting over them.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-lowest: $(LOWEST_READY)  ## the same with the lowest version of each dependency that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/python -m pytest -n $(WORKERS) --dist worksteal

# A machine with a GPU often has torch and torchvision, nothing of ours, and no way to a package index. Then
#   1. where there is an index, and the same Python and system: `make wheels` collects in wheels/ what .venv holds
#      beside torch, in the same versions (`pip wheel --no-deps`);
#   2. carry the repository there, with wheels/, which git ignores;
#   3. there: `make test-cuda PYTHON=<the Python that has torch>`, which installs wheels/ with `pip install --no-index`.
# Without wheels/ the same target asks the index for what is missing.
test-cuda: $(CUDA_READY)  ## what only a CUDA device can show; fails where there is none
	$(CUDA)/python -c 'import torch; torch.cuda.is_available() or exit("Expected a CUDA device, but torch sees none.")'
	$(CUDA)/python -m pytest -m cuda

wheels: $(READY)  ## carries the test tools to a machine without an index; see test-cuda
	mkdir -p wheels
	$(BIN)/python -m pip freeze --exclude-editable | grep -Ev '$(OF_TORCH)' > wheels/requirements.txt
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir wheels \
		--requirement wheels/requirements.txt

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
	rm -rf .venv .venv-parity .venv-lowest .venv-cuda .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist wheels lightning_logs wandb mlruns runs outputs
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

$(LOWEST_READY): pyproject.toml .ci/lowest_bounds.py
	@echo "Installing the lowest versions into .venv-lowest; the first time takes some minutes."
	test -x $(LOWEST)/python || $(LOWEST_PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --disable-pip-version-check --quiet packaging tomli
	$(LOWEST)/python .ci/lowest_bounds.py > .venv-lowest/constraints.txt
	$(LOWEST)/python -m pip install --disable-pip-version-check --quiet \
		--constraint .venv-lowest/constraints.txt --editable ".[test]"
	touch $@

$(CUDA_READY): pyproject.toml $(wildcard wheels/requirements.txt)
	test -x $(CUDA)/python || $(PYTHON) -m venv --system-site-packages .venv-cuda
	if test -d wheels; \
		then $(CUDA)/python -m pip install --disable-pip-version-check --quiet --no-index --no-deps wheels/*.whl; \
		else $(CUDA)/python -m pip install --disable-pip-version-check --quiet --editable ".[test]"; \
	fi
	touch $@
