# Each target builds .venv when it is missing and needs nothing else.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

FUZZ_SECONDS ?= 60

# The versions that are installed: `make LOCK= ...` takes the newest.
LOCK ?= -c requirements.lock

.PHONY: train seeds test runs quick chaos judges fuzz lint types docs lowest install lock

install: $(INSTALLED)

# The embedded digits, about a minute on two cores.
train: $(INSTALLED)
	$(RUN) -m vit_jax.main --config=configs/digits.py --workdir=runs/digits

# The same over five fixed seeds.
seeds: $(INSTALLED)
	$(RUN) -m vit_jax.study seeds --config=configs/digits.py --workdir=runs/seeds

# On two cores; what took longest is said last.
PYTEST := -m pytest -n 2 --dist=worksteal --durations=20

test: $(INSTALLED)
	$(RUN) $(PYTEST) -m 'not judges and not runs'

# The other tests: whole runs that are killed and go on, studies, notebooks, and what
# else trains, starts processes or compiles for TPUs.
runs: $(INSTALLED)
	$(RUN) $(PYTEST) -m 'not judges and runs'

# `make test` without building every recipe.
quick: $(INSTALLED)
	$(RUN) $(PYTEST) -m 'not judges and not runs' --ignore=tests/recipes

# Saving, killed a hundred times; the tests do it a few times.
chaos: $(INSTALLED)
	VIT_JAX_KILLS=100 $(RUN) -m pytest -s tests/checkpoint/test_chaos.py

# Converters and exports before timm, transformers and TensorFlow.
judges: $(INSTALLED)
	$(VENV)/bin/pip install -q -e '.[dev,judges,tf]'
	$(VENV)/bin/pip install -q --no-deps 'timm>=1.0.31,<1.1'
	$(RUN) $(PYTEST) -m judges tests/judges

# Every reader of untrusted files, FUZZ_SECONDS each.
fuzz: $(INSTALLED)
	$(VENV)/bin/pip install -q -e '.[dev,fuzz]'
	$(RUN) -m tests.fuzz.campaign --seconds=$(FUZZ_SECONDS)

# pyproject.toml has the settings of both.
lint: types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(INSTALLED)
	$(RUN) -m mypy

# The pages of docs/ and the reference, in build/site; a broken link is an error.
docs: $(INSTALLED)
	$(VENV)/bin/pip install -q $(LOCK) -e '.[dev,docs]'
	$(VENV)/bin/mkdocs build -q --strict

# The tests on the lower bound of every requirement.
lowest:
	rm -rf .venv-lowest && $(PYTHON) -m venv .venv-lowest
	VIT_JAX_LOWEST=1 .venv-lowest/bin/pip install -q -e '.[dev]'
	.venv-lowest/bin/python $(PYTEST)

# Writes the newest versions that setup.py allows to requirements.lock, for all
# platforms and versions of Python. libtpu follows jax by itself on TPUs.
lock: $(INSTALLED)
	$(VENV)/bin/pip install -q uv
	$(VENV)/bin/uv pip compile -q --universal --python-version=3.11 --upgrade \
	  --no-header --no-annotate --extra=dev --extra=docs --extra=cuda \
	  --extra=gcs --extra=heic --output-file=requirements.lock setup.py

$(INSTALLED): setup.py requirements.lock
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q $(LOCK) -e '.[dev]'
	touch $@
