# One command for each intent; the same by hand and in CI. `make help` lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cksum < pyproject.toml | tr ' ' '-')

# The demo's log: sqlite (a file), kafka (a broker is started), or kafka://host:port. Other options go into ARGS.
LOG ?= sqlite
ARGS ?=
# Of the tests, each with a broker of its own: one per core, at most 4. 0: one test after the other.
PROCESSES ?= auto
# Random workflows: how many, and from which one on.
SEEDS ?= 1000
FIRST ?= 0
# The nemesis, and bad input: for how long, and from which seed; 0: one that is chosen, and printed.
MINUTES ?= 10
SEED ?= 0

# Mutants: all of one module; or so many outside of what ownership rests on, by SEED.
MODULE ?=
COUNT ?= 600

.PHONY: api-server bench-check cost golden help venv demo test lint format types imports pytest schemas reference properties simulate models nemesis fuzz mutants collector bench crowd blocking million fan-out takeover overload sleepers scale capacity compare clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

venv: $(STAMP) ## Make .venv with odradek and its tools in it

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("odradek needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: $(STAMP) ## Run the demo: make demo LOG=sqlite | kafka | kafka://host:port
	$(BIN)/python -m examples.orders.demo --log $(LOG) $(ARGS)

test: lint types imports ## Everything that CI runs; one test after the other: make test PROCESSES=0
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not alone" $(ARGS)
	$(BIN)/python -m pytest -m alone $(ARGS)

lint: $(STAMP) ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Put the formatting right
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## The arrows between the packages
	PYTHONPATH=schemas:log:sdk:orchestrator:workers:cli $(BIN)/lint-imports --no-logo

pytest: $(STAMP) ## Only the tests, one after the other: make pytest ARGS="-k retry"
	$(BIN)/python -m pytest $(ARGS)

schemas: $(STAMP) ## Write the Avro schemas under development anew from the records
	$(BIN)/python schemas/make_schemas.py

reference: $(STAMP) ## Make the generated parts of docs/reference anew
	for page in records metrics cli acls helm; do $(BIN)/python docs/reference/make_$$page.py || exit 1; done

golden: $(STAMP) ## Write the manifests anew that the Helm chart's are compared with; read the difference
	$(BIN)/python -m tests.helm.golden

api-server: $(STAMP) ## Build the API server that the Helm chart is installed on in tests; once, and some minutes
	nice $(BIN)/python -m tests.helm.control_plane

properties: $(STAMP) ## Random workflows: make properties SEEDS=10000 [FIRST=0]
	$(BIN)/python -m tests.orchestrator.random_workflows $(FIRST) $(SEEDS)

fuzz: $(STAMP) ## Bad input for everything that reads: make fuzz MINUTES=60 [FIRST=0]
	$(BIN)/python -m tests.fuzz all $(filter-out 0,$(FIRST)) --seconds $$(($(MINUTES) * 60))

simulate: $(STAMP) ## The whole system, simulated, with trouble: make simulate SEEDS=10000 [FIRST=0]
	$(BIN)/python -W ignore -m tests.simulation $(FIRST) $(SEEDS)

nemesis: $(STAMP) ## Everything goes wrong on three brokers, under load: make nemesis MINUTES=10 [SEED=7]
	$(BIN)/python -m tests.nemesis.scenario --minutes $(MINUTES) --seed $(SEED) $(ARGS)

collector: $(STAMP) ## Build the OpenTelemetry Collector that tests of traces use, once; needs Go, and minutes
	$(BIN)/python -m tests.tracing.collector

models: $(STAMP) ## Models of the protocol, in larger bounds than the tests: make models [ARGS="chunks stores"]
	$(BIN)/python -m tests.protocol.bounds $(ARGS)

mutants: $(STAMP) ## Small changes to the engine that no test notices: make mutants MODULE=writer | COUNT=600 SEED=1
	nice $(BIN)/python -m tests.mutation --count $(COUNT) --seed $(SEED) $(addprefix --module ,$(MODULE)) $(ARGS)

bench: $(STAMP) ## Steps per second of a chain of activities: make bench LOG=kafka
	$(BIN)/python -m benchmarks.chain --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

bench-check: $(STAMP) ## Whether a step costs more than at the commits before, as a multiple of the raw loop
	$(BIN)/python -m benchmarks.check $(ARGS)

cost: $(STAMP) ## Where the microseconds of a step go, in an orchestrator: make cost ARGS="--steps 50"
	$(BIN)/python -m benchmarks.cost $(ARGS)

crowd: $(STAMP) ## Time and CPU of a parent with many children: make crowd LOG=kafka ARGS="--children 1000 --steps 100"
	$(BIN)/python -m benchmarks.children --log $(LOG) $(ARGS)

blocking: $(STAMP) ## One endless task among 100,000 short ones, workers that come and go: make blocking ARGS="--tasks 20000"
	$(BIN)/python -m benchmarks.blocking --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

million: $(STAMP) ## A million activities through one queue: make million ARGS="--activities 20000"
	$(BIN)/python -m benchmarks.million --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

overload: $(STAMP) ## Ten times what a fleet can do, a flood for one workflow, timers due in an outage: make overload ARGS="--parts storm"
	$(BIN)/python -m benchmarks.overload --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

fan-out: $(STAMP) ## Ten thousand activities from one workflow and back
	$(BIN)/python -m benchmarks.fan_out --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

takeover: $(STAMP) ## Until a new owner serves, with its store, a copy in Redis, or neither: make takeover ARGS="--workflows 100000"
	$(BIN)/python -m benchmarks.takeover --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

sleepers: $(STAMP) ## A million workflows that sleep: starts, memory, cost beside them, waking, takeover: make sleepers ARGS="--workflows 100000"
	$(BIN)/python -m benchmarks.sleepers --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

scale: $(STAMP) ## What a second orchestrator process brings on this machine: make scale ARGS="--processes 1 2 4"
	$(BIN)/python -m benchmarks.scale --log $(if $(filter sqlite,$(LOG)),kafka,$(LOG)) $(ARGS)

capacity: $(STAMP) ## Cores, partitions and brokers for 10,000 to 1,000,000 steps/s: make capacity ARGS="--quick"
	$(BIN)/python -m benchmarks.capacity $(ARGS)

compare: $(STAMP) ## odradek and its peers at the same work: make compare ARGS="--only odradek,restate --work chain,latency --quick"
	$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## Delete what can be made again, .venv included
	rm -rf $(VENV) .demo .odradek dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
