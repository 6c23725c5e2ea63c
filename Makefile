# The WIS2 Global Cache. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Some containers set it; then each of the hundreds of processes that a suite starts compiles all it
# imports, and pytest each file of tests.
unexport PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
UV := .tools/uv/bin/uv
T ?= tests
# The suites mostly wait for servers; a file stays on one core.
BOTH_CORES := -n 2 --dist loadfile -q
# No suite takes longer, however busy the machine: one that does hangs (tests/conftest.py).
AT_MOST_1H := timeout --foreground --kill-after=30 1h
PYTEST := $(AT_MOST_1H) $(PY) -m pytest
# Names of the variables on the command line.
GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  make \033[36m%-18s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Run
.PHONY: setup run clean
setup: ## Install what is missing (Debian packages, uv, .venv); done by the other targets too
	@local/bootstrap.sh

.PHONY: setup-sqs setup-faketime setup-promtool
setup-sqs:
	@local/bootstrap.sh sqs

setup-faketime:
	@local/bootstrap.sh faketime

setup-promtool:
	@local/bootstrap.sh promtool

run: ## Run the cache on this machine, with a simulated WIS2 world, or with BROKERS='fr=mqtts://…'
	@local/bootstrap.sh $(filter sqs,$(QUEUE))
	@exec $(PY) -m local.run $(foreach name,$(GIVEN),'$(name)')

clean: ## Remove the state that `make run` keeps (.state, or STATE=…)
	@local/clean.sh "$${STATE:-.state}"

##@ Test
.PHONY: test lint typecheck test-unit coverage test-integration test-conformance test-conformance-sqs test-faults test-long-run soak test-security fuzz test-day test-cluster tests docs-tables chart-files format
test: setup lint typecheck $(if $(COVERAGE),coverage,test-unit) test-integration test-conformance ## Run checks and tests, under 15 minutes; longer suites have their own targets

lint: setup ## Check rules and format (ruff), the order of imports, spelling
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/lint-imports --no-logo --no-cache
	@git ls-files -z | xargs -0 .venv/bin/codespell

typecheck: setup ## Check types (mypy --strict)
	@$(PY) -m mypy services/*/src local bench tools testkit tests

test-unit: setup ## Run unit and property tests
	@PYTHONDEVMODE=1 $(PYTEST) $(BOTH_CORES) tests/unit

# It asserts processor time, of which a measured program takes several times as much.
LOOKS_AT_CPU := tests/unit/manager/test_cpu_of_parsers.py
coverage: setup ## Measure what test-unit covers of each package: not below its floor (RAISE=yes: higher floors)
	@rm -rf .coverage; mkdir -p .coverage
	@PYTHONDEVMODE=1 $(AT_MOST_1H) .venv/bin/coverage run -m pytest $(BOTH_CORES) tests/unit --ignore $(LOOKS_AT_CPU)
	@PYTHONDEVMODE=1 $(PYTEST) -q $(LOOKS_AT_CPU)
	@.venv/bin/coverage combine -q
	@.venv/bin/coverage json -q -o .coverage/report.json
	@$(PY) -m tools.coverage_floors .coverage/report.json $(if $(RAISE),--raise)

test-integration: setup-sqs ## Test with real redis-server, mosquitto and nginx
	@$(PYTEST) $(BOTH_CORES) -n 3 tests/integration

test-conformance: setup-sqs ## Test the services in a simulated WIS2: at least one test for each rule of docs/wis2-rules.md
	@$(PYTEST) $(BOTH_CORES) tests/conformance

test-conformance-sqs: setup-sqs ## Run the same tests on SQS and S3
	@QUEUE=sqs STORE=s3 $(PYTEST) $(BOTH_CORES) tests/conformance

test-faults: setup-sqs setup-faketime ## Kill processes, take Redis, broker, disk, SQS or S3 away: nothing is lost
	@$(PYTEST) tests/faults
	@QUEUE=sqs STORE=s3 $(PYTEST) $(if $(filter no,$(LONG_RUN_ON_SQS)),--ignore tests/faults/test_long_run.py) tests/faults

test-long-run: setup-sqs setup-faketime ## Send 20,000 items under every kind of fault (QUEUE=sqs STORE=s3)
	@$(if $(QUEUE),QUEUE='$(QUEUE)') $(if $(STORE),STORE='$(STORE)') $(PYTEST) -s tests/faults/test_long_run.py

soak: setup-sqs setup-faketime ## Repeat these faults for hours: make soak HOURS=24 QUEUE=sqs STORE=s3
	@HOURS='$(or $(HOURS),1)' $(if $(QUEUE),QUEUE='$(QUEUE)') $(if $(STORE),STORE='$(STORE)') $(PY) -m tests.faults.soak

# On SQS and S3 what depends on the two most: notifications and data servers. Floods and queue memory
# skip themselves there; links, API, metrics and sessions do not come near them. Of the HTTP clients one
# fails there: rclone, which plays S3, gives no answer to a range that begins at 0 and ends beyond 64 bits.
test-security: setup-sqs ## Attack the real components, with items of other centres beside the attack
	@$(PYTEST) $(BOTH_CORES) tests/security
	@QUEUE=sqs STORE=s3 $(PYTEST) $(BOTH_CORES) tests/security/test_hostile_notifications.py tests/security/test_hostile_sources.py

fuzz: setup ## Fuzz the parsers: make fuzz MINUTES=10; inputs that find a fault are kept
	@FUZZ_MINUTES=$(or $(MINUTES),10) $(PYTEST) -q tests/security/test_fuzz.py

test-day: setup-faketime ## Simulate a day of WIS2 with a clock of ours: nothing is missing, repeated or unexpected
	@$(PY) -m pytest tests/day

tests: setup-sqs ## Run the tests of one file or folder: make tests T=tests/unit/common
	@$(PYTEST) $(T)

test-cluster: setup ## Test the chart on the Kubernetes of KUBECONFIG, with a WIS2 in pods: REGISTRY= TAG= (docs/cluster-tests.md)
	@$(foreach name,$(GIVEN),$(name)='$(value $(name))') $(PYTEST) -s tests/cluster

docs-tables: setup ## Write the tables in docs/ from the code
	@$(PY) -m tools.docs_tables

chart-files: setup ## Write the chart's files that come from the code, and its golden files
	@$(PY) -m tools.chart_files
	@$(PY) -m testkit.deployment.chart

format: setup ## Rewrite the code in the project's format
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

##@ Measure
.PHONY: bench
bench: ## Measure throughput, delay, CPU and memory: make bench QUEUE=sqs STORE=s3 ARGS='--only burst --json FILE'
	@local/bootstrap.sh $(filter sqs,$(QUEUE))
	@$(PY) -m bench.run $(ARGS)

.PHONY: bench-attacks
bench-attacks: ## Measure the delay of innocent items beside each attack: make bench-attacks ARGS='--only dns --json FILE'
	@local/bootstrap.sh $(filter sqs,$(QUEUE))
	@$(PY) -m bench.attacks $(ARGS)

##@ Maintain
.PHONY: lock
lock: setup ## Renew the hashed dependency locks in requirements/
	@local/lock.sh

include deploy/deploy.mk

include images/images.mk
