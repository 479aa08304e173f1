# Flasknado's commands; `make help` lists them, CI runs the same ones.
.DEFAULT_GOAL := help
.PHONY: help install serve screenshots test test-compiled test-lowest test-python chaos siege unmodified lint wheel docs bench loadtest lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOADTEST := .venv-loadtest
BENCH := .venv-bench
LOWEST := .venv-lowest
DOCS := .venv-docs
OTHER = .venv-python$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
JAVASCRIPT := tests/javascript
COMPILED := build/compiled
# Twice as many as cores: much of a test's time is waiting.
TEST_PROCESSES ?= 4
PYTEST := -m pytest -n $(TEST_PROCESSES) --dist worksteal
COMPILED_TESTS := tests/flasknado/test_compiled.py tests/flasknado/test_drain.py tests/flasknado/http tests/flasknado/native tests/flasknado/wsgi tests/fuzz tests/tornado_suite -k "not (tornado and not suite)"
# Of what depends on other packages' versions.
LOWEST_TESTS := $(addprefix tests/flasknado/,http/test_refusals.py http/test_connection.py wsgi native live process socketio) $(addprefix --ignore tests/flasknado/,process/deploy process/doctor process/test_systemd.py wsgi/test_watch.py live/endpoints/test_outage.py live/hub/test_hub.py) -k "not bundled and not lives_on"
PACKAGE := $(shell find flasknado -type f -not -name '*.pyc')
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary :all:
PIP_EDITABLE := -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.dev  ## make .venv with everything that serving and testing need

serve: $(VENV)/.runtime  ## serve the bundled application, in development mode (PORT=8000, WORKERS=1, ...)
	@$(BIN)/python server.py develop

test: $(VENV)/.dev  ## run the tests (ARGS="-k name" for some of them, COVERAGE=1 to measure)
ifndef COVERAGE
	@$(BIN)/python $(PYTEST) $(ARGS)
else
	@rm -rf var/coverage
	@$(BIN)/coverage run $(PYTEST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report
endif

test-compiled: $(COMPILED)/.built  ## run the tests of what is compiled against its compiled form
	@PYTHONPATH=$(CURDIR)/$(COMPILED) FLASKNADO_COMPILED=1 $(BIN)/python $(PYTEST) \
	  -o "pythonpath=$(COMPILED) ." $(or $(ARGS),$(COMPILED_TESTS))

test-lowest: $(LOWEST)/.lowest  ## run the package's tests at the lowest versions that it allows
ifdef ARGS
	@$(LOWEST)/bin/python $(PYTEST) $(ARGS)
else
	@rm -rf var/branch-coverage
	@PYTEST_PLUGINS=tests.support.branch_coverage $(LOWEST)/bin/python $(PYTEST) $(LOWEST_TESTS)
	@$(LOWEST)/bin/python -m tests.support.branch_coverage
endif

test-python: $(OTHER)/.other  ## run the package's tests on another Python (PYTHON=python3.13)
	@$(OTHER)/bin/python $(PYTEST) $(or $(ARGS),$(LOWEST_TESTS))

screenshots: $(VENV)/.dev  ## take pictures of the bundled application's pages (needs chromium)
	@$(BIN)/python -m tests.browser.screenshots

chaos: $(VENV)/.dev  ## judge live events while processes die (ARGS="--seconds 300 --subscribers 1000")
	@$(BIN)/python -m tests.live_server.chaos $(ARGS)

siege: $(VENV)/.dev  ## judge servers of this machine under attack (ARGS="--seconds 5 --only garbage,guessers")
	@$(BIN)/python -m tests.siege $(ARGS)

unmodified: $(VENV)/.dev  # use other people's products under this server (ARGS="-k calibre")
	@UNMODIFIED=1 $(BIN)/python -m pytest tests/unmodified $(ARGS)

lint: $(VENV)/.dev  ## run the linters and the type checkers, of Python and of JavaScript (needs npm)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MAKE) --silent $(JAVASCRIPT)/node_modules/.installed
	@npm --prefix $(JAVASCRIPT) --silent run lint
	@npm --prefix $(JAVASCRIPT) --silent run types

wheel: $(COMPILED)/.built  ## build dist/*.whl with what every request passes through compiled to C (needs gcc)

docs: $(DOCS)/.docs  ## build the documentation site into build/site, strictly
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet --site-dir build/site

bench: $(VENV)/.runtime $(BENCH)/.bench  ## measure this server against others, side by side (needs wrk)
	@$(BIN)/python -m loadtests.bench $(ARGS)

loadtest: $(VENV)/.runtime $(LOADTEST)/.loadtest  ## compare with Flask's development server, under locust (FULL=1, WORKERS=2, PEERS=, TARGET=, PUBLISH=1)
	@$(BIN)/python -m loadtests.loadtest $(if $(FULL),--full) $(if $(WORKERS),--workers $(WORKERS)) $(if $(PEERS),--peers "$(PEERS)") $(if $(TARGET),--target "$(TARGET)") $(if $(PUBLISH),--publish) $(ARGS)

lock:  # resolve requirements/*.in again (needs uv)
	@for group in build runtime dev python docs loadtest bench bench-bjoern bench-fastwsgi; do \
	  uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	    --python-version 3.11 --custom-compile-command "make lock" \
	    requirements/$$group.in -o requirements/$$group.txt || exit 1; \
	done
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --python-version 3.11 --custom-compile-command "make lock" --resolution lowest-direct \
	  --extra postgresql --extra socketio pyproject.toml requirements/lowest.in -o requirements/lowest.txt
	@tests/unmodified/requirements/lock.sh

clean:  # remove the environments, caches and var/
	rm -rf $(VENV) .venv-* $(JAVASCRIPT)/node_modules var build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp names the requirement file that its environment was made from.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Flasknado needs Python 3.11 or newer, and $(PYTHON) is older: run make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make a virtual environment because its venv module is missing: on Debian and Ubuntu, run apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing requirements/runtime.txt into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	@$(BIN)/python $(PIP_EDITABLE)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "Installing requirements/dev.txt into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

$(LOWEST)/.lowest: requirements/lowest.txt pyproject.toml
	@echo "Installing requirements/lowest.txt into $(LOWEST)"
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python $(PIP_INSTALL) -r requirements/lowest.txt
	@$(LOWEST)/bin/python $(PIP_EDITABLE)
	@touch $@

$(OTHER)/.other: requirements/python.txt requirements/runtime.txt requirements/build.txt pyproject.toml
	@echo "Installing requirements/python.txt into $(OTHER)"
	@$(PYTHON) -m venv --clear $(OTHER)
	@$(OTHER)/bin/python $(PIP_INSTALL) -r requirements/runtime.txt -r requirements/build.txt -r requirements/python.txt
	@$(OTHER)/bin/python $(PIP_EDITABLE)
	@touch $@

$(JAVASCRIPT)/node_modules/.installed: $(JAVASCRIPT)/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "The JavaScript is checked with Node.js 18.18 or newer, and npm is missing: on Debian and Ubuntu, run apt-get install nodejs npm" >&2; exit 1; }
	@echo "Installing $(JAVASCRIPT)/package-lock.json"
	@npm --prefix $(JAVASCRIPT) --silent ci
	@touch $@

