# make experiments | effects | test | coverage | slow | faults | lint | docs | bench | models | lock | audit: each
# sets up what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Options for pytest: make experiments ARGS="-k gratitude"
ARGS ?=
WORKERS ?= 2

# Not empty: nothing is installed whose hash is not in .ci/locked.txt (Linux on x86-64, Python 3.11).
LOCKED ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq

.PHONY: experiments effects test coverage slow faults lint docs bench models lock audit clean

experiments: $(READY)
	$(BIN)/python -m pytest experiments -n $(WORKERS) $(ARGS)

# The effects of declared heads against the committed baseline: fails where one has drifted.
effects: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest experiments -m gated -n $(WORKERS) --fresh \
		--effects-compare --effects-strict $(ARGS)

test: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) --dist worksteal -m "not slow" $(ARGS)

# The same under a tracer, which takes half as long again; workers of runs within are not measured.
coverage: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) --dist worksteal -m "not slow" \
		--cov --cov-report=term --cov-fail-under=90 $(ARGS)

# Simulations, models of the size of GPT-2, every combination: the tests that `test` leaves out.
slow: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) -m slow $(ARGS)

# Kills, full disks, damaged stores, hostile files: all of tests/faults, and docs/reliability.md of it.
faults: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/faults -n $(WORKERS) -m slow $(ARGS)
	$(BIN)/python tests/faults/figures.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ as a site in build/docs; a warning, as of a link that leads nowhere, fails it.
docs: $(READY)
	@$(PIP) -c .ci/constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -f .ci/mkdocs.yml

bench: $(READY)
	@$(PIP) -c .ci/constraints.txt -e '.[bench]' || echo "nnsight could not be had: it is left out"
	$(BIN)/python benchmarks/plugin_cost.py
	$(BIN)/python benchmarks/scale.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/engine_speed.py $(ARGS)

models: $(READY)
	$(BIN)/python -m emolib.training --model all --seed 0

# .ci/locked.txt of .ci/constraints.txt: after a version was changed there.
lock: build/lock/.ready
	build/lock/bin/uv pip compile pyproject.toml --extra dev --extra witness -c .ci/constraints.txt \
		--python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --quiet \
		$(addprefix --find-links ,$(PIP_FIND_LINKS)) --no-header --no-annotate -o .ci/locked.txt

# What is known to be wrong with what is installed; needs a network that has the advisories.
audit: build/lock/.ready
	build/lock/bin/pip-audit -r .ci/locked.txt --no-deps --disable-pip

build/lock/.ready: .ci/constraints.txt
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --disable-pip-version-check -qq uv pip-audit
	@touch $@

clean:
	rm -rf $(VENV) build dist

$(READY): pyproject.toml .ci/constraints.txt .ci/locked.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f"emolib needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV): a minute, or as long as the downloads take."
ifneq ($(LOCKED),)
	$(PIP) --require-hashes --no-deps -r .ci/locked.txt
	$(PIP) --no-index --no-deps --no-build-isolation -e .
else
	$(PIP) -c .ci/constraints.txt -e '.[dev]'
	@$(PIP) -c .ci/constraints.txt -e '.[witness]' || echo "TransformerLens could not be had: its tests are skipped"
endif
	@touch $@
