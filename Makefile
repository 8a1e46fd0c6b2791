# Tidewire: `make help` says what there is. Each target makes what it needs first.
#
# One environment, .venv, holds the package (editable) and its tools, as pinned in requirements.lock.
# The compiled form is built into build/compiled and is what runs; TIDEWIRE_PURE=1 runs src/ as it lies.

PYTHON ?= python3
ARGS ?=
SUITE ?=

BIN := .venv/bin

.PHONY: help run vehicle surf test test-compiled test-pure fuzz chaos faults soak paho interop check site bench build format lock clean

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: build ## Start the broker with its web page; ARGS="--port 18883" passes flags on
	@$(BIN)/tidewire serve --console $(ARGS)

# The examples do without the compiled form where there is none yet: they are to be seen soon.
vehicle: $(if $(wildcard build/compiled),build,.venv/made) ## Start a broker, three vehicles that it controls over TLS, and their page
	@$(BIN)/python -m examples.vehicle $(ARGS)

surf: $(if $(wildcard build/compiled),build,.venv/made) ## Start a surfing competition, and the page where it is watched
	@$(BIN)/python -m examples.surf $(ARGS)

test: build ## Run the tests on the compiled form and, beside it, those of the code on the pure one with its coverage
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-compiled test-pure

# What looks at whole programs, in browsers and terminals, by other people's clients and on the wire, is run once: by one
# half or the other, so that both take as long. With ARGS, or where there is one half only, that one runs all.
ONCE_COMPILED := tests/console tests/interop tests/test_site.py tests/test_snippets.py
ONCE_PURE := tests/benchmarks tests/examples tests/overhead

test-compiled:
	@if [ "$(TIDEWIRE_PURE)" != 1 ] && [ -d build/compiled ]; \
	then TIDEWIRE_PURE=0 $(BIN)/pytest $(or $(ARGS),$(ONCE_PURE:%=--ignore=%)); \
	else echo "tidewire: no compiled form here; testing the pure one only"; fi

test-pure:
	@TIDEWIRE_PURE=1 $(BIN)/coverage run -m pytest $(or $(ARGS),$(if $(wildcard build/compiled),$(ONCE_COMPILED:%=--ignore=%)))
	@$(BIN)/coverage report

fuzz: build ## Send a million bad packets; ARGS="-x" passes flags on
	@TIDEWIRE_FUZZ_PACKETS=$${TIDEWIRE_FUZZ_PACKETS:-1000000} \
	TIDEWIRE_FUZZ_SEED=$${TIDEWIRE_FUZZ_SEED:-$$(date +%s)} $(BIN)/pytest tests/fuzz $(ARGS)

chaos: build ## Cut connections and kill publishers during 100 000 publishes; ARGS="-x" passes flags on
	@TIDEWIRE_CHAOS_PUBLISHES=$${TIDEWIRE_CHAOS_PUBLISHES:-100000} TIDEWIRE_CHAOS_CUTS=$${TIDEWIRE_CHAOS_CUTS:-200} \
	TIDEWIRE_CHAOS_KILLS=$${TIDEWIRE_CHAOS_KILLS:-50} TIDEWIRE_CHAOS_SEED=$${TIDEWIRE_CHAOS_SEED:-$$(date +%s)} \
	$(BIN)/pytest tests/faults/test_client_chaos.py $(ARGS)

faults: build ## Kill the broker a hundred times under load, and drop what the disk was not told to keep
	@TIDEWIRE_FAULT_KILLS=$${TIDEWIRE_FAULT_KILLS:-100} TIDEWIRE_FAULT_SEED=$${TIDEWIRE_FAULT_SEED:-$$(date +%s)} \
	$(BIN)/pytest tests/faults/test_broker_kills.py $(ARGS)

soak: build ## Leave a page open for an hour on 50 000 messages a second; ARGS="--minutes 5" is shorter
	@PYTHONPATH=build/compiled:. $(BIN)/python -P -m tests.console.soak $(or $(ARGS),--report benchmarks/results/soak.json)

paho: build ## Run the Paho interoperability suites; SUITE=path/to/paho.mqtt.testing
	@$(BIN)/python tests/interop/paho_suites.py $(SUITE) $(ARGS)

interop: build ## Run other people's clients against the broker; ARGS="--only rumqttc" runs one
	@$(BIN)/python -m tests.interop.matrix $(ARGS)

check: .venv/made ## Hold the sources to style, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@TIDEWIRE_PURE=1 $(BIN)/lint-imports --no-logo

site: .venv/made ## Build the documentation into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: build ## Measure Tidewire beside the brokers and, without ARGS, the clients that are installed here, and durability
	@PYTHONPATH=build/compiled:. $(BIN)/python -P -m benchmarks $(ARGS)
	@$(if $(ARGS),,PYTHONPATH=build/compiled:. $(BIN)/python -P -m benchmarks.clients)
	@$(if $(ARGS),,PYTHONPATH=build/compiled:. $(BIN)/python -P -m benchmarks.durable)

build: .venv/made ## Build the compiled form, if its sources changed
	@$(BIN)/python tools/build.py

format: .venv/made ## Rewrite the sources in the one format
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

lock: ## Pin the newest versions that fit pyproject.toml in requirements.lock
	@$(PYTHON) -m venv --clear build/for-lock
	@build/for-lock/bin/pip install -q --upgrade setuptools
	@TIDEWIRE_PURE=1 build/for-lock/bin/pip install -q --no-build-isolation -e '.[dev]'
	@build/for-lock/bin/pip freeze --all --exclude-editable --exclude pip > requirements.lock

clean: ## Remove all that make made
	rm -rf .venv build dist src/*.egg-info .coverage .hypothesis .*_cache
	find src -name '*.so' -o -name _compiled_from.json | xargs rm -f
	find src tests tools -name __pycache__ | xargs rm -rf

.venv/made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo 'tidewire: needs Python 3.11 or newer; name one: make PYTHON=python3.12 …'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo 'tidewire: this Python cannot make an environment; on Debian: apt install python3-venv'; exit 1; }
	@echo 'tidewire: making .venv' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --use-pep517 -r requirements.lock
	@TIDEWIRE_PURE=1 $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
