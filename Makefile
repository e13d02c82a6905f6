# Two commands set everything up themselves: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
LOCK := requirements/dev.txt

.PHONY: demo demo-replay test bench lint docs clean lock weights .venv

.venv: $(STAMP)

# The stamp comes last: an interrupted set-up is done again, never mistaken for a finished one.
$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

weights: $(STAMP)
	$(BIN)/wordgrad models pull --yes

demo: weights
	$(BIN)/wordgrad optimize examples/ticket_triage/wordgrad.toml --yes

demo-replay: $(STAMP)
	$(BIN)/python scripts/replay_demo.py

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint weights
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report

bench: weights
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/worlds.py
	$(BIN)/python benchmarks/worlds.py --alarms
	$(BIN)/python benchmarks/costs.py --repeats 30
	$(BIN)/python benchmarks/acceptance.py
	$(BIN)/python benchmarks/examples.py --arms wordgrad nothing

# The reference pages; what is in docs/ is plain Markdown.
docs: $(STAMP)
	$(BIN)/python scripts/reference.py

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --group dev --extra local --extra anthropic --extra parquet pyproject.toml requirements/build.in -o $(LOCK)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  requirements/uv.in -o requirements/uv.txt

clean:
	rm -rf $(VENV) .coverage .hypothesis .mypy_cache .ruff_cache .import_linter_cache dist
