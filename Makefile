# The first target you need is `demo`: it creates .venv, runs the main job on real data and leaves a report.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Each stamp is touched when its installation has succeeded, and is out of date when what it was made from changes.
VENV_STAMP := $(VENV)/.stamp-venv
DEMO_STAMP := $(VENV)/.stamp-demo
INSTALL_STAMP := $(VENV)/.stamp-install
SOURCES := pyproject.toml constraints.txt
# conftest.py says which tests stay together in one process.
IN_PARALLEL := -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-all install lint format docs docs-serve gallery bench fuzz clean evidence

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO_STAMP) ## Run the main job on real data; ends with a recommendation, plots and a report in demo-output/.
	$(BIN)/robust-lr demo

test: $(INSTALL_STAMP) ## Run everything that CI runs: linter, formatter, types, tests. Each runs even if another fails.
	@failed=""; \
	for check in "ruff check" "ruff format --check" "mypy" "pytest $(IN_PARALLEL)"; do \
		echo "== $$check"; \
		$(BIN)/python -m $$check || failed="$$failed [$$check]"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

test-slow: $(INSTALL_STAMP) ## Run the tests that `make test` leaves out: clusters, long examples, compiled steps.
	$(BIN)/python -m pytest -m slow

test-all: ## Run both: make test, then make test-slow even if that failed.
	@$(MAKE) --no-print-directory test; status=$$?; $(MAKE) --no-print-directory test-slow && exit $$status

install: $(INSTALL_STAMP) ## Create .venv with all extras and the developers' tools, in the tested versions.

lint: $(INSTALL_STAMP) ## Run linter, formatter (without changing a file) and type checker.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALL_STAMP) ## Format all files and repair what the linter can repair.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALL_STAMP) ## Build the documentation into site/; a dead link or a name without a page is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html through: make docs-serve"

docs-serve: $(INSTALL_STAMP) ## Show the documentation at http://127.0.0.1:8000, and again after each edit.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

gallery: $(INSTALL_STAMP) ## Run the examples, and write what they print into docs/gallery.md.
	$(BIN)/python benchmarks/readme_output.py --write --only examples/

bench: $(INSTALL_STAMP) ## Run each benchmark in turn.
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

fuzz: $(INSTALL_STAMP) ## Feed every reader, command and function with nonsense; SECONDS=600 says for how long.
	$(BIN)/python -m tests.fuzz.fuzzer --seconds $(or $(SECONDS),60)

evidence: $(INSTALL_STAMP) ## Measure again how much robust-lr withstands, and write docs/explanation/evidence.md; takes hours.
	@failed=""; \
	for group in pool studies cluster processes disks journals inputs scale stored; do \
		$(BIN)/python -m benchmarks.evidence.$$group || failed="$$failed $$group"; \
	done; \
	$(BIN)/python -m benchmarks.evidence.page; \
	test -z "$$failed" || { echo "not as promised:$$failed" >&2; exit 1; }

clean: ## Remove caches, builds and demo-output/; keeps .venv.
	rm -rf build dist site demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A .venv that is already there is kept; pip 25.1 is the first that installs dependency groups.
$(VENV_STAMP):
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "robust-lr needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || echo "creating $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@$(PIP_INSTALL) --upgrade 'pip>=25.1'
	@touch $@

$(DEMO_STAMP): $(VENV_STAMP) $(SOURCES)
	@echo "installing what the demo needs"
	@$(PIP_INSTALL) -c constraints.txt -e '.[sklearn,report]'
	@touch $@

# torch comes in the same resolution as its pin: without the pin pip takes several gigabytes of CUDA.
$(INSTALL_STAMP): $(VENV_STAMP) $(SOURCES)
	@echo "installing all extras and the developers' tools"
	@$(PIP_INSTALL) -c constraints.txt -e '.[all]' --group dev
	@touch $(DEMO_STAMP) $@
