# Every target does all its own set-up, in .venv: "git clone … && cd ipyreconnect && make demo" is enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What pip says matters only when it fails.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Options for pytest, such as: make quick ARGS="-k keepalive -x"
ARGS ?=
# The quick tests, a process a core; ARGS=-n0 runs them in one, for a debugger.
QUICK := -m quick -n auto --dist loadfile
# The ipykernels of `make kernels`, besides the newest, which all the other tests use.
KERNELS ?= 7.3 6.31
# The panel's page: its modules, and what checks them.
PAGE := ipyreconnect/jupyter/panel/web
WEB := tests/web
NODE_BIN := node_modules/.bin
# Where Node can't be had, .ci/system-packages says so, and what needs it is left out; in CI it fails.
IF_NODE = if command -v node >/dev/null && [ -d $(WEB)/node_modules ]; then
# Jupyter refuses to run as root unless told that this is meant.
LAB_ARGS := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help demo test quick web faults kernels docs lint format bench soak screenshots coverage system clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # two pips in one environment break it

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/demo.stamp ## open the guided tour in JupyterLab
	$(BIN)/jupyter-lab $(LAB_ARGS) notebooks/tour.ipynb

# The browser tests run by themselves: playwright keeps an event loop running in the main thread, and IPython, which
# other tests run in this process, wants to start its own.
test: lint system web docs $(VENV)/dev.stamp ## lint, the site, and all the tests: real servers, networks, browsers, notebooks
	$(BIN)/python -m pytest $(QUICK) $(ARGS)
	$(BIN)/python -m pytest --nbmake $(wildcard notebooks) tests -m "not quick and not browser and not bench" $(ARGS)
	$(BIN)/python -m pytest -m browser $(ARGS)

quick: web $(VENV)/dev.stamp ## the tests that need only Python and loopback, and those of the page, in about a minute
	$(BIN)/python -m pytest $(QUICK) $(ARGS)

web: $(VENV)/web.stamp ## the tests of the panel's page that need no browser
	@$(IF_NODE) node --test --test-reporter=spec $(WEB)/*.test.mjs; fi

faults: system $(VENV)/dev.stamp ## break real networks, and print how soon each is noticed
	$(BIN)/python -m pytest -m faults $(ARGS)

kernels: system $(VENV)/dev.stamp $(KERNELS:%=$(VENV)/kernel-%.stamp) ## the kernel tests and the panel on older ipykernels, each in an environment of its own
	@for version in $(KERNELS); do \
	    echo "ipykernel $$version:"; \
	    KERNEL_PYTHON=$(CURDIR)/$(VENV)/kernel-$$version/bin/python $(BIN)/python -m pytest tests/kernel $(ARGS) || exit; \
	done
	$(BIN)/python -m tests.browser.kernels $(KERNELS)

docs: $(VENV)/dev.stamp ## build the site, in build/site; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site
	@echo "open build/site/index.html"

lint: $(VENV)/dev.stamp $(VENV)/web.stamp ## ruff and mypy --strict, and biome and tsc --strict for the panel's page
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(IF_NODE) cd $(WEB) && $(NODE_BIN)/biome check . $(CURDIR)/$(PAGE) && $(NODE_BIN)/tsc; fi

format: $(VENV)/dev.stamp $(VENV)/web.stamp ## let ruff and biome format and sort everything
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	@$(IF_NODE) cd $(WEB) && $(NODE_BIN)/biome check --write . $(CURDIR)/$(PAGE); fi

bench: system $(VENV)/bench.stamp ## measure against a bare socket, asyncio, Twisted, pwntools and other widgets
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/dev.stamp ## let 200 clients live through cuts and restarts for ten minutes: nothing may have grown
	$(BIN)/python -m tests.bench.soak $(ARGS)

screenshots: system $(VENV)/dev.stamp ## take the README's pictures anew
	$(BIN)/python -m tests.browser.screenshots $(ARGS)

coverage: $(VENV)/dev.stamp ## the quick tests, the lines that they never run, and whether the share has sunk
	$(BIN)/python -m pytest $(QUICK) -o faulthandler_timeout=0 --cov --cov-report=term-missing $(ARGS)

system:
	.ci/system-packages

clean: ## take away what the other targets made
	rm -rf $(VENV) $(WEB)/node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

# The stamps say for which pyproject.toml the environment was last filled.

$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is not a Python 3.11 or newer: name one, as in: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1" # older ones know no --group
	@touch $@

$(VENV)/demo.stamp: $(VENV)/venv.stamp pyproject.toml
	$(PIP) install --editable ".[demo]"
	@touch $@

$(VENV)/dev.stamp: $(VENV)/venv.stamp pyproject.toml
	$(PIP) install --editable ".[demo,dataframe]" --group dev
	@touch $@

$(VENV)/web.stamp: $(VENV)/venv.stamp $(WEB)/package-lock.json
	.ci/system-packages nodejs npm
	@if command -v npm >/dev/null; then npm ci --prefix $(WEB) --silent && touch $@; fi

$(VENV)/bench.stamp: $(VENV)/venv.stamp pyproject.toml
	$(PIP) install --editable . --group bench
	@touch $@

$(VENV)/kernel-%.stamp: $(VENV)/venv.stamp pyproject.toml
	$(PYTHON) -m venv $(VENV)/kernel-$*
	$(VENV)/kernel-$*/bin/python -m pip --quiet --disable-pip-version-check install "ipykernel==$*.*" --editable .
	@touch $@
