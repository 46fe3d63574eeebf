# make experiments | effects | test | slow | lint | docs | bench | models: each sets up what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Options for pytest: make experiments ARGS="-k gratitude"
ARGS ?=
WORKERS ?= 2

.PHONY: experiments effects test slow lint docs bench models clean

experiments: $(READY)
	$(BIN)/python -m pytest experiments -n $(WORKERS) $(ARGS)

# The effects of declared heads against the committed baseline: fails where one has drifted.
effects: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest experiments -m gated -n $(WORKERS) --fresh \
		--effects-compare --effects-strict $(ARGS)

test: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) --dist worksteal -m "not slow" \
		--cov --cov-report=term --cov-fail-under=90 $(ARGS)

# Simulations of the statistics, and models of the size of GPT-2: the tests that `test` leaves out.
slow: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) -m slow $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ as a site in build/docs; a warning, as of a link that leads nowhere, fails it.
docs: $(READY)
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c .ci/constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -f .ci/mkdocs.yml

bench: $(READY)
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c .ci/constraints.txt \
		-e '.[bench]' || echo "nnsight could not be had: it is left out"
	$(BIN)/python benchmarks/plugin_cost.py
	$(BIN)/python benchmarks/scale.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/engine_speed.py $(ARGS)

models: $(READY)
	$(BIN)/python -m emolib.training --model all --seed 0

clean:
	rm -rf $(VENV) build dist

$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f"emolib needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV): a minute, or as long as the downloads take."
	$(BIN)/python -m pip install --disable-pip-version-check -qq -c .ci/constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -c .ci/constraints.txt \
		-e '.[witness]' || echo "TransformerLens could not be had: its tests are skipped"
	@touch $@
