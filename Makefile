PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

.PHONY: install test lint sanitize mutants soak demo bench report gpu package clean

install: .venv/.installed

# The editable install builds the extension in place; its sources are what make it stale.
.venv/.installed: requirements/dev.txt pyproject.toml setup.py $(shell find csrc -type f)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# In as many processes as there are cores, a file's tests in one of them.
test: install
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Runs the kernels' tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitized.
sanitize: install
	$(BIN)/python scripts/try_build.py sanitized

# Shows that a test fails for each of the faults in scripts/faults.py.
mutants: install
	$(BIN)/python scripts/mutants.py

# Scans 200 checkpoints on every engine, kills what runs, and compares the tables; some minutes.
soak: install
	$(BIN)/python scripts/soak.py

demo: install
	test -d $(DEMO)/data || $(BIN)/pydissect data synth --images 300 --seed 0 --out $(DEMO)/data
	$(BIN)/pydissect dissect --data $(DEMO)/data --model pydissect.demo:untrained --layer layer6 \
		--out $(DEMO)/untrained --overwrite
	$(BIN)/pydissect dissect --data $(DEMO)/data --model pydissect.demo:trained --layer layer6 \
		--out $(DEMO)/trained --overwrite

# The suites, one function at a time; --benchmark-compare and the like: make bench BENCH='--benchmark-autosave'.
bench: install
	$(BIN)/python -m pytest benchmarks/bench_*.py $(BENCH)

# The table against the machine's limit, its JSON and its picture: make report MACHINE=name.
MACHINE ?= $(shell uname -m)
report: install
	mkdir -p benchmarks/results
	$(BIN)/pydissect bench --json benchmarks/results/$(MACHINE).json
	$(BIN)/python benchmarks/plot.py benchmarks/results/$(MACHINE).json docs/speed

# On a machine with a GPU, from a bare checkout and without a network: builds for it, tests every backend, measures.
GPU ?= gpu
gpu:
	$(PYTHON) scripts/gpu.py --json benchmarks/results/$(GPU).json

# Builds sdist and wheel, and runs the demo from the wheel in a new environment.
package: install
	rm -rf build dist
	$(BIN)/python -m build --quiet
	$(PYTHON) scripts/try_wheel.py dist/*.whl

clean:
	rm -rf .venv build dist $(DEMO) *.egg-info pydissect/*.so
