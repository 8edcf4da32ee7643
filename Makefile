# make help
PYTHON ?= python3
BIN := .venv/bin
# A wheel of it where the project has no engine/.
ENGINE ?= ./engine
# What a run needs is installed; and what tests and checks need.
READY := .venv/ready
DEV := .venv/ready-dev
# uv if it is there, else pip; make setup UV= takes pip
UV ?= $(shell command -v uv)
INSTALL := $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check) --quiet
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEV) ## .venv with all pinned packages, and what editors know of the YAML files; the other targets do it when needed

# $(1) is the engine with its extras
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(INSTALL) $(if $(wildcard engine),--editable) '$(1)' --editable . --constraint constraints.txt
	$(BIN)/python scripts/make_schema.py
endef

$(READY): pyproject.toml $(wildcard engine/pyproject.toml) constraints.txt
	$(call install,$(ENGINE))
	@touch $(READY)

$(DEV): pyproject.toml $(wildcard engine/pyproject.toml) constraints.txt
	$(call install,$(ENGINE)[dev])
	@touch $(READY) $(DEV)

train: $(READY) ## train and test a small CNN on real digits: about a minute
	$(BIN)/python train.py experiment=cnn

test: $(DEV) ## all tests
	$(BIN)/pytest -n 2 tests
	$(if $(wildcard engine/tests),$(BIN)/pytest -n 2 engine/tests)

test-project: $(DEV) ## the tests of src, configs and scripts alone: under a minute
	$(BIN)/pytest -n 2 tests

test-crash: $(DEV) ## kill, damage, change and resume thousands of runs: about an hour
	$(BIN)/pytest -n 2 -m slow tests
	$(BIN)/pytest -n 2 -m slow engine/tests
	$(BIN)/python engine/tests/crash.py
	$(BIN)/python engine/tests/fuzz.py

test-features: $(DEV) ## every feature with three recipes and five foreign modules: works, or why not; about 20 minutes
	$(BIN)/python engine/tests/features.py cnn diabetes gpt

test-sweeps: $(DEV) ## kill sweeps anywhere and give them again: about ten minutes
	$(BIN)/python engine/tests/sweeps.py

test-ranks: $(DEV) ## several processes train as one does, and go on as another number, after a kill too: minutes
	$(BIN)/pytest -n 0 -m slow engine/tests/test_ranks.py engine/tests/test_processes.py
	$(BIN)/python engine/tests/ranks.py

test-launchers: $(DEV) ## torchrun, srun and the others with real processes, killed and resumed; a table: half an hour
	$(BIN)/python engine/scripts/launchers.py

test-updates: $(DEV) ## update a fork of version 0.2.0 over the history of this repository: about a minute
	$(BIN)/python tests/updates.py

test-deletions: $(DEV) ## the project without each part and each example, in copies: about three hours
	$(BIN)/python scripts/deletions.py

test-matrix: $(DEV) ## with the lowest, pinned and newest versions of all packages, in environments of their own: hours
	$(BIN)/python engine/scripts/matrix.py

test-gpu: $(DEV) ## what only a CUDA GPU can show: tests, runs that are killed, speed; DATA=CIFAR10 measures a recipe too
	$(BIN)/python engine/scripts/gpu_check.py --data='$(DATA)'

check: $(DEV) ## what a commit must pass: format, lint, types, tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/pytest -n 2 tests
	$(if $(wildcard engine/tests),$(BIN)/pytest -n 2 engine/tests)

format: $(DEV) ## format and mend what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

coverage: $(DEV) ## which lines no test reaches
	$(BIN)/pytest -n 2 --cov tests
	$(BIN)/pytest -n 2 --cov --cov-append --cov-report=term-missing:skip-covered engine/tests

golden: $(DEV) ## accept changed configs: write tests/golden anew, then read the diff
	UPDATE_GOLDEN=1 $(BIN)/pytest -n 0 tests/test_recipes.py -k golden

schema: $(READY) ## write .schema anew: what editors know of the YAML files
	$(BIN)/python scripts/make_schema.py

notebook: $(READY) ## run notebooks/explore.ipynb from its first cell to its last
	@$(BIN)/python -c 'import ipykernel, nbclient' 2>/dev/null || $(INSTALL) --editable '.[notebook]' --constraint constraints.txt
	$(BIN)/jupyter execute notebooks/explore.ipynb

check-configs: $(READY) ## every recipe with every data set and every model that fits
	$(BIN)/python scripts/check_configs.py

faults: $(DEV) ## plant faults, one by one, and see which test catches each: hours
	$(BIN)/python engine/scripts/plant_faults.py

contracts: $(DEV) ## plant classical bugs, and see which contract of models, data and runs catches each
	$(BIN)/python engine/scripts/plant_faults.py --contracts

wheel: ## dist/kindling_engine-*.whl, for a project without engine/: make setup ENGINE=<its path> installs it there
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist ./engine

lock: $(READY) ## the newest versions into constraints.txt, and what that changes
	$(BIN)/python engine/scripts/lock.py

audit: $(READY) ## known vulnerabilities of the pinned packages; asks the advisories of the Python package index
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9'; }
	@$(BIN)/python engine/scripts/audit.py .venv/audit/bin/pip-audit

clean: ## delete caches; asks before it deletes results in logs/
	rm -rf .pytest_cache .ruff_cache .coverage* build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@if [ -n "$$(ls logs)" ]; then \
	  printf 'Delete all %s results in logs/ for good? [y/N] ' "$$(find logs -name run.json | wc -l)"; \
	  read -r answer || true; \
	  case "$$answer" in y | Y) rm -rf logs/* ;; *) echo 'kept' ;; esac; \
	fi

.PHONY: help setup train test test-crash test-features test-sweeps test-deletions test-matrix test-ranks test-launchers test-updates test-gpu check format coverage golden schema notebook check-configs faults contracts lock wheel audit clean
