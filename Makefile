# make demo     set everything up and run the main job on real data that ships with the project
# make test     set everything up and pass the tests
# make install  only set up: .venv/bin/sartor
# make check    style, layers, types (under 30 s)
# make assets   the tests that need a pretrained base (fetched once, then cached)
# make test-all every test, the slow ones too
# make fix      mend the style
#
# torch: the pinned version comes as a CPU build where the package index serves one. Elsewhere name the index of
# CPU builds (pytorch.org, "Get Started", shows it), or gigabytes of CUDA come along:
#     make install TORCH_INDEX=https://…/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ONE_TORCH := $(shell grep '^torch==' requirements/run.txt)

.PHONY: install demo test test-all assets check fix bench clean

install: $(VENV)/.dev
	@echo "Ready: $(BIN)/sartor --help"

$(VENV)/.run: requirements/run.txt requirements/serve.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sartor needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Say make PYTHON=python3.12 …"; exit 2; }
	@echo "Setting up $(VENV): a minute or two, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) $(ONE_TORCH),true)
	@$(PIP) --no-deps -r requirements/run.txt -r requirements/serve.txt
	@$(PIP) --no-deps 'setuptools>=77' && $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@$(PIP) --no-deps -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.run
	@sh examples/demo.sh $(BIN)/sartor

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m 'not gpu'

assets: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m asset

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build src/*.egg-info