# In the source distribution, so that no compiled module stays beside the source that it was made from.
$(COMPILED)/.built: $(PACKAGE) pyproject.toml $(VENV)/.dev
	@echo "Compiling a wheel into dist/"
	@rm -rf $(COMPILED) dist && mkdir -p $(COMPILED)
	@$(BIN)/python -m hatchling build --target sdist --directory dist >/dev/null
	@tar -xzf dist/*.tar.gz --strip-components=1 -C $(COMPILED)
	@HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m pip --disable-pip-version-check wheel --quiet \
	  --no-deps --no-build-isolation --wheel-dir dist $(COMPILED) || \
	  { echo "Compiling needs gcc and Python's headers: apt-get install gcc python3-dev" >&2; exit 1; }
	@touch $@

$(DOCS)/.docs: requirements/docs.txt
	@echo "Installing requirements/docs.txt into $(DOCS)"
	@$(PYTHON) -m venv --clear $(DOCS)
	@$(DOCS)/bin/python $(PIP_INSTALL) -r requirements/docs.txt
	@touch $@

$(LOADTEST)/.loadtest: requirements/loadtest.txt
	@echo "Installing requirements/loadtest.txt into $(LOADTEST)"
	@$(PYTHON) -m venv $(LOADTEST)
	@$(LOADTEST)/bin/python $(PIP_INSTALL) -r requirements/loadtest.txt
	@touch $@

$(BENCH)/.bench: requirements/bench.txt requirements/bench-bjoern.txt requirements/bench-fastwsgi.txt requirements/runtime.txt $(PACKAGE)
	@echo "Installing the servers to compare with into $(BENCH)"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python $(PIP_INSTALL) -r requirements/runtime.txt -r requirements/bench.txt
	@for name in bjoern fastwsgi; do \
	  $(BENCH)/bin/python $(subst --only-binary :all:,--no-deps --no-build-isolation,$(PIP_INSTALL)) \
	    -r requirements/bench-$$name.txt 2>/dev/null || \
	  echo "$$name cannot be built here, so it is left out: apt-get install gcc python3-dev libev-dev"; \
	done
	@if command -v gcc >/dev/null; then $(MAKE) --no-print-directory wheel && \
	  $(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --force-reinstall dist/*.whl; \
	else echo "flasknado-compiled is left out: apt-get install gcc python3-dev"; fi
	@touch $@
